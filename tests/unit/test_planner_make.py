"""The plan's decisions, on hosts that are data."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.engine.allow import NotAllowed
from stacksmith.engine.store import opened
from stacksmith.model.change import Impact, Status
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.naming import mac_address
from stacksmith.model.realised import Image, Server, to_data
from stacksmith.planner.make import PlanOptions, make_plan
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.memory.world import World
from stacksmith.providers.registry import provider
from stacksmith.views.drift_text import drift_text
from stacksmith.views.plan_text import plan_text

STACK: dict[str, object] = {
    "stack": "shop",
    "fleet": "fleet.yaml",
    "flavors": {"small": {"vcpus": 1, "ram": 512, "disk": 1}},
    "images": {"base": {"source": "base.img", "format": "raw"}},
    "networks": {"lan": {"subnets": [{"cidr": "10.1.0.0/24"}]}},
    "volumes": {"data": {"size": 1}},
    "servers": {
        "web": {"count": 2, "flavor": "small", "image": "base", "networks": [{"network": "lan"}]},
        "db": {
            "flavor": "small",
            "image": "base",
            "block_device_mapping": [
                {"boot_index": 0, "source_type": "image", "image": "base", "destination_type": "local"},
                {"source_type": "volume", "volume": "data", "destination_type": "volume"},
            ],
        },
    },
}


class Shop:
    """A stack on three hosts of one world."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri, self.stack = folder, uri, json.loads(json.dumps(STACK))
        (folder / "base.img").write_bytes(b"x" * 512)
        hosts = {f"hv{n}": {"libvirt": f"{uri}?vcpus=4&memory_mib=4096&disk_gib=40"} for n in (1, 2, 3)}
        self.fleet = {"fleet": "f", "state": "sqlite:///s.db", "hosts": hosts}

    @property
    def world(self) -> World:
        return world(self.uri)

    def plan(self, **more: object) -> Plan:
        (self.folder / "stack.yaml").write_text(json.dumps(self.stack))
        (self.folder / "fleet.yaml").write_text(json.dumps(self.fleet))
        return session.plan(self.options(**more)).plan

    def options(self, **more: object) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml", **more)  # type: ignore[arg-type]

    def apply(self, allowed: Impact = Impact.LIVE, **more: object) -> Plan:
        made = self.plan(**more)
        report = session.apply(self.options(**more), made, lambda event: None, session.ApplyOptions(allowed=allowed))
        assert report.exit_status == 0, report.failed
        return made

    def host_of(self, address: str) -> str:
        return next(u.host for u in self.plan().unchanged if str(u.address) == address)


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    made = Shop(tmp_path, f"memory:{request.node.name}")
    made.apply()
    yield made
    forget(made.uri)


def steps(plan: Plan) -> list[str]:
    return [step.id for step in plan.steps]


def test_removed_volume_is_kept_and_forgotten_unless_told_otherwise(shop: Shop) -> None:
    del shop.stack["volumes"]["data"]
    shop.stack["servers"]["db"]["block_device_mapping"].pop()
    plan = shop.plan()
    assert steps(plan) == ["update server.db", "forget volume.data"]
    shop.apply()
    assert shop.plan().steps == ()


def _map(shop: Shop, **volumes: str) -> None:
    """Two servers on one host, each with the volume of its name at vdb; one that is not named has none."""
    root = {"boot_index": 0, "source_type": "image", "image": "base", "destination_type": "local"}
    shop.stack["volumes"] = {"data": {"size": 1}, "more": {"size": 1}}
    shop.stack["servers"] = {name: {"flavor": "small", "image": "base", "host": "hv1"} for name in ("one", "two")}
    for name, volume in volumes.items():
        disk = {"source_type": "volume", "volume": volume, "destination_type": "volume", "device_name": "vdb"}
        shop.stack["servers"][name]["block_device_mapping"] = [root, disk]


def test_servers_exchange_volumes_in_two_applies_and_the_refusal_of_one_says_so(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "memory:exchange")
    _map(shop, one="data", two="more")
    shop.apply()
    _map(shop, one="more", two="data")
    with pytest.raises(Faults) as raised:
        shop.plan()
    (fault,) = raised.value.diagnostics
    assert (fault.code, fault.message) == (
        "circular-steps",
        "cannot order the steps: update server.one, update server.two wait for each other",
    )
    assert fault.hint is not None and "take the volumes from both first, then give them" in fault.hint
    _map(shop)
    shop.apply()
    _map(shop, one="more", two="data")
    plan = shop.apply()
    assert (steps(plan), plan.impact) == (["update server.one", "update server.two"], Impact.LIVE)
    assert shop.plan().steps == ()
    forget(shop.uri)


