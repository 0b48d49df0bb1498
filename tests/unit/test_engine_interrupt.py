"""Runs that are stopped: by a request, a signal, a lost lease, a store that fails."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_parts import STACK, Bench, create, outcomes, requires

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.engine import interrupt, retry
from stacksmith.engine.interrupt import Stop, interruptible
from stacksmith.events import Event, LockWaiting, RunEnded, StepRetried, StepSkipped
from stacksmith.model.found import Found, Mark
from stacksmith.model.record import Record
from stacksmith.model.report import Outcome
from stacksmith.model.types import JSON
from stacksmith.placement.tree.provider import Allocations
from stacksmith.providers.base import Contents, Deadline, Target, TimedOut
from stacksmith.providers.memory.fault import Call, Effect, Fault
from stacksmith.state.lease import Patience, held
from stacksmith.state.process import this_process
from stacksmith.state.sqlite import SqliteStore
from stacksmith.state.store import JournalEntry

HERE = Path(__file__).parent


@pytest.fixture
def bench() -> Bench:
    return Bench()


def during(bench: Bench, address: str, act: Callable[[], object]) -> None:
    """Does ``act`` at the begin of the create of ``address``."""

    def meet(call: Call, point: str) -> None:
        if (call.operation, call.address, point) == ("create", address, "begin"):
            act()

    bench.world.hooks.append(meet)


# A request to stop.


def test_stop_lets_what_is_in_flight_end_and_starts_nothing_more(bench: Bench) -> None:
    stop = Stop()
    during(bench, "volume.a", lambda: (stop.request("SIGINT", signal.SIGINT), time.sleep(0.1)))
    a = create("volume.a")
    report = bench.run(a, requires(create("server.a"), a), create("volume.b"), stop=stop, parallel=1, grace_seconds=60)
    assert list(outcomes(report).values()) == [Outcome.DONE, Outcome.SKIPPED, Outcome.SKIPPED]
    assert [event.because for event in bench.named(StepSkipped)] == ["interrupted"] * 2  # type: ignore[union-attr]
    assert (report.exit_status, report.signal, report.stopped) == (130, signal.SIGINT, "SIGINT")
    assert [event.interrupted for event in bench.named(RunEnded)] == [True]  # type: ignore[union-attr]
    assert bench.recorded() == {"volume.a": True}
    assert bench.store.open_steps(STACK) == ()


def test_stop_before_the_run_skips_all(bench: Bench) -> None:
    stop = Stop()
    stop.request("SIGTERM", signal.SIGTERM)
    report = bench.run(create("volume.a"), create("volume.b"), stop=stop)
    assert (len(report.skipped), report.exit_status, bench.world.calls) == (2, 143, [])


def test_stop_while_a_step_still_reads_keeps_it_from_beginning(bench: Bench) -> None:
    stop, halted = Stop(), threading.Event()

    def meet(call: Call, point: str) -> None:
        if call.operation == "read":
            stop.request("SIGINT", signal.SIGINT)
            assert halted.wait(60)

    def sink(event: Event) -> None:
        if isinstance(event, StepSkipped):  # at first of volume.b, when the run halts
            halted.set()

    bench.world.hooks.append(meet)
    report = bench.run(create("volume.a"), create("volume.b"), stop=stop, parallel=1, sink=sink, grace_seconds=120)
    assert [(one.outcome, one.because) for one in report.results] == [(Outcome.SKIPPED, "interrupted")] * 2
    assert (bench.store.journal(STACK), bench.world.writes) == ((), [])


def test_stop_brings_the_deadline_of_a_waiting_step_near(bench: Bench) -> None:
    """A driver that polls its deadline ends in the grace, and its journal with it."""
    stop, passed, left = Stop(), [0.0], list[float]()

    class Polling:
        def read(self, mark: Mark) -> None:
            return None

        def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
            stop.request("SIGINT", signal.SIGINT)
            until = time.monotonic() + 60
            while deadline.seconds > 100 and time.monotonic() < until:
                time.sleep(0.01)
            left.append(deadline.seconds)
            passed[0] += deadline.seconds
            left.append(deadline.seconds)
            raise TimedOut("no lease yet")

        def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
            raise AssertionError

        def delete(self, target: Target, deadline: Deadline) -> None:
            raise AssertionError

    bench.drivers = {"server": Polling()}
    report = bench.run(create("server.a"), stop=stop, clock=lambda: passed[0], grace_seconds=7)
    (failed,) = report.failed
    assert (failed.kind, failed.cause) == ("interrupted", "it did not end in time: no lease yet")
    assert (left, report.seconds) == ([6.0, 0.0], 6.0)
    assert [one.outcome for one in bench.store.journal(STACK)] == ["failed"]
    assert bench.recorded() == {"server.a": False}


def test_stop_gives_up_what_does_not_end_in_the_grace(bench: Bench) -> None:
    stop, release, ended = Stop(), threading.Event(), list[bool]()
    during(bench, "volume.a", lambda: (stop.request("SIGTERM", signal.SIGTERM), ended.append(release.wait(60))))
    report = bench.run(create("volume.a"), stop=stop, grace_seconds=0.4)
    assert ended == []
    release.set()
    assert ([one.kind for one in report.failed], report.exit_status) == (["interrupted"], 143)
    assert [one.step for one in bench.store.open_steps(STACK)] == ["create volume.a"]


def test_stop_ends_the_wait_before_another_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS"):
        monkeypatch.setattr(retry, name, 120.0)
    stop = Stop()

    def sink(event: Event) -> None:
        if isinstance(event, StepRetried):  # it waits from now on
            threading.Timer(0.1, stop.request, ("SIGINT", signal.SIGINT)).start()

    bench.world.faults.append(Fault(Effect.TRANSIENT, "create", times=-1))
    report = bench.run(create("volume.a"), stop=stop, sink=sink, retry_seconds=600, grace_seconds=240)
    assert ([one.kind for one in report.failed], report.seconds < 120) == (["interrupted"], True)


# Signals.


def test_signal_requests_the_stop_and_handlers_come_back() -> None:
    stop, before = Stop(), signal.getsignal(signal.SIGTERM)
    with interruptible(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.requested, stop.signal, stop.cause) == (True, signal.SIGTERM, "SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("cause", ["", "the lease was lost"])
def test_second_signal_leaves_at_once_unless_it_is_an_echo(monkeypatch: pytest.MonkeyPatch, cause: str) -> None:
    stop, left = Stop(), list[int]()
    if cause:
        stop.request(cause)
    with interruptible(stop, left.append):
        monkeypatch.setattr(interrupt, "ECHO_SECONDS", 60.0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert left == []
        monkeypatch.setattr(interrupt, "ECHO_SECONDS", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
    assert left == [143]


def test_signals_stay_as_they_are_outside_the_main_thread() -> None:
    seen: list[object] = []

    def work() -> None:
        with interruptible(Stop()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


CHILD = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {here!r})
    from engine_parts import Bench, create
    from stacksmith.engine.interrupt import Stop, interruptible
    from stacksmith.state.sqlite import SqliteStore

    bench = Bench(store=SqliteStore.open(Path({store!r})))
    def slow(call, point):
        if (call.operation, point) == ("create", "begin"):
            print("creating", flush=True)
            while not stop.requested:
                time.sleep(0.02)
            print("stopping", flush=True)
            time.sleep({seconds})
    bench.world.hooks.append(slow)
    stop = Stop()
    with interruptible(stop):
        report = bench.run(*(create(f"volume.v[{{n}}]") for n in range(50)), stop=stop, parallel=1, grace_seconds=600)
    print(len(report.results) - len(report.skipped), flush=True)
    sys.exit(report.exit_status)
"""


