"""The file of the SQLite store: made, protected, and refused in words when it cannot be used."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from state_parts import in_child, record

from stacksmith.diagnostics import Diagnostic, Faults
from stacksmith.state import file, migration
from stacksmith.state.file import filesystem, refuse_network
from stacksmith.state.migration import MIGRATIONS
from stacksmith.state.sqlite import SqliteStore

NOBODY = 65534


def fault_of_opening(path: Path, read_only: bool = False) -> Diagnostic:
    with pytest.raises(Faults) as raised:
        SqliteStore.open(path, read_only)
    (fault,) = raised.value.diagnostics
    assert str(path) in fault.message
    return fault


def filled(path: Path, records: int = 200) -> Path:
    store = SqliteStore.open(path)
    for number in range(records):
        store.put("shop", record(f"server.web[{number}]"))
    store.close()
    return path


def test_store_file_and_its_folder_are_private(tmp_path: Path) -> None:
    path = tmp_path / ".stacksmith" / "lab.db"
    store = SqliteStore.open(path)
    store.put("shop", record("server.web"))
    modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert modes == {"lab.db": 0o600, "lab.db-wal": 0o600, "lab.db-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.close()


def test_log_is_written_over_and_not_made_longer_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    store = SqliteStore.open(path)
    for number in range(2 * file.LOG_PAGES):
        store.put("shop", record(f"server.web[{number}]"))
    frames = (tmp_path / "lab.db-wal").stat().st_size // 4096
    store.close()
    assert file.LOG_PAGES <= frames < 1.2 * file.LOG_PAGES


def test_read_only_open_of_nothing_is_empty_and_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"
    store = SqliteStore.open(path, read_only=True)
    assert (store.records("shop"), store.stacks(), store.holder("shop")) == ((), (), None)
    store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_read_only_store_refuses_to_write(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "state.db"
    if there:
        filled(path, 1)
    store = SqliteStore.open(path, read_only=True)
    with pytest.raises(Faults, match="cannot write state store"):
        store.put("shop", record("server.db"))
    store.close()


def test_read_only_store_reads_while_another_writes(tmp_path: Path) -> None:
    writer = SqliteStore.open(tmp_path / "state.db")
    writer.put("shop", record("server.a"))
    reader = SqliteStore.open(tmp_path / "state.db", read_only=True)
    assert len(reader.records("shop")) == 1
    writer.put("shop", record("server.b"))
    assert len(reader.records("shop")) == 2
    reader.close()
    writer.close()


@pytest.mark.root
def test_read_only_open_by_a_user_who_can_write_nothing_reads(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db", 3)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)
    path.chmod(0o644)

    def work() -> None:
        os.seteuid(NOBODY)
        store = SqliteStore.open(path, read_only=True)
        os._exit(10 + len(store.records("shop")))

    assert os.waitstatus_to_exitcode(in_child(work)) == 13
    assert [one.name for one in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.root
def test_group_that_was_let_in_once_reads_also_what_is_written_later_and_cannot_write(tmp_path: Path) -> None:
    """What docs/how-to/drift-in-cron.md says to do for an account that may only read."""
    path = tmp_path / ".stacksmith" / "lab.db"
    filled(path, 1)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)

    def work() -> None:
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        if os.access(path, os.W_OK, effective_ids=True):
            os._exit(2)
        os._exit(10 + len(SqliteStore.open(path, read_only=True).records("shop")))

    assert os.waitstatus_to_exitcode(in_child(work)) == 1
    subprocess.run(["chgrp", "-R", str(NOBODY), path.parent], check=True)
    subprocess.run(["chmod", "-R", "g+rX", path.parent], check=True)
    assert os.waitstatus_to_exitcode(in_child(work)) == 11
    store = SqliteStore.open(path)
    store.put("shop", record("server.later"))
    assert os.waitstatus_to_exitcode(in_child(work)) == 12
    store.close()
    assert os.waitstatus_to_exitcode(in_child(work)) == 12


@pytest.mark.root
def test_file_that_the_user_may_not_open_is_refused_in_words(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db", 1)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)

    def work(read_only: bool) -> None:
        os.seteuid(NOBODY)
        fault = fault_of_opening(path, read_only)
        os._exit(10 + (fault.code == "state-access" and "cannot open state store" in fault.message))

    for read_only in (True, False):
        assert os.waitstatus_to_exitcode(in_child(lambda r=read_only: work(r))) == 11  # type: ignore[misc]


@pytest.mark.parametrize("read_only", [True, False])
def test_file_that_is_no_database_says_how_to_rebuild(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 1000)
    fault = fault_of_opening(path, read_only)
    assert fault.code == "state-corrupt"
    assert fault.hint is not None and "stacksmith state rebuild" in fault.hint


def test_file_damaged_inside_says_how_to_rebuild(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(Faults) as raised:
        SqliteStore.open(path).records("shop")
    (fault,) = raised.value.diagnostics
    assert fault.code == "state-corrupt"
    assert fault.hint is not None and "stacksmith state rebuild" in fault.hint


def test_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cookies.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE cookie (name TEXT)")
    other.close()
    before = path.read_bytes()
    assert fault_of_opening(path).code == "state-file"
    assert path.read_bytes() == before


def test_folder_in_place_of_the_file_is_refused_in_words(tmp_path: Path) -> None:
    assert fault_of_opening(tmp_path).code == "state-access"


@pytest.mark.parametrize("read_only", [True, False])
def test_file_of_a_newer_release_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = filled(tmp_path / "state.db", 1)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    fault = fault_of_opening(path, read_only)
    assert (fault.code, fault.hint) == ("state-newer", "upgrade stacksmith")


def test_file_of_an_older_release_is_migrated_or_read_as_if(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "state.db", 2)
    later = (*MIGRATIONS, "ALTER TABLE record ADD COLUMN note TEXT; UPDATE record SET note = 'moved on'")
    for module in (file, migration):
        monkeypatch.setattr(module, "MIGRATIONS", later)
    before = path.read_bytes()
    store = SqliteStore.open(path, read_only=True)
    assert len(store.records("shop")) == 2
    store.close()
    assert path.read_bytes() == before
    SqliteStore.open(path).close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT DISTINCT note FROM record").fetchall() == [("moved on",)]
    db.close()


def test_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "state.db", 2)
    broken = (*MIGRATIONS, "ALTER TABLE record ADD COLUMN note TEXT; DROP TABLE nothing")
    with monkeypatch.context() as patch:
        for module in (file, migration):
            patch.setattr(module, "MIGRATIONS", broken)
        assert fault_of_opening(path).code == "state-access"
    store = SqliteStore.open(path)
    assert len(store.records("shop")) == 2
    store.close()


MOUNTS = """\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:5 / /home rw - {kind} server:/home rw
3 2 0:6 / /home/me/local\\040disk rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_network_filesystem_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    with pytest.raises(Faults) as raised:
        refuse_network(Path("/home/me/lab.db"), mounts)
    (fault,) = raised.value.diagnostics
    assert (fault.code, f"({kind})" in fault.message, fault.hint) == ("state-network", True, "put it on a local disk")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/etc/lab.db", "ext4"), ("/homestead/lab.db", "ext4"), ("/home/me/local disk/lab.db", "xfs"), ("/home/x", "nfs")],
)
def test_filesystem_is_that_of_the_innermost_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind="nfs"))
    assert filesystem(Path(path), mounts) == kind


