"""Storages that several hosts share: one room for all, and each volume in it at one host."""

from typing import Any

import pytest
from pydantic import ValidationError

from stacksmith.address import Address
from stacksmith.model.fleet import Fleet, Host
from stacksmith.model.found import Found, HostSnapshot, Resources, Snapshot, Unmanaged
from stacksmith.model.hardware import Hardware, Holding, Pool
from stacksmith.model.realised import Policy, Volume
from stacksmith.model.record import Record
from stacksmith.placement import Consumer, Inventory
from stacksmith.placement.host import UNLIMITED, HostState
from stacksmith.planner.inventory import host_states
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.sharing import seen_once
from stacksmith.views.host import free_of, host_rows, hosts_data, hosts_text, storages_of
from stacksmith.views.host_tree import tree_data, tree_text

DATA = Address.parse("volume.data")
UUID = "11111111-2222-5333-8444-555555555555"
NFS = "shared:nfs1"


def fleet(**more: Any) -> Fleet:
    """hv1 and hv2 see the same storage, under names of their own; hv3 does not."""
    types = {name: {"local": {}, kind: {"pool": "nfs", "path": "/nfs", "shared": "nfs1"}} for name, kind in
             (("hv1", "slow"), ("hv2", "cheap"))}  # fmt: skip
    hosts = {name: {"libvirt": "memory:x", "volume_types": each} for name, each in types.items()}
    return Fleet.model_validate({"fleet": "lab", "hosts": hosts | {"hv3": {"libvirt": "memory:x"}}, **more})


def snapshot(*guests: Found | Unmanaged, totals: tuple[int, int] = (100, 100), unread: str = "") -> Snapshot:
    def snap(name: str, *pools: Pool) -> HostSnapshot:
        found = tuple(g for g in guests if isinstance(g, Found) and g.host == name)
        others = tuple(g for g in guests if isinstance(g, Unmanaged) and g.host == name)
        return HostSnapshot(name, None, Resources(8, 4096, 50), found, others, hardware=Hardware(pools=pools))

    hosts = (snap("hv1", Pool("slow", totals[0])), snap("hv2", Pool("cheap", totals[1])), snap("hv3"))
    return Snapshot(tuple(HostSnapshot(h.host, "no answer") if h.host == unread else h for h in hosts))


def volume(host: str, gib: int, name: str = "v1", owner: str | None = None) -> Unmanaged:
    kind = {"hv1": "slow", "hv2": "cheap"}[host]
    holds = Holding(disks=((kind, gib),))
    return Unmanaged("volume", host, name, UUID[:8], owner, Resources(disk_gib=gib), holds=holds)


def own(host: str, attached: bool = False) -> Found:
    kind = {"hv1": "slow", "hv2": "cheap"}[host]
    facts = {"attached_to": "server" if attached else None}
    spec, holds = Volume(2**30, kind), Holding(disks=((kind, 1),))
    return Found(DATA, host, UUID, "ss.shop.data", spec, "f", usage=Resources(disk_gib=1), holds=holds, facts=facts)


def states(snap: Snapshot, *consumers: Consumer, **more: Any) -> dict[str, HostState]:
    made = fleet(**more)
    pending = Ledger("shop", made, snap, consumers).pending()
    return {state.name: state for state in host_states(made, snap, (), {}, pending=pending)}


def test_shared_storage_is_one_provider_of_all_its_hosts() -> None:
    seen = states(snapshot(), defaults={"reserved": {"DISK_GB": 10}})
    (one,), (other,) = seen["hv1"].parts, seen["hv2"].parts
    assert (one.uuid, one.parent, one.aggregates) == (NFS, None, {NFS})
    assert one.inventories == other.inventories == {"DISK_GB": Inventory(100, reserved=10)}
    assert one.traits == {"MISC_SHARES_VIA_AGGREGATE", "CUSTOM_VOLUME_TYPE_SLOW"}
    assert other.traits == {"MISC_SHARES_VIA_AGGREGATE", "CUSTOM_VOLUME_TYPE_CHEAP"}
    assert seen["hv3"].parts == ()


def test_storage_has_a_ratio_and_reserved_room_of_its_own_which_hosts_do_not_change() -> None:
    said = {"nfs1": {"allocation_ratios": {"DISK_GB": 2.5}, "reserved": {"DISK_GB": 20}}}
    defaults = {"reserved": {"DISK_GB": 10}, "allocation_ratios": {"DISK_GB": 1.5}}
    (one,) = states(snapshot(), defaults=defaults, shared_storages=said)["hv1"].parts
    assert one.inventories == {"DISK_GB": Inventory(100, reserved=20, allocation_ratio=2.5)}
    (one,) = states(snapshot(), defaults=defaults, shared_storages={"nfs1": {}})["hv1"].parts
    assert one.inventories == {"DISK_GB": Inventory(100, reserved=10, allocation_ratio=1.5)}


def test_what_all_hosts_have_in_it_is_used_once_and_not_of_their_own_disks() -> None:
    seen = states(snapshot(volume("hv1", 30), volume("hv2", 20, "v2")))
    assert [seen[name].parts_used[NFS] for name in ("hv1", "hv2")] == [{"DISK_GB": 50}] * 2
    assert [seen[name].used["DISK_GB"] for name in ("hv1", "hv2", "hv3")] == [0, 0, 0]