def test_volume_that_takes_the_place_of_another_is_a_live_change(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "memory:place")
    _map(shop, one="data", two="more")
    shop.apply()
    _map(shop, one="more")
    plan = shop.apply()
    assert (steps(plan), plan.impact) == (["update server.two", "update server.one"], Impact.LIVE)
    assert shop.plan().steps == ()
    forget(shop.uri)


def test_removed_volume_with_on_destroy_delete_is_data_loss_after_its_detach(shop: Shop) -> None:
    shop.stack["volumes"]["data"]["on_destroy"] = "delete"
    shop.apply()
    del shop.stack["volumes"]["data"]
    shop.stack["servers"]["db"]["block_device_mapping"].pop()
    plan = shop.plan()
    assert steps(plan) == ["update server.db", "delete volume.data"]
    assert plan.impact is Impact.DATA_LOSS
    with pytest.raises(NotAllowed, match="data-loss"):
        shop.apply()


def test_servers_of_for_each_are_the_same_at_another_place(shop: Shop) -> None:
    for kind in ("configdrive", "nocloud"):
        shop.stack["servers"][kind] = {
            "for_each": ["x", "y", "z"],
            "flavor": "small",
            "image": "base",
            "config_drive": kind,
        }
    shop.apply()
    for kind in ("configdrive", "nocloud"):
        shop.stack["servers"][kind]["for_each"] = ["z", "y"]
    assert steps(shop.plan()) == ['delete server.configdrive["x"]', 'delete server.nocloud["x"]']


def test_server_that_runs_undefined_is_told_as_such_and_its_end_as_a_loss(shop: Shop) -> None:
    stack, snapshot = session.survey(shop.options())
    records = session.records(shop.options())

    def undefined(found: Found) -> Found:
        return replace(found, partial=True) if found.address == Address("server", "db") else found

    hosts = tuple(replace(host, found=tuple(map(undefined, host.found))) for host in snapshot.hosts)
    for destroy in (False, True):
        plan = make_plan(stack, Snapshot(hosts), records, lambda host: provider(shop.uri), PlanOptions(destroy=destroy))
        step = next(step for step in plan.steps if step.address == Address("server", "db"))
        if destroy:
            assert step.impact is Impact.DATA_LOSS
        else:
            assert step.reason == "it runs, but its definition is not saved: it is defined again"
            assert "# (it runs, but its definition is not saved: it is defined again)\n" in plan_text(plan)
            assert [(d.address, d.missing) for d in plan.deviations] == [(step.address, False)]
            assert "persistent = true -> false" in drift_text(plan)


def test_half_of_an_image_is_removed_when_it_is_this_stacks_and_left_when_another_stack_uploads_it(shop: Shop) -> None:
    del shop.stack["servers"]["web"]
    shop.apply(Impact.DATA_LOSS)
    stack, snapshot = session.survey(shop.options())
    records = session.records(shop.options())
    (there,) = {f.address: f for h in snapshot.hosts for f in h.found if f.address.kind == "image"}.values()
    assert isinstance(there.spec, Image)
    empty = next(host for host in snapshot.hosts if host.host != there.host)
    begun = replace(
        there, address=replace(there.address, host=empty.host), host=empty.host, spec=Image(()), partial=True
    )
    for files, expected in ((), []), (there.spec.files, [f"delete image.base@{empty.host}"]):
        half = replace(begun, begun=files)
        hosts = (replace(h, found=(*h.found, half)) if h is empty else h for h in snapshot.hosts)
        plan = make_plan(stack, Snapshot(tuple(hosts)), records, lambda host: provider(shop.uri), PlanOptions())
        assert steps(plan) == expected
        assert [step.before for step in plan.steps] == [to_data(there.spec) for _ in expected]


def test_policy_change_alone_is_an_update_that_touches_no_guest(shop: Shop) -> None:
    shop.stack["servers"]["db"]["protect"] = True
    plan = shop.apply()
    assert [(c.path, c.found, c.wanted) for c in plan.steps[0].changes] == [("policy.protect", False, True)]
    assert plan.impact is Impact.NONE and shop.plan().steps == ()


def test_protected_server_refuses_delete_even_when_its_block_is_gone(shop: Shop) -> None:
    shop.stack["servers"]["db"]["protect"] = True
    shop.apply()
    del shop.stack["servers"]["db"]
    with pytest.raises(NotAllowed, match="protected"):
        shop.apply(Impact.DATA_LOSS)


