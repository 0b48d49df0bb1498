"""Processes that begin with their modules imported: to import them takes a program a second, and some tests start many.

They are forked by a process without threads that has imported the modules, where nothing else has happened.
"""

import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from stacksmith.state import file, postgres

PRELOADED = (
    "stacksmith.cli.command.apply",
    "stacksmith.providers.libvirt.provider",
    "stacksmith.providers.memory.provider",
    "stacksmith.state.postgres",
    "stacksmith.state.sqlite",
    "tests.e2e.killed",
    "tests.e2e.killed_write",
    "tests.unit.claimant",
)
ROOT = Path(__file__).parents[1]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))


class Forked:
    """A process that calls ``main``, a function of a module, and ends with what it returns as its status."""

    def __init__(self, main: Callable[..., int], *words: Any) -> None:
        with contextlib.chdir(ROOT):  # where the first finds the modules
            forkserver.ensure_running()
        self._process = _context.Process(target=_end, args=(main, words), daemon=True)
        self._process.start()

    def send_signal(self, number: int) -> None:
        """To it if it is still there."""
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> int:
        """Its status, or the negative number of the signal that ended it."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"not within {seconds} s: the process has ended"
        return self._process.exitcode


def _end(main: Callable[..., int], words: tuple[Any, ...]) -> None:
    raise SystemExit(main(*words))


@dataclass
class Ended:
    """What a process gave."""

    status: int
    out: str
    err: str


def at_once(main: Callable[..., int], calls: Sequence[Sequence[Any]]) -> list[Ended]:
    """Calls ``main`` in a process for each of ``calls``, which are its arguments; all are ready before one begins."""
    barrier = _context.Barrier(len(calls))
    with tempfile.TemporaryDirectory() as folder:
        papers = [Path(folder) / str(number) for number, _ in enumerate(calls)]
        made = [Forked(_in_step, barrier, paper, main, words) for paper, words in zip(papers, calls, strict=True)]
        statuses = [each.wait(600) for each in made]
        texts = [[paper.with_suffix(suffix).read_text() for suffix in (".out", ".err")] for paper in papers]
        return [Ended(status, *said) for status, said in zip(statuses, texts, strict=True)]


def _in_step(barrier: Barrier, paper: Path, main: Callable[..., int], words: Sequence[Any]) -> int:
    for number, suffix in ((1, ".out"), (2, ".err")):
        with paper.with_suffix(suffix).open("wb") as file:
            os.dup2(file.fileno(), number)
    _be_patient()
    barrier.wait(180)
    return main(*words)


def _be_patient() -> None:
    """Makes this process wait for the others' writes as long as they take on any machine."""
    file.BUSY_SECONDS, postgres.CALL_SECONDS = 300.0, 600.0
    postgres.SETTINGS.update(statement_timeout="300s", lock_timeout="300s")
