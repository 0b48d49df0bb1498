"""A step under way, where it is done, and how a run goes."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property

from stacksmith.diagnostics import Faults
from stacksmith.engine.check import Begun
from stacksmith.engine.interrupt import Stop
from stacksmith.events import Event
from stacksmith.frozen import dataclass
from stacksmith.model.change import Impact
from stacksmith.model.report import Outcome, StepResult
from stacksmith.model.url import masked
from stacksmith.planner.claim import Allocations
from stacksmith.planner.layout import Layout
from stacksmith.planner.plan import Plan, Step
from stacksmith.providers.base import (
    Busy,
    Contents,
    Deadline,
    Gone,
    ProviderError,
    Refused,
    Session,
    Stale,
    TimedOut,
    Transient,
    Unserved,
)
from stacksmith.state.store import LeaseLost, Store

_KINDS = {
    Transient: "transient",
    Busy: "transient",
    Unserved: "transient",
    Refused: "refused",
    Stale: "stale",
    Gone: "gone",
    TimedOut: "timed-out",
}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes. ``run`` is its id, under which it holds the stack's lease.

    A step has ``step_timeout_seconds`` and what its ``wait_for`` adds, and tries again what may pass by itself for
    ``retry_seconds`` from its first fault, and as long as its host is at work on something else; one that does not
    answer ``overdue_seconds`` after its deadline is given up. On a stop, what is in flight has ``grace_seconds``.
    """

    run: str
    command: str = "apply"
    allowed: Impact = Impact.LIVE
    parallel: int = 64
    parallel_per_host: int = 4
    step_timeout_seconds: float = 600.0
    retry_seconds: float = 120.0
    heartbeat_seconds: float = 10.0
    overdue_seconds: float = 15.0
    grace_seconds: float = 7.0
    stop: Stop = field(default_factory=Stop)
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Site:
    """Where steps are done. ``post`` takes events from any thread; ``halted`` is set once no step may begin."""

    plan: Plan
    sessions: Mapping[str, Session]
    store: Store
    contents: Contents
    options: RunOptions
    begun: Begun
    post: Callable[[Event], None]
    halted: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def claimed(self) -> Mapping[str, Allocations]:
        """What was claimed for the steps, by uuid."""
        return {claim.uuid: claim.allocations for claim in self.plan.claims.wanted}

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """What is counted where, by host."""
        return {layout.host: layout for layout in self.plan.claims.layouts}


class Job:
    """A step under way. Who settles it, its own thread or the run that gives it up, decides its result.

    ``detail`` is how far it is; ``unreachable`` is set when its host did not even answer a read, before it or
    after it timed out.
    """

    def __init__(self, step: Step, options: RunOptions) -> None:
        self.step, self.detail, self.unreachable = step, "", False
        self.began = self.reported = options.clock()
        seconds = max(options.step_timeout_seconds, step.limit_seconds) + (
            step.wait_for.timeout_seconds if step.wait_for else 0.0
        )
        self._clock, self._latest = options.clock, math.inf
        self.deadline = Deadline(self.began + seconds, self._now)
        self._unsettled = threading.Lock()

    def hurry(self, seconds: float) -> None:
        """Leaves at most ``seconds`` until its deadline."""
        self._latest = min(self._latest, self._clock() + seconds)

    def settle(self) -> bool:
        """True for the first caller only."""
        return self._unsettled.acquire(blocking=False)

    def note(self, detail: str) -> None:
        """Takes words on how far it is."""
        self.detail = detail

    def result(self, outcome: Outcome, because: str = "") -> StepResult:
        """Its result as of now."""
        return StepResult(
            self.step.id,
            self.step.operation.value,
            self.step.address,
            self.step.host,
            outcome,
            self._clock() - self.began,
            because=because,
        )

    def _now(self) -> float:
        """The clock, moved on by as much as the deadline came nearer."""
        return self._clock() + max(0.0, self.deadline.at - self._latest)


def words(fault: Exception) -> tuple[str, str, str | None]:
    """Kind, cause and hint of a fault as events say them; secrets in URLs are left out."""
    hint: str | None = None
    match fault:
        case ProviderError():
            path = f"{fault.path}: " if fault.path and fault.path not in str(fault) else ""
            kind, cause, hint = _KINDS.get(type(fault), "refused"), f"{path}{fault}", fault.hint
        case LeaseLost():
            kind, cause = "locked", str(fault)
        case Faults():
            kind, cause, hint = "state", str(fault), fault.diagnostics[0].hint
        case _:
            kind, cause, hint = "internal", f"{type(fault).__name__}: {fault}", "this is a defect: please report it"
    return kind, masked(cause), hint
