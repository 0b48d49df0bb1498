"""Hosts as placement sees them: what their parts have, and what guests hold of them."""

from collections.abc import Callable
from typing import Any

from stacksmith.model.fleet import Fleet
from stacksmith.model.found import HostSnapshot, Resources, Snapshot, Unmanaged
from stacksmith.model.hardware import Cell, CellUse, Hardware, Holding, PciDevice, Pool
from stacksmith.placement.host import HostState, Inventory
from stacksmith.planner.inventory import host_states
from stacksmith.views.host_tree import tree_data, tree_text
from stacksmith.views.json_text import json_text

TWO_CELLS = Hardware(
    (Cell(0, (0, 1, 2, 3), 8192, ((2048, 1024),)), Cell(1, (4, 5, 6, 7), 8192, ((2048, 0), (1048576, 2)))),
    (PciDevice("0000:81:00.0", "10de", "2236", 1), PciDevice("0000:01:00.0", "8086", "10ed")),
    ("HW_CPU_X86_AVX2",),
)
PCI = [
    {"vendor_id": "10de", "resource_class": "CUSTOM_GPU", "traits": ["CUSTOM_A10"]},
    {"vendor_id": "8086"},
]


def guest(holds: Holding, usage: Resources = Resources(2, 1024)) -> Unmanaged:  # noqa: B008
    return Unmanaged("server", "hv1", f"guest-{id(holds)}", "u", usage=usage, holds=holds)


def state(*guests: Unmanaged, hardware: Hardware = TWO_CELLS, **host: Any) -> HostState:
    fleet = Fleet.model_validate({"fleet": "lab", "hosts": {"hv1": {"libvirt": "memory://", "pci": PCI, **host}}})
    snap = HostSnapshot("hv1", capacity=Resources(8, 16384, 100), unmanaged=guests, hardware=hardware)
    return host_states(fleet, Snapshot((snap,)), (), {})[0]


def test_cells_and_devices_are_providers_below_the_host() -> None:
    seen = {part.name: part for part in state().parts}
    assert {name: part.parent for name, part in seen.items()} == {
        "hv1_numa0": "hv1",
        "hv1_numa1": "hv1",
        "hv1_0000:81:00.0": "hv1/numa1",
        "hv1_0000:01:00.0": "hv1",
    }
    assert {name: i.total for name, i in seen["hv1_numa0"].inventories.items()} == {
        "NUMA_THREAD": 4,
        "NUMA_MEMORY_MB": 6144,
        "CUSTOM_HUGEPAGES_2M": 1024,
    }
    assert seen["hv1_numa1"].inventories["CUSTOM_HUGEPAGES_1G"] == Inventory(2)
    assert seen["hv1_numa1"].traits == {"HW_NUMA_ROOT"}
    assert seen["hv1_0000:81:00.0"].inventories == {"CUSTOM_GPU": Inventory(1)}
    assert seen["hv1_0000:81:00.0"].traits == {"CUSTOM_A10"}
    assert seen["hv1_0000:01:00.0"].inventories == {"CUSTOM_PCI_8086_10ED": Inventory(1)}


def test_memory_in_large_pages_is_none_that_the_host_gives() -> None:
    assert state().inventories["MEMORY_MB"] == Inventory(16384, reserved=512 + 2048 + 2048)


def test_traits_are_the_fleets_and_the_cpus() -> None:
    assert state(traits=["CUSTOM_SSD"]).traits == {"CUSTOM_SSD", "HW_CPU_X86_AVX2"}


def test_dedicated_cpus_are_pcpu_and_no_vcpu() -> None:
    here = state(cpu_dedicated_set="2-3,6-7", cpu_shared_set="1,5")
    assert here.inventories["VCPU"].total == 2
    assert {
        part.name: (part.inventories["NUMA_THREAD"].total, part.inventories["PCPU"].total) for part in here.parts[:2]
    } == {"hv1_numa0": (1, 2), "hv1_numa1": (1, 2)}


def test_dedicated_cpus_that_the_host_has_not_take_nothing() -> None:
    assert state(cpu_dedicated_set="6-63").inventories["VCPU"].total == 6


