"""The hosts of a fleet with what they have, what is used and what is free: a table, JSON, and numbers for gauges."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from stacksmith.frozen import dataclass
from stacksmith.model.fleet import Fleet
from stacksmith.model.found import HostSnapshot, Resources, Snapshot
from stacksmith.model.types import JSON
from stacksmith.placement.host import UNLIMITED, HostState
from stacksmith.placement.wording import number
from stacksmith.planner.inventory import guests
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table
from stacksmith.views.words import clean, rounded

_CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host: ``used`` is all that runs on it, whoever owns it; ``ratios`` are allocation ratios by class.

    An amount of ``capacity`` below zero is not known: the disk of a pool that is not made yet. ``reserved`` are units
    in the order of ``ratios``; ``others`` are servers that are not the stack's.
    """

    name: str
    state: str
    availability_zone: str
    capacity: Resources
    used: Resources
    ratios: tuple[float, float, float]
    reserved: tuple[int, int, int]
    servers: int
    others: int
    error: str | None
    state_reason: str = ""


@dataclass(frozen=True, slots=True)
class Free:
    """What can still be placed, of the hosts that take new servers: units by class, None where that is not known.

    ``stranded`` is the part of it on hosts that take no server of any flavor; its share of the free memory is the
    fleet's fragmentation.
    """

    amounts: Mapping[str, Mapping[str, float | None]]
    no_flavor: frozenset[str]

    @property
    def total(self) -> Mapping[str, float]:
        """By class."""
        return self._sum(self.amounts)

    @property
    def stranded(self) -> Mapping[str, float]:
        """By class."""
        return self._sum(self.no_flavor & self.amounts.keys())

    @property
    def fragmentation(self) -> float:
        """From 0 to 1."""
        whole = self.total["MEMORY_MB"]
        return self.stranded["MEMORY_MB"] / whole if whole else 0.0

    def _sum(self, hosts: Collection[str]) -> Mapping[str, float]:
        return {name: sum(self.amounts[host][name] or 0.0 for host in sorted(hosts)) for name in _CLASSES}


def free_of(states: Sequence[HostState], no_flavor: Collection[str]) -> Free:
    """What is free as placement sees it, claims counted; ``no_flavor`` are hosts that take no server of any flavor."""
    takers = [state for state in states if state.reachable and state.state == "enabled"]
    return Free({state.name: {name: _free(state, name) for name in _CLASSES} for state in takers}, frozenset(no_flavor))