def child(store: Path, seconds: float) -> "subprocess.Popen[str]":
    code = textwrap.dedent(CHILD).format(here=str(HERE), store=str(store), seconds=seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "creating\n"
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_process_that_gets_a_signal_ends_cleanly(tmp_path: Path, number: int, status: int) -> None:
    with child(tmp_path / "state.db", 0.5) as process:
        process.send_signal(number)
        assert process.stdout is not None and process.stdout.read() == "stopping\n1\n"
        assert process.wait(60) == status
    store = SqliteStore.open(tmp_path / "state.db")
    assert [one.outcome for one in store.journal(STACK)] == ["done"]
    assert [one.complete for one in store.records(STACK)] == [True]
    store.close()


def test_process_that_gets_two_signals_leaves_at_once(tmp_path: Path) -> None:
    with child(tmp_path / "state.db", 300) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None and process.stdout.readline() == "stopping\n"
        time.sleep(0.5)  # no echo of the first any more
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_signal_while_waiting_for_the_lease_ends_the_wait(bench: Bench) -> None:
    stop = Stop()
    bench.store.acquire(STACK, replace(this_process("other", "apply"), machine="elsewhere"), 3600)
    mine, patience = this_process("run-1", "apply"), Patience(600, sleep=stop.sleep)

    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))

    def sink(event: Event) -> None:
        assert isinstance(event, LockWaiting)
        if timer.ident is None:  # once: a signal after the run would end the tests
            timer.start()

    with (
        pytest.raises(SystemExit) as raised,
        interruptible(stop),
        held(bench.store, STACK, mine, sink, stop.request, patience),
    ):
        raise AssertionError
    assert raised.value.code == 143


