"""The state store on PostgreSQL (psycopg 3, the ``[postgres]`` extra): one connection for all threads of a run.

Writers wait for each other at the one row of ``stacksmith_state``, so claims never oversubscribe and the lease's holder
is known while its journal is written. A lost connection is opened again and its transaction done again; whether a
COMMIT that got no answer took effect is asked first (``pg_xact_status``), so that nothing is lost and nothing doubled.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.state import migration
from stacksmith.state.database import Connection, Rows
from stacksmith.state.file import copied
from stacksmith.state.sql import SqlStore
from stacksmith.state.sqlite import SqliteDatabase

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

CALL_SECONDS = 30.0  # a call that has no answer by then is over, whatever hangs
RETRY_SECONDS = 20.0  # a lost connection is tried again for this long: less than the lease lives
# What the server itself ends: a statement, the wait for other writers, and a transaction whose client went silent.
SETTINGS = {"statement_timeout": "20s", "lock_timeout": "15s", "idle_in_transaction_session_timeout": "10s"}
CONNECTING: Mapping[str, str | int] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms
    "application_name": "stacksmith",
    "client_encoding": "utf8",
}
# Shutdown, crash and start of the server, too many clients, a deadlock: they pass by themselves.
_PASSING = frozenset({"57P01", "57P02", "57P03", "53300", "40001", "40P01"})
_TABLES = frozenset({"record", "journal", "lease", "consumer", "allocation", "node"})
_HINTS = {
    "28": "check the role and its password: state: {url: …, password: {env: NAME}}",
    "3D": "make the database: createdb --owner ROLE NAME",
    "42501": "the role needs CREATE on the schema, or a first apply by the database's owner",
    "55P03": "another program has it locked",
    "25006": "the server takes no writes: name the primary, or add ?target_session_attrs=read-write",
    "53100": "free some space on the server's disk",
}


def open_postgres(
    url: str, password: str | None = None, read_only: bool = False, now: Callable[[], float] | None = None
) -> SqlStore:
    """The store in a database, its tables made unless read-only. ``now`` is in place of the server's clock.

    Raises: Faults when it cannot be used.
    """
    try:
        import psycopg
    except ImportError as missing:
        raise Faults([extra_missing(missing)]) from None
    database = PostgresDatabase(url, password, read_only, now)
    try:
        database.reach()
        have = database.read(version)
        if have > len(migration.MIGRATIONS):
            raise Faults([newer(database.name, have)])
        if have < len(migration.MIGRATIONS) and read_only:
            return SqlStore(_snapshot(database, have))
        if have < len(migration.MIGRATIONS):
            database.migrate()
    except psycopg.Error as broken:
        database.close()
        raise Faults([database.fault("open", broken)]) from broken
    except BaseException:
        database.close()
        raise
    return SqlStore(database)


class PostgresDatabase:
    """A ``Database`` on one connection, which is opened again when it is lost."""

    def __init__(self, url: str, password: str | None, read_only: bool, now: Callable[[], float] | None) -> None:
        import psycopg

        self.errors = (psycopg.Error,)
        self.name = url.partition("?")[0]
        self._url, self._password, self._read_only, self._now = url, password, read_only, now
        self._raw: psycopg.Connection[Any] | None = None
        self._closed = False
        self._doubt: str | None = None  # the transaction whose COMMIT got no answer

    def now(self, db: Connection) -> float:
        """The server's clock: all who share the store go by it."""
        query = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
        return self._now() if self._now else float(db.execute(query).fetchone()[0])

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` gives, each statement on its own."""
        return self._again(lambda raw: work(_Statements(raw)))

    def transact(self, work: Callable[[Connection], None]) -> None:
        """Does ``work`` in a transaction, once, whatever becomes of the connection meanwhile."""
        self._doubt = None

        def attempt(raw: "psycopg.Connection[Any]") -> None:
            if self._doubt is None or not _committed(raw, self._doubt):
                self._doubt = None
                self._transaction(raw, work)

        self._again(attempt)

    def migrate(self) -> None:
        """Brings the tables to the newest schema in one transaction; two programs may try at once."""

        def attempt(raw: "psycopg.Connection[Any]") -> None:
            with raw.transaction():
                db = _Statements(raw)
                db.execute(f"SELECT pg_advisory_xact_lock({migration.APPLICATION_ID})")
                migration.migrate_postgres(db, version(db))

        self._again(attempt)

    def fault(self, verb: str, broken: Exception) -> Diagnostic:
        """What the server or libpq said, which holds no password."""
        state = getattr(broken, "sqlstate", None) or ""
        if "password" in str(broken):  # a refused connection has no code
            state = state or "28"
        hint = _HINTS.get(state) or _HINTS.get(state[:2])
        return error("state-access", f"cannot {verb} state store {self.name}: {_words(broken)}", hint=hint)

    def close(self) -> None:
        """Closes the connection."""
        self._closed = True
        if self._raw is not None:
            self._raw.close()

    def reach(self) -> None:
        """Opens the first connection. Raises: psycopg.Error at once when the server cannot be reached; a connection
        that is lost after that is tried again as any other."""
        try:
            self.connect()
        except self.errors:
            if self._raw is None:
                raise

    def connect(self) -> "psycopg.Connection[Any]":
        """The connection, opened when there is none that works."""
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        if self._closed:
            raise psycopg.InterfaceError("the store is closed")
        if self._raw is None or self._raw.closed:
            given: dict[str, Any] = {**CONNECTING, **conninfo_to_dict(self._url)}
            if self._password is not None:
                given["password"] = self._password
            self._raw = psycopg.connect(**given, autocommit=True)
            with _limited(self._raw):
                self._set(self._raw)
        return self._raw

    def _set(self, raw: "psycopg.Connection[Any]") -> None:
        settings = {**SETTINGS, "default_transaction_read_only": "on" if self._read_only else "off"}
        if raw.execute("SELECT current_setting('synchronous_commit') IN ('off', 'local')").fetchone() == (True,):
            settings["synchronous_commit"] = "on"
        for name, value in settings.items():
            raw.execute("SELECT set_config(%s, %s, false)", (name, value))

    def _again(self, attempt: Callable[["psycopg.Connection[Any]"], T]) -> T:
        """What ``attempt`` gives on a connection that holds; what passes by itself is tried again for a while."""
        until, pause = time.monotonic() + RETRY_SECONDS, 0.05
        while True:
            try:
                raw = self.connect()
                with _limited(raw):
                    return attempt(raw)
            except self.errors as broken:
                lost = self._raw is None or self._raw.closed
                passing = lost or getattr(broken, "sqlstate", None) in _PASSING
                if self._closed or not passing or time.monotonic() + pause >= until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _transaction(self, raw: "psycopg.Connection[Any]", work: Callable[[Connection], None]) -> None:
        db = _Statements(raw)
        db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            query = "SELECT version, CAST(pg_current_xact_id() AS TEXT) FROM stacksmith_state FOR UPDATE"
            have, number = db.execute(query).fetchone()
            if have > len(migration.MIGRATIONS):
                raise Faults([newer(self.name, have)])
            work(db)
            self._doubt = number
            db.execute("COMMIT")
        except BaseException:
            if not raw.closed:
                db.execute("ROLLBACK")
                self._doubt = None
            raise


class _Statements:
    """A ``Connection``: statements in psycopg's words."""

    def __init__(self, raw: "psycopg.Connection[Any]") -> None:
        self._raw = raw

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        return self._raw.execute(_query(sql), values)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        with self._raw.cursor() as cursor:
            cursor.executemany(_query(sql), rows)


def _query(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _committed(raw: "psycopg.Connection[Any]", number: str) -> bool:
    """Whether a transaction took effect. Raises: psycopg.Error while that is open."""
    import psycopg

    row = raw.execute("SELECT pg_xact_status(CAST(%s AS xid8))", (number,)).fetchone()
    if row == ("in progress",):
        raise psycopg.errors.SerializationFailure(f"transaction {number} has not ended yet")
    return row == ("committed",)


@contextmanager
def _limited(raw: "psycopg.Connection[Any]") -> Iterator[None]:
    """Cuts the connection when the block is not done in time: what waits for the server then fails."""
    watch = threading.Timer(CALL_SECONDS, _cut, (raw,))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _cut(raw: "psycopg.Connection[Any]") -> None:
    import psycopg

    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(raw.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def version(db: Connection) -> int:
    """The number of the schema that the database has; 0 when it has none. Raises: Faults when it is not ours."""
    # Not to_regclass: it may not see a table that was made since the transaction began.
    query = "SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) ORDER BY tablename"
    tables = [row[0] for row in db.execute(query)]
    if "stacksmith_state" in tables:
        return int(db.execute("SELECT version FROM stacksmith_state").fetchone()[0])
    others = [table for table in tables if table in _TABLES]
    if others:
        message = f"cannot open the state store: the database has a table {others[0]} of another program"
        raise Faults([error("state-file", message, hint="give stacksmith a database of its own")])
    return 0


def _snapshot(database: PostgresDatabase, have: int) -> SqliteDatabase:
    """A database that may not be brought forward, as it is now: copied to memory and brought forward there."""

    def copy(db: Connection) -> SqliteDatabase:
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        memory = copied(have, lambda table: db.execute(f"SELECT * FROM {table}").fetchall())
        db.execute("COMMIT")
        return SqliteDatabase(memory, None, time.time)

    made = database.read(copy)
    database.close()
    return made


def newer(name: str, have: int) -> Diagnostic:
    """A schema that this release does not know."""
    cause = f"a newer stacksmith wrote it (schema {have}, this one knows {len(migration.MIGRATIONS)})"
    return error("state-newer", f"cannot open state store {name}: {cause}", hint="upgrade stacksmith")


def extra_missing(missing: ImportError) -> Diagnostic:
    """A PostgreSQL URL where psycopg, or the libpq it needs, is not there."""
    message = f"cannot open the state store: postgresql:// needs the [postgres] extra, which is not there ({missing})"
    return error("state-backend", " ".join(message.split()), hint="pip install 'stacksmith[postgres]'")


def _words(broken: Exception) -> str:
    return " ".join(str(broken).split())
