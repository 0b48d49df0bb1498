"""Runs that SIGKILL ends."""

import os
import signal
from pathlib import Path

from engine_parts import STACK, Bench, create, requires

from stacksmith.address import Address
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.placement.tree.provider import Allocations
from stacksmith.providers.memory.file import FileWorld
from stacksmith.state.sqlite import SqliteStore
from stacksmith.state.store import JournalEntry


class KillingStore(SqliteStore):
    """Kills the process around its k-th journal write: even before, odd after."""

    at = -1
    count = 0

    def _maybe(self) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def begin(self, entry: JournalEntry, record: Record | None = None, wanted: JSON = None) -> None:
        self._maybe()
        super().begin(entry, record, wanted)
        self._maybe()

    def end(
        self,
        entry: JournalEntry,
        outcome: str,
        record: Record | None = None,
        remove: Address | None = None,
        cause: str = "",
        holds: Allocations | None = None,
    ) -> None:
        self._maybe()
        super().end(entry, outcome, record, remove, cause, holds)
        self._maybe()


def killed_run(folder: Path, at: int) -> int:
    """Runs the same four creates in a child that dies at write ``at``; its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            store = KillingStore.open(folder / "state.db")
            assert isinstance(store, KillingStore)
            store.at = at
            a, b = create("volume.a"), create("network.lan@hv1")
            plan = (a, b, requires(create("server.a"), a, b), create("volume.b", host="hv2"))
            bench = Bench(world=FileWorld(str(folder / "world.json")), store=store, runs=os.getpid())
            os._exit(bench.run(*plan, parallel=2).exit_status)
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_sigkill_at_every_journal_write_is_mended_by_running_again(tmp_path: Path) -> None:
    at, ends = 0, []
    while True:
        folder = tmp_path / str(at)
        folder.mkdir()
        first = killed_run(folder, at)
        if first == 0:
            break
        assert first == -signal.SIGKILL
        assert killed_run(folder, -1) == 0
        store = SqliteStore.open(folder / "state.db")
        assert store.open_steps(STACK) == ()
        ends.append((store.records(STACK), (folder / "world.json").read_text()))
        store.close()
        at += 1
    assert at == 16  # four steps, a begin and an end each, before and after
    assert all(end == ends[0] for end in ends)
    assert len(ends[0][0]) == 4 and all(record.complete for record in ends[0][0])
