"""The hosts of a fleet as placement sees them: inventories, provider trees, and what runs on them."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from stacksmith.address import Address
from stacksmith.model.aggregate import metadata_of
from stacksmith.model.fleet import Fleet, Host, PciSpec
from stacksmith.model.found import Found, HostSnapshot, Resources, Snapshot, Unmanaged
from stacksmith.model.hardware import (
    NOTHING_HELD,
    Cell,
    CellUse,
    Holding,
    PciDevice,
    cpu_numbers,
    device_class,
    page_class,
)
from stacksmith.model.realised import Machine
from stacksmith.placement.filters import instances
from stacksmith.placement.host import INSTANCES, HostState, Inventory
from stacksmith.placement.tree.provider import Provider
from stacksmith.planner.asking import capabilities

# Units that are claimed and do not run yet: by host, class and stack.
Pending = dict[str, dict[str, dict[str, int]]]

CELL = "HW_NUMA_ROOT"  # the trait of a provider that is a NUMA cell
THREADS, CELL_MEMORY = "NUMA_THREAD", "NUMA_MEMORY_MB"
# Classes of a cell that share the ratio of what they are a part of, unless they have their own.
_WHOLE = {THREADS: "VCPU", CELL_MEMORY: "MEMORY_MB"}


def host_states(
    fleet: Fleet,
    snapshot: Snapshot,
    leaving: Iterable[Found],
    members: Mapping[str, Mapping[str, int]],
    anew: Collection[Address] = (),
    pending: Pending | None = None,
) -> list[HostState]:
    """The fleet as placement sees it: what really runs counts as used, unmanaged guests included, and what is claimed.

    ``leaving`` does not count, and of servers in ``anew`` not what they hold of parts; ``members`` are those of server
    groups, by host and group.
    """
    gone = {(f.host, f.address) for f in leaving}
    states = []
    for snap in snapshot.hosts:
        stays = replace(snap, found=tuple(f for f in snap.found if (f.host, f.address) not in gone))
        states.append(_state(fleet, stays, dict(members.get(snap.host, {})), anew))
    return [_with_claims(state, (pending or {}).get(state.name, {})) for state in states]


def _with_claims(state: HostState, claimed: Mapping[str, Mapping[str, int]]) -> HostState:
    if not claimed:
        return state
    used = {name: state.used.get(name, 0) + sum(claimed.get(name, {}).values()) for name in {**state.used, **claimed}}
    return replace(state, used=used, claimed=claimed)


def guest_amounts(guest: Found | Unmanaged, dedicated: frozenset[int], apart: Collection[str] = ()) -> dict[str, int]:
    """What one object takes of the host itself, as ``host_states`` counts it; zeros are left out.

    CPUs of its own (``dedicated``), large pages, and volumes of types that are ``apart`` are counted at the parts of
    the host.
    """
    if isinstance(guest, Found) and isinstance(guest.spec, Machine):
        return {guest.spec.resource_class: 1}
    usage, holds = guest.usage, guest.holds
    pinned = sum(dedicated.issuperset(pin) for pin in holds.pins) if dedicated else 0
    memory = usage.memory_mib - (holds.large_pages_mib if holds.cells else 0)
    amounts = {"VCPU": usage.vcpus - pinned, "MEMORY_MB": memory, "DISK_GB": usage.disk_gib}
    amounts["DISK_GB"] -= sum(gib for name, gib in holds.disks if name in apart)
    return {name: amount for name, amount in amounts.items() if amount > 0}


def cell_name(host: str, cell: int) -> str:
    """The name, and uuid, of the provider of a NUMA cell."""
    return f"{host}_numa{cell}"


def pool_name(host: str, volume_type: str) -> str:
    """The name, and uuid, of the provider of a volume type's storage."""
    return f"{host}_pool_{volume_type}"


def type_trait(volume_type: str) -> str:
    """The trait of the providers of a volume type's storage."""
    return f"CUSTOM_VOLUME_TYPE_{re.sub('[^A-Z0-9_]', '_', volume_type.upper())}"


def types_apart(fleet: Fleet) -> frozenset[str]:
    """The volume types that are asked of providers of their own: some host has them apart from its own disks."""
    return frozenset(name for host in fleet.hosts.values() for name in host.volume_types_apart)


def device_name(host: str, address: str) -> str:
    """The name, and uuid, of the provider of a PCI device."""
    return f"{host}_{address}"


def pci_class(spec: PciSpec, device: PciDevice) -> str:
    """The resource class of a device: as the fleet file says, or made from its ids as Nova makes it."""
    return spec.resource_class or device_class(device.vendor_id, device.product_id)


def dedicated_cpus(host: Host) -> frozenset[int]:
    """The CPUs that are given whole."""
    return frozenset(cpu_numbers(host.cpu_dedicated_set) if host.cpu_dedicated_set else ())


