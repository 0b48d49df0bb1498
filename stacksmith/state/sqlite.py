"""The state store in one SQLite file (stdlib): WAL, each write durable (``synchronous=FULL``), one connection for
all threads."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stacksmith.diagnostics import Diagnostic
from stacksmith.state.database import Connection
from stacksmith.state.file import connect, fault
from stacksmith.state.sql import SqlStore

T = TypeVar("T")


class SqliteStore(SqlStore):
    """A ``Store`` in a file, or in memory when ``path`` is None."""

    @classmethod
    def open(cls, path: Path | None, read_only: bool = False, now: Callable[[], float] = time.time) -> "SqliteStore":
        """Opens or, unless read-only, makes the file. Raises: Faults when it cannot be used."""
        return cls(SqliteDatabase(connect(path, read_only), path, now))


class SqliteDatabase:
    """A ``Database`` on a connection; writers in other processes wait for it (BEGIN IMMEDIATE)."""

    errors = (sqlite3.Error,)

    def __init__(self, connection: sqlite3.Connection, path: Path | None, now: Callable[[], float]) -> None:
        self._connection, self._path, self._now = connection, path, now

    def now(self, db: Connection) -> float:
        """This machine's clock: the file is on it."""
        return self._now()

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` gives."""
        return work(self._connection)

    def transact(self, work: Callable[[Connection], None]) -> None:
        """Does ``work`` in a transaction."""
        db = self._connection
        try:
            db.execute("BEGIN IMMEDIATE")
            work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def fault(self, verb: str, broken: Exception) -> Diagnostic:
        """What SQLite said."""
        return fault(verb, self._path, broken)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