def test_conflict_needs_overwrite_drift(shop: Shop) -> None:
    host = shop.host_of("server.db")
    shop.world.edit(host, "server.db", lambda spec: replace(spec, metadata={"role": "hand"}))
    shop.stack["servers"]["db"]["metadata"] = {"role": "file"}
    plan = shop.plan()
    statuses = {c.path: c.status for c in plan.steps[0].changes}
    # The drive, which nobody edited, is simply rewritten.
    assert statuses == {"metadata.role": Status.CONFLICT, "config_drive.digest": Status.CHANGE}
    with pytest.raises(NotAllowed, match="outside of stacksmith"):
        shop.apply()
    what = session.ApplyOptions(overwrite_drift=True)
    assert session.apply(shop.options(), plan, lambda event: None, what).exit_status == 0
    assert shop.plan().steps == ()


def test_image_change_replaces_in_two_steps_and_an_edge(shop: Shop) -> None:
    (shop.folder / "other.img").write_bytes(b"y" * 512)
    shop.stack["images"]["other"] = {"source": "other.img", "format": "raw"}
    shop.stack["servers"]["web"]["image"] = "other"
    plan = shop.plan()
    delete, create = (s for s in plan.steps if s.address == Address("server", "web", 0))
    assert (delete.operation, create.operation) == (Operation.DELETE, Operation.CREATE)
    assert delete.id in create.requires and delete.impact is Impact.REPLACE and create.host == delete.host
    shop.apply(Impact.REPLACE)
    assert shop.plan().steps == ()


def test_growth_beyond_the_host_is_refused_with_numbers(shop: Shop) -> None:
    shop.stack["flavors"]["small"]["ram"] = 5000
    causes = dict(shop.plan().refusals)
    assert any("MEMORY_MB" in cause and "short" in cause for cause in causes.values())


def test_volume_of_another_host_is_refused_with_the_way_there(shop: Shop) -> None:
    shop.stack["volumes"]["far"] = {
        "size": 1,
        "host": next(h for h in shop.fleet["hosts"] if h != shop.host_of("server.db")),
    }
    shop.apply()
    far, here = shop.stack["volumes"]["far"]["host"], shop.host_of("server.db")
    mapped = {"source_type": "volume", "volume": "far", "destination_type": "volume"}
    shop.stack["servers"]["db"]["block_device_mapping"].append(mapped)
    cause = dict(shop.plan().refusals)["update server.db"]
    assert cause.startswith(f"volume.far is on {far}, the server on {here}; before it is mapped, `host: {far}` and")


def test_server_on_two_hosts_is_drift_and_nothing_is_done_to_either(shop: Shop) -> None:
    here = shop.host_of("server.db")
    other = next(host for host in shop.fleet["hosts"] if host != here)
    copy = shop.world.object(here, "server.db")
    with shop.world.changing(other) as state:
        state.put(copy)
    shop.stack["servers"]["db"]["metadata"] = {"a": "b"}
    plan = shop.plan()
    found = next(each for each in plan.deviations if str(each.address) == "server.db")
    assert (found.host, sorted((found.problem or "").partition(": ")[2].split(", "))) == (here, sorted([here, other]))
    assert f"it is taken for the one on {here}" in dict(plan.refusals)["update server.db"]
    with pytest.raises(NotAllowed):
        session.apply(shop.options(), plan, lambda event: None, session.ApplyOptions())


def test_new_server_without_room_names_every_host(shop: Shop) -> None:
    shop.stack["flavors"]["huge"] = {"vcpus": 64, "ram": 512}
    shop.stack["servers"]["big"] = {"flavor": "huge", "image": "base"}
    with pytest.raises(Faults) as caught:
        shop.plan()
    (fault,) = caught.value.diagnostics
    assert fault.code == "no-valid-host" and [note.partition(":")[0] for note, _ in fault.notes] == [
        "hv1",
        "hv2",
        "hv3",
    ]
    assert fault.span is not None and "VCPU" in fault.message


def test_unreachable_host_leaves_its_resources_unknown_and_plans_the_rest(shop: Shop) -> None:
    host = shop.host_of("server.db")
    shop.fleet["hosts"][host]["state"] = "failed"
    shop.stack["servers"]["web"]["metadata"] = {"role": "web"}
    plan = shop.plan()
    assert Address("server", "db") in plan.unknown and all(step.host != host for step in plan.steps)
    assert plan.unreachable[0][0] == host


def test_missing_server_is_drift_and_made_again(shop: Shop) -> None:
    host = shop.host_of("server.web[1]")
    shop.world.remove(host, "server.web[1]")
    plan = shop.plan()
    assert [(str(d.address), d.missing) for d in plan.deviations] == [("server.web[1]", True)]
    assert steps(plan) == ["create server.web[1]"]