def shared_cpus(host: Host, cpus: Iterable[int]) -> list[int]:
    """Those of the CPUs that VCPU counts."""
    shared = cpu_numbers(host.cpu_shared_set) if host.cpu_shared_set is not None else None
    dedicated = dedicated_cpus(host)
    return [cpu for cpu in cpus if cpu not in dedicated and (shared is None or cpu in shared)]


def taken_cpus(holds: Iterable[Holding], dedicated: frozenset[int]) -> Counter[int]:
    """The dedicated CPUs that guests have, with how many vCPUs are on each."""
    return Counter(cpu for holding in holds for pin in holding.pins if dedicated.issuperset(pin) for cpu in pin)


def holdings(snap: HostSnapshot, gone: Collection[Address] = ()) -> list[Holding]:
    """What each guest of a host holds of its parts, but for servers in ``gone``."""
    return [
        g.holds for g in guests(snap) if g.holds != NOTHING_HELD and not (isinstance(g, Found) and g.address in gone)
    ]


def guests(snap: HostSnapshot) -> tuple[Found | Unmanaged, ...]:
    """All that is on a host, whoever owns it."""
    return (*snap.found, *snap.unmanaged)


def _is_server(each: Found | Unmanaged) -> bool:
    if isinstance(each, Found):
        return each.address.kind == "server" and not each.partial
    return each.kind == "server"


def _state(fleet: Fleet, snap: HostSnapshot, groups: dict[str, int], anew: Collection[Address]) -> HostState:
    host = fleet.hosts[snap.host]
    metadata = metadata_of(fleet, host)
    offer = _Offer(fleet, host)
    pages = sum(size * count for cell in snap.hardware.cells for size, count in cell.pages) // 1024
    totals = {
        "VCPU": _shared(host, snap),
        "MEMORY_MB": snap.capacity.memory_mib,
        "DISK_GB": snap.capacity.disk_gib,
    }
    inventories, used = {name: offer.inventory(name, total, pages) for name, total in totals.items()}, _used(host, snap)
    counted = instances(fleet.scheduler, metadata)
    if counted is not None:
        inventories[INSTANCES], used[INSTANCES] = counted, sum(map(_is_server, guests(snap)))
    return HostState(
        name=snap.host,
        inventories=inventories,
        used=used,
        traits=frozenset((*host.traits, *snap.hardware.traits)),
        availability_zone=host.availability_zone,
        aggregates=frozenset(host.aggregates),
        state=host.state,
        state_reason=host.state_reason or "",
        groups=groups,
        metadata=metadata,
        capabilities=capabilities(snap),
        reachable=snap.error is None,
        problem=snap.error or "",
        parts=(*_parts(host, snap, offer), *_pools(fleet, snap, offer)),
        parts_used=_parts_used(host, snap, holdings(snap, anew)) | _pools_used(fleet, snap, used["DISK_GB"]),
    )


def _used(host: Host, snap: HostSnapshot) -> dict[str, int]:
    """What is used of the host as a whole: no VCPU for a CPU of one's own, no MEMORY_MB for large pages."""
    flat = sum((guest.usage for guest in guests(snap)), Resources())
    held, dedicated = holdings(snap), dedicated_cpus(host)
    pinned = sum(dedicated.issuperset(pin) for holding in held for pin in holding.pins)
    large = sum(holding.large_pages_mib for holding in held)
    apart = sum(gib for holding in held for name, gib in holding.disks if name in host.volume_types_apart)
    return {"VCPU": flat.vcpus - pinned, "MEMORY_MB": flat.memory_mib - large, "DISK_GB": flat.disk_gib - apart}


def _shared(host: Host, snap: HostSnapshot) -> int:
    """How many CPUs VCPU counts: those of the shared set, or all that are not dedicated."""
    cpus = [cpu for cell in snap.hardware.cells for cpu in cell.cpus] or range(snap.capacity.vcpus)
    has_sets = host.cpu_shared_set is not None or host.cpu_dedicated_set is not None
    return len(shared_cpus(host, cpus)) if has_sets else snap.capacity.vcpus


@dataclass(slots=True)
class _Offer:
    """The reserved amounts and the ratios of a host."""

    reserved: Mapping[str, int]
    ratios: Mapping[str, float]

    def __init__(self, fleet: Fleet, host: Host) -> None:
        self.reserved = fleet.defaults.reserved | host.reserved
        self.ratios = fleet.defaults.allocation_ratios | host.allocation_ratios

    def inventory(self, name: str, total: int, pages: int = 0) -> Inventory:
        """The inventory of a class; ``pages`` is memory in large pages, which MEMORY_MB does not give."""
        reserved = self.reserved.get(name, 0) + (pages if name == "MEMORY_MB" else 0)
        ratio = self.ratios.get(name, self.ratios.get(_WHOLE.get(name, ""), 1.0))
        return Inventory(total, reserved=min(reserved, total) if total >= 0 else 0, allocation_ratio=ratio)


