"""What a state store does: records, a journal, claims and a lease per stack. Which one, its URL says."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.frozen import dataclass
from stacksmith.model.record import Record
from stacksmith.model.state import is_postgres, password_in
from stacksmith.model.types import JSON

if TYPE_CHECKING:
    from stacksmith.placement import Claim, Consumer
    from stacksmith.placement.tree.provider import Allocations
    from stacksmith.state.claim import Check


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease of a stack. Times are seconds since 1970.

    ``machine`` names the running kernel and its process numbers (empty when unknown), ``started`` tells a process
    from a later one with the same number.
    """

    run: str
    command: str
    user: str
    host: str
    pid: int
    machine: str = ""
    started: str = ""
    since: float = 0.0
    expires: float = 0.0

    def __str__(self) -> str:
        since = f", since {datetime.fromtimestamp(self.since, UTC):%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"{self.user}@{self.host} (pid {self.pid}, {self.command}, run {self.run}{since})"


class Locked(Exception):
    """Another run holds the lease of the stack."""

    def __init__(self, stack: str, holder: Holder) -> None:
        super().__init__(f"cannot lock stack {stack}: it is held by {holder}")
        self.stack, self.holder = stack, holder


class LeaseLost(Exception):
    """This run no longer holds the lease it began with: another may be at work, so it must stop."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One operation: begun, and ended once ``outcome`` is set. Times are seconds since 1970.

    outcome: ``done``, ``failed``, or ``superseded`` (never ended, and a later run took over). ``cause`` is a failure's.
    """

    run: str
    stack: str
    step: str
    operation: str
    address: Address
    host: str
    uuid: str
    began: float = 0.0
    ended: float | None = None
    outcome: str | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class NodeNote:
    """What is to be remembered of a bare-metal node, beside the record of the server on it.

    state: ``deploying`` (how far: ``stage``), ``failed`` (at ``stage``, for ``reason``), ``cleaning``, or
    ``maintenance`` (at ``stage`` where a step on its server that writes no disk is under way). ``uuid`` is the server's
    that it was deployed for, ``stack`` its stack. ``since``: seconds since 1970.
    """

    name: str
    state: str
    stage: str = ""
    reason: str = ""
    stack: str = ""
    uuid: str = ""
    since: float = 0.0

    @property
    def at(self) -> str:
        """The stage's name, without what else is noted of it."""
        return self.stage.partition(" ")[0]


class Reader(Protocol):
    """What plans and views need of a store."""

    def stacks(self) -> tuple[str, ...]:
        """Names of the stacks that have records, in order."""

    def records(self, stack: str) -> tuple[Record, ...]:
        """All records of a stack, in order of address."""

    def journal(self, stack: str, run: str | None = None, after: int = 0) -> tuple[JournalEntry, ...]:
        """Entries of one run or of all, of those with a number above ``after``, oldest first."""

    def newest(self, stack: str) -> int:
        """The number of a stack's newest entry, 0 for none."""

    def open_steps(self, stack: str) -> tuple[JournalEntry, ...]:
        """Entries that began and never ended: what a killed run was doing."""

    def claims(self, stack: str | None = None) -> tuple["Consumer", ...]:
        """Who holds what of the hosts, of one stack or of all, in order of consumer; its ``owner`` is the stack."""

    def nodes(self) -> tuple[NodeNote, ...]:
        """What is noted of bare-metal nodes, in order of name."""

    def failed_builds(self) -> Mapping[str, int]:
        """How many servers, of all stacks, could not be made on a host since the last that was made there."""

    def holder(self, stack: str) -> Holder | None:
        """Who holds the lease, whether or not it has expired."""

    def close(self) -> None:
        """Gives the connection back; a second close does nothing."""


class Store(Reader, Protocol):
    """Keeps what was applied. Its methods may be called from several threads at once; each write is one transaction,
    durable when the method returns. Raises: ``Faults`` when the store cannot be read or written."""

    def put(self, stack: str, record: Record) -> None:
        """Writes one record, outside any step: what the store lost. An open begin of its address is superseded, for its
        object is as the record says."""

    def remove(self, stack: str, address: Address) -> None:
        """Drops one record and the claims of its name, outside any run; none is fine."""

    def begin(self, entry: JournalEntry, record: Record | None = None, wanted: JSON = None) -> None:
        """Writes that an operation is about to start, and its unfinished record, or the data that it is to bring: the
        record has that as ``begun`` until it is written anew. A begin of the same address that never ended is
        superseded. Raises: LeaseLost when the run does not hold the stack's lease.
        """

    def amend(self, entry: JournalEntry, record: Record) -> None:
        """Writes one record in the middle of a step on its object, which goes on. Raises: LeaseLost, as ``end``."""

    def end(
        self,
        entry: JournalEntry,
        outcome: str,
        record: Record | None = None,
        remove: Address | None = None,
        cause: str = "",
        holds: "Allocations | None" = None,
    ) -> None:
        """Writes how it ended and what is now recorded, together. What is removed gives up the claims of its name;
        then ``holds`` is what the entry's uuid holds, unasked, for it is there: None leaves its claim as it is.
        Raises: LeaseLost when another run superseded it."""

    def claim(self, stack: str, claims: Sequence["Claim"], check: "Check") -> tuple["Consumer", ...]:
        """Grants all claims or none and returns the consumers that hold something now, in order of the claims.

        Each replaces all that its consumer holds. ``check`` is called in the transaction, with what these consumers
        hold and what all stacks hold of the providers that are claimed: no other program claims meanwhile.
        Raises: Refused (``stacksmith.placement``) with what ``check`` found."""

    def note_node(self, note: NodeNote, unless: Collection[str] = ()) -> None:
        """Writes a node's note in place of what it had; ``since`` is set to now when the state is another. Nothing is
        written where its state is one of ``unless``."""

    def clear_node(self, name: str) -> None:
        """Drops a node's note; none is fine."""

    def acquire(self, stack: str, holder: Holder, seconds: float) -> None:
        """Takes the lease for ``seconds``. Raises: Locked when another run, not known to be dead, holds it."""

    def renew(self, stack: str, run: str, seconds: float) -> bool:
        """Holds it ``seconds`` from now; False when it is no longer this run's."""

    def release(self, stack: str, run: str) -> None:
        """Gives it back if it is this run's."""


def open_store(url: str, base: Path, read_only: bool = False, password: str | None = None) -> Store:
    """The store at ``url``: ``sqlite:///PATH`` with PATH relative to ``base`` (``sqlite:////PATH`` absolute),
    ``sqlite:///:memory:``, or ``postgresql://USER@HOST/DATABASE`` with its ``password``. Read-only, nothing is made: a
    missing file or table reads as empty.

    Raises: Faults when the URL or what it names cannot be used.
    """
    if is_postgres(url):
        from stacksmith.state.postgres import open_postgres

        if password_in(url) is not None:
            raise Faults([error("literal-secret", "cannot open the state store: its URL holds a password")])
        return open_postgres(url, password, read_only)
    from stacksmith.state.sqlite import SqliteStore

    scheme, _, rest = url.partition("://")
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise Faults([unknown_url(url)])
    path = None if rest == "/:memory:" else base / rest[1:]
    return SqliteStore.open(path, read_only)


def unknown_url(url: str) -> Diagnostic:
    """A URL that names no store we know; a password in it is not repeated."""
    scheme = url.partition("://")[0] if "://" in url else url
    return error(
        "state-url",
        f"cannot open the state store: {scheme!r} is not a kind of store",
        hint="write state: sqlite:///PATH, with PATH relative to the fleet file, or postgresql://user@host/database",
    )