def test_target_takes_what_it_needs_and_exclude_what_needs_it(shop: Shop) -> None:
    shop.apply(Impact.DATA_LOSS, destroy=True)
    plan = shop.plan(targets=("server.db",))
    assert {s.address.kind for s in plan.steps} == {"server", "image"} and "create server.db" in steps(plan)
    plan = shop.plan(excludes=("network.lan",))
    assert "create server.db" in steps(plan) and "create server.web[0]" not in steps(plan)


def test_image_and_network_that_a_host_needs_no_more_say_so(shop: Shop) -> None:
    shop.stack["servers"]["web"]["count"] = 1
    reasons = {str(s.address): s.reason for s in shop.plan().steps}
    assert reasons.pop("server.web[1]") == "it is not in the stack any more"
    assert reasons == {a: f"nothing on {a.partition('@')[2]} needs it any more" for a in reasons if "@" in a}
    assert any(address.startswith("network.lan@") for address in reasons)
    del shop.stack["servers"]["web"], shop.stack["networks"]["lan"]
    assert {s.reason for s in shop.plan().steps if s.address.kind == "network"} == {"it is not in the stack any more"}


def test_existing_servers_stay_when_the_stack_grows(shop: Shop) -> None:
    before = {u.address: u.host for u in shop.plan().unchanged}
    shop.stack["servers"]["web"]["count"] = 4
    plan = shop.plan()
    assert {s.address for s in plan.steps if s.address.kind == "server"} == {
        Address("server", "web", n) for n in (2, 3)
    }
    assert {u.address: u.host for u in plan.unchanged}.items() >= before.items()


def test_local_disk_taken_out_is_data_loss_in_place_not_a_replacement(shop: Shop) -> None:
    web = shop.stack["servers"]["web"]
    extra = {"source_type": "blank", "destination_type": "local", "volume_size": 1}
    root = {"boot_index": 0, "source_type": "image", "image": "base", "destination_type": "local"}
    shop.stack["flavors"]["small"]["ephemeral"] = 1
    web["block_device_mapping"] = [root, extra]
    shop.apply()
    shop.stack["flavors"]["small"]["ephemeral"] = 0
    web["block_device_mapping"] = [root]
    plan = shop.plan()
    assert {s.operation for s in plan.steps} == {Operation.UPDATE} and plan.impact is Impact.DATA_LOSS


def test_what_the_provider_cannot_make_is_said_at_its_block(tmp_path: Path) -> None:
    stack = tmp_path / "stack.yaml"
    stack.write_text("""\
stack: s
fleet: fleet.yaml
flavors: {f: {vcpus: 1, ram: 64, disk: 1}}
images: {i: {source: i.img, format: raw, properties: {hw_machine_type: q35, hw_disk_bus: ide}}}
servers:
  a: {flavor: f, image: i}
""")
    (tmp_path / "i.img").write_bytes(b"x")
    (tmp_path / "fleet.yaml").write_text("fleet: f\nhosts: {h: {libvirt: 'test:///default', virt_type: qemu}}\n")
    from stacksmith.model.found import HostSnapshot, Resources, Snapshot
    from stacksmith.planner.make import PlanOptions, make_plan
    from stacksmith.providers.registry import provider

    loaded = session.load(session.Options(stack=stack)).stack
    assert loaded is not None
    seen = Snapshot((HostSnapshot("h", capacity=Resources(4, 4096, 100)),))
    with pytest.raises(Faults) as caught:
        make_plan(loaded, seen, (), lambda host: provider(loaded.fleet.hosts[host].libvirt), PlanOptions())
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.span and fault.span.line) == ("not-possible", 6) and "q35 has no ide" in fault.message


def test_files_of_a_changed_or_removed_image_do_not_stay_behind(shop: Shop) -> None:
    (shop.folder / "base.img").write_bytes(b"z" * 512)
    plan = shop.apply(Impact.REPLACE)
    assert any(s.operation is Operation.DELETE and ".superseded-" in s.address.name for s in plan.steps)
    assert shop.plan().steps == ()
    shop.stack["servers"], shop.stack["images"] = {}, {}
    shop.apply(Impact.DATA_LOSS)
    left = {o.kind for n in (1, 2, 3) for o in shop.world.objects(f"hv{n}")}
    assert left == {"volume"} and shop.plan().steps == ()


