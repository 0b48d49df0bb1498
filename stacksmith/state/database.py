"""What the SQL of the store needs of a database, so that SQLite and PostgreSQL share every statement.

Statements are written with ``?`` for values, in the SQL that both know.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from stacksmith.diagnostics import Diagnostic

T = TypeVar("T")


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def fetchone(self) -> Any:
        """The next row, None when there is none."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left."""


class Connection(Protocol):
    """Does statements, one at a time."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows:
        """Does one statement."""

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> object:
        """Does a statement for each row of values."""


class Database(Protocol):
    """One connection, used by one thread at a time. ``errors`` are what it raises, ``fault`` words one."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its methods and its connections raise."""

    def now(self, db: Connection) -> float:
        """Seconds since 1970, by the clock that all who share the store go by."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` gives, which may be called more than once."""

    def transact(self, work: Callable[[Connection], None]) -> None:
        """Does ``work`` in a transaction that is durable at the return, and no other writes meanwhile. ``work`` may
        be called more than once; it counts once. Raises: what it raises, having written nothing."""

    def fault(self, verb: str, broken: Exception) -> Diagnostic:
        """What was raised, in words, with what to do."""

    def close(self) -> None:
        """Gives the connection back; a second close does nothing."""
