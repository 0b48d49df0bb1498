"""What PostgreSQL alone can do to a store: connections that are lost or hang, roles, schemas, another clock."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from stacksmith.diagnostics import Diagnostic, Faults
from stacksmith.placement import Claim
from stacksmith.state import migration
from stacksmith.state import postgres as postgres_module
from stacksmith.state.postgres import open_postgres
from stacksmith.state.process import this_process
from stacksmith.state.sql import SqlStore
from stacksmith.state.store import LeaseLost, open_store
from tests.postgres import PostgresServer, name_of
from tests.unit.state_line import Line, answer_lost, breaks, through
from tests.unit.state_parts import STACK, entry, leased, record

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.database()


@pytest.fixture
def opened() -> Iterator[Callable[..., SqlStore]]:
    """Opens stores that are closed after the test."""
    stores: list[SqlStore] = []

    def open_one(url: str, **more: object) -> SqlStore:
        stores.append(open_postgres(url, **more))  # type: ignore[arg-type]
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


Opened = Callable[..., SqlStore]


def fault_of(work: Callable[[], object]) -> Diagnostic:
    with pytest.raises(Faults) as raised:
        work()
    (fault,) = raised.value.diagnostics
    return fault


@pytest.fixture
def line(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    line = Line(postgres.folder, tmp_path_factory.mktemp("line"))
    yield line
    line.close()


def entries(store: SqlStore) -> list[tuple[str, str | None]]:
    return [(each.step, each.outcome) for each in store.journal(STACK)]


@pytest.mark.parametrize("happens", [breaks, answer_lost], ids=["before-commit", "after-commit"])
@pytest.mark.parametrize("word", [b"COMMIT", b"INSERT INTO journal"], ids=["at-commit", "at-insert"])
def test_connection_lost_in_a_write_neither_loses_nor_doubles_it(
    line: Line, url: str, opened: Opened, word: bytes, happens: Callable[..., None]
) -> None:
    store = leased(opened(through(line, url)))
    line.word, line.at = word, happens
    store.begin(entry("server.web"), record("server.web", complete=False))
    assert line.passed == 1
    store.end(entry("server.web"), "done", record("server.web"))
    assert entries(store) == [("create server.web", "done")]
    assert [each.complete for each in store.records(STACK)] == [True]


def test_end_whose_answer_was_lost_is_not_taken_for_a_lost_lease(line: Line, url: str, opened: Opened) -> None:
    store = leased(opened(through(line, url)))
    store.begin(entry("server.web"), record("server.web", complete=False))
    line.word, line.at = b"COMMIT", answer_lost
    store.end(entry("server.web"), "done", record("server.web"))
    assert line.passed == 1
    assert entries(store) == [("create server.web", "done")]


def test_sessions_that_the_server_ends_are_opened_again(postgres: PostgresServer, url: str, opened: Opened) -> None:
    store = leased(opened(url))
    for number in range(3):
        assert postgres.cut(url) == 1
        store.begin(entry(f"server.web[{number}]"))
        assert postgres.cut(url) == 1
        assert len(store.open_steps(STACK)) == number + 1


def test_server_that_crashes_and_starts_again_is_waited_for(
    postgres: PostgresServer, url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "RETRY_SECONDS", 300.0)
    store = leased(opened(url))
    store.begin(entry("server.web"), record("server.web", complete=False))
    postgres.stop(signal.SIGQUIT)
    ending = threading.Thread(target=store.end, args=(entry("server.web"), "done", record("server.web")))
    ending.start()
    time.sleep(0.5)
    assert ending.is_alive()
    postgres.start()
    ending.join()
    assert entries(store) == [("create server.web", "done")]


def test_server_that_hangs_costs_the_time_of_a_call_and_no_more(
    line: Line, url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, ended = threading.Event(), list[bool]()
    store = leased(opened(through(line, url)))
    # Nobody hears anything, and nothing ends.
    line.word, line.at = b"INSERT INTO journal", lambda *_: ended.append(over.wait(120))
    with monkeypatch.context() as patch:
        patch.setattr(postgres_module, "CALL_SECONDS", 0.5)
        patch.setattr(postgres_module, "RETRY_SECONDS", 0.2)
        fault = fault_of(lambda: store.begin(entry("server.web")))
    assert ended == []
    over.set()
    assert (fault.code, "cannot write state store" in fault.message) == ("state-access", True)
    assert store.journal(STACK) == ()


def test_writer_that_another_keeps_waiting_says_so(
    postgres: PostgresServer, url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_module.SETTINGS, "lock_timeout", "200ms")
    store = opened(url)
    with postgres.admin(name_of(url)) as other, other.transaction():
        other.execute("SELECT version FROM stacksmith_state FOR UPDATE")
        fault = fault_of(lambda: store.put(STACK, record("server.web")))
    assert (fault.code, fault.hint) == ("state-access", "another program has it locked")
    store.put(STACK, record("server.web"))


def test_client_that_stops_in_a_transaction_does_not_stop_the_others(
    url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_module.SETTINGS, "idle_in_transaction_session_timeout", "300ms")
    monkeypatch.setattr(postgres_module, "RETRY_SECONDS", 300.0)
    stopped, other = opened(url), opened(url)
    inside, go_on = threading.Event(), threading.Event()

    def check(*_: object) -> tuple[()]:
        inside.set()
        go_on.wait(120)
        return ()

    asked = [Claim("a", {"hv1": {"VCPU": 1}})]
    thread = threading.Thread(target=stopped.claim, args=(STACK, asked, check))
    thread.start()
    assert inside.wait(60)
    other.put(STACK, record("server.web"))
    go_on.set()
    thread.join()
    assert [each.uuid for each in other.claims()] == ["a"]


def test_holder_whose_connection_died_cannot_write_once_another_took_over(
    postgres: PostgresServer, url: str, opened: Opened
) -> None:
    first, second = opened(url), opened(url)
    elsewhere = replace(this_process("run-1", "apply"), machine="another kernel")
    first.acquire(STACK, elsewhere, 0.5)
    first.begin(entry("server.web", "run-1"), record("server.web", complete=False))
    postgres.cut(url)
    time.sleep(0.6)
    second.acquire(STACK, this_process("run-2", "apply"), 60)
    second.begin(entry("server.web", "run-2"))
    for write in (
        lambda: first.begin(entry("server.db", "run-1"), record("server.db")),
        lambda: first.end(entry("server.web", "run-1"), "done", record("server.web")),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert first.renew(STACK, "run-1", 60) is False
    assert [(each.run, each.outcome) for each in second.journal(STACK)] == [("run-1", "superseded"), ("run-2", None)]


def test_lease_goes_by_the_clock_of_the_server(
    postgres: PostgresServer, url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> float:
        row = admin.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)").fetchone()
        assert row is not None and isinstance(row[0], float)
        return row[0]

    monkeypatch.setattr(time, "time", lambda: 0.0)
    store = opened(url)
    with postgres.admin() as admin:
        before = now()
        holder = leased(store).holder(STACK)
        after = now()
    assert holder is not None
    assert before <= holder.since <= after
    assert holder.expires - holder.since == pytest.approx(60)


def test_database_without_tables_reads_as_empty(postgres: PostgresServer, url: str, opened: Opened) -> None:
    store = opened(url, read_only=True)
    assert (store.records(STACK), store.stacks(), store.holder(STACK), store.claims()) == ((), (), None, ())
    with postgres.admin(name_of(url)) as admin:
        assert admin.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_role_that_may_only_read_reads(postgres: PostgresServer, url: str, opened: Opened) -> None:
    opened(url).put(STACK, record("server.web"))
    with postgres.admin(name_of(url)) as admin:
        admin.execute("CREATE ROLE reader LOGIN")
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    other = url.replace("stacksmith@", "reader@")
    assert [str(each.address) for each in opened(other, read_only=True).records(STACK)] == ["server.web"]
    fault = fault_of(lambda: opened(other).put(STACK, record("server.db")))
    assert (fault.code, "permission denied" in fault.message) == ("state-access", True)


def test_store_opened_to_read_refuses_to_write(url: str, opened: Opened) -> None:
    opened(url).put(STACK, record("server.web"))
    fault = fault_of(lambda: opened(url, read_only=True).put(STACK, record("server.db")))
    assert (fault.code, "cannot write state store" in fault.message) == ("state-access", True)


def test_older_schema_is_read_as_if_and_brought_forward_by_a_write(
    postgres: PostgresServer, url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migration, "MIGRATIONS", migration.MIGRATIONS[:1])
        with postgres.admin(name_of(url)) as admin:
            admin.execute("SET ROLE stacksmith")
            migration.migrate_postgres(postgres_module._Statements(admin), 0)
            admin.execute(
                "INSERT INTO record VALUES ('shop', 'server.web', 'hv1', '1b2c', 1, %s)",
                ('{"applied":{},"policy":{},"requires":[]}',),
            )

    def schema() -> object:
        with postgres.admin(name_of(url)) as admin:
            return admin.execute("SELECT version FROM stacksmith_state").fetchone()

    assert [str(each.address) for each in opened(url, read_only=True).records(STACK)] == ["server.web"]
    assert schema() == (1,)
    assert [str(each.address) for each in opened(url).records(STACK)] == ["server.web"]
    assert schema() == (len(migration.MIGRATIONS),)


def test_programs_that_make_the_tables_at_once_make_them_once(url: str) -> None:
    faults: list[BaseException] = []

    def work() -> None:
        try:
            open_postgres(url).close()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.parametrize("read_only", [True, False])
def test_database_of_a_newer_release_is_refused(
    postgres: PostgresServer, url: str, opened: Opened, read_only: bool
) -> None:
    running = opened(url)
    with postgres.admin(name_of(url)) as admin:
        admin.execute("UPDATE stacksmith_state SET version = 99")
    for work in (lambda: opened(url, read_only=read_only), lambda: running.put(STACK, record("server.web"))):
        fault = fault_of(work)
        assert (fault.code, fault.hint) == ("state-newer", "upgrade stacksmith")


def test_database_of_another_program_is_left_alone(postgres: PostgresServer, url: str, opened: Opened) -> None:
    with postgres.admin(name_of(url)) as admin:
        admin.execute("CREATE TABLE journal (page TEXT)")
    assert fault_of(lambda: opened(url)).code == "state-file"
    with postgres.admin(name_of(url)) as admin:
        tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("journal",)]


def test_password_opens_the_store_and_is_never_told(postgres: PostgresServer, opened: Opened) -> None:
    url = postgres.guarded("open sesame")
    assert opened(url, password="open sesame").stacks() == ()
    for wrong in ("sesame seed", None):
        fault = fault_of(lambda w=wrong: opened(url, password=w))  # type: ignore[misc]
        assert fault.code == "state-access"
        assert "sesame" not in fault.message and "cannot open state store postgresql://guarded" in fault.message
        assert fault.hint is not None and "password: {env: NAME}" in fault.hint


def test_password_of_libpqs_own_file_opens_the_store(
    postgres: PostgresServer, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.admin() as admin:
        admin.execute("DROP ROLE IF EXISTS filed")
        admin.execute("CREATE ROLE filed LOGIN")
    service = tmp_path / "services"
    service.write_text(f"[team]\nhost={postgres.folder}\nuser=filed\ndbname=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    monkeypatch.setenv("PGSERVICE", "team")
    assert opened("postgresql://", read_only=True).stacks() == ()


def test_server_that_is_not_there_is_told_at_once(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, connect = list[object](), psycopg.connect
    monkeypatch.setattr(psycopg, "connect", lambda **given: tried.append(given) or connect(**given))
    fault = fault_of(lambda: opened(f"postgresql://me@/state?host={tmp_path}"))
    assert len(tried) == 1
    assert fault.code == "state-access" and str(tmp_path) in fault.message


def test_extra_that_is_not_installed_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    fault = fault_of(lambda: open_store("postgresql://me@db/state", tmp_path))
    assert (fault.code, fault.hint) == ("state-backend", "pip install 'stacksmith[postgres]'")


def test_import_of_the_store_imports_no_psycopg() -> None:

    code = "import sys, stacksmith.state.postgres; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "False\n"


def test_durability_that_the_server_has_off_is_on_for_the_store(
    postgres: PostgresServer, url: str, opened: Opened
) -> None:
    with postgres.admin() as admin:
        admin.execute(f"ALTER DATABASE {name_of(url)} SET synchronous_commit = off".encode())
    database = opened(url)._database
    shown = database.read(lambda db: db.execute("SHOW synchronous_commit").fetchone())
    assert shown == ("on",)
