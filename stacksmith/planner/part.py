"""The parts of its host that a server asks for and gets: NUMA cells, whole CPUs, large pages, devices."""

import re
from collections.abc import Collection, Iterable, Mapping

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import node_class
from stacksmith.model.change import Change, Status
from stacksmith.model.demand import Demand, demand
from stacksmith.model.fleet import Fleet, Host
from stacksmith.model.found import Found, HostSnapshot, Snapshot
from stacksmith.model.hardware import Cell, page_class, page_kib
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import NumaCell, Server, from_data
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON
from stacksmith.placement.tree.request import CandidateRequest, GroupPolicy, ResourceGroup
from stacksmith.placement.verdict import Placement
from stacksmith.planner.claim import Allocations
from stacksmith.planner.inventory import (
    CELL,
    Pending,
    holdings,
    shared_cpus,
    taken_cpus,
    type_trait,
)
from stacksmith.planner.layout import (
    CELL_MEMORY,
    THREADS,
    cell_uuid,
    cpu_of,
    dedicated_cpus,
    device_uuid,
    host_of,
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server has of its host: the fields of ``realised.Server`` that say so."""

    numa_cells: tuple[NumaCell, ...] = ()
    page_size: str = ""
    pci_devices: tuple[str, ...] = ()


NO_PARTS = Parts()
_DISK = "_disk_"  # how the groups of disks are called, before their volume type


def demands(stack: Stack) -> dict[Address, Demand]:
    """What each server asks for that asks for parts."""
    by_flavor = {
        name: Demand() if node_class(flavor, stack.fleet) else demand(flavor, stack.fleet.pci_aliases)[0]
        for name, flavor in stack.flavors.items()
    }
    return {
        address: wanted
        for address, resource in stack.resources.items()
        if isinstance(resource.spec, ServerSpec) and (wanted := by_flavor[resource.spec.flavor])
    }


def parts_request(wanted: Demand, disks: Mapping[str, int] | None = None) -> CandidateRequest:
    """The question to the host's tree: a granular group for each cell and device, on a provider of its own each.

    ``disks`` are GiB of new volumes by volume type, of types that are asked of providers of their own.
    """
    groups = {cell_group(place): _cell_resources(wanted, place) for place in range(len(wanted.cells))}
    for device in wanted.devices:
        required = tuple(frozenset({trait}) for trait in sorted(device.required))
        groups[device.name] = ResourceGroup({device.resource_class: 1}, required, device.forbidden)
    near = (frozenset(groups),) if wanted.is_near and wanted.devices else ()
    for name, gib in sorted((disks or {}).items()):
        group = f"{_DISK}{re.sub('[^A-Za-z0-9_-]', '_', name)}"[:64]
        groups[group] = ResourceGroup({"DISK_GB": gib}, (frozenset({type_trait(name)}),))
    return CandidateRequest(groups, GroupPolicy.ISOLATE, same_subtree=near)


def of_cells(request: CandidateRequest, held: Allocations) -> bool:
    """True for a question about cells, with their CPUs and large pages, and beside these about disks that are held."""
    disks = {name: group for name, group in request.groups.items() if name.startswith(_DISK)}
    room = sum(amounts.get("DISK_GB", 0) for amounts in held.values())
    cells = {cell_group(place) for place in range(len(request.groups) - len(disks))}
    is_held = sum(group.resources["DISK_GB"] for group in disks.values()) <= room
    return is_held and request.groups.keys() == cells | disks.keys()


def cell_group(place: int) -> str:
    """How the group of a cell of the server is called."""
    return f"_numa{place}"


def _cell_resources(wanted: Demand, place: int) -> ResourceGroup:
    cell = wanted.cells[place]
    amounts = {"PCPU" if wanted.is_dedicated else THREADS: len(cell.vcpus)}
    if wanted.page_size:
        size = page_kib(wanted.page_size)
        amounts[page_class(size)] = cell.ram_mib * 1024 // size
    else:
        amounts[CELL_MEMORY] = cell.ram_mib
    return ResourceGroup(amounts, required=(frozenset({CELL}),))


def flat_amounts(wanted: Demand, amounts: Mapping[str, int]) -> dict[str, int]:
    """What is still asked of the host as a whole: whole CPUs are no VCPU, large pages no MEMORY_MB."""
    left = dict(amounts)
    if wanted.is_dedicated:
        left["VCPU"] = 0
    if wanted.page_size:
        left["MEMORY_MB"] = 0
    return left


def kept_parts(wanted: Demand, found: Found | None) -> Parts | None:
    """What an existing server was given, when it is what its flavor asks for; None when it must be placed anew."""
    if found is None:
        return None
    server = found.spec
    if found.mark is not None and found.mark.applied is not None:
        server = from_data("server", found.mark.applied)
    if not isinstance(server, Server):
        return None
    cells = tuple((cell.vcpus, cell.ram_mib) for cell in server.numa_cells)
    is_bound = all(cell.host_cell is not None and cell.pins for cell in server.numa_cells)
    own = [cpus for cell in server.numa_cells for cpus in cell.pins if len(cpus) == 1]
    if cells != tuple((cell.vcpus, cell.ram_mib) for cell in wanted.cells) or not is_bound:
        return None
    if wanted.is_dedicated and len(set(own)) != sum(len(cell.vcpus) for cell in wanted.cells):
        return None
    if server.page_size != wanted.page_size or len(server.pci_devices) != len(wanted.devices):
        return None
    return Parts(server.numa_cells, server.page_size, server.pci_devices)


def changes_with_host(change: Change) -> bool:
    """True for a change that binds a server to the parts of another host, and is none of the guest's own."""
    if change.status is not Status.CHANGE or change.saved_only or not (change.wanted and change.found):
        return False
    if change.path == "pci_devices":
        return len(change.wanted) == len(change.found)
    return change.path == "numa_cells" and _unbound(change.wanted) == _unbound(change.found)


def _unbound(cells: JSON) -> JSON:
    """The guest's cells without where they are on a host."""
    return [{name: value for name, value in cell.items() if name not in ("host_cell", "pins")} for cell in cells]


def allot(
    wanted: Mapping[Address, Demand],
    placements: Iterable[Placement],
    fleet: Fleet,
    snapshot: Snapshot,
    gone: Collection[Address],
    pending: Pending,
) -> dict[Address, Parts]:
    """The parts of every server that placement chose some for.

    Whole CPUs are given in order of their numbers, to servers in order of address; those of servers in ``gone`` (that
    leave, or get their parts anew) count as free, and those that are claimed (``pending``) do not.
    """
    by_host = {snap.host: snap for snap in snapshot.hosts}
    given: dict[Address, Parts] = {}
    taken: dict[str, set[int]] = {}
    for placement in sorted(placements, key=lambda p: p.address.order):
        if placement.host is None or placement.address not in wanted or not placement.parts:
            continue
        snap, host = by_host[placement.host], fleet.hosts[placement.host]
        if snap.host not in taken:
            taken[snap.host] = set(taken_cpus(holdings(snap, gone), dedicated_cpus(host)))
            taken[snap.host] |= {cpu for u in pending if host_of(u) == snap.host and (cpu := cpu_of(u)) is not None}
        at = _Host(snap, host, taken[snap.host])
        given[placement.address] = at.parts(wanted[placement.address], placement)
    return given


@dataclass(frozen=True, slots=True)
class _Host:
    """A host whose parts are given out. ``taken`` are CPUs that are no longer free."""

    snap: HostSnapshot
    declared: Host
    taken: set[int]

    def parts(self, wanted: Demand, placement: Placement) -> Parts:
        cells = {cell_uuid(self.snap.host, cell.id): cell for cell in self.snap.hardware.cells}
        devices = {device_uuid(self.snap.host, device.address): device for device in self.snap.hardware.devices}
        chosen = [cells[placement.parts[cell_group(place)][0]] for place in range(len(wanted.cells))]
        return Parts(
            tuple(
                NumaCell(place, cell.vcpus, cell.ram_mib, at.id, self._pins(wanted, len(cell.vcpus), at))
                for place, (cell, at) in enumerate(zip(wanted.cells, chosen, strict=True))
            ),
            wanted.page_size,
            tuple(devices[placement.parts[group.name][0]].address for group in wanted.devices),
        )

    def _pins(self, wanted: Demand, vcpus: int, at: Cell) -> tuple[tuple[int, ...], ...]:
        """For each vCPU the CPUs it may run on: one of its own, or the shared ones of the cell."""
        if not wanted.is_dedicated:
            return (tuple(shared_cpus(self.declared, at.cpus)),) * vcpus
        dedicated = dedicated_cpus(self.declared)
        free = [cpu for cpu in at.cpus if cpu in dedicated and cpu not in self.taken][:vcpus]
        self.taken.update(free)
        return tuple((cpu,) for cpu in free)
