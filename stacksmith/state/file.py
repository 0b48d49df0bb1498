"""Opens the SQLite file of a store, and says in words why one cannot be used."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.state.migration import MIGRATIONS, is_ours, migrate, version

BUSY_SECONDS = 15.0
# Pages of the log before it begins anew. A commit that makes the file longer waits for the filesystem's own journal
# too; one that writes over it does not. SQLite's 1000 are more than most runs write, so that all of theirs would wait.
LOG_PAGES = 250
# WAL keeps its index in memory shared by all processes, which these cannot give (sqlite.org/wal.html).
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "fuse.sshfs", "fuse.glusterfs"}
)


def connect(path: Path | None, read_only: bool) -> sqlite3.Connection:
    """A connection to the newest schema, usable from any thread (one at a time). Raises: Faults."""
    try:
        if path is None or (read_only and not path.exists()):
            connection = _prepared(_opened(":memory:"))
        elif read_only:
            connection = _read_only(path)
        else:
            connection = _writable(path)
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except (sqlite3.Error, OSError) as broken:
        raise Faults([fault("open", path, broken)]) from broken
    return connection


def _writable(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_network(path)
    # Made here so that nobody else can read it from its first byte; SQLite gives -wal and -shm the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = _opened(str(path))
    try:
        _check(connection, path)
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        return _prepared(connection)
    except BaseException:
        connection.close()
        raise


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switches to WAL; where two programs make the file at once, SQLite refuses that one of them without waiting."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as busy:
            if busy.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _read_only(path: Path) -> sqlite3.Connection:
    """Reads through ``mode=ro``; in a folder that cannot be written and has no log, as a file that nobody changes.
    A file of an older schema is copied to memory and migrated there."""
    refuse_network(path)
    connection = _opened(f"{path.absolute().as_uri()}?mode=ro")
    try:
        try:
            _check(connection, path)
        except sqlite3.OperationalError:
            connection.close()
            if Path(f"{path}-wal").exists() or not os.access(path, os.R_OK):
                raise
            connection = _opened(f"{path.absolute().as_uri()}?immutable=1")
            _check(connection, path)
        if version(connection) == len(MIGRATIONS):
            return connection
        copy = _opened(":memory:")
        connection.backup(copy)
        connection.close()
        return _prepared(copy)
    except BaseException:
        connection.close()
        raise


def _opened(name: str) -> sqlite3.Connection:
    return sqlite3.connect(
        name, uri=name.startswith("file:"), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if not is_ours(connection):
        raise Faults([error("state-file", f"cannot open state store {path}: the file belongs to another program")])
    have = version(connection)
    if have > len(MIGRATIONS):
        cause = f"a newer stacksmith wrote it (schema {have}, this one knows {len(MIGRATIONS)})"
        raise Faults([error("state-newer", f"cannot open state store {path}: {cause}", hint="upgrade stacksmith")])


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    migrate(connection)
    return connection


def copied(have: int, rows_of: Callable[[str], Sequence[Sequence[Any]]]) -> sqlite3.Connection:
    """Tables of schema ``have``, whose rows ``rows_of`` gives, in memory and brought to the newest; read-only."""
    memory = _opened(":memory:")
    migrate(memory, have)
    tables = memory.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    for (table,) in tables:
        if rows := rows_of(table):
            memory.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
    migrate(memory)
    memory.execute("PRAGMA query_only = ON")
    return memory


def refuse_network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Raises: Faults when the file is on a filesystem that other machines write too."""
    kind = filesystem(path, mounts)
    if kind in NETWORK_FILESYSTEMS:
        message = f"cannot open state store {path}: it is on a network filesystem ({kind}), where it would be damaged"
        raise Faults([error("state-network", message, hint="put it on a local disk")])


def filesystem(path: Path, mounts: Path) -> str:
    """The type of the filesystem that holds ``path`` (``ext4``), empty when it cannot be told."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    real, best, kind = os.path.realpath(path), "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        # Blanks in a mount point are written as octal (proc(5)).
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), left.split()[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def fault(verb: str, path: Path | None, broken: Exception) -> Diagnostic:
    """What SQLite or the system said, as one diagnostic with what to do."""
    name = str(path) if path else "in memory"
    primary = (getattr(broken, "sqlite_errorcode", None) or 0) & 0xFF
    if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return error(
            "state-corrupt",
            f"cannot {verb} state store {name}: the file is damaged ({broken})",
            hint="move it away and type: stacksmith state rebuild (reads the state back from the hosts)",
        )
    hints = {
        sqlite3.SQLITE_FULL: "free some space on the disk",
        sqlite3.SQLITE_READONLY: "the file or its folder cannot be written by this user",
        sqlite3.SQLITE_CANTOPEN: "the file or its folder cannot be opened by this user",
        sqlite3.SQLITE_BUSY: "another program has it locked",
    }
    return error("state-access", f"cannot {verb} state store {name}: {broken}", hint=hints.get(primary))
