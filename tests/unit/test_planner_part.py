"""Servers keep the parts of their host that they were given; others get what is left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.hardware import Cell, Hardware, PciDevice, Pool
from stacksmith.model.realised import NumaCell, Server
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.provider import forget, world

URI = "memory:parts?vcpus=8&memory_mib=8192&disk_gib=100"
FLEET = f"""
fleet: parts
hosts: {{hv1: {{libvirt: "{URI}", cpu_dedicated_set: "2-7", pci: [{{vendor_id: "10de"}}]}}}}
pci_aliases: {{gpu: {{vendor_id: "10de", product_id: "2236"}}}}
images: {{lab: {{source: lab.img}}}}
"""
STACK = """
stack: shop
fleet: fleet.yaml
flavors:
  own: {vcpus: 2, ram: RAM, extra_specs: {"hw:cpu_policy": dedicated}}
  cell: {vcpus: 1, ram: 512, extra_specs: {"hw:numa_nodes": "1"}}
  card: {vcpus: 1, ram: 512, extra_specs: {"pci_passthrough:alias": "gpu:1"}}
  plain: {vcpus: 1, ram: 512}
  big: {vcpus: 1, ram: 512, disk: 50}
servers:
"""
HARDWARE = Hardware(
    (Cell(0, (0, 1, 2, 3), 4096), Cell(1, (4, 5, 6, 7), 4096)),
    (PciDevice("0000:81:00.0", "10de", "2236", 1), PciDevice("0000:82:00.0", "10de", "2236", 1)),
)


class Shop:
    """One stack on one host of two cells, whose CPUs but two are dedicated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "fleet.yaml").write_text(FLEET)
        (folder / "lab.img").write_bytes(b"image")
        world(URI).set_hardware("hv1", HARDWARE)

    def plan(self, servers: str, ram: int = 512) -> Plan:
        (self.folder / "stack.yaml").write_text(STACK.replace("RAM", str(ram)) + servers)
        return session.plan(self._options()).plan

    def apply(self, servers: str, ram: int = 512) -> None:
        plan = self.plan(servers, ram)
        what = session.ApplyOptions(allowed=Impact.RESTART, overwrite_drift=False)
        assert session.apply(self._options(), plan, lambda event: None, what).exit_status == 0

    def server(self, name: str) -> Server:
        spec = world(URI).object("hv1", f"server.{name}").spec
        assert isinstance(spec, Server)
        return spec

    def pins(self, name: str) -> list[tuple[int, ...]]:
        return [cpus for cell in self.server(name).numa_cells for cpus in cell.pins]

    def _options(self) -> session.Options:
        return session.Options(stack=self.folder, fleet=self.folder / "fleet.yaml")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    yield Shop(tmp_path)
    forget(URI)


A, B, C = (f"  {name}: {{flavor: own, image: lab}}\n" for name in "abc")


def test_whole_cpus_are_given_once_and_kept(shop: Shop) -> None:
    shop.apply(B)
    assert shop.pins("b") == [(2,), (3,)]
    shop.apply(A + B + C)
    assert (shop.pins("a"), shop.pins("b"), shop.pins("c")) == ([(4,), (5,)], [(2,), (3,)], [(6,), (7,)])
    assert [cell.host_cell for cell in shop.server("a").numa_cells] == [1]
    assert not shop.plan(A + B + C).steps


def test_whole_cpus_of_a_server_that_goes_are_free_in_the_same_plan(shop: Shop) -> None:
    shop.apply(A + B + C)
    plan = shop.plan(B + C + "  d: {flavor: own, image: lab}\n")
    made = next(s.wanted for s in plan.steps if s.operation is Operation.CREATE)
    assert isinstance(made, Server)
    assert made.numa_cells == (NumaCell(0, (0, 1), 512, 0, ((2,), (3,))),)


def test_bound_server_runs_on_the_shared_cpus_of_its_cell(shop: Shop) -> None:
    shop.apply("  a: {flavor: cell, image: lab}\n")
    assert shop.server("a").numa_cells == (NumaCell(0, (0,), 512, 0, ((0, 1),)),)


def test_cell_that_grows_is_looked_for_anew_on_its_host(shop: Shop) -> None:
    shop.apply(A + B)
    plan = shop.plan(A + B, ram=3000)
    updates = {str(s.address): s.wanted for s in plan.steps}
    assert updates.keys() == {"server.a", "server.b"}
    cells = [s.numa_cells[0] for s in updates.values() if isinstance(s, Server)]
    assert sorted(cell.host_cell or 0 for cell in cells) == [0, 1]
    assert {cell.ram_mib for cell in cells} == {3000}
    shop.apply(A + B, ram=3000)
    assert not shop.plan(A + B, ram=3000).steps


