"""Which servers migrate, and why, on hosts that are data."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.engine.allow import NotAllowed
from stacksmith.model.change import Impact
from stacksmith.planner.aim import Aim
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.fault import Crash, Effect, Fault
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.memory.world import Stage, World
from stacksmith.views.plan_text import plan_text

FLEET = """
fleet: f
hosts:
  hv1: {{libvirt: "{uri}?vcpus=4&memory_mib=4096&disk_gib=40"}}
  hv2: {{libvirt: "{uri}?vcpus=4&memory_mib=4096&disk_gib=40"}}
  hv3: {{libvirt: "{uri}?vcpus=4&memory_mib=4096&disk_gib=40"}}
"""
STACK = """
stack: shop
fleet: fleet.yaml
flavors:
  small: {vcpus: 1, ram: 512, disk: 1}
images:
  base: {source: base.img, format: raw}
networks:
  lan: {subnets: [{cidr: 10.1.0.0/24}]}
"""
WEB = Address("server", "web")


class Shop:
    """A stack on three hosts of one world."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        (folder / "base.img").write_bytes(b"x" * 512)
        (folder / "fleet.yaml").write_text(FLEET.format(uri=uri))

    @property
    def world(self) -> World:
        return world(self.uri)

    def options(self) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml")

    def write(self, *servers: str, more: str = "") -> None:
        (self.folder / "stack.yaml").write_text(STACK + more + "servers:\n" + "".join(f"  {s}\n" for s in servers))

    def apply(self, *servers: str, more: str = "") -> None:
        self.write(*servers, more=more)
        assert self.run(session.plan(self.options()).plan) == []

    def run(self, plan: Plan, allowed: Impact = Impact.MIGRATE) -> list[str]:
        report = session.apply(self.options(), plan, lambda event: None, session.ApplyOptions(allowed=allowed))
        return [f"{r.step}: {r.cause}" for r in report.failed]

    def rebalance(self, *hosts: str, **aim: Any) -> Plan:
        return session.rebalance(self.options(), Aim(frozenset(hosts), **aim)).plan

    def steps(self) -> list[str]:
        return [step.id for step in session.plan(self.options()).plan.steps]

    def volumes(self) -> list[tuple[str, str, str]]:
        """(host, volume, stage) of each copy."""
        found = ((h, o) for h in ("hv1", "hv2", "hv3") for o in self.world.objects(h) if o.kind == "volume")
        return sorted((host, each.made_for, each.stage.value) for host, each in found)

    def servers(self) -> list[tuple[str, str, str]]:
        """(host, server, stage) of each copy."""
        hosts = ("hv1", "hv2", "hv3")
        found = ((h, o) for h in hosts for o in self.world.objects(h) if o.kind == "server")
        return sorted((host, each.made_for, each.stage.value) for host, each in found)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, f"memory:{tmp_path.name}")
    yield made
    forget(made.uri)


def server(name: str, more: str = "") -> str:
    return f"{name}: {{flavor: small, image: base, networks: [{{network: lan}}]{', ' if more else ''}{more}}}"


def moves(plan: Plan) -> dict[str, tuple[str, str]]:
    return {str(s.address): (s.source, s.host) for s in plan.steps if s.operation is Operation.MIGRATE}


def test_drain_moves_the_servers_of_the_host_once_each_and_the_plan_is_empty_afterwards(shop: Shop) -> None:
    shop.apply(server("a"), server("b"), server("c"), server("d", "power_state: stopped"))
    assert {host for host, _, _ in shop.servers()} == {"hv1", "hv2", "hv3"}
    there = [name for host, name, _ in shop.servers() if host == "hv1"]
    plan = shop.rebalance("hv1")
    assert sorted(moves(plan)) == there
    assert all(source == "hv1" and host != "hv1" for source, host in moves(plan).values())
    assert shop.run(plan) == []
    assert {host for host, _, _ in shop.servers()} == {"hv2", "hv3"}
    assert len(shop.servers()) == 4
    assert shop.steps() == []
    assert {r.host for r in session.records(shop.options())} == {"hv2", "hv3"}
    assert moves(shop.rebalance("hv1")) == {}
    assert {host for claim in session.claims(shop.options()) for host in claim.allocations} == {"hv2", "hv3"}