def _parts(host: Host, snap: HostSnapshot, offer: _Offer) -> Iterator[Provider]:
    """The providers below the host: its cells, and the devices it offers, each under its cell."""
    for cell in snap.hardware.cells:
        totals = {name: total for name, total in _cell_totals(host, cell).items() if total > 0}
        name = cell_name(snap.host, cell.id)
        inventories = {c: offer.inventory(c, total) for c, total in totals.items()}
        yield Provider(name, name, snap.host, inventories, frozenset({CELL}))
    known = {cell.id for cell in snap.hardware.cells}
    for device, spec in _offered(host, snap):
        name = device_name(snap.host, device.address)
        parent = cell_name(snap.host, device.cell) if device.cell in known and device.cell is not None else snap.host
        yield Provider(name, name, parent, {pci_class(spec, device): Inventory(1)}, frozenset(spec.traits))


def _pools(fleet: Fleet, snap: HostSnapshot, offer: _Offer) -> Iterator[Provider]:
    """The storage of each volume type that is apart somewhere; here it may be with the host's own disks."""
    totals = {pool.volume_type: pool.total_gib for pool in snap.hardware.pools}
    for name in sorted(types_apart(fleet) & fleet.hosts[snap.host].volume_types.keys()):
        inventory = offer.inventory("DISK_GB", totals.get(name, snap.capacity.disk_gib))
        uuid = pool_name(snap.host, name)
        yield Provider(uuid, uuid, snap.host, {"DISK_GB": inventory}, frozenset({type_trait(name)}))


def _pools_used(fleet: Fleet, snap: HostSnapshot, own_gib: int) -> dict[str, dict[str, int]]:
    """What is used of them: by volumes of the type, or by all that is with the host's own disks."""
    host, held = fleet.hosts[snap.host], Counter[str]()
    for holding in holdings(snap):
        held.update(dict(holding.disks))
    names = sorted(types_apart(fleet) & host.volume_types.keys())
    used = {name: held[name] if name in host.volume_types_apart else own_gib for name in names}
    return {pool_name(snap.host, name): {"DISK_GB": gib} for name, gib in used.items() if gib}


def _cell_totals(host: Host, cell: Cell) -> dict[str, int]:
    pages = {page_class(size): count for size, count in cell.pages}
    ordinary = cell.memory_mib - sum(size * count for size, count in cell.pages) // 1024
    dedicated = len(dedicated_cpus(host).intersection(cell.cpus))
    return {THREADS: len(shared_cpus(host, cell.cpus)), "PCPU": dedicated, CELL_MEMORY: ordinary} | pages


def _offered(host: Host, snap: HostSnapshot) -> Iterator[tuple[PciDevice, PciSpec]]:
    """Each device with the first entry of the fleet file that is about it."""
    for device in snap.hardware.devices:
        spec = next((spec for spec in host.pci if spec.offers(device)), None)
        if spec is not None:
            yield device, spec


def _parts_used(host: Host, snap: HostSnapshot, holds: Iterable[Holding]) -> dict[str, dict[str, int]]:
    """Units in use by provider and class: what guests are bound to. What floats is counted at the host alone."""
    holds = list(holds)
    used: dict[str, Counter[str]] = defaultdict(Counter)
    dedicated = dedicated_cpus(host)
    for holding in holds:
        is_pinned = any(dedicated.issuperset(pin) for pin in holding.pins)
        for use in holding.cells:
            cell = min((c.id for c in snap.hardware.cells), default=0) if use.cell is None else use.cell
            used[cell_name(snap.host, cell)].update(_cell_amounts(use, is_pinned))
    for cpu in taken_cpus(holds, dedicated):
        for cell_with in (c for c in snap.hardware.cells if cpu in c.cpus):
            used[cell_name(snap.host, cell_with.id)]["PCPU"] += 1
    held = {address for holding in holds for address in holding.devices}
    for device, spec in _offered(host, snap):
        if device.address in held:
            used[device_name(snap.host, device.address)][pci_class(spec, device)] += 1
    return {name: {c: n for c, n in amounts.items() if n} for name, amounts in used.items()}


def _cell_amounts(use: CellUse, is_pinned: bool) -> dict[str, int]:
    """What a guest takes of a cell, but for the CPUs that are its own."""
    threads = 0 if is_pinned or use.cell is None else use.vcpus
    if use.page_size_kib:
        return {THREADS: threads, page_class(use.page_size_kib): -(-use.memory_mib * 1024 // use.page_size_kib)}
    return {THREADS: threads, CELL_MEMORY: use.memory_mib}