def _free(state: HostState, name: str) -> float | None:
    inventory = state.inventories.get(name)
    if inventory is None:
        return 0.0
    return None if inventory.total == UNLIMITED else max(0.0, inventory.capacity - state.used.get(name, 0))


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage that hosts share: GiB, None where its size is not known yet."""

    name: str
    hosts: tuple[str, ...]
    used: int
    total: int | None
    free: float | None


def storages_of(states: Sequence[HostState]) -> list[Storage]:
    """The storages that hosts share, by name, as placement sees them: claims counted, each once."""
    users: dict[str, list[HostState]] = {}
    for state in states:
        for part in state.parts:
            if part.parent is None:
                users.setdefault(part.uuid, []).append(state)
    found = []
    for uuid, hosts in sorted(users.items()):
        inventory = next(part.inventories["DISK_GB"] for part in hosts[0].parts if part.uuid == uuid)
        used, is_known = hosts[0].parts_used[uuid].get("DISK_GB", 0), inventory.total != UNLIMITED
        total, free = (inventory.total, max(0.0, inventory.capacity - used)) if is_known else (None, None)
        found.append(Storage(uuid, tuple(host.name for host in hosts), used, total, free))
    return found


def host_rows(fleet: Fleet, snapshot: Snapshot) -> list[HostRow]:
    """A row per host of the snapshot, in its order."""
    return [_row(fleet, each) for each in snapshot.hosts]


def _row(fleet: Fleet, each: HostSnapshot) -> HostRow:
    host = fleet.hosts.get(each.host)
    given = fleet.defaults.allocation_ratios | (host.allocation_ratios if host else {})
    kept = fleet.defaults.reserved | (host.reserved if host else {})
    items = guests(each)
    apart = set(host.volume_types_apart if host else ())
    elsewhere = sum(gib for item in items for name, gib in item.holds.disks if name in apart)
    used = sum((item.usage for item in items), Resources())
    return HostRow(
        each.host,
        host.state if host else "unknown",
        (host.availability_zone if host else None) or "",
        each.capacity,
        replace(used, disk_gib=used.disk_gib - elsewhere),
        (given.get("VCPU", 1.0), given.get("MEMORY_MB", 1.0), given.get("DISK_GB", 1.0)),
        (kept.get("VCPU", 0), kept.get("MEMORY_MB", 0), kept.get("DISK_GB", 0)),
        sum(item.address.kind == "server" for item in each.found),
        sum(item.kind == "server" for item in each.unmanaged),
        each.error,
        (host.state_reason if host else None) or "",
    )


def hosts_text(rows: Sequence[HostRow], free: Free, paint: Paint = PLAIN, storages: Sequence[Storage] = ()) -> str:
    """The table of ``stacksmith hosts``, used of total with the ratio that may be placed, and what is free in all."""
    header = ("HOST", "STATE", "ZONE", "SERVERS", "OTHERS", "VCPU", "MEMORY", "DISK", "RATIO", "ERROR")
    lines = [*table(header, [_cells(row) for row in rows], paint), "", f"Free: {_amounts(free.total)}."]
    if free.no_flavor & free.amounts.keys():
        share = f"{free.fragmentation:.0%} of the free memory"
        lines.append(f"Of it on hosts that take no server of any flavor: {_amounts(free.stranded)} ({share}).")
    for each in storages:
        total = "?" if each.total is None else rounded(each.total * 2**30)
        lines.append(f"{each.name} of {', '.join(each.hosts)}: {rounded(each.used * 2**30)}/{total} of disk used.")
    return "\n".join(lines) + "\n"


def _amounts(units: Mapping[str, float]) -> str:
    memory, disk = rounded(int(units["MEMORY_MB"] * 2**20)), rounded(int(units["DISK_GB"] * 2**30))
    return f"{number(units['VCPU'])} VCPU, {memory} of memory, {disk} of disk"


def _cells(row: HostRow) -> Sequence[str]:
    state = f"{row.state} ({clean(row.state_reason)})" if row.state_reason else row.state
    if row.error is not None:
        return (row.name, state, row.availability_zone, "", "", "", "", "", "", row.error)
    used, total = row.used, row.capacity
    return (
        row.name,
        state,
        row.availability_zone,
        str(row.servers),
        str(row.others),
        f"{used.vcpus}/{total.vcpus}",
        f"{rounded(used.memory_mib * 2**20)}/{rounded(total.memory_mib * 2**20)}",
        f"{rounded(used.disk_gib * 2**30)}/{'?' if total.disk_gib < 0 else rounded(total.disk_gib * 2**30)}",
        "/".join(f"{ratio:g}" for ratio in row.ratios),
        "",
    )


def hosts_data(rows: Sequence[HostRow], free: Free, storages: Sequence[Storage] = ()) -> JSON:
    """``{hosts: [{host, state, …, inventories: {VCPU: {total, reserved, allocation_ratio, used, free}}}], free: {…}}``.

    free is null for hosts that take no new server; stranded is what is free on hosts that take none of any flavor.
    shared are storages that hosts share, in GiB.
    """
    return {
        "hosts": [_data(row, free) for row in rows],
        "free": dict(free.total),
        "stranded": dict(free.stranded),
        "fragmentation": round(free.fragmentation, 4),
        "shared": [
            {"name": each.name, "hosts": list(each.hosts), "used": each.used, "total": each.total, "free": each.free}
            for each in storages
        ],
    }


def _data(row: HostRow, free: Free) -> JSON:
    left = free.amounts.get(row.name, {})
    totals = (row.capacity.vcpus, row.capacity.memory_mib, row.capacity.disk_gib)
    used = (row.used.vcpus, row.used.memory_mib, row.used.disk_gib)
    return {
        "host": row.name,
        "state": row.state,
        "state_reason": row.state_reason or None,
        "availability_zone": row.availability_zone or None,
        "servers": row.servers,
        "other_servers": row.others,
        "error": row.error,
        "inventories": {
            name: {
                "total": None if total < 0 else total,
                "reserved": reserved,
                "allocation_ratio": ratio,
                "used": amount,
                "free": left.get(name),
            }
            for name, total, reserved, ratio, amount in zip(
                _CLASSES, totals, row.reserved, row.ratios, used, strict=True
            )
        },
        "takes_a_flavor": row.name in free.amounts and row.name not in free.no_flavor,
    }