def test_plan_of_a_drain_as_text(shop: Shop) -> None:
    shop.apply(server("web"))
    assert shop.servers()[0][0] == "hv1"
    text = plan_text(shop.rebalance("hv1"))
    assert "  # server.web will migrate (from hv1 to hv2; moves the guest to another host)\n" in text
    assert "  # (live migration from hv1 to hv2, with its local disks)\n" in text
    assert "  # (placed on hv2: 2 of 3 hosts fit" in text
    assert "Plan: 2 to add, 0 to change, 2 to destroy, 1 to migrate.\n" in text


def test_migration_stands_on_what_is_made_before_it_and_what_is_removed_waits_for_it(shop: Shop) -> None:
    shop.apply(server("web"))
    requires = {step.id: set(step.requires) for step in shop.rebalance("hv1").steps}
    assert requires["migrate server.web"] == {"create image.base@hv2", "create network.lan@hv2"}
    assert requires["delete network.lan@hv1"] == requires["delete image.base@hv1"] == {"migrate server.web"}


def test_migration_needs_to_be_allowed(shop: Shop) -> None:
    shop.apply(server("web"))
    with pytest.raises(NotAllowed, match="its impact is migrate"):
        shop.run(shop.rebalance("hv1"), Impact.RESTART)
    assert shop.servers() == [("hv1", "server.web", "complete")]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("host: hv1", "cannot place server.web"),
        (
            "block_device_mapping: [{source_type: volume, volume: data, destination_type: volume}]",
            "cannot place server.web",
        ),
    ],
)
def test_server_that_is_bound_to_the_host_is_refused_with_the_reason(shop: Shop, more: str, words: str) -> None:
    shop.apply(server("web", more), more="volumes: {data: {size: 1, host: hv1}}\n")
    with pytest.raises(Faults, match=words) as caught:
        shop.rebalance("hv1")
    assert caught.value.diagnostics[0].code == "no-valid-host"
    assert any("host is to be emptied" in note for note, _ in caught.value.diagnostics[0].notes)


def test_other_changes_come_first(shop: Shop) -> None:
    shop.apply(server("web"))
    shop.write(server("web", "metadata: {a: b}"))
    with pytest.raises(
        Faults, match=r"shop: other changes come first: server.web \(update: config_drive.digest and 1 more\)"
    ):
        shop.rebalance("hv1")


def test_unknown_host_is_an_error(shop: Shop) -> None:
    shop.apply(server("web"))
    with pytest.raises(Faults, match="cannot empty hv9: the fleet has no such host"):
        shop.rebalance("hv9")


def test_broken_anti_affinity_is_mended_with_one_move_of_two(shop: Shop) -> None:
    shop.apply(server("a", "host: hv1"), server("b", "host: hv1"), server("c", "host: hv2"))
    group = "server_groups: {apart: {policy: anti-affinity}}\n"
    shop.write(*(server(n, "group: apart") for n in "abc"), more=group)
    assert moves(shop.rebalance()) == {"server.a": ("hv1", "hv3")}
    assert shop.run(shop.rebalance()) == []
    assert moves(shop.rebalance()) == {}
    assert shop.steps() == []


def test_changed_pin_is_followed(shop: Shop) -> None:
    shop.apply(server("a", "host: hv1"), server("b", "host: hv1"))
    shop.write(server("a", "host: hv3"), server("b", "host: hv1"))
    assert moves(shop.rebalance()) == {"server.a": ("hv1", "hv3")}


def test_rules_that_no_move_keeps_are_refused(shop: Shop) -> None:
    shop.apply(*(server(n, "host: hv1") for n in "abcd"))
    group = "server_groups: {apart: {policy: anti-affinity}}\n"
    shop.write(*(server(n, "group: apart") for n in "abcd"), more=group)
    with pytest.raises(Faults, match="cannot place server"):
        shop.rebalance()


def test_failed_migration_is_undone(shop: Shop) -> None:
    shop.apply(server("web"))
    plan = shop.rebalance("hv1")
    shop.world.faults.append(Fault(Effect.REFUSED, operation="migrate", point="disks", message="no room"))
    assert shop.run(plan) == ["migrate server.web: no room"]
    assert shop.servers() == [("hv1", "server.web", "complete")]
    assert shop.run(shop.rebalance("hv1")) == []
    assert [host for host, _, _ in shop.servers()] == ["hv2"]


