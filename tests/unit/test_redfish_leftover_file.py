"""Files of sessions: one for each process that is at work, which takes over those of the dead."""

import errno
import fcntl
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stacksmith.providers.redfish.leftover import LONGEST_SECONDS, Leftovers, Opened

BMC = "https://bmc1"


def session(number: int, bmc: str = BMC) -> Opened:
    return Opened(bmc, f"/redfish/v1/SessionService/Sessions/{number}", "admin")


DEAD = """
import json, os, signal, sys
from pathlib import Path
from stacksmith.providers.redfish.leftover import Leftovers, Opened
process = Leftovers(Path(sys.argv[1]), lambda: float(sys.argv[2]))
print(len(process.left("https://bmc1")), flush=True)
for path in json.loads(sys.argv[3]):
    process.opened(Opened(path[0], path[1], "admin"))
for path in json.loads(sys.argv[4]):
    process.ended("https://bmc1", path)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, *opened: Opened, ended: Sequence[str] = (), at: float = 0.0) -> int:
    """A process that SIGKILL ends, after it has opened and ended sessions; how many it found left."""
    given = json.dumps([(each.bmc, each.path) for each in opened]), json.dumps(ended)
    argv = [sys.executable, "-c", DEAD, str(folder), str(at), *given]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    return int(done.stdout)


def end(*processes: Leftovers) -> None:
    for process in processes:
        for each in (*process.left(BMC), session(100)):
            process.ended(each.bmc, each.path)


def test_what_a_killed_process_left_is_inherited_once_and_its_file_removed(tmp_path: Path) -> None:
    killed(tmp_path, session(1), session(2, "https://bmc2"))
    first, second = Leftovers(tmp_path, lambda: 1.0), Leftovers(tmp_path, lambda: 1.0)
    assert [each.path for each in first.left(BMC)] == [session(1).path]
    assert second.left(BMC) == [] and len(list(tmp_path.iterdir())) == 1
    for each in (*first.left(BMC), *first.left("https://bmc2")):
        first.ended(each.bmc, each.path)
    assert list(tmp_path.iterdir()) == []


def test_what_an_heir_had_not_ended_when_it_was_killed_is_inherited_from_it(tmp_path: Path) -> None:
    killed(tmp_path, session(1), session(2))
    assert killed(tmp_path, session(3), ended=[session(1).path]) == 2
    process = Leftovers(tmp_path, lambda: 1.0)
    assert sorted(each.path for each in process.left(BMC)) == [session(2).path, session(3).path]
    end(process)


def test_path_that_a_living_process_has_by_now_is_not_left(tmp_path: Path) -> None:
    killed(tmp_path, session(100), session(2))
    living, other = Leftovers(tmp_path, lambda: 1.0), Leftovers(tmp_path, lambda: 1.0)
    living.opened(session(100))
    assert [each.path for each in other.left(BMC)] == [session(2).path]
    end(living, other)


def test_session_that_must_have_ended_by_itself_is_not_left(tmp_path: Path) -> None:
    killed(tmp_path, session(1), at=0.0)
    killed(tmp_path, session(2), at=2.0)
    process = Leftovers(tmp_path, lambda: LONGEST_SECONDS + 1)
    assert [each.path for each in process.left(BMC)] == [session(2).path]
    end(process)


def test_many_at_once_share_what_was_left_without_loss(tmp_path: Path) -> None:
    killed(tmp_path, *(session(number) for number in range(20)))
    start = threading.Barrier(8)

    def take(process: Leftovers) -> list[str]:
        start.wait()
        process.opened(session(100))
        return [each.path for each in process.left(BMC)]

    processes = [Leftovers(tmp_path, lambda: 1.0) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = [path for paths in pool.map(take, processes) for path in paths]
    assert sorted(taken) == sorted(session(number).path for number in range(20))
    end(*processes)
    assert list(tmp_path.iterdir()) == []


def test_file_system_without_locks_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlocked(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks")

    monkeypatch.setattr(fcntl, "flock", unlocked)
    process = Leftovers(tmp_path)
    process.opened(session(1))
    assert process.left(BMC) == [] and list(tmp_path.iterdir()) == []
    process.ended(BMC, session(1).path)
