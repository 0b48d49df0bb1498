"""Servers with parts of their host of their own migrate: they get parts of the other host."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.hardware import Cell, Hardware, PciDevice
from stacksmith.model.realised import Server
from stacksmith.planner.aim import Aim, Outcome
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.planfile import read_plan, write_plan
from stacksmith.planner.scene import Scene
from stacksmith.providers.memory.fault import Crash, Effect, Fault
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.registry import provider
from stacksmith.views.plan_text import plan_text

URI = "memory:moving-parts?vcpus=8&memory_mib=8192&disk_gib=100"
FLEET = f"""
fleet: parts
hosts:
  hv1: {{libvirt: "{URI}", cpu_dedicated_set: "2-7", pci: [{{vendor_id: "10de"}}]}}
  hv2: {{libvirt: "{URI}", cpu_dedicated_set: "0-1,4-6", pci: [{{vendor_id: "10de"}}]}}
pci_aliases: {{gpu: {{vendor_id: "10de", product_id: "2236"}}}}
images: {{lab: {{source: lab.img}}}}
"""
STACK = """
stack: shop
fleet: fleet.yaml
flavors:
  own: {vcpus: 2, ram: 512, extra_specs: {"hw:cpu_policy": dedicated}}
  cell: {vcpus: 1, ram: 512, extra_specs: {"hw:numa_nodes": "1"}}
  huge: {vcpus: 1, ram: 512, extra_specs: {"hw:mem_page_size": 2MB}}
  card: {vcpus: 1, ram: 512, extra_specs: {"pci_passthrough:alias": "gpu:1"}}
servers:
"""
CELLS = {
    "hv1": (Cell(0, (0, 1, 2, 3), 4096), Cell(1, (4, 5, 6, 7), 4096)),
    "hv2": (Cell(0, (0, 1, 2, 3), 400), Cell(1, (4, 5, 6, 7), 4096, ((2048, 300),))),
}
DEVICES = {"hv1": "0000:81:00.0", "hv2": "0000:05:00.0"}


class Shop:
    """One stack on two hosts whose parts have other numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "fleet.yaml").write_text(FLEET)
        (folder / "lab.img").write_bytes(b"image")
        for host, cells in CELLS.items():
            world(URI).set_hardware(host, Hardware(cells, (PciDevice(DEVICES[host], "10de", "2236", 1),)))

    def options(self) -> session.Options:
        return session.Options(stack=self.folder)

    def write(self, **servers: str) -> None:
        lines = (f"  {name}: {{image: lab, {spec}}}\n" for name, spec in servers.items())
        (self.folder / "stack.yaml").write_text(STACK + "".join(lines))

    def apply(self, **servers: str) -> None:
        self.write(**servers)
        assert self.run(session.plan(self.options()).plan) == []

    def run(self, plan: Plan) -> list[str | None]:
        allowed = session.ApplyOptions(allowed=Impact.MIGRATE)
        return [r.cause for r in session.apply(self.options(), plan, lambda event: None, allowed).failed]

    def drain(self, host: str) -> Plan:
        return session.rebalance(self.options(), Aim(frozenset({host}))).plan

    def server(self, host: str, name: str) -> Server:
        spec = world(URI).object(host, f"server.{name}").spec
        assert isinstance(spec, Server)
        return spec

    def pins(self, host: str, name: str) -> list[tuple[int | None, tuple[tuple[int, ...], ...]]]:
        return [(cell.host_cell, cell.pins) for cell in self.server(host, name).numa_cells]

    def claims(self) -> dict[str, dict[str, int]]:
        return {p: dict(a) for claim in session.claims(self.options()) for p, a in claim.allocations.items()}

    def steps(self) -> list[str]:
        return [step.id for step in session.plan(self.options()).plan.steps]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    yield Shop(tmp_path)
    forget(URI)


def moves(plan: Plan) -> list[str]:
    return [str(step.address) for step in plan.steps if step.operation is Operation.MIGRATE]


