"""The store in SQL: every statement is here, once for SQLite and PostgreSQL; writes of threads share transactions."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.model.machine_identity import UNKNOWN
from stacksmith.model.realised import Policy, to_data
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.state.commit import Commits
from stacksmith.state.database import Connection, Database
from stacksmith.state.process import is_dead
from stacksmith.state.store import Holder, JournalEntry, LeaseLost, Locked, NodeNote

if TYPE_CHECKING:
    from stacksmith.placement import Claim, Consumer
    from stacksmith.placement.tree.provider import Allocations
    from stacksmith.state.claim import Check

JOURNAL_DAYS = 90
_HOLDER = ", ".join(f'"{each.name}"' for each in fields(Holder))  # user is a word of SQL
_NODE = ", ".join(each.name for each in fields(NodeNote))
_ENTRY = "run, stack, step, operation, address, host, uuid, began, ended, outcome, cause"


T = TypeVar("T")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SqlStore:
    """A ``Store`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._commits = Commits(database.transact)

    def close(self) -> None:
        """Closes the connection."""
        with self._commits.turn:
            self._database.close()

    # Records.

    def stacks(self) -> tuple[str, ...]:
        """Names of the stacks that have records."""
        query = "SELECT DISTINCT stack FROM record ORDER BY stack"
        return self._read(lambda db: tuple(row[0] for row in db.execute(query)))

    def records(self, stack: str) -> tuple[Record, ...]:
        """All records of a stack."""
        query = "SELECT address, host, uuid, complete, body FROM record WHERE stack = ?"
        rows = self._read(lambda db: db.execute(query, (stack,)).fetchall())
        bodies = json.loads(f"[{','.join(row[-1] for row in rows)}]")  # at once: equal keys are one object
        found = [_record(row[:-1], data) for row, data in zip(rows, bodies, strict=True)]
        return tuple(sorted(found, key=lambda record: record.address.order))

    def put(self, stack: str, record: Record) -> None:
        """Writes one record, and that what was begun on its object is over."""

        def work(db: Connection) -> None:
            _supersede(db, self._database.now(db), stack, record.address)
            _put(db, stack, record)

        self._write(work)

    def remove(self, stack: str, address: Address) -> None:
        """Drops one record and the claim of its name."""
        self._write(lambda db: _remove(db, stack, address))

    # Journal.

    def begin(self, entry: JournalEntry, record: Record | None = None, wanted: JSON = None) -> None:
        """Writes a begin, and its unfinished record or what it is to bring."""

        def work(db: Connection) -> None:
            _begin(db, self._database.now(db), entry, record)
            if wanted is not None:
                _note_begun(db, entry, wanted)

        self._write(work)

    def amend(self, entry: JournalEntry, record: Record) -> None:
        """Writes the record of an object whose step goes on."""

        def work(db: Connection) -> None:
            query = "SELECT 1 FROM journal WHERE run = ? AND step = ? AND ended IS NULL"
            if db.execute(query, (entry.run, entry.step)).fetchone() is None:
                raise LeaseLost(f"{entry.step}: another run took it over")
            _put(db, entry.stack, record)

        self._write(work)

    def end(
        self,
        entry: JournalEntry,
        outcome: str,
        record: Record | None = None,
        remove: Address | None = None,
        cause: str = "",
        holds: "Allocations | None" = None,
    ) -> None:
        """Writes an end, what is now recorded and what is held."""

        def work(db: Connection) -> None:
            ended = db.execute(
                "UPDATE journal SET ended = ?, outcome = ?, cause = ? WHERE run = ? AND step = ? AND ended IS NULL",
                (self._database.now(db), outcome, cause, entry.run, entry.step),
            )
            if ended.rowcount != 1:
                raise LeaseLost(f"{entry.step}: another run took it over")
            if remove is not None:
                _remove(db, entry.stack, remove)
            if record is not None:
                _put(db, entry.stack, record)
            if holds is not None:
                hold(db, entry.stack, entry.uuid, str(entry.address), holds)

        if holds is not None:
            from stacksmith.state.claim import hold
        self._write(work)

    def journal(self, stack: str, run: str | None = None, after: int = 0) -> tuple[JournalEntry, ...]:
        """Entries of one run or of all."""
        return self._entries("stack = ? AND run = coalesce(?, run) AND id > ?", (stack, run, after))

    def newest(self, stack: str) -> int:
        """The number of the newest entry."""
        query = "SELECT coalesce(max(id), 0) FROM journal WHERE stack = ?"
        return int(self._read(lambda db: db.execute(query, (stack,)).fetchone())[0])

    def open_steps(self, stack: str) -> tuple[JournalEntry, ...]:
        """Entries that never ended."""
        return self._entries("stack = ? AND ended IS NULL", (stack,))

    def _entries(self, where: str, values: tuple[str | int | None, ...]) -> tuple[JournalEntry, ...]:
        query = f"SELECT {_ENTRY} FROM journal WHERE {where} ORDER BY id"
        rows = self._read(lambda db: db.execute(query, values).fetchall())
        return tuple(_entry(*row) for row in rows)

    # Claims. What they need is imported when there are some.

    def claims(self, stack: str | None = None) -> tuple["Consumer", ...]:
        """Who holds what."""
        from stacksmith.state.claim import consumers_of

        return self._read(lambda db: consumers_of(db, stack))

    def claim(self, stack: str, claims: Sequence["Claim"], check: "Check") -> tuple["Consumer", ...]:
        """Grants all claims or none."""
        from stacksmith.state.claim import grant

        return self._write(lambda db: grant(db, stack, claims, check))

    # Nodes.

    def nodes(self) -> tuple[NodeNote, ...]:
        """What is noted of nodes."""
        return self._read(
            lambda db: tuple(NodeNote(*row) for row in db.execute(f"SELECT {_NODE} FROM node ORDER BY name"))
        )

    def failed_builds(self) -> dict[str, int]:
        """By host, those that have any."""
        made = "operation = 'create' AND substr(address, 1, 7) = 'server.'"
        last = f"SELECT host, max(id) AS id FROM journal WHERE {made} AND outcome = 'done' GROUP BY host"
        query = (
            f"SELECT failed.host, count(*) FROM journal AS failed LEFT JOIN ({last}) AS last ON last.host = failed.host"
            f" WHERE {made} AND outcome = 'failed' AND failed.id > coalesce(last.id, 0) GROUP BY failed.host"
        )
        return self._read(lambda db: {str(host): int(count) for host, count in db.execute(query)})

    def note_node(self, note: NodeNote, unless: Collection[str] = ()) -> None:
        """Writes a note."""
        self._write(lambda db: _note(db, self._database.now(db), note, tuple(unless)))

    def clear_node(self, name: str) -> None:
        """Drops a note."""
        self._write(lambda db: db.execute("DELETE FROM node WHERE name = ?", (name,)))

    # Lease.

    def holder(self, stack: str) -> Holder | None:
        """Who holds the lease."""
        return self._read(lambda db: _holder(db, stack))

    def acquire(self, stack: str, holder: Holder, seconds: float) -> None:
        """Takes the lease; drops journal entries older than 90 days, once per run being often enough."""
        self._write(lambda db: _acquire(db, self._database.now(db), stack, holder, seconds))

    def renew(self, stack: str, run: str, seconds: float) -> bool:
        """Holds the lease longer."""
        update = "UPDATE lease SET expires = ? WHERE stack = ? AND run = ?"
        return self._write(lambda db: db.execute(update, (self._database.now(db) + seconds, stack, run)).rowcount) == 1

    def release(self, stack: str, run: str) -> None:
        """Gives the lease back."""
        self._write(lambda db: db.execute("DELETE FROM lease WHERE stack = ? AND run = ?", (stack, run)))

    # Transactions.

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._commits.turn:
            try:
                return self._database.read(work)
            except self._database.errors as broken:
                raise Faults([self._database.fault("read", broken)]) from broken

    def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._commits.write(work)
        except self._database.errors as broken:
            raise Faults([self._database.fault("write", broken)]) from broken


def _note(db: Connection, now: float, note: NodeNote, unless: tuple[str, ...]) -> None:
    """The statements themselves say ``unless``: another program may write between them."""
    had = db.execute("SELECT state, since FROM node WHERE name = ?", (note.name,)).fetchone()
    since = had[1] if had and had[0] == note.state else now
    others = "".join(" AND state <> ?" for _ in unless)
    db.execute(f"DELETE FROM node WHERE name = ?{others}", (note.name, *unless))
    stays = " ON CONFLICT (name) DO NOTHING" if unless else ""
    values = astuple(replace(note, since=since))
    db.execute(f"INSERT INTO node ({_NODE}) VALUES (?, ?, ?, ?, ?, ?, ?){stays}", values)


def _begin(db: Connection, now: float, entry: JournalEntry, record: Record | None) -> None:
    row = db.execute("SELECT run FROM lease WHERE stack = ?", (entry.stack,)).fetchone()
    if row is None or row[0] != entry.run:
        raise LeaseLost(f"run {entry.run} does not hold the lease of stack {entry.stack}")
    address = str(entry.address)
    _supersede(db, now, entry.stack, entry.address)
    db.execute(
        "INSERT INTO journal (run, stack, step, operation, address, host, uuid, began) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (entry.run, entry.stack, entry.step, entry.operation, address, entry.host, entry.uuid, now),
    )
    if record is not None:
        _put(db, entry.stack, record)


def _note_begun(db: Connection, entry: JournalEntry, wanted: JSON) -> None:
    where = (entry.stack, str(entry.address))
    row = db.execute("SELECT body FROM record WHERE stack = ? AND address = ?", where).fetchone()
    if row is not None:
        body = _encode({**json.loads(row[0]), "begun": wanted})
        db.execute("UPDATE record SET body = ? WHERE stack = ? AND address = ?", (body, *where))


def _supersede(db: Connection, now: float, stack: str, address: Address) -> None:
    """Ends what a run that is gone had begun on an object."""
    db.execute(
        "UPDATE journal SET ended = ?, outcome = 'superseded' WHERE stack = ? AND address = ? AND ended IS NULL",
        (now, stack, str(address)),
    )


def _acquire(db: Connection, now: float, stack: str, holder: Holder, seconds: float) -> None:
    current = _holder(db, stack)
    if current and current.run != holder.run and current.expires > now and not is_dead(current):
        raise Locked(stack, current)
    values = astuple(replace(holder, since=now, expires=now + seconds))
    db.execute("DELETE FROM lease WHERE stack = ?", (stack,))
    db.execute(f"INSERT INTO lease ({_HOLDER}, stack) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, stack))
    db.execute("DELETE FROM journal WHERE stack = ? AND ended < ?", (stack, now - JOURNAL_DAYS * 86400))


def _holder(db: Connection, stack: str) -> Holder | None:
    row = db.execute(f"SELECT {_HOLDER} FROM lease WHERE stack = ?", (stack,)).fetchone()
    return Holder(*row) if row else None


def _entry(run: str, stack: str, step: str, operation: str, address: str, *rest: Any) -> JournalEntry:
    return JournalEntry(run, stack, step, operation, Address.parse(address), *rest)


def _put(db: Connection, stack: str, record: Record) -> None:
    body = {
        "applied": record.applied,
        "policy": to_data(record.policy),
        "requires": [str(address) for address in record.requires],
        **({"adopted": True} if record.adopted else {}),
        **({"machine": list(record.machine)} if record.machine != UNKNOWN else {}),
        **({"begun": record.begun} if record.begun is not None else {}),
    }
    db.execute(
        "INSERT INTO record (stack, address, host, uuid, complete, body) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (stack, address) DO UPDATE"
        " SET host = excluded.host, uuid = excluded.uuid, complete = excluded.complete, body = excluded.body",
        (stack, str(record.address), record.host, record.uuid, int(record.complete), _encode(body)),
    )


def _remove(db: Connection, stack: str, address: Address) -> None:
    from stacksmith.state.claim import drop

    db.execute("DELETE FROM record WHERE stack = ? AND address = ?", (stack, str(address)))
    drop(db, stack, str(address))


def _record(row: Sequence[Any], data: JSON) -> Record:
    address, host, uuid, complete = row
    return Record(
        Address.parse(address),
        host,
        uuid,
        data["applied"],
        Policy(**data["policy"]),
        bool(complete),
        tuple(Address.parse(text) for text in data["requires"]),
        data.get("adopted", False),
        tuple(data.get("machine", UNKNOWN)),
        data.get("begun"),
    )