def test_renamed_image_is_forgotten_and_its_file_stays(shop: Shop) -> None:
    shop.stack["images"]["debian"] = shop.stack["images"].pop("base")
    for server in shop.stack["servers"].values():
        server["image"] = "debian"
    shop.stack["servers"]["db"]["block_device_mapping"][0]["image"] = "debian"
    plan = shop.apply()
    assert {s.operation for s in plan.steps} == {Operation.FORGET}
    assert {s.reason for s in plan.steps} == {f"its files are those of image.debian@{s.host}" for s in plan.steps}
    assert shop.plan().steps == ()


def test_file_that_another_image_on_the_host_has_too_stays_when_its_image_goes_or_changes(shop: Shop) -> None:
    for name in ("vmlinuz", "initrd1", "initrd2", "initrd3"):
        (shop.folder / name).write_text(name)
    direct = {n: {"kernel": {"source": "vmlinuz"}, "ramdisk": {"source": f"initrd{n}"}} for n in (1, 2)}
    shop.stack["flavors"]["bare"] = {"vcpus": 1, "ram": 64}
    shop.stack["images"] |= {f"direct{n}": image for n, image in direct.items()}
    shop.stack["servers"] = {f"s{n}": {"flavor": "bare", "image": f"direct{n}", "host": "hv1"} for n in (1, 2)}
    shop.apply(Impact.DATA_LOSS)
    shop.stack["images"]["direct1"] = {"kernel": {"source": "initrd3"}, "ramdisk": {"source": "initrd1"}}
    assert not any(".superseded-" in step.id for step in shop.apply(Impact.REPLACE).steps)  # direct2 has the old kernel
    assert shop.plan().steps == ()
    shop.stack["images"]["direct1"] = direct[1]
    shop.apply(Impact.REPLACE)
    del shop.stack["servers"]["s1"]
    (image,) = (step for step in shop.apply(Impact.DATA_LOSS).steps if step.address.kind == "image")
    assert image.operation is Operation.DELETE and [f["role"] for f in image.before["files"]] == ["ramdisk"]  # type: ignore[call-overload, index]
    left = [o.spec.files[0].role for o in shop.world.objects("hv1") if isinstance(o.spec, Image)]
    assert sorted(left) == ["kernel", "ramdisk"] and shop.plan().steps == ()


def test_apply_without_steps_makes_lost_and_half_made_records_whole(shop: Shop) -> None:
    options = shop.options()
    stack = session.load(options).stack
    assert stack is not None
    before = session.records(options)
    with opened(stack, {}, read_only=False) as store:
        store.remove(stack.name, before[0].address)
        store.put(stack.name, replace(before[1], complete=False))
    planned = session.plan(options)
    assert planned.plan.steps == ()
    session.correct_store(options, planned)
    assert session.records(options) == before


def test_default_mac_depends_on_the_network_and_the_place_on_it_only() -> None:
    macs = [mac_address("u", "lan"), mac_address("u", "lan", 1), mac_address("u", "back"), mac_address("w", "lan")]
    assert len(set(macs)) == 4 and mac_address("u", "lan", 0) == macs[0]
    assert all(mac.startswith("52:54:") and len(mac) == 17 for mac in macs)


@pytest.fixture
def two_networks(shop: Shop) -> Shop:
    """``db`` applied with interfaces on back, lan and lan again, in this order."""
    shop.stack["networks"]["back"] = {"mode": "isolated", "subnets": [{"cidr": "10.2.0.0/24"}]}
    shop.stack["servers"]["db"] |= {
        "config_drive": False,
        "networks": [{"network": "back"}, {"network": "lan"}, {"network": "lan"}],
    }
    shop.apply(Impact.RESTART)
    return shop


def nics(shop: Shop) -> dict[str, str]:
    """What ``db`` has on its host: the network of each MAC."""
    found = shop.world.object(shop.host_of("server.db"), "server.db").spec
    assert isinstance(found, Server)
    return {nic.mac: nic.network for nic in found.nics}


def test_network_taken_from_the_front_is_one_unplug_and_leaves_the_others(two_networks: Shop) -> None:
    shop = two_networks
    macs = nics(shop)
    gone = next(mac for mac, network in macs.items() if network == "back")
    shop.stack["servers"]["db"]["networks"].pop(0)
    plan = shop.apply()
    (update,) = [step for step in plan.steps if step.address.kind == "server"]
    assert [(c.path, c.wanted) for c in update.changes] == [(f"nics[{gone}]", None)]
    assert nics(shop) == {m: n for m, n in macs.items() if m != gone}
    assert shop.plan().steps == ()


def test_networks_in_another_order_are_no_change(two_networks: Shop) -> None:
    two_networks.stack["servers"]["db"]["networks"].reverse()
    assert steps(two_networks.plan()) == []