def test_server_with_whole_cpus_gets_those_of_the_other_host_and_claims_them(shop: Shop) -> None:
    shop.apply(a="flavor: own, host: hv1")
    assert shop.pins("hv1", "a") == [(0, ((2,), (3,)))]
    shop.write(a="flavor: own")
    plan = shop.drain("hv1")
    assert moves(plan) == ["server.a"]
    assert shop.run(plan) == []
    assert shop.pins("hv2", "a") == [(1, ((4,), (5,)))]  # cell 0 has not the memory
    assert shop.claims() == {
        "hv2": {"MEMORY_MB": 512},
        "hv2/numa1": {"NUMA_MEMORY_MB": 512, "PCPU": 2},
        "hv2/cpu4": {"CUSTOM_CPU": 1},
        "hv2/cpu5": {"CUSTOM_CPU": 1},
    }
    assert shop.steps() == []
    assert moves(shop.drain("hv1")) == []


def test_plan_tells_the_parts_of_the_other_host_and_does_so_saved(shop: Shop) -> None:
    shop.apply(a="flavor: own, host: hv1")
    shop.write(a="flavor: own")
    plan = shop.drain("hv1")
    write_plan(plan, shop.folder / "moves.plan")
    assert read_plan(shop.folder / "moves.plan") == plan
    text = plan_text(plan)
    assert "[0][host_cell] = 0 -> 1\n" in text
    assert "[0][pins][1][0] = 3 -> 5\n" in text


@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.parametrize("flavor", ["cell", "huge"])
def test_cells_and_large_pages_are_those_of_the_other_host(shop: Shop, flavor: str, state: str) -> None:
    cell = Cell(0, (0, 1, 2, 3), 4096, ((2048, 300),))
    world(URI).set_hardware("hv1", Hardware((cell, CELLS["hv1"][1])))
    power = f"power_state: {state}"
    shop.apply(a=f"flavor: {flavor}, host: hv2, {power}")
    assert shop.pins("hv2", "a") == [(1, ((7,),))]
    shop.write(a=f"flavor: {flavor}, {power}")
    assert shop.run(shop.drain("hv2")) == []
    assert shop.pins("hv1", "a") == [(0, ((0, 1),))]
    assert shop.steps() == []


def test_server_that_finds_no_parts_elsewhere_is_refused_with_numbers(shop: Shop) -> None:
    shop.apply(a="flavor: own, host: hv2", b="flavor: own, host: hv1")
    shop.write(a="flavor: own", b="flavor: own")
    with pytest.raises(Faults) as faults:
        shop.drain("hv1")
    assert "cannot place server.b: no valid host" in faults.value.diagnostics[0].message
    assert "hv2_numa0: NUMA_MEMORY_MB 112 short" in str(faults.value.diagnostics[0].notes)


def test_running_server_with_a_device_is_refused_and_moves_when_it_is_stopped(shop: Shop) -> None:
    shop.apply(a="flavor: card, host: hv1")
    shop.write(a="flavor: card")
    with pytest.raises(Faults, match="a running server cannot take its PCI devices along"):
        shop.drain("hv1")
    assert shop.server("hv1", "a").pci_devices == (DEVICES["hv1"],)
    shop.write(a="flavor: card, power_state: stopped")
    plan = session.plan(shop.options()).plan
    what = session.ApplyOptions(allowed=Impact.RESTART)
    assert session.apply(shop.options(), plan, lambda event: None, what).exit_status == 0
    assert shop.run(shop.drain("hv1")) == []
    assert shop.server("hv2", "a").pci_devices == (DEVICES["hv2"],)
    assert shop.claims()[f"hv2/{DEVICES['hv2']}"] == {"CUSTOM_PCI_10DE_2236": 1}
    assert shop.steps() == []