def test_ratio_and_reserve_of_a_class_hold_for_every_cell() -> None:
    here = state(allocation_ratios={"VCPU": 4.0, "NUMA_MEMORY_MB": 1.5}, reserved={"CUSTOM_HUGEPAGES_2M": 24})
    cell = here.parts[0].inventories
    assert cell["NUMA_THREAD"].allocation_ratio == 4.0
    assert cell["NUMA_MEMORY_MB"].allocation_ratio == 1.5
    assert cell["CUSTOM_HUGEPAGES_2M"].reserved == 24


def test_guest_that_floats_is_counted_at_the_host_alone() -> None:
    here = state(guest(Holding()))
    assert here.used == {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 0}
    assert here.parts_used == {}


def test_guest_that_is_bound_is_counted_at_its_cell_too() -> None:
    here = state(guest(Holding((CellUse(1, 2, 1024),), ((4, 5, 6, 7), (4, 5, 6, 7)))))
    assert here.used == {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 0}
    assert here.parts_used == {"hv1/numa1": {"NUMA_THREAD": 2, "NUMA_MEMORY_MB": 1024}}


def test_guest_in_large_pages_holds_pages_and_no_other_memory() -> None:
    here = state(guest(Holding((CellUse(0, 2, 1024, 2048),))), guest(Holding((CellUse(None, 2, 1024, 2048),))))
    assert here.used["MEMORY_MB"] == 0
    assert here.parts_used == {"hv1/numa0": {"NUMA_THREAD": 2, "CUSTOM_HUGEPAGES_2M": 1024}}


def test_guest_on_dedicated_cpus_holds_them_and_no_vcpu() -> None:
    here = state(guest(Holding((CellUse(1, 2, 1024),), ((6,), (7,)))), guest(Holding()), cpu_dedicated_set="6-7")
    assert here.used["VCPU"] == 2
    assert here.parts_used == {"hv1/numa1": {"NUMA_MEMORY_MB": 1024, "PCPU": 2}}


def test_guest_holds_its_device_and_nothing_of_one_that_is_not_on_offer() -> None:
    here = state(guest(Holding(devices=("0000:81:00.0", "0000:99:00.0"))))
    assert here.parts_used == {"hv1/0000:81:00.0": {"CUSTOM_GPU": 1}}


def volume(name: str, gib: int, volume_type: str) -> Unmanaged:
    return Unmanaged(
        "volume", "hv1", name, "v", usage=Resources(disk_gib=gib), holds=Holding(disks=((volume_type, gib),))
    )


def test_volume_type_that_is_apart_has_its_own_room() -> None:
    pools = {"local": {"pool": "a"}, "fast": {"pool": "b"}, "same": {"pool": "a"}}
    hardware = Hardware(pools=(Pool("fast", 500),))
    volumes = (volume("one", 40, "fast"), volume("two", 7, "same"), volume("three", 5, "local"))
    here = state(*volumes, hardware=hardware, volume_types=pools, reserved={"DISK_GB": 10})
    assert here.used["DISK_GB"] == 12
    assert [(part.name, part.traits) for part in here.parts] == [("hv1_pool_fast", {"CUSTOM_VOLUME_TYPE_FAST"})]
    assert here.parts[0].inventories == {"DISK_GB": Inventory(500, reserved=10)}
    assert here.parts_used == {"hv1/pool_fast": {"DISK_GB": 40}}


def test_device_that_the_fleet_does_not_offer_is_no_provider() -> None:
    assert [part.name for part in state(pci=[{"vendor_id": "10de"}]).parts] == [
        "hv1_numa0",
        "hv1_numa1",
        "hv1_0000:81:00.0",
    ]


def test_tree_is_as_accepted(golden: Callable[[str, str], None]) -> None:
    used = guest(Holding((CellUse(1, 2, 1024),), devices=("0000:81:00.0",)))
    gone = HostState("hv2", reachable=False, problem="no answer in 30 s")
    states = [state(used, allocation_ratios={"VCPU": 4.0}), gone]
    golden(tree_text(states), "views/hosts_tree.txt")
    golden(json_text(tree_data(states)), "views/hosts_tree.json")
