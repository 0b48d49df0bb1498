"""The hosts of a fleet as placement sees them: inventories, provider trees, and what runs on them."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.aggregate import metadata_of
from stacksmith.model.fleet import Fleet, Host, SharedStorage
from stacksmith.model.found import Found, HostSnapshot, Snapshot, Unmanaged
from stacksmith.model.hardware import NOTHING_HELD, Cell, Holding, cpu_numbers, page_class
from stacksmith.placement.filters import instances
from stacksmith.placement.host import INSTANCES, UNLIMITED, HostState, Inventory
from stacksmith.placement.tree.name import SHARES
from stacksmith.placement.tree.provider import Provider
from stacksmith.planner.asking import capabilities
from stacksmith.planner.layout import (
    CELL_MEMORY,
    THREADS,
    Taken,
    cell_uuid,
    cpu_of,
    dedicated_cpus,
    device_uuid,
    host_of,
    layout_of,
    offered,
    pci_class,
    pool_uuid,
    provider_name,
    shared_uuid,
    taken,
)

# Units that are claimed and do not run yet: by uuid of the provider, class and stack.
Pending = dict[str, dict[str, dict[str, int]]]

FAILED_BUILDS = "failed_builds"  # what the state store says of a host, in the facts of its snapshot: how many
CELL = "HW_NUMA_ROOT"  # the trait of a provider that is a NUMA cell
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
    gone, apart = {(f.host, f.address) for f in leaving}, types_apart(fleet)
    states = []
    for snap in snapshot.hosts:
        stays = replace(snap, found=tuple(f for f in snap.found if (f.host, f.address) not in gone))
        states.append(_state(fleet, stays, dict(members.get(snap.host, {})), anew, apart))
    by_host: dict[str, Pending] = defaultdict(dict)
    for uuid, claimed in (pending or {}).items():
        by_host[host_of(uuid)][uuid] = claimed
    hosts = fleet.hosts
    claimed_on = [_with_claims(s, hosts[s.name], by_host[s.name], apart) if s.name in by_host else s for s in states]
    return with_shared(fleet, snapshot, claimed_on, pending or {})


def with_parts_of(states: Sequence[HostState], others: Sequence[HostState]) -> list[HostState]:
    """The states, in which the parts of hosts are used as in the others, which are of the same hosts in their order."""
    return [
        replace(state, parts_used=other.parts_used, parts_claimed=other.parts_claimed)
        for state, other in zip(states, others, strict=True)
    ]


def with_shared(fleet: Fleet, snapshot: Snapshot, states: list[HostState], pending: Pending) -> list[HostState]:
    """The states with the storages that hosts share: one room for all, of which is used what all use together.

    Each host has the provider with the trait of its own volume type. Reserved and ratio are those of the storage, else
    the fleet's defaults.
    """
    users = sharing(fleet)
    if not users:
        return states
    pools = {(snap.host, p.volume_type): p.total_gib for snap in snapshot.hosts for p in snap.hardware.pools}
    made = {state.name: state for state in states}
    for storage, types in users.items():
        uuid = shared_uuid(storage)
        totals = [total for each in types.items() if (total := pools.get(each, UNLIMITED)) != UNLIMITED]
        inventory = _Offer(fleet, fleet.shared_storages.get(storage)).inventory(
            "DISK_GB", min(totals, default=UNLIMITED)
        )
        runs = sum(state.parts_used.get(uuid, {}).get("DISK_GB", 0) for state in states)
        claimed = pending.get(uuid, {})
        used = _with({"DISK_GB": runs}, claimed)
        for name in types.keys() & made.keys():
            traits = frozenset({SHARES, type_trait(types[name])})
            part = Provider(uuid, uuid, None, {"DISK_GB": inventory}, traits, frozenset({uuid}))
            made[name] = replace(
                made[name],
                parts=(*made[name].parts, part),
                parts_used={**made[name].parts_used, uuid: used},
                parts_claimed={**made[name].parts_claimed, uuid: claimed},
            )
    return list(made.values())


def _with_claims(state: HostState, host: Host, own: Pending, apart: frozenset[str]) -> HostState:
    claimed = own.pop(state.name, {})
    used = _with(state.used, claimed)
    parts = {uuid: _with(state.parts_used.get(uuid, {}), amounts) for uuid, amounts in own.items()}
    parts |= _together(host, state.name, apart, used)
    return replace(state, used=used, claimed=claimed, parts_used={**state.parts_used, **parts}, parts_claimed=own)


def _with(used: Mapping[str, int], claimed: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {name: used.get(name, 0) + sum(claimed.get(name, {}).values()) for name in {**used, **claimed}}


def type_trait(volume_type: str) -> str:
    """The trait of the providers of a volume type's storage."""
    return f"CUSTOM_VOLUME_TYPE_{re.sub('[^A-Z0-9_]', '_', volume_type.upper())}"


def types_apart(fleet: Fleet) -> frozenset[str]:
    """The volume types that are asked of providers of their own: some host has them apart from its own disks."""
    return frozenset(name for host in fleet.hosts.values() for name in host.volume_types_apart)