@pytest.mark.parametrize("point", ["begin", "disks", "end"])
def test_crash_in_a_migration_is_mended_by_running_again(shop: Shop, point: str) -> None:
    shop.apply(server("web"))
    plan = shop.rebalance("hv1")
    shop.world.faults.append(Fault(Effect.CRASH, operation="migrate", point=point))
    with pytest.raises(Crash):
        shop.run(plan)
    assert [stage for _, _, stage in shop.servers()].count(Stage.COMPLETE) == 1
    assert shop.run(shop.rebalance("hv1")) == []
    assert [host for host, _, _ in shop.servers() if host != "hv1"] == [host for host, _, _ in shop.servers()]
    assert len(shop.servers()) == 1
    assert shop.steps() == []


def test_what_a_killed_migration_left_is_removed_by_an_ordinary_apply(shop: Shop) -> None:
    shop.apply(server("web"))
    plan = shop.rebalance("hv1")
    shop.world.faults.append(Fault(Effect.CRASH, operation="migrate", point="disks"))
    with pytest.raises(Crash):
        shop.run(plan)
    assert "delete server.web@hv2" in shop.steps()
    assert shop.run(session.plan(shop.options()).plan, Impact.LIVE) == []
    assert shop.servers() == [("hv1", "server.web", "complete")]
    assert shop.steps() == []


def test_server_moved_by_hand_stays_where_it_is_and_the_disk_it_left_is_removed(shop: Shop) -> None:
    shop.apply(server("web", "networks: []").replace("networks: [{network: lan}], ", ""))
    moved = shop.world.object("hv1", "server.web")
    with shop.world.changing("hv1") as state:
        state.put(replace(moved, stage=Stage.PARTS))
    with shop.world.changing("hv3") as state:
        state.put(moved)
    assert "create server.web" not in shop.steps()
    assert "delete server.web@hv1" in shop.steps()
    assert shop.run(session.plan(shop.options()).plan, Impact.LIVE) == []
    assert shop.servers() == [("hv3", "server.web", "complete")]
    assert shop.steps() == []


def test_no_more_servers_leave_than_allowed_and_who_stays_is_told(shop: Shop) -> None:
    shop.apply(*(server(n, "host: hv1") for n in "abc"))
    shop.write(*(server(n) for n in "abc"))
    plan = shop.rebalance("hv1", max_moves=2)
    assert sorted(moves(plan)) == ["server.a", "server.b"]
    assert "Not reached: hv1 still has server.c\n" in plan_text(plan)
    assert shop.run(plan) == []
    plan = shop.rebalance("hv1", max_moves=2)
    assert sorted(moves(plan)) == ["server.c"]
    assert "Not reached" not in plan_text(plan)


def test_as_many_rules_are_kept_as_so_few_moves_can(shop: Shop) -> None:
    shop.apply(*(server(n, "host: hv1") for n in "abcd"))
    group = "server_groups: {apart: {policy: anti-affinity}}\n"
    shop.write(
        server("a"), server("b", "host: hv2"), server("c", "group: apart"), server("d", "group: apart"), more=group
    )
    plan = shop.rebalance(max_moves=1)
    assert list(moves(plan)) == ["server.b"]
    words = "server.c and server.d are on hv1 against the rules: anti-affinity: apart has server.c and server.d here"
    assert f"Not reached: {words}\n" in plan_text(plan)
    assert shop.run(plan) == []
    assert list(moves(shop.rebalance(max_moves=1))) == ["server.c"]


def test_many_servers_whose_pins_changed_are_moved_in_one_plan(shop: Shop) -> None:
    names = "abcdefghijkl"
    (shop.folder / "fleet.yaml").write_text(FLEET.format(uri=shop.uri).replace("vcpus=4&memory_mib=4096", "vcpus=40"))
    shop.apply(*(server(n, "host: hv1") for n in names))
    shop.write(*(server(n, "host: hv2") for n in names))
    assert len(moves(shop.rebalance())) == 12


DISKS = (
    "block_device_mapping: ["
    "{boot_index: 0, source_type: image, image: base, destination_type: volume, volume_size: 2}, "
    "{source_type: volume, volume: data, destination_type: volume}]"
)
DATA = "volumes: {data: {size: 3}}\n"