def test_claim_of_another_stack_on_it_counts_for_every_host() -> None:
    claim = Consumer("b", {NFS: {"DISK_GB": 40}}, 1, "volume.data", "blog")
    seen = states(snapshot(volume("hv1", 30)), claim)
    assert seen["hv1"].parts_used[NFS] == seen["hv2"].parts_used[NFS] == {"DISK_GB": 70}
    assert seen["hv2"].parts_claimed[NFS] == {"DISK_GB": {"blog": 40}}


def test_claim_and_its_volume_are_one_consumption_wherever_the_volume_was_seen() -> None:
    claim = Consumer(UUID, {NFS: {"DISK_GB": 30}}, 1, "volume.data", "blog")
    for host in ("hv1", "hv2"):
        ledger = Ledger("shop", fleet(), snapshot(volume(host, 30)), (claim,))
        assert ledger.pending() == {}
        assert ledger.unclaimed(NFS, ()).get(NFS, {}) == {}
        assert ledger.unclaimed(host, ()) == {}


@pytest.mark.parametrize(
    ("totals", "total"), [((100, 100), 100), ((100, 99), 99), ((-1, 80), 80), ((-1, -1), UNLIMITED)]
)
def test_its_size_is_the_smallest_that_is_known(totals: tuple[int, int], total: int) -> None:
    assert states(snapshot(totals=totals))["hv1"].parts[0].inventories["DISK_GB"].total == total


def at(snap: Snapshot) -> list[str]:
    return [each.host for host in snap.hosts for each in (*host.found, *host.unmanaged)]


def test_volume_that_both_hosts_see_is_at_the_one_that_is_recorded_or_uses_it() -> None:
    both = snapshot(own("hv1"), own("hv2"))
    record = Record(DATA, "hv2", UUID, None, Policy(), True, ())
    assert at(seen_once(fleet(), both, ())) == ["hv1"]
    assert at(seen_once(fleet(), both, [record])) == ["hv2"]
    assert at(seen_once(fleet(), snapshot(own("hv1"), own("hv2", attached=True)), ())) == ["hv2"]


def test_volume_goes_with_the_server_that_has_it_wherever_it_is_recorded() -> None:
    record = Record(DATA, "hv1", UUID, None, Policy(), True, ())
    assert at(seen_once(fleet(), snapshot(own("hv1"), own("hv2", attached=True)), [record])) == ["hv2"]
    moving = snapshot(own("hv1", attached=True), own("hv2", attached=True))  # on both, for as long as it migrates
    assert at(seen_once(fleet(), moving, [record])) == ["hv1"]


def test_volume_recorded_at_a_host_that_is_not_read_is_nowhere_else() -> None:
    record = Record(DATA, "hv1", UUID, None, Policy(), True, ())
    assert at(seen_once(fleet(), snapshot(own("hv2"), unread="hv1"), [record])) == []
    assert at(seen_once(fleet(), snapshot(own("hv2"), unread="hv1"), ())) == ["hv2"]


def test_volumes_of_others_are_counted_once() -> None:
    both = snapshot(volume("hv1", 30), volume("hv2", 30), volume("hv2", 5, "v2"))
    once = seen_once(fleet(), both, ())
    assert at(once) == ["hv1", "hv2"]
    assert states(once)["hv1"].parts_used[NFS] == {"DISK_GB": 35}


def test_snapshot_of_a_fleet_that_shares_nothing_stays_as_it_is() -> None:
    alone = Fleet(fleet="lab", hosts={"hv1": Host(libvirt="memory:x")})
    both = snapshot(own("hv1"), own("hv2"))
    assert seen_once(alone, both, ()) is both


def test_hosts_and_their_trees_tell_it_once() -> None:
    snap = snapshot(volume("hv1", 30), volume("hv2", 20, "v2"))
    seen = list(states(snap).values())
    (store,) = storages_of(seen)
    rows, free = host_rows(fleet(), snap), free_of(seen, ())
    assert "shared:nfs1 of hv1, hv2: 50 GiB/100 GiB of disk used.\n" in hosts_text(rows, free, storages=[store])
    data = hosts_data(rows, free, [store])
    assert isinstance(data, dict)
    assert data["shared"] == [{"name": NFS, "hosts": ["hv1", "hv2"], "used": 50, "total": 100, "free": 50}]
    assert [row.used.disk_gib for row in rows] == [0, 0, 0]
    assert tree_text(seen).count(NFS) == 1
    tree = tree_data(seen)
    assert isinstance(tree, dict)
    assert [each["name"] for each in tree["shared"]] == [NFS]
    assert [host["providers"][0]["aggregates"] for host in tree["hosts"]] == [[NFS], [NFS], []]


@pytest.mark.parametrize(
    ("types", "cause"),
    [
        ({"local": {"shared": "nfs1"}}, "which cannot be shared"),
        ({"local": {"pool": "a"}, "same": {"pool": "a", "shared": "nfs1"}}, "which cannot be shared"),
        ({"local": {}, "a": {"pool": "a", "shared": "x"}, "b": {"pool": "b", "shared": "x"}}, "several volume types"),
    ],
)
def test_storage_that_cannot_be_shared_is_refused(types: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValidationError, match=cause):
        Host.model_validate({"libvirt": "memory:x", "volume_types": types})