def test_one_of_two_that_change_places_goes_first_where_it_has_room_and_who_is_left_is_told(shop: Shop) -> None:
    shop.apply(a="flavor: own, host: hv1", b="flavor: own, host: hv2")
    shop.write(a="flavor: own, host: hv2", b="flavor: own, host: hv1")
    plan = session.rebalance(shop.options(), Aim()).plan
    assert moves(plan) == ["server.b"]
    assert plan.outcome is not None
    (left,) = plan.outcome.left
    assert left.startswith("server.a is on hv1 against the rules: not hv2, where it is pinned; cannot place server.a")
    assert shop.run(plan) == []
    plan = session.rebalance(shop.options(), Aim()).plan
    assert moves(plan) == ["server.a"]
    assert shop.run(plan) == []
    assert session.rebalance(shop.options(), Aim()).plan.outcome == Outcome()


def test_servers_that_could_take_the_parts_that_each_other_leaves_are_refused_with_the_chain(shop: Shop) -> None:
    full = {name: "flavor: own, host: hv1" for name in "cd"}
    shop.apply(a="flavor: own, host: hv1", b="flavor: own, host: hv2", **full)
    shop.write(a="flavor: own, host: hv2", b="flavor: own, host: hv1", **full)
    with pytest.raises(Faults) as faults:
        session.rebalance(shop.options(), Aim())
    (fault,) = faults.value.diagnostics
    assert fault.code == "circular-steps"
    words = "server.a waits for room and parts on hv2, server.b waits for room and parts on hv1"
    assert fault.message == f"cannot order the migrations: {words}"


def test_servers_that_find_parts_beside_those_that_each_other_leaves_change_places_at_once(shop: Shop) -> None:
    world(URI).set_hardware("hv2", Hardware(tuple(replace(cell, memory_mib=4096) for cell in CELLS["hv2"])))
    shop.apply(a="flavor: own, host: hv1", b="flavor: own, host: hv2")
    before = shop.pins("hv1", "a"), shop.pins("hv2", "b")
    shop.write(a="flavor: own, host: hv2", b="flavor: own, host: hv1")
    plan = session.rebalance(shop.options(), Aim()).plan
    assert moves(plan) == ["server.a", "server.b"]
    assert not any("migrate" in each for step in plan.steps for each in step.requires)
    assert shop.run(plan) == []
    assert before == ([(0, ((2,), (3,)))], [(0, ((0,), (1,)))])
    assert (shop.pins("hv1", "b"), shop.pins("hv2", "a")) == ([(1, ((4,), (5,)))], [(1, ((4,), (5,)))])
    assert shop.steps() == []


def test_server_with_parts_stops_on_a_third_host_where_two_could_only_exchange(shop: Shop) -> None:
    hosts = f'  hv3: {{libvirt: "{URI}", cpu_dedicated_set: "0-1"}}\npci_aliases'
    (shop.folder / "fleet.yaml").write_text(FLEET.replace("pci_aliases", hosts))
    world(URI).set_hardware("hv3", Hardware((Cell(0, (0, 1), 4096),)))
    shop.apply(a="flavor: own, host: hv1", b="flavor: own, host: hv2")
    shop.write(a="flavor: own, host: hv2", b="flavor: own, host: hv1")
    plan = session.rebalance(shop.options(), Aim()).plan
    assert "server.a stops on hv3 on its way: apply this, then rebalance again" in plan_text(plan)
    assert shop.run(plan) == []
    assert shop.run(session.rebalance(shop.options(), Aim()).plan) == []
    assert shop.pins("hv2", "a") and shop.pins("hv1", "b")
    assert shop.steps() == []


def test_server_that_may_leave_and_does_not_keeps_its_cpus(shop: Shop) -> None:
    shop.apply(a="flavor: own, host: hv1", b="flavor: own, host: hv1")
    world(URI).remove("hv1", "server.a")  # its CPUs, the first, are free
    shop.write(b="flavor: own")
    planned = session.plan(shop.options())
    scene = Scene(planned.stack, planned.snapshot, session.records(shop.options()), lambda host: provider(URI))
    plan = scene.plan(PlanOptions(moving=frozenset({Address("server", "b")}), to={Address("server", "b"): "hv1"}))
    assert [step.id for step in plan.steps] == ["forget server.a"]
    assert shop.pins("hv1", "b") == [(1, ((4,), (5,)))]


