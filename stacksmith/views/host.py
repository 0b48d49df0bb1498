"""The hosts of a fleet with what they have and what is used: a table, JSON, and Prometheus gauges' numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from stacksmith.model.fleet import Fleet
from stacksmith.model.found import HostSnapshot, Resources, Snapshot
from stacksmith.model.types import JSON
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table
from stacksmith.views.words import clean, rounded

_CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host: ``used`` is all that runs on it, whoever owns it; ``ratios`` are allocation ratios by class.

    An amount of ``capacity`` below zero is not known: the disk of a pool that is not made yet.
    """

    name: str
    state: str
    availability_zone: str
    capacity: Resources
    used: Resources
    ratios: tuple[float, float, float]
    servers: int
    error: str | None
    state_reason: str = ""


def host_rows(fleet: Fleet, snapshot: Snapshot) -> list[HostRow]:
    """A row per host of the snapshot, in its order."""
    return [_row(fleet, each) for each in snapshot.hosts]


def _row(fleet: Fleet, each: HostSnapshot) -> HostRow:
    host = fleet.hosts.get(each.host)
    given = fleet.defaults.allocation_ratios | (host.allocation_ratios if host else {})
    usages = [*(item.usage for item in each.found), *(item.usage for item in each.unmanaged)]
    return HostRow(
        each.host,
        host.state if host else "unknown",
        (host.availability_zone if host else None) or "",
        each.capacity,
        sum(usages, Resources()),
        (given.get("VCPU", 1.0), given.get("MEMORY_MB", 1.0), given.get("DISK_GB", 1.0)),
        sum(item.address.kind == "server" for item in each.found)
        + sum(item.kind == "server" for item in each.unmanaged),
        each.error,
        (host.state_reason if host else None) or "",
    )


def hosts_text(rows: Sequence[HostRow], paint: Paint = PLAIN) -> str:
    """The table of ``stacksmith hosts``: used of total, and the ratio that may be placed."""
    header = ("HOST", "STATE", "ZONE", "SERVERS", "VCPU", "MEMORY", "DISK", "RATIO", "ERROR")
    return "\n".join(table(header, [_cells(row) for row in rows], paint)) + "\n"


def _cells(row: HostRow) -> Sequence[str]:
    state = f"{row.state} ({clean(row.state_reason)})" if row.state_reason else row.state
    if row.error is not None:
        return (row.name, state, row.availability_zone, "", "", "", "", "", row.error)
    used, total = row.used, row.capacity
    return (
        row.name,
        state,
        row.availability_zone,
        str(row.servers),
        f"{used.vcpus}/{total.vcpus}",
        f"{rounded(used.memory_mib * 2**20)}/{rounded(total.memory_mib * 2**20)}",
        f"{rounded(used.disk_gib * 2**30)}/{'?' if total.disk_gib < 0 else rounded(total.disk_gib * 2**30)}",
        "/".join(f"{ratio:g}" for ratio in row.ratios),
        "",
    )


def hosts_data(rows: Sequence[HostRow]) -> JSON:
    """``{hosts: [{host, state, …, inventories: {VCPU: {total, used, allocation_ratio}}}]}``."""
    return {"hosts": [_data(row) for row in rows]}


def _data(row: HostRow) -> JSON:
    totals = (row.capacity.vcpus, row.capacity.memory_mib, row.capacity.disk_gib)
    used = (row.used.vcpus, row.used.memory_mib, row.used.disk_gib)
    return {
        "host": row.name,
        "state": row.state,
        "state_reason": row.state_reason or None,
        "availability_zone": row.availability_zone or None,
        "servers": row.servers,
        "error": row.error,
        "inventories": {
            name: {"total": None if total < 0 else total, "used": amount, "allocation_ratio": ratio}
            for name, total, amount, ratio in zip(_CLASSES, totals, used, row.ratios, strict=True)
        },
    }
