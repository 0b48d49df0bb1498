"""Walks a plan: every step once what it requires has ended well, many at a time, each on its own thread."""

import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from stacksmith.engine.agenda import Agenda
from stacksmith.engine.check import Begun
from stacksmith.engine.job import Job, RunOptions, Site
from stacksmith.engine.step import perform
from stacksmith.engine.worker import Workers
from stacksmith.events import Event, RunEnded, RunStarted, StepDone, StepFailed, StepProgress, StepSkipped, StepStarted
from stacksmith.frozen import dataclass
from stacksmith.model.report import Outcome, Report, StepResult
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Contents, Session
from stacksmith.state.store import Store

__all__ = ["RunOptions", "run"]

TICK_SECONDS = 1.0


def run(
    plan: Plan,
    sessions: Mapping[str, Session],
    store: Store,
    contents: Contents,
    sink: Callable[[Event], None],
    options: RunOptions,
) -> Report:
    """Does every step of the plan that can be done, and reports each. The caller holds the stack's lease.

    ``sink`` is called from this thread only. A failed step skips what depends on it, the other branches go on. Once
    ``options.stop`` is requested, or the store fails, nothing more is started.

    Raises: Faults when the store cannot be read; what the sink raises, after what is in flight has ended.
    """
    inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
    site = Site(plan, sessions, store, contents, options, _begun(store, plan.stack), inbox.put)
    return _Run(site, inbox, sink).walk()


def _begun(store: Store, stack: str) -> Begun:
    """What earlier runs began and did not end well."""
    steps = {(entry.operation, entry.address, entry.uuid) for entry in store.open_steps(stack)}
    creates = {(Operation.CREATE.value, r.address, r.uuid) for r in store.records(stack) if not r.complete}
    return frozenset(steps | creates)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A thread's word that its job is over; without a result when the run had given it up."""

    job: Job
    result: StepResult | None


@dataclass(frozen=True, slots=True)
class _Died:
    """A thread's word that something ended its job that is no fault of the step (``SystemExit``)."""

    job: Job
    reason: BaseException


class _Wake:
    """The stop was requested."""


_Message = Event | _Ended | _Died | _Wake