# A lease that is lost, a store that fails.


def test_run_that_lost_its_lease_begins_nothing_more(bench: Bench) -> None:
    def take() -> None:
        bench.store.release(STACK, "run-1")
        bench.store.acquire(STACK, this_process("thief", "apply"), 60)

    during(bench, "volume.a", take)
    a = create("volume.a")
    report = bench.run(a, requires(create("server.a"), a), create("volume.b"), parallel=1)
    assert [(one.outcome, one.kind) for one in report.results] == [
        (Outcome.DONE, ""),
        (Outcome.SKIPPED, ""),
        (Outcome.FAILED, "locked"),
    ]
    assert report.exit_status == 6
    assert report.skipped[0].because == "run run-1 does not hold the lease of stack shop"
    assert [call.address for call in bench.world.writes] == ["volume.a"]


def test_run_told_that_its_lease_is_lost_exits_as_locked(bench: Bench) -> None:
    stop = Stop()
    during(bench, "volume.a", lambda: (stop.request("the lease was lost: another run took it"), time.sleep(0.1)))
    report = bench.run(create("volume.a"), create("volume.b"), stop=stop, parallel=1, grace_seconds=60)
    assert [one.because for one in report.skipped] == ["the lease was lost: another run took it"]
    assert (report.exit_status, report.signal) == (6, None)
    assert [event.interrupted for event in bench.named(RunEnded)] == [False]  # type: ignore[union-attr]


def test_run_without_the_lease_does_nothing(bench: Bench) -> None:
    bench.store.acquire(STACK, this_process("other", "apply"), 60)
    bench.lease = False
    assert bench.run(create("volume.a")).exit_status == 6
    assert bench.world.writes == []


class FailingStore(SqliteStore):
    """Fails to write the ends, or the begins, of one address."""

    fails = ""

    def begin(self, entry: JournalEntry, record: Record | None = None, wanted: JSON = None) -> None:
        self._fail("begin", entry)
        super().begin(entry, record, wanted)

    def end(
        self,
        entry: JournalEntry,
        outcome: str,
        record: Record | None = None,
        remove: Address | None = None,
        cause: str = "",
        holds: Allocations | None = None,
    ) -> None:
        self._fail("end", entry)
        super().end(entry, outcome, record, remove, cause, holds)

    def _fail(self, method: str, entry: JournalEntry) -> None:
        if self.fails == f"{method} {entry.address}":
            raise Faults([error("state-access", "cannot write state store x: disk full", hint="free some space")])


@pytest.mark.parametrize(("method", "made"), [("begin", 0), ("end", 1)])
def test_store_that_fails_stops_the_run(method: str, made: int) -> None:
    store = FailingStore.open(None)
    assert isinstance(store, FailingStore)
    store.fails = f"{method} volume.a"
    bench = Bench(store=store)
    a = create("volume.a")
    report = bench.run(a, requires(create("server.a"), a), create("volume.b"), parallel=1)
    assert (report.failed[0].kind, report.failed[0].hint, report.exit_status) == ("state", "free some space", 1)
    assert [one.step for one in report.skipped] == ["create server.a", "create volume.b"]
    assert len(bench.world.objects("hv1")) == made
    store.fails = ""
    assert bench.run(a, requires(create("server.a"), a), create("volume.b")).exit_status == 0
    assert len(bench.world.objects("hv1")) == 3
