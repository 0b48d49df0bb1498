"""A PostgreSQL of the tests' own, from Debian's package: data and socket in a temporary folder, no TCP."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from stacksmith.state.postgres import open_postgres
from stacksmith.state.sql import SqlStore
from stacksmith.state.sqlite import SqliteStore

PROGRAMS = Path("/usr/lib/postgresql")
HBA = "local all +passworded scram-sha-256\nlocal all all trust\n"
# The tests kill clients and servers, never the machine: what the kernel has is safe.
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
}


class PostgresServer:
    """Runs as ``nobody`` when the tests are root, for postgres refuses root; ends with this process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stacksmith-pg-", dir="/tmp"))
        self.data, self._made = self.folder / "data", 0
        self._as: list[str] = []
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = ["--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups"]
        self._run("initdb", "--pgdata", str(self.data), "--username", "admin", "--auth", "trust", "--no-sync",
                  "--encoding", "UTF8", "--locale", "C.UTF-8")  # fmt: skip
        (self.data / "pg_hba.conf").write_text(HBA)
        self.process = self.start()
        with self.admin() as admin:
            admin.execute("CREATE ROLE stacksmith LOGIN")
            admin.execute("CREATE ROLE passworded")

    @property
    def programs(self) -> Path:
        """Where the newest version that is installed has its programs."""
        found = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
        assert found, "postgresql is not installed: make dev installs it"
        return found[-1].parent

    def start(self) -> "subprocess.Popen[bytes]":
        """Starts the server and waits until it answers."""
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        with log:
            process = self.process = subprocess.Popen(
                self._words("postgres", "-D", str(self.data), "-k", str(self.folder), *options),
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        until = time.monotonic() + 180
        while True:
            try:
                self.admin().close()
                return process
            except psycopg.OperationalError:
                assert process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops it: SIGINT ends sessions and shuts down, SIGQUIT ends at once as in a crash."""
        self.process.send_signal(how)
        self.process.wait(180)

    def remove(self) -> None:
        """Leaves nothing behind."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def admin(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A superuser's session."""
        return psycopg.connect(host=str(self.folder), user="admin", dbname=database, autocommit=True)

    def database(self, owner: str = "stacksmith") -> str:
        """The URL of a new, empty database."""
        self._made += 1
        with self.admin() as admin:
            admin.execute(f"CREATE DATABASE state{self._made} OWNER {owner}")
        return f"postgresql://{owner}@/state{self._made}?host={self.folder}"

    def guarded(self, password: str) -> str:
        """The URL of a new database of a role that signs in with a password."""
        name = f"guarded{self._made}"
        with self.admin() as admin:
            admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE passworded")
        return self.database(name)

    def cut(self, url: str) -> int:
        """Ends every session with a database from the server's side; how many there were."""
        query = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s AND state <> ''"
        with self.admin() as admin:
            return admin.execute(query, (name_of(url),)).rowcount

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(self._words(program, *words), capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr

    def _words(self, program: str, *words: str) -> list[str]:
        return ["setpriv", "--pdeathsig", "SIGQUIT", *self._as, "--", str(self.programs / program), *words]


def name_of(url: str) -> str:
    """The database in a URL of ``PostgresServer.database``."""
    return url.partition("?")[0].rpartition("/")[2]


@dataclass
class Place:
    """An empty store of one kind; what a test opens of it is closed after the test."""

    url: str
    folder: Path
    opened: list[SqlStore] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The file of an SQLite store."""
        return self.folder / "state.db"

    @property
    def code(self) -> str:
        """An expression that opens the store in another process, which has imported open_store and Path."""
        return f"open_store({self.url!r}, Path({str(self.folder)!r}))"

    def open(self, now: Callable[[], float] | None = None, read_only: bool = False) -> SqlStore:
        """The store, with another clock if one is given."""
        if self.url.startswith("postgresql"):
            store = open_postgres(self.url, None, read_only, now)
        else:
            store = SqliteStore.open(self.path, read_only, now or time.time)
        self.opened.append(store)
        return store