class _Run:
    """One walk, in the thread that calls it."""

    def __init__(self, site: Site, inbox: "queue.SimpleQueue[_Message]", sink: Callable[[Event], None]) -> None:
        self.site, self.inbox, self.sink, self.options = site, inbox, sink, site.options
        self.agenda = Agenda(site.plan.steps, self.options.parallel, self.options.parallel_per_host)
        self.workers: Workers[Job] = Workers(self._work)
        self.running: dict[str, Job] = {}
        self.results: dict[str, StepResult] = {}
        self.tick = min(TICK_SECONDS, self.options.heartbeat_seconds / 4, self.options.grace_seconds / 4)
        self.watched = self.halted_at = 0.0

    def walk(self) -> Report:
        options, began = self.options, self.options.clock()
        options.stop.listen(lambda: self.inbox.put(_Wake()))
        try:
            self.sink(RunStarted(options.run, options.command, len(self.site.plan.steps)))
            self._start()
            while self.running:
                self._take()
                self._start()
            return self._report(options.clock() - began)
        except BaseException:
            self._drain()
            raise
        finally:
            self.workers.close()

    def _work(self, job: Job) -> None:
        """On a worker's thread."""
        try:
            self.inbox.put(_Ended(job, perform(job, self.site)))
        except BaseException as reason:
            self.inbox.put(_Died(job, reason))

    def _start(self) -> None:
        if self.options.stop.requested and not self.site.halted.is_set():
            self._halt()
        while (step := self.agenda.take()) is not None:
            self.sink(StepStarted(step.id, step.operation.value, step.address, step.host))
            job = self.running[step.id] = Job(step, self.options)
            self.workers.give(job)

    def _halt(self) -> None:
        """Nothing more begins; what is in flight ends a second before the grace does, if its driver minds deadlines."""
        self.site.halted.set()
        self.halted_at = self.options.clock()
        for job in self.running.values():
            job.hurry(max(0.0, self.options.grace_seconds - TICK_SECONDS))
        self._skip(self.agenda.drop_all(), self._because())

    def _because(self) -> str:
        stop = self.options.stop
        return "interrupted" if stop.signal is not None else stop.cause

    def _take(self) -> None:
        try:
            message = self.inbox.get(timeout=self.tick)
        except queue.Empty:
            message = _Wake()
        match message:
            case _Ended(job, result):
                self.workers.freed()
                if result is not None:
                    self._ended(job, result)
            case _Died(job, reason):
                self._die(job)
                raise reason
            case _Wake():
                pass
            case event:
                self.sink(event)
        now = self.options.clock()
        if now - self.watched >= self.tick:
            self.watched = now
            self._watch(now)

    def _die(self, job: Job) -> None:
        """As when the process is killed: what is in flight is not journalled any more."""
        del self.running[job.step.id]
        for other in self.running.values():
            other.settle()

    def _ended(self, job: Job, result: StepResult) -> None:
        """Takes a job's end into the results and the events; what follows from it."""
        step = job.step
        del self.running[step.id]
        if result.outcome is Outcome.SKIPPED:
            result = replace(result, because=self._because())
        self.results[step.id] = result
        self.sink(_event(result, step))
        dropped = self.agenda.ended(step, result.outcome is Outcome.DONE)
        self._skip(dropped, step.id)
        if job.unreachable:
            self._skip(self.agenda.drop_host(step.host), f"host {step.host} does not answer")
        if result.kind in {"locked", "state"}:
            self.options.stop.request(result.cause)

    def _skip(self, steps: list[Step], because: str) -> None:
        for step in steps:
            result = StepResult(
                step.id, step.operation.value, step.address, step.host, Outcome.SKIPPED, because=because
            )
            self.results[step.id] = result
            self.sink(_event(result, step))

    def _watch(self, now: float) -> None:
        """Says which steps are still at work, and gives up those that do not mind their deadline."""
        over = self.site.halted.is_set() and now - self.halted_at >= self.options.grace_seconds
        for job in tuple(self.running.values()):
            if over:
                self._give_up(job, "interrupted", "it was still at work when the run had to end")
            elif now >= job.deadline.at + self.options.overdue_seconds:
                self._give_up(job, "timed-out", f"no answer in {now - job.began:.0f} s; it may still happen")
            elif now - job.reported >= self.options.heartbeat_seconds:
                job.reported, step = now, job.step
                seconds = now - job.began
                self.sink(StepProgress(step.id, step.operation.value, step.address, step.host, seconds, job.detail))

    def _give_up(self, job: Job, kind: str, cause: str) -> None:
        """Leaves a job's thread behind; its journal entry stays open, for what it does is not known."""
        if job.settle():
            result = replace(job.result(Outcome.FAILED), kind=kind, cause=cause, hint="run the same command again")
            self._ended(job, result)

    def _drain(self) -> None:
        """Waits for what is in flight, without a word, so that its journal is whole."""
        self.site.halted.set()
        until = time.monotonic() + self.options.grace_seconds
        for job in self.running.values():
            job.hurry(self.options.grace_seconds - TICK_SECONDS)
        while self.running and (left := until - time.monotonic()) > 0:
            try:
                message = self.inbox.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(message, _Ended | _Died):
                self.running.pop(message.job.step.id, None)

    def _report(self, seconds: float) -> Report:
        stop, plan = self.options.stop, self.site.plan
        results = tuple(self.results[step.id] for step in plan.steps)
        stopped = stop.cause if self.site.halted.is_set() else ""
        signal = stop.signal if stopped else None
        report = Report(self.options.run, results, seconds, signal, stopped)
        done = len(results) - len(report.failed) - len(report.skipped)
        self.sink(RunEnded(report.run, done, len(report.failed), len(report.skipped), seconds, signal is not None))
        return report


def _event(result: StepResult, step: Step) -> Event:
    what = (result.step, result.operation, result.address, result.host)
    match result.outcome:
        case Outcome.DONE:
            detail = step.uuid if step.operation is Operation.CREATE else ""
            return StepDone(*what, result.seconds, detail, result.warning)
        case Outcome.FAILED:
            return StepFailed(*what, result.seconds, result.kind, result.cause, result.hint)
        case Outcome.SKIPPED:
            return StepSkipped(*what, result.because)
