"""What a command costs: run as a child of its own, so that imports and start-up count."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
STACKSMITH = str(Path(sys.executable).with_name("stacksmith"))

# A process remembers the size of the one it was forked from: a small one stands between us and the command.
_LAUNCHER = """
import json, os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
began = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=[
    (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)])
_, status, used = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - began,
                  used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


class Failed(Exception):
    """A command that was to be measured ended badly."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of a command. ``calls`` are remote calls by name where they were counted; ``answer`` is its output."""

    wall_seconds: float
    cpu_seconds: float
    rss_mb: float
    answer: str = ""
    calls: Mapping[str, int] = field(default_factory=dict)
    writes: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def compiled() -> Iterator[None]:
    """Lets children keep compiled modules, as an installed program has them, and away from the source tree."""
    kept = {name: os.environ.get(name) for name in ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")}
    with tempfile.TemporaryDirectory(prefix="stacksmith-bench-") as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            yield
        finally:
            for name, value in kept.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def cost(argv: Sequence[str | Path], statuses: Sequence[int] = (0,)) -> Cost:
    """Runs the command once. Raises: Failed with what it said, when its exit status is none of ``statuses``."""
    with tempfile.NamedTemporaryFile(prefix="stacksmith-bench-") as log:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, log.name]
        done = subprocess.run([*launcher, *map(str, argv)], cwd=ROOT, capture_output=True, text=True, check=True)
        answer = Path(log.name).read_text(errors="replace")
    status, wall, cpu, rss_kib = json.loads(done.stdout)
    if status not in statuses:
        raise Failed(f"{' '.join(map(str, argv))}: exit status {status}\n{answer[-4000:]}")
    return Cost(wall, cpu, rss_kib * 1024 / 1e6, answer)


def best(once: Callable[[], Cost], times: int) -> Cost:
    """The least of several runs in each measure: what others do on the machine only adds. Calls are the most."""
    costs = [once() for _ in range(times)]
    most = max(costs, key=lambda c: sum(c.calls.values()))
    return replace(
        most,
        wall_seconds=min(c.wall_seconds for c in costs),
        cpu_seconds=min(c.cpu_seconds for c in costs),
        rss_mb=min(c.rss_mb for c in costs),
        answer=costs[-1].answer,
    )
