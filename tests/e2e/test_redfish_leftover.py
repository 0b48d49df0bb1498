"""Sessions that a killed run leaves at a BMC: the next run that signs in there ends them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stacksmith.lab.process import is_stopped
from stacksmith.providers.bmc import NotNow
from stacksmith.providers.redfish.signin import SESSIONS
from tests.e2e.kit import until
from tests.e2e.light_parts import LightBmc, soon

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 15
OPENED = f"POST {SESSIONS}"
MAIN = "from stacksmith.cli import main; main()"
STOPS = f"""\
import signal
from stacksmith.providers.redfish.leftover import Leftovers
note = Leftovers.opened
def noted(*words):
    note(*words)
    signal.raise_signal(signal.SIGSTOP)
Leftovers.opened = noted
{MAIN}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the command notes sessions."""
    return tmp_path / "stacksmith" / "sessions"


class Command:
    """``node list`` of the BMC's node, with a session, as a process of its own; ``start`` stops once that is noted."""

    def __init__(self, bmc: LightBmc, cache: Path) -> None:
        self._fleet = bmc.folder / f"{bmc.node.name}.yaml"
        node = {**bmc.fields, "auth": "session"}
        self._fleet.write_text(json.dumps({"fleet": "one", "nodes": {bmc.node.name: node}}))
        self._words = ["--fleet", str(self._fleet), "node", "list"]
        self._environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}

    def run(self) -> None:
        argv = [sys.executable, "-c", MAIN, *self._words]
        subprocess.run(argv, env=self._environment, check=True, stdout=subprocess.DEVNULL, timeout=300)

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", STOPS, *self._words]
        return subprocess.Popen(argv, env=self._environment, stdout=subprocess.DEVNULL)


def sessions(bmc: LightBmc) -> list[str]:
    return [each["@odata.id"] for each in bmc.get(SESSIONS)["Members"]]


def killed_with_a_session(bmc: LightBmc, folder: Path, cache: Path) -> str:
    """The session of a command that SIGKILL ended while it had it."""
    process = Command(bmc, cache).start()
    try:
        until(lambda: is_stopped(process.pid) or process.poll() is not None, 300, "a session is noted")
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert any("opened" in each.read_text() for each in folder.glob("*.log"))
    (left,) = sessions(bmc)
    return left


def dead_run(folder: Path, *opened: dict[str, Any]) -> Path:
    """The file of a run that is no more."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dead.log"
    path.write_text("".join(json.dumps({"opened": each}) + "\n" for each in opened) + '{"opened": {"bm')
    return path


def another(bmc: LightBmc) -> Any:
    """The page of a session that somebody else has opened."""
    answer = bmc.ask("POST", SESSIONS, {"UserName": bmc.node.username, "Password": bmc.password})
    assert answer.status_code == 201
    return answer.json()


def noted(bmc: LightBmc, page: Any, **more: Any) -> dict[str, Any]:
    """How a run notes a session."""
    facts = {"bmc": bmc.node.redfish, "path": page["@odata.id"], "user": page["UserName"]}
    return {**facts, "created": page["CreatedTime"], "at": 4e9, **more}


@pytest.mark.parametrize("profile", ["basic-refused", "few-sessions"])
def test_session_of_a_killed_command_is_ended_by_the_next(
    bmc: LightBmc, folder: Path, tmp_path: Path, profile: str
) -> None:
    left = killed_with_a_session(bmc, folder, tmp_path)
    before = len(bmc.asked())
    bmc.behave(profile)
    Command(bmc, tmp_path).run()
    bmc.behave()
    assert sessions(bmc) == [] and f"DELETE {left}" in bmc.asked()[before:]
    assert list(folder.iterdir()) == []


def test_command_that_is_not_killed_asks_nothing_more_and_leaves_no_file(
    bmc: LightBmc, folder: Path, tmp_path: Path
) -> None:
    Command(bmc, tmp_path).run()
    assert bmc.asked() == [OPENED, "GET ", "GET /BIOS", f"DELETE {SESSIONS}/1"]
    assert list(folder.iterdir()) == []


def test_session_of_a_run_that_lives_stays(bmc: LightBmc, folder: Path, tmp_path: Path) -> None:
    with bmc.session(auth="session", sessions=folder) as session:
        session.observe(soon())
        (mine,) = sessions(bmc)
        Command(bmc, tmp_path).run()
        assert sessions(bmc) == [mine]
        session.observe(soon())
    assert sessions(bmc) == [] and bmc.asked().count(OPENED) == 2


def test_file_holds_no_token_and_is_its_owners_alone(bmc: LightBmc, folder: Path) -> None:
    with bmc.session(auth="session", sessions=folder) as session:
        session.observe(soon())
        (file,) = folder.iterdir()
        (entry,) = (json.loads(line)["opened"] for line in file.read_text().splitlines())
        assert sorted(entry) == ["at", "bmc", "created", "path", "user"]
        assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_session_that_has_ended_by_itself_is_forgotten(bmc: LightBmc, folder: Path) -> None:
    page = another(bmc)
    assert bmc.ask("DELETE", page["@odata.id"]).status_code == 204
    dead = dead_run(folder, noted(bmc, page))
    with bmc.session(auth="session", sessions=folder) as session:
        session.observe(soon())
    assert not dead.exists() and list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "change", [{"created": "2001-01-01T00:00:00Z"}, {"user": "somebody"}, {"at": 0.0}], ids=["time", "user", "day"]
)
def test_path_that_is_another_session_by_now_is_left_alone(bmc: LightBmc, folder: Path, change: dict[str, Any]) -> None:
    page = another(bmc)
    dead = dead_run(folder, noted(bmc, page, **change))
    with bmc.session(auth="session", sessions=folder) as session:
        session.observe(soon())
    assert sessions(bmc) == [page["@odata.id"]] and not dead.exists()


def test_path_that_is_our_own_session_by_now_is_kept(bmc: LightBmc, folder: Path) -> None:
    dead_run(folder, {"bmc": bmc.node.redfish, "path": f"{SESSIONS}/1", "user": bmc.node.username, "at": 4e9})
    with bmc.session(auth="session", sessions=folder) as session:
        session.observe(soon())
        session.observe(soon())
    assert bmc.asked().count(OPENED) == 1 and sessions(bmc) == []


def test_sessions_at_other_bmcs_wait_for_a_run_that_signs_in_there(bmcs: Iterator[LightBmc], folder: Path) -> None:
    first, second = next(bmcs), next(bmcs)
    left = another(second)
    dead_run(folder, noted(second, left))
    for bmc in (first, second):
        with bmc.session(auth="session", sessions=folder) as session:
            session.observe(soon())
        assert len(list(folder.iterdir())) == (1 if bmc is first else 0)
    assert sessions(second) == []


def test_table_that_is_full_of_others_stays_an_error(bmc: LightBmc, folder: Path) -> None:
    page = another(bmc)
    dead_run(folder, noted(bmc, page, created="2001-01-01T00:00:00Z"))
    bmc.behave("few-sessions")
    with (
        bmc.session(auth="session", sessions=folder) as session,
        pytest.raises(NotNow, match="its session table is full"),
    ):
        session.observe(soon())
    assert sessions(bmc) == [page["@odata.id"]]


def test_folder_that_cannot_be_used_keeps_nobody_from_signing_in(bmc: LightBmc, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file")
    with bmc.session(auth="session", sessions=folder) as session:
        assert session.observe(soon()).uuid
    assert sessions(bmc) == []