def test_filesystem_of_a_system_without_mountinfo_is_unknown(tmp_path: Path) -> None:
    assert filesystem(Path("/home/x"), tmp_path / "none") == ""
    refuse_network(Path("/home/x"), tmp_path / "none")


def test_write_beyond_the_room_there_is_fails_in_words_and_keeps_the_rest(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db", 1)

    def work() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        store = SqliteStore.open(path)
        try:
            for number in range(10_000):
                store.put("shop", record(f"server.more[{number}]"))
        except Faults as faults:
            os._exit(10 + ("cannot write state store" in str(faults)))

    assert os.waitstatus_to_exitcode(in_child(work)) == 11
    store = SqliteStore.open(path)
    assert store.records("shop")
    store.close()


OPENER = """
import sys, time
from pathlib import Path
from stacksmith.state.sqlite import SqliteStore
folder, at = Path(sys.argv[1]), float(sys.argv[2])
for number in range(40):
    moment = at + number * 0.05
    time.sleep(max(0.0, moment - 0.003 - time.time()))
    while time.time() < moment:
        pass
    SqliteStore.open(folder / f"{number}.db").close()
"""


def test_file_is_made_by_programs_that_come_at_once(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", OPENER, str(tmp_path), str(time.time() + 1.0)]
    programs = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [program.communicate(timeout=300)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0, 0], told
