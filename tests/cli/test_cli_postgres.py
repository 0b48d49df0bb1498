"""The command line with its state on PostgreSQL, hosts of the memory provider."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.state.process import this_process
from stacksmith.state.store import open_store
from tests.cli.conftest import FLEET, Cli
from tests.postgres import PostgresServer, name_of

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture
def url(project: Path, postgres: PostgresServer) -> str:
    """A database that the project's fleet names."""
    url = postgres.database()
    (project / "fleet.yaml").write_text(FLEET.replace("fleet: lab\n", f"fleet: lab\nstate: {url}\n"))
    return url


def test_apply_drift_and_destroy_keep_their_state_on_postgresql(url: str, cli: Cli, project: Path) -> None:
    assert cli("apply", "--yes").status == 0
    assert "server.web[0]" in cli("state", "list").out
    assert cli("plan", "--detailed-exitcode").status == 0
    assert cli("drift").status == 0
    assert cli("state", "rm", "server.web[0]").status == 0
    assert cli("state", "rebuild").status == 0
    assert cli("destroy", "--yes").status == 0
    assert not (project / ".stacksmith").exists()
    store = open_store(url, project)
    assert {each.outcome for each in store.journal("shop")} == {"done"}
    assert store.records("shop") == ()
    store.close()


def test_plan_leaves_an_empty_database_empty(url: str, cli: Cli, postgres: PostgresServer) -> None:
    assert cli("plan", "--detailed-exitcode").status == 2
    with postgres.admin(name_of(url)) as admin:
        assert admin.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_lock_of_a_run_on_another_machine_is_status_6_and_names_it(url: str, cli: Cli, project: Path) -> None:
    assert cli("apply", "--yes").status == 0
    store = open_store(url, project)
    holder = replace(this_process("r9", "apply"), host="build7", user="ann", pid=4711, machine="another kernel")
    store.acquire("shop", holder, 3600)
    result = cli("apply", "--yes", "--var", "count=3")
    assert result.status == 6
    assert "ann@build7 (pid 4711, apply, run r9, since 20" in result.err
    began = time.monotonic()
    store.acquire("shop", holder, 2)
    waited = cli("apply", "--yes", "--var", "count=3", "--lock-timeout", "120")
    assert waited.status == 0, "the lease of a holder that is dead ends"
    assert time.monotonic() - began >= 2
    store.close()


KILLED = """
import itertools, os, signal, sys
from stacksmith.cli.app import run
from stacksmith.state.sql import SqlStore

numbers, last = itertools.count(1), int(sys.argv[1])

def killing(name, after):
    real = getattr(SqlStore, name)

    def write(*words, **more):
        at = next(numbers) == last
        if after or not at:
            real(*words, **more)
        if at:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(SqlStore, name, write)

killing("begin", after=True)
killing("end", after=False)
sys.exit(run(["apply", "--yes"]))
"""


@pytest.mark.parametrize("at", [1, 4, 7, 10])
def test_apply_killed_at_a_write_of_its_journal_is_mended_by_the_next(
    url: str, cli: Cli, project: Path, at: int
) -> None:
    words = [sys.executable, "-c", KILLED, str(at)]
    killed = subprocess.run(words, cwd=project, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert cli("apply", "--yes").status == 0
    assert cli("plan", "--detailed-exitcode").status == 0
    hosts = json.loads((project / "world.json").read_text())["hosts"]
    assert sum(len(host.get("server", {})) for host in hosts.values()) == 2
    store = open_store(url, project)
    made = [each.address for each in store.journal("shop") if (each.operation, each.outcome) == ("create", "done")]
    assert len(made) == len(set(made)), "nothing is made twice"
    assert {"server.web[0]", "server.web[1]"} <= {str(each.address) for each in store.records("shop")}
    store.close()


def test_password_by_reference_is_used_and_told_nowhere(
    cli: Cli, project: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.guarded("canary-word")
    state = f"state:\n  url: {url}\n  password: {{env: STATE_PASSWORD}}\n"
    (project / "fleet.yaml").write_text(FLEET.replace("fleet: lab\n", f"fleet: lab\n{state}"))
    unset = cli("plan")
    assert unset.status == 1
    assert "STATE_PASSWORD is not set in the environment" in unset.err and "fleet.yaml:3:" in unset.err
    monkeypatch.setenv("STATE_PASSWORD", "canary-nay")
    wrong = cli("plan")
    assert (wrong.status, "password authentication failed" in wrong.err) == (1, True)
    monkeypatch.setenv("STATE_PASSWORD", "canary-word")
    said = [cli("--debug", "apply", "--yes", "--json-into", "events.jsonl"), cli("state", "list", "--json")]
    assert [each.status for each in said] == [0, 0]
    texts = [each.out + each.err for each in (*said, wrong, unset)]
    texts += [path.read_text(errors="replace") for path in project.rglob("*") if path.is_file()]
    with postgres.admin(name_of(url)) as admin:
        for table in ("record", "journal", "lease"):
            texts.append(str(admin.execute(f"SELECT * FROM {table}".encode()).fetchall()))
    assert not [text for text in texts if "canary" in text]


def test_missing_extra_is_told_at_its_place_with_the_command(
    url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    result = cli("plan")
    assert result.status == 1
    assert "error[state-backend]" in result.err
    assert "fleet.yaml:2:" in result.err
    assert "hint: pip install 'stacksmith[postgres]'" in result.err


CUT = """
import itertools, sys
from pathlib import Path
from stacksmith.cli.app import run
from stacksmith.state.sql import SqlStore

begin, numbers = SqlStore.begin, itertools.count()

def cut(*words, **more):
    if next(numbers) == 0:
        Path("begun").touch()
        sys.stdin.read()
    begin(*words, **more)

SqlStore.begin = cut
sys.exit(run(["apply", "--yes", "--var", "count=20"]))
"""


def test_server_that_goes_away_in_mid_apply_for_a_moment_is_not_noticed(
    url: str, project: Path, postgres: PostgresServer
) -> None:
    words, pipe = [sys.executable, "-c", CUT], subprocess.PIPE
    with subprocess.Popen(words, cwd=project, stdin=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None and process.stderr is not None
        before = cuts = 0
        while process.poll() is None and not (project / "begun").exists():
            before += postgres.cut(url) if before < 5 else 0
            time.sleep(0.05)
        before += postgres.cut(url)  # at least now, when it waits for us
        process.stdin.close()
        while process.poll() is None:
            cuts += postgres.cut(url) if cuts < 5 else 0
            time.sleep(0.05)
        assert process.returncode == 0, process.stderr.read()
    assert before > 0
    store = open_store(url, project)
    assert {each.outcome for each in store.journal("shop")} == {"done"}
    assert len(store.records("shop")) == len({each.address for each in store.journal("shop")})
    store.close()
