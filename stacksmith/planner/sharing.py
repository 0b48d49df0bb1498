"""Volumes in storages that several hosts see: each is taken once, for the host that has it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.fleet import Fleet
from stacksmith.model.found import ABANDONED, Found, Snapshot, Unmanaged
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.planner.inventory import guests, sharing
from stacksmith.planner.layout import Taken
from stacksmith.planner.ledger import Ledger


def seen_once(fleet: Fleet, snapshot: Snapshot, records: Iterable[Record]) -> Snapshot:
    """The snapshot with every volume of a shared storage at one host: where a server has it, best one that no migration
    paused, else where it is recorded, else at the first by name. One that is recorded at a host that could not be read
    is at no other."""
    recorded = {record.address: record.host for record in records}
    unread = {snap.host for snap in snapshot.unreachable}
    paused = {(f.host, f.uuid) for snap in snapshot.hosts for f in snap.found if ABANDONED in f.facts}
    gone: set[int] = set()
    for types in sharing(fleet).values():
        for sights in _sights(types, snapshot):
            home = _home(sights, recorded, unread, paused)
            gone |= {id(each) for each in sights if each is not home}
    if not gone:
        return snapshot
    hosts = tuple(
        replace(
            snap,
            found=tuple(each for each in snap.found if id(each) not in gone),
            unmanaged=tuple(each for each in snap.unmanaged if id(each) not in gone),
        )
        for snap in snapshot.hosts
    )
    return replace(snapshot, hosts=hosts)


def held_by(
    ledger: Ledger,
    leaving: Iterable[Found],
    users: Mapping[Address, Address],
    frees: Mapping[Address, Collection[str]],
) -> dict[Address, Taken]:
    """What volumes of servers that may move have of shared storages, by volume: it stays in use wherever these go.

    ``frees`` are the storages, for each server that may move, in which it keeps no room.
    """
    if not ledger.shared:
        return {}
    held: dict[Address, Taken] = {}
    for found in leaving:
        server = users.get(found.address)
        if server is not None and server in frees:
            kept = {p: n for p, n in ledger.taken(found).items() if p in ledger.shared and p not in frees[server]}
            held |= {found.address: kept} if kept else {}
    return held


def _sights(types: Mapping[str, str], snapshot: Snapshot) -> Iterable[Sequence[Found | Unmanaged]]:
    """The sights of each file of one storage; ``types`` are the volume types by which hosts have it."""
    found: dict[str, list[Found | Unmanaged]] = defaultdict(list)
    for snap in snapshot.hosts:
        for each in guests(snap) if snap.host in types else ():
            kind = each.address.kind if isinstance(each, Found) else each.kind
            if kind == "volume" and types[snap.host] in dict(each.holds.disks):
                found[each.name].append(each)
    return found.values()


def _home(
    sights: Sequence[Found | Unmanaged],
    recorded: Mapping[Address, str],
    unread: set[str],
    paused: Collection[tuple[str, JSON]],
) -> Found | Unmanaged | None:
    """The sight that counts; None when it is at a host that could not be read. ``paused`` are servers by host and
    UUID."""
    wanted = next((recorded.get(each.address) for each in sights if isinstance(each, Found)), None)
    if wanted in unread:
        return None

    def order(each: Found | Unmanaged) -> tuple[bool, bool, bool, str]:
        user = each.facts.get("attached_to") if isinstance(each, Found) else None
        return (not user, (each.host, user) in paused, each.host != wanted, each.host)

    return min(sights, key=order)