@pytest.mark.parametrize("point", ["begin", "disks", "end"])
def test_crash_in_a_migration_is_mended_with_the_parts_of_one_host(shop: Shop, point: str) -> None:
    shop.apply(a="flavor: own, host: hv1")
    shop.write(a="flavor: own")
    plan = shop.drain("hv1")
    world(URI).faults.append(Fault(Effect.CRASH, operation="migrate", point=point))
    with pytest.raises(Crash):
        shop.run(plan)
    world(URI).faults.clear()
    assert shop.run(shop.drain("hv1")) == []
    assert shop.pins("hv2", "a") == [(1, ((4,), (5,)))]
    assert shop.run(session.plan(shop.options()).plan) == []
    assert shop.claims().keys() == {"hv2", "hv2/numa1", "hv2/cpu4", "hv2/cpu5"}
    assert shop.steps() == []


def even(shop: Shop) -> Plan:
    return session.rebalance(shop.options(), Aim(even=True)).plan


def test_even_moves_servers_with_parts_to_where_parts_are_found(shop: Shop) -> None:
    servers = {name: "flavor: own" for name in "abc"}
    shop.apply(**{name: f"{spec}, host: hv1" for name, spec in servers.items()})
    shop.write(**servers)
    plan = even(shop)  # hv2 has memory for more, and whole CPUs in a cell with memory for one
    assert moves(plan) == ["server.a"]
    assert shop.run(plan) == []
    assert shop.pins("hv2", "a") == [(1, ((4,), (5,)))]
    assert moves(even(shop)) == []


def test_even_leaves_a_server_whose_parts_are_nowhere_else_and_moves_others(shop: Shop) -> None:
    world(URI).set_hardware("hv1", Hardware((Cell(0, (0, 1, 2, 3), 4096, ((2048, 300),)),)))
    world(URI).set_hardware("hv2", Hardware(tuple(replace(cell, pages=()) for cell in CELLS["hv2"])))
    servers = {"a": "flavor: huge", "b": "flavor: cell"}
    shop.apply(**{name: f"{spec}, host: hv1" for name, spec in servers.items()})
    shop.write(**servers)
    assert moves(even(shop)) == ["server.b"]


def test_even_leaves_servers_with_devices(shop: Shop) -> None:
    shop.apply(a="flavor: card, host: hv1, power_state: stopped")
    shop.write(a="flavor: card, power_state: stopped")
    assert moves(even(shop)) == []


def test_cell_that_has_fewer_large_pages_than_are_taken_gives_up_a_server(shop: Shop) -> None:
    def pages(host: str, count: int) -> None:
        first, second = CELLS[host]
        world(URI).set_hardware(host, Hardware((first, replace(second, pages=((2048, count),)))))

    world(URI).set_hardware("hv1", Hardware((replace(CELLS["hv1"][0], pages=((2048, 300),)), CELLS["hv1"][1])))
    pages("hv2", 300)
    shop.apply(a="flavor: huge, host: hv2")
    shop.write(a="flavor: huge")
    assert session.plan(shop.options()).plan.offences == ()
    pages("hv2", 200)
    (offence,) = session.plan(shop.options()).plan.offences
    assert offence.reason == "hv2 is over its capacity: CUSTOM_HUGEPAGES_2M of numa1 56 short (used 256 of 200)"
    plan = session.rebalance(shop.options(), Aim()).plan
    assert moves(plan) == ["server.a"]
    assert shop.run(plan) == []
    assert session.rebalance(shop.options(), Aim()).plan.outcome == Outcome()