def test_volumes_go_with_their_server_and_what_they_leave_is_removed_after_it(shop: Shop) -> None:
    shop.apply(server("web", DISKS), more=DATA)
    plan = shop.rebalance("hv1")
    assert set(moves(plan)) == {"server.web", "volume.data", "volume.web-disk0"}
    requires = {step.id: set(step.requires) for step in plan.steps}
    assert requires["migrate server.web"] == {"create network.lan@hv2"}
    assert requires["migrate volume.data"] == {"migrate server.web"}
    assert requires["migrate volume.web-disk0"] == {"migrate server.web", "create image.base@hv2"}
    text = plan_text(plan)
    assert "  # (live migration from hv1 to hv2, with its local disks and volumes)\n" in text
    assert "  # volume.data will migrate (from hv1 to hv2; does not touch the guest)\n" in text
    assert "\nmigrate: 1 resource: server.web\n" in text
    assert shop.run(plan) == []
    assert shop.servers() == [("hv2", "server.web", "complete")]
    assert shop.volumes() == [("hv2", "volume.data", "complete"), ("hv2", "volume.web-disk0", "complete")]
    assert shop.steps() == []
    assert {r.host for r in session.records(shop.options()) if r.address.kind == "volume"} == {"hv2"}
    held = {c.name: c.allocations for c in session.claims(shop.options())}
    assert held["volume.data"] == {"hv2": {"DISK_GB": 3}}
    assert {host for hosts in held.values() for host in hosts} == {"hv2"}


def test_volumes_need_room_where_their_server_goes(shop: Shop) -> None:
    shop.apply(server("web", DISKS), *(server(n, "host: hv2") for n in "ab"), more="volumes: {data: {size: 36}}\n")
    filled = "volumes: {data: {size: 36}, other: {size: 10, host: hv2}}\n"
    shop.apply(server("web", DISKS), *(server(n, "host: hv2") for n in "ab"), more=filled)
    assert moves(shop.rebalance("hv1"))["server.web"] == ("hv1", "hv3")


def test_failed_migration_leaves_the_volumes_where_they_were(shop: Shop) -> None:
    shop.apply(server("web", DISKS), more=DATA)
    plan = shop.rebalance("hv1")
    shop.world.faults.append(Fault(Effect.REFUSED, operation="migrate", point="disks", message="no room"))
    assert shop.run(plan) == ["migrate server.web: no room"]
    assert shop.volumes() == [("hv1", "volume.data", "complete"), ("hv1", "volume.web-disk0", "complete")]
    held = {c.name: c.allocations for c in session.claims(shop.options())}
    assert held["volume.data"] == {"hv1": {"DISK_GB": 3}}
    assert {host for hosts in held.values() for host in hosts} == {"hv1"}
    assert shop.run(shop.rebalance("hv1")) == []
    assert {host for host, _, _ in shop.volumes()} == {"hv2"}


@pytest.mark.parametrize(("kind", "point"), [(k, p) for k in ("server", "volume") for p in ("begin", "disks", "end")])
@pytest.mark.parametrize("again", ["rebalance", "apply"])
def test_crash_in_a_move_with_volumes_is_mended_by_running_again(shop: Shop, kind: str, point: str, again: str) -> None:
    shop.apply(server("web", DISKS), more=DATA)
    plan = shop.rebalance("hv1")
    shop.world.faults.append(Fault(Effect.CRASH, operation="migrate", kind=kind, point=point))
    with pytest.raises(Crash):
        shop.run(plan)
    if again == "apply":
        assert shop.run(session.plan(shop.options()).plan, Impact.LIVE) == []
        assert shop.steps() == []
    assert shop.run(shop.rebalance("hv1")) == []
    ((host, _, stage),) = shop.servers()
    assert (host != "hv1", stage) == (True, "complete")
    assert shop.volumes() == [(host, "volume.data", "complete"), (host, "volume.web-disk0", "complete")]
    assert shop.steps() == []
    assert {r.host for r in session.records(shop.options())} == {host}


@pytest.mark.parametrize("after", ["detached", "deleted"])
def test_server_lets_go_of_a_volume_only_when_its_move_has_ended(shop: Shop, after: str) -> None:
    one = "block_device_mapping: [{source_type: volume, volume: data, destination_type: volume}]"
    shop.apply(server("web", one), more=DATA)
    plan = shop.rebalance("hv1")
    shop.world.faults.append(Fault(Effect.CRASH, operation="migrate", kind="volume", point="begin"))
    with pytest.raises(Crash):
        shop.run(plan)
    assert len([each for each in shop.volumes() if each[1] == "volume.data"]) == 2
    shop.write(server("web"), more=DATA)
    if after == "deleted":
        (shop.folder / "stack.yaml").write_text(STACK + DATA)
    plan = session.plan(shop.options()).plan
    operation = "update" if after == "detached" else "delete"
    assert "migrate volume.data" in {s.id: s.requires for s in plan.steps}[f"{operation} server.web"]
    shop.run(plan, Impact.DATA_LOSS)
    assert [each for each in shop.volumes() if each[1] == "volume.data"] == [("hv2", "volume.data", "complete")]


