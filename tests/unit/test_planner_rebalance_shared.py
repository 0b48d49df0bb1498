"""Servers move with their volumes in a storage that hosts share, also when more of it is used than there is."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.hardware import hardware_of
from stacksmith.placement import HostState, Inventory, Provider, Request, place
from stacksmith.placement.tree.request import CandidateRequest, ResourceGroup
from stacksmith.planner.aim import Aim
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.provider import forget, world

SHARED = {"volume_types": {"local": {}, "nfs": {"pool": "nfs", "path": "/nfs", "shared": "filer"}}}
OWN = {"volume_types": {"local": {}, "nfs": {"pool": "nfs", "path": "/nfs"}}}
S = "shared:filer"


class Shop:
    """hv1 and hv2 share a storage of which less was left after it was filled; hv3 has one of its own, of that type."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"memory:{folder.name}"
        (folder / "base.img").write_bytes(b"x" * 512)

    def start(self, where: Mapping[str, str], groups: Mapping[str, str] | None = None) -> None:
        """Servers with a volume of 20 GiB each, then storages of half the size of all of these."""
        self.where, self.groups = where, groups or {}
        self._say(len(where) * 20, is_pinned=True)
        self.run(session.plan(self.options()).plan)
        self._say(len(where) * 10)
        assert session.plan(self.options()).plan.steps == ()

    def _say(self, gib: int, *, is_pinned: bool = False) -> None:
        uri = f"{self.uri}?vcpus=10&memory_mib=16384&disk_gib=200"
        hosts = {"hv1": SHARED, "hv2": SHARED, "hv3": OWN}
        for name in hosts:
            world(uri).set_hardware(name, hardware_of({"pools": [{"volume_type": "nfs", "total_gib": gib}]}))
        fleet = {"fleet": "f", "hosts": {name: {"libvirt": uri, **more} for name, more in hosts.items()}}
        self.fleet: dict[str, Any] = fleet
        (self.folder / "fleet.yaml").write_text(json.dumps(fleet))
        stack = {
            "stack": "shop",
            "fleet": "fleet.yaml",
            "flavors": {"small": {"vcpus": 2, "ram": 64, "disk": 1}},
            "images": {"base": {"source": "base.img", "format": "raw"}},
            "volumes": {name: {"size": 20, "volume_type": "nfs"} for name in self.where},
            "servers": {
                name: {"flavor": "small", **self._disks(name), **({"host": host} if is_pinned else {})}
                | ({"group": self.groups[name]} if name in self.groups else {})
                for name, host in self.where.items()
            },
            "server_groups": {name: {"policy": "affinity"} for name in self.groups.values()},
        }
        (self.folder / "stack.yaml").write_text(json.dumps(stack))

    def disable(self, name: str) -> None:
        """The host takes no servers any more."""
        self.fleet["hosts"][name]["state"] = "disabled"
        (self.folder / "fleet.yaml").write_text(json.dumps(self.fleet))

    def _disks(self, name: str) -> dict[str, Any]:
        root = {"boot_index": 0, "source_type": "image", "image": "base", "destination_type": "local"}
        volume = {"source_type": "volume", "volume": name, "destination_type": "volume"}
        return {"image": "base", "block_device_mapping": [root, volume]}

    def options(self) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml")

    def moves(self, aim: Aim) -> dict[str, str]:
        """What was moved by a rebalance, after which nothing is left to do and each volume is claimed once."""
        plan = session.rebalance(self.options(), aim).plan
        self.run(plan)
        assert session.plan(self.options()).plan.steps == ()
        volumes = [claim for claim in session.claims(self.options()) if claim.name.startswith("volume.")]
        assert [claim.allocations for claim in volumes] == [{S: {"DISK_GB": 20}}] * len(self.where)
        return {str(s.address): s.host for s in plan.steps if s.operation is Operation.MIGRATE}

    def run(self, plan: Plan) -> None:
        what = session.ApplyOptions(allowed=Impact.MIGRATE)
        assert session.apply(self.options(), plan, lambda event: None, what).exit_status == 0


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    forget(made.uri)


def test_drained_host_leaves_its_servers_to_who_shares_the_storage(shop: Shop) -> None:
    shop.start({"a": "hv1", "b": "hv1"})
    shop.disable("hv3")
    assert shop.moves(Aim(frozenset({"hv1"}))) == dict.fromkeys(("server.a", "server.b", "volume.a", "volume.b"), "hv2")


def test_servers_are_evened_out_over_the_hosts_of_the_storage(shop: Shop) -> None:
    shop.start(dict.fromkeys("abcd", "hv1"))
    shop.disable("hv3")
    moved = shop.moves(Aim(even=True))
    assert sorted(moved.values()) == ["hv2"] * 4  # two servers, and a volume of each


def test_affinity_group_takes_its_volumes_in_the_storage_along(shop: Shop) -> None:
    shop.start(dict.fromkeys("abcd", "hv1"), {"a": "x", "b": "x", "c": "y", "d": "y"})
    shop.disable("hv3")
    moved = shop.moves(Aim(even=True))
    assert sorted(moved) in (
        ["server.a", "server.b", "volume.a", "volume.b"],
        ["server.c", "server.d", "volume.c", "volume.d"],
    )
    assert set(moved.values()) == {"hv2"}


def test_who_comes_from_elsewhere_gets_no_room_in_it(shop: Shop) -> None:
    shop.start({"a": "hv1", "b": "hv1", "c": "hv3"})
    with pytest.raises(Faults) as faults:
        session.rebalance(shop.options(), Aim(frozenset({"hv1", "hv3"})))
    (fault,) = faults.value.diagnostics
    assert str(fault.address) == "server.c"
    assert "shared:filer: DISK_GB 30 short (used 40 of 30, 20 asked)" in f"{fault.message} {fault.hint}"


def host(name: str, total: int, used: int) -> HostState:
    shares = frozenset({"MISC_SHARES_VIA_AGGREGATE"})
    part = Provider(S, S, None, {"DISK_GB": Inventory(total)}, shares, frozenset({S}))
    return HostState(name, {"VCPU": Inventory(8)}, parts=(part,), parts_used={S: {"DISK_GB": used}})


@pytest.mark.parametrize(
    ("gib", "total", "words"),
    [
        (3, 10, ""),
        (5, 10, "shared:filer: DISK_GB 4 short (used 9 of 10, 5 asked)"),
        (4, 12, "shared:filer: DISK_GB 1 short (used 9 of 12, 4 asked)"),
        (4, 13, ""),
    ],
)
def test_more_than_a_request_holds_is_asked_of_what_others_leave(gib: int, total: int, words: str) -> None:
    parts = CandidateRequest({"_disk": ResourceGroup({"DISK_GB": gib})})
    asked = Request(Address("server", "a"), {"VCPU": 1}, parts=parts, held={S: {"DISK_GB": 3}})
    (placement,) = place([asked], [host("hv1", total, 12)], {})
    assert placement.host == (None if words else "hv1")
    (verdict,) = placement.verdicts
    assert words in verdict.reason and bool(words) != verdict.fits