def sharing(fleet: Fleet) -> dict[str, dict[str, str]]:
    """The storages that are shared, by name: the volume type by which each host has them."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, host in sorted(fleet.hosts.items()):
        for volume_type, each in host.volume_types.items():
            if each.shared is not None:
                found[each.shared][name] = volume_type
    return dict(sorted(found.items()))


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


def _state(
    fleet: Fleet, snap: HostSnapshot, groups: dict[str, int], anew: Collection[Address], apart: frozenset[str]
) -> HostState:
    host = fleet.hosts[snap.host]
    metadata = metadata_of(fleet, host)
    offer = _Offer(fleet, host)
    pages = sum(size * count for cell in snap.hardware.cells for size, count in cell.pages) // 1024
    totals = {
        "VCPU": _shared(host, snap),
        "MEMORY_MB": snap.capacity.memory_mib,
        "DISK_GB": snap.capacity.disk_gib,
    }
    inventories = {name: offer.inventory(name, total, pages) for name, total in totals.items()}
    parts_used = _all_taken(host, snap, anew)
    used = dict.fromkeys(totals, 0) | parts_used.pop(snap.host, {})
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
        parts=(*_parts(host, snap, offer), *_pools(host, snap, offer, apart)),
        parts_used=parts_used | _together(host, snap.host, apart, used),
        own_disks=frozenset(_together(host, snap.host, apart, {"DISK_GB": 1})),
        host_ip=host.known_ip,
        metrics=host.metrics,
        failed_builds=snap.facts.get(FAILED_BUILDS, 0),
    )


def _all_taken(host: Host, snap: HostSnapshot, anew: Collection[Address]) -> Taken:
    """Units in use by provider and class; of servers in ``anew`` only what they take of the host itself."""
    layout = layout_of(host, snap)
    total: dict[str, dict[str, int]] = {}
    for guest in guests(snap):
        amounts = taken(guest, layout)
        if isinstance(guest, Found) and guest.address in anew:
            amounts = {uuid: each for uuid, each in amounts.items() if uuid == snap.host}
        for uuid, each in amounts.items():
            sums = total.setdefault(uuid, {})
            for name, amount in each.items():
                sums[name] = sums.get(name, 0) + amount
    return {uuid: sums for uuid, sums in total.items() if cpu_of(uuid) is None}


def _shared(host: Host, snap: HostSnapshot) -> int:
    """How many CPUs VCPU counts: those of the shared set, or all that are not dedicated."""
    cpus = [cpu for cell in snap.hardware.cells for cpu in cell.cpus] or range(snap.capacity.vcpus)
    has_sets = host.cpu_shared_set is not None or host.cpu_dedicated_set is not None
    return len(shared_cpus(host, cpus)) if has_sets else snap.capacity.vcpus


@dataclass(slots=True)
class _Offer:
    """The reserved amounts and the ratios of a host or a shared storage; those of the fleet for None."""

    reserved: Mapping[str, int]
    ratios: Mapping[str, float]

    def __init__(self, fleet: Fleet, whose: Host | SharedStorage | None) -> None:
        said = (*fleet.defaults.reserved.items(), *(whose.reserved.items() if whose else ()))
        ratios = (*fleet.defaults.allocation_ratios.items(), *(whose.allocation_ratios.items() if whose else ()))
        self.reserved, self.ratios = dict(said), dict(ratios)

    def inventory(self, name: str, total: int, pages: int = 0) -> Inventory:
        """The inventory of a class; ``pages`` is memory in large pages, which MEMORY_MB does not give."""
        reserved = self.reserved.get(name, 0) + (pages if name == "MEMORY_MB" else 0)
        ratio = self.ratios.get(name, self.ratios.get(_WHOLE.get(name, ""), 1.0))
        return Inventory(total, reserved=min(reserved, total) if total >= 0 else 0, allocation_ratio=ratio)


def _parts(host: Host, snap: HostSnapshot, offer: _Offer) -> Iterator[Provider]:
    """The providers below the host: its cells, and the devices it offers, each under its cell."""
    for cell in snap.hardware.cells:
        totals = {name: total for name, total in _cell_totals(host, cell).items() if total > 0}
        inventories = {c: offer.inventory(c, total) for c, total in totals.items()}
        yield _part(cell_uuid(snap.host, cell.id), snap.host, inventories, frozenset({CELL}))
    known = {cell.id for cell in snap.hardware.cells}
    for device, spec in offered(host, snap):
        parent = cell_uuid(snap.host, device.cell) if device.cell in known and device.cell is not None else snap.host
        inventories = {pci_class(spec, device): Inventory(1)}
        yield _part(device_uuid(snap.host, device.address), parent, inventories, frozenset(spec.traits))


def _part(uuid: str, parent: str, inventories: Mapping[str, Inventory], traits: frozenset[str]) -> Provider:
    return Provider(uuid, provider_name(uuid), parent, inventories, traits)


def _pools(host: Host, snap: HostSnapshot, offer: _Offer, apart: frozenset[str]) -> Iterator[Provider]:
    """The storage of each volume type that is apart somewhere; here it may be with the host's own disks."""
    totals = {pool.volume_type: pool.total_gib for pool in snap.hardware.pools}
    here = host.volume_types
    for name in sorted(name for name in apart & here.keys() if here[name].shared is None):
        inventory = offer.inventory("DISK_GB", totals.get(name, snap.capacity.disk_gib))
        yield _part(pool_uuid(snap.host, name), snap.host, {"DISK_GB": inventory}, frozenset({type_trait(name)}))


def _together(host: Host, name: str, apart: frozenset[str], used: Mapping[str, int]) -> Taken:
    """What is used of volume types that are apart somewhere and here with the host's own disks."""
    own = apart & host.volume_types.keys() - set(host.volume_types_apart)
    return {pool_uuid(name, each): {"DISK_GB": used["DISK_GB"]} for each in sorted(own) if used.get("DISK_GB")}


def _cell_totals(host: Host, cell: Cell) -> dict[str, int]:
    pages = {page_class(size): count for size, count in cell.pages}
    ordinary = cell.memory_mib - sum(size * count for size, count in cell.pages) // 1024
    dedicated = len(dedicated_cpus(host).intersection(cell.cpus))
    return {THREADS: len(shared_cpus(host, cell.cpus)), "PCPU": dedicated, CELL_MEMORY: ordinary} | pages