def test_device_is_given_once_and_kept(shop: Shop) -> None:
    card = "  {}: {{flavor: card, image: lab}}\n".format
    shop.apply(card("b"))
    shop.apply(card("a") + card("b"))
    assert (shop.server("a").pci_devices, shop.server("b").pci_devices) == (("0000:82:00.0",), ("0000:81:00.0",))
    assert not shop.plan(card("a") + card("b")).steps


def test_binding_changed_by_hand_is_drift(shop: Shop) -> None:
    shop.apply(A)
    moved = (NumaCell(0, (0, 1), 512, 1, ((4,), (5,))),)
    world(URI).edit("hv1", "server.a", lambda spec: replace(spec, numa_cells=moved))
    deviation = shop.plan(A).deviations[0]
    assert [(change.path, change.impact) for change in deviation.changes] == [("numa_cells", Impact.RESTART)]


def test_flavor_that_asks_for_parts_no_more_gives_them_back(shop: Shop) -> None:
    shop.apply(A)
    shop.apply("  a: {flavor: plain, image: lab}\n")
    assert shop.server("a").numa_cells == ()
    assert not shop.plan("  a: {flavor: plain, image: lab}\n").steps
    shop.apply("  a: {flavor: cell, image: lab}\n")
    assert shop.server("a").numa_cells[0].host_cell == 0


def test_volume_that_outgrows_its_pool_is_refused_with_numbers(shop: Shop) -> None:
    fleet = shop.folder / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("pci: [", "volume_types: {local: {}, fast: {pool: nvme}}, pci: ["))
    world(URI).set_hardware("hv1", replace(HARDWARE, pools=(Pool("fast", 50),)))
    volume = "  {{}}\nvolumes:\n  data: {{size: {}, volume_type: fast}}\n".format
    shop.apply(volume(40))
    assert not shop.plan(volume(50)).refusals
    refusals = shop.plan(volume(51)).refusals
    assert refusals == (("update volume.data", "hv1 has no room: DISK_GB 1 short (used 40 of 50, 11 more wanted)"),)


def test_volume_larger_than_the_hosts_own_disks_is_made_where_its_pool_is_apart(shop: Shop) -> None:
    fleet = shop.folder / "fleet.yaml"
    fleet.write_text(fleet.read_text().replace("pci: [", "volume_types: {local: {}, fast: {pool: nvme}}, pci: ["))
    world(URI).set_hardware("hv1", replace(HARDWARE, pools=(Pool("fast", 500),)))
    volume = "  a: {flavor: plain, image: lab}\nvolumes:\n  data: {size: SIZE, volume_type: fast}\n"
    for size in (400, 500):
        shop.apply(volume.replace("SIZE", str(size)))
        assert not shop.plan(volume.replace("SIZE", str(size))).steps


def test_whole_cpus_take_no_vcpu_of_the_host(shop: Shop) -> None:
    plain = "".join(f"  p{n}: {{flavor: plain, image: lab}}\n" for n in range(2))
    shop.apply(A + B + C + plain)
    assert not shop.plan(A + B + C + plain).steps


def test_volume_in_the_hosts_own_pool_and_disks_of_servers_take_of_one_room(shop: Shop) -> None:
    fleet = shop.folder / "fleet.yaml"
    other = f'hv2: {{libvirt: "{URI}", state: disabled, volume_types: {{local: {{}}, fast: {{pool: nvme}}}}}}'
    text = fleet.read_text().replace("pci: [", "volume_types: {local: {}, fast: {}}, pci: [")
    fleet.write_text(text.replace("}}\npci_aliases", f"}}, {other}}}\npci_aliases"))
    servers = "  s: {flavor: big, image: lab, block_device_mapping: [ROOT, DATA]}\nvolumes:\n"
    servers = servers.replace("ROOT", "{boot_index: 0, source_type: image, image: lab, destination_type: local}")
    servers = servers.replace("DATA", "{source_type: volume, volume: a, destination_type: volume}")
    volumes = "  a: {{size: {}, volume_type: fast}}\n  b: {{size: 10, volume_type: fast}}\n".format
    with pytest.raises(Faults, match="no valid host"):
        shop.plan(servers + volumes(41))
    shop.apply(servers + volumes(40))
    refusals = shop.plan(servers + volumes(41)).refusals
    assert refusals == (("update volume.a", "hv1 has no room: DISK_GB 1 short (used 100 of 100, 1 more wanted)"),)