def test_volume_that_is_on_the_other_host_by_hand_stops_the_move(shop: Shop) -> None:
    shop.apply(server("web", DISKS), more=DATA)
    plan = shop.rebalance("hv1")
    strange = shop.world.object("hv1", "volume.data")
    with shop.world.changing("hv2") as state:
        state.put(strange)
    assert shop.run(plan) == [f"migrate server.web: disks: volume {strange.name} is on hv2, too"]
    assert ("hv1", "volume.data", "complete") in shop.volumes()
    assert ("hv2", "volume.data", "complete") in shop.volumes()


def zoned(shop: Shop, **zones: str) -> None:
    """Writes the fleet file again, with the zones of its hosts."""
    text = FLEET.format(uri=shop.uri)
    for host, zone in zones.items():
        text = text.replace(f"{host}: {{", f"{host}: {{availability_zone: {zone}, ")
    (shop.folder / "fleet.yaml").write_text(text)


@pytest.mark.parametrize("drive", ["nocloud", "false"])
def test_server_that_asks_for_no_zone_may_leave_the_one_it_is_in(shop: Shop, drive: str) -> None:
    zoned(shop, hv1="east", hv2="west", hv3="west")
    web = f"web: {{flavor: small, image: base, config_drive: {drive}"
    shop.apply(f"{web}, host: hv1}}")
    shop.write(f"{web}}}")
    assert shop.run(shop.rebalance("hv1")) == []
    assert shop.servers() == [("hv2", "server.web", "complete")]
    assert shop.steps() == []


def test_server_whose_config_drive_told_its_zone_stays_in_it_and_is_said_to(shop: Shop) -> None:
    zoned(shop, hv1="east", hv2="west", hv3="west")
    shop.apply("web: {flavor: small, image: base, host: hv1}")
    shop.write("web: {flavor: small, image: base}")
    with pytest.raises(Faults) as faults:
        shop.rebalance("hv1")
    notes = [note for note, _ in faults.value.diagnostics[0].notes]
    assert (
        notes[-1]
        == "its config drive told the guest its zone, east: it leaves it only with config_drive: nocloud or false"
    )
    zoned(shop, hv1="east", hv2="west", hv3="east")
    assert [(s.address, s.host) for s in shop.rebalance("hv1").steps if s.operation is Operation.MIGRATE] == [
        (WEB, "hv3")
    ]


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (
            "availability_zone: east",
            "add a host in availability zone east; or let it go to another availability zone than east: hv2 has room",
        ),
        (
            "config_drive: configdrive",
            "add a host in availability zone east; or let it leave availability zone east with config_drive: nocloud or"
            " false: hv2 has room",
        ),
        ("config_drive: nocloud, host: hv1", "drop the pin to hv1: hv2 has room"),
    ],
)
def test_lone_host_of_a_zone_is_emptied_by_another_in_it_or_by_servers_that_may_leave_it(
    shop: Shop, more: str, hint: str
) -> None:
    zoned(shop, hv1="east", hv2="west", hv3="west")
    more = more if "host" in more else f"{more}, host: hv1"
    shop.apply(f"web: {{flavor: small, image: base, {more}}}")
    if "nocloud" not in more:
        shop.write(f"web: {{flavor: small, image: base, {more.removesuffix(', host: hv1')}}}")
    with pytest.raises(Faults) as faults:
        shop.rebalance("hv1")
    assert faults.value.diagnostics[0].hint == hint
    assert faults.value.diagnostics[0].notes[0] == ("hv1: host is to be emptied", None)


def test_stack_that_has_to_leave_all_hosts_is_told_to_add_one(shop: Shop) -> None:
    shop.apply(server("web"))
    with pytest.raises(Faults) as faults:
        shop.rebalance("hv1", "hv2", "hv3")
    assert faults.value.diagnostics[0].hint == "add a host to the fleet"
