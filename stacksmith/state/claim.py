"""Claims in the store: who holds what of which provider, read and replaced inside one transaction."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sys import intern

from stacksmith.placement import Claim, Consumer, Reason, Refused
from stacksmith.placement.tree.provider import Allocations
from stacksmith.state.database import Connection

# Why claims cannot be granted, from the claims, what their consumers hold, and what all hold of the providers they
# name: units by provider and class. ``partial(claim_faults, providers)`` is one.
Check = Callable[[Sequence[Claim], Mapping[str, Consumer], Mapping[str, Mapping[str, int]]], Iterable[Reason]]

# Names in one query: SQLite takes 32,766 values (SQLITE_MAX_VARIABLE_NUMBER), PostgreSQL 65,535.
_AT_ONCE = 10_000

# Every consumer holds something, so none is missing from the join.
_HELD = (
    "SELECT uuid, generation, name, stack, provider, resource_class, amount"
    " FROM consumer JOIN allocation ON consumer = uuid"
)
_ORDER = "ORDER BY uuid, provider, resource_class"


def consumers_of(db: Connection, stack: str | None) -> tuple[Consumer, ...]:
    """The consumers of a stack or of all, in order of uuid."""
    return _consumers(db.execute(f"{_HELD} WHERE stack = coalesce(?, stack) {_ORDER}", (stack,)))


def grant(db: Connection, stack: str, claims: Sequence[Claim], check: Check) -> tuple[Consumer, ...]:
    """Replaces what the claims' consumers hold. Raises: Refused when the check has a reason, having written nothing."""
    held = {consumer.uuid: consumer for consumer in _held(db, [claim.consumer for claim in claims])}
    used = _used(db, {uuid for claim in claims for uuid in claim.allocations})
    reasons = tuple(check(claims, held, used))
    if reasons:
        raise Refused(reasons)
    granted = tuple(_after(stack, claim) for claim in claims)
    _replace(db, granted)
    return tuple(consumer for consumer in granted if consumer.allocations)


def hold(db: Connection, stack: str, uuid: str, name: str, allocations: Allocations) -> None:
    """Writes what a consumer holds, unasked: it is there."""
    known = next(_held(db, [uuid]), None)
    if known is None or known.allocations != allocations:
        _replace(db, [_after(stack, Claim(uuid, allocations, known.generation if known else None, name))])


def drop(db: Connection, stack: str, name: str) -> None:
    """Gives up what the consumers of a name hold."""
    where = "WHERE stack = ? AND name = ?"
    db.execute(f"DELETE FROM allocation WHERE consumer IN (SELECT uuid FROM consumer {where})", (stack, name))
    db.execute(f"DELETE FROM consumer {where}", (stack, name))


def _replace(db: Connection, consumers: Sequence[Consumer]) -> None:
    gone = [(consumer.uuid,) for consumer in consumers]
    db.executemany("DELETE FROM allocation WHERE consumer = ?", gone)
    db.executemany("DELETE FROM consumer WHERE uuid = ?", gone)
    kept = [consumer for consumer in consumers if consumer.allocations]
    db.executemany(
        "INSERT INTO consumer (uuid, stack, generation, name) VALUES (?, ?, ?, ?)",
        [(c.uuid, c.owner, c.generation, c.name) for c in kept],
    )
    db.executemany(
        "INSERT INTO allocation VALUES (?, ?, ?, ?)",
        [
            (c.uuid, p, name, amount)
            for c in kept
            for p, amounts in c.allocations.items()
            for name, amount in amounts.items()
        ],
    )


def _after(stack: str, claim: Claim) -> Consumer:
    """The consumer as a granted claim leaves it; one that holds nothing is not kept."""
    allocations = {uuid: dict(amounts) for uuid, amounts in claim.allocations.items() if amounts}
    return Consumer(claim.consumer, allocations, (claim.generation or 0) + 1, claim.name, stack)


def _held(db: Connection, uuids: Sequence[str]) -> Iterator[Consumer]:
    for some in _parts(uuids):
        marks = ",".join("?" * len(some))
        yield from _consumers(db.execute(f"{_HELD} WHERE uuid IN ({marks}) {_ORDER}", some))


def _used(db: Connection, providers: Iterable[str]) -> dict[str, dict[str, int]]:
    """Units that all consumers of all stacks hold of some providers."""
    used: dict[str, dict[str, int]] = {}
    for some in _parts(sorted(providers)):
        marks = ",".join("?" * len(some))
        rows = db.execute(
            "SELECT provider, resource_class, CAST(sum(amount) AS BIGINT) FROM allocation"
            f" WHERE provider IN ({marks}) GROUP BY provider, resource_class",
            some,
        )
        for provider, name, amount in rows:
            used.setdefault(provider, {})[name] = amount
    return used


def _consumers(rows: Iterable[tuple[str, int, str, str, str, str, int]]) -> tuple[Consumer, ...]:
    """The consumers of rows that are in order of their uuid."""
    found: list[Consumer] = []
    held: dict[str, dict[str, int]] = {}
    for uuid, generation, name, stack, provider, resource_class, amount in rows:
        if not found or found[-1].uuid != uuid:
            held = {}
            found.append(Consumer(uuid, held, generation, name, stack))
        # The database makes each text anew; there are few of these.
        held.setdefault(intern(provider), {})[intern(resource_class)] = amount
    return tuple(found)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE))
