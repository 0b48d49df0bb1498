"""What a run did: one result per step of its plan, and the exit status that follows from them."""

from enum import StrEnum

from stacksmith.address import Address
from stacksmith.frozen import dataclass


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step's end. ``operation`` is a word of ``planner.plan.Operation``.

    ``kind``, ``cause`` and ``hint`` are set when it failed (kinds as in ``events.StepFailed``). ``because`` is set
    when it was skipped: the id of the failed step, or why the run stopped. ``warning`` is what is to be known of one
    that ended well.
    """

    step: str
    operation: str
    address: Address
    host: str
    outcome: Outcome
    seconds: float = 0.0
    kind: str = ""
    cause: str = ""
    hint: str | None = None
    because: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A run's results in the order of the plan. ``signal`` is the number of the signal that stopped it.

    ``stopped`` says why it ended early (``SIGINT``, ``the lease was lost: …``), and is empty when it did not.
    """

    run: str
    results: tuple[StepResult, ...] = ()
    seconds: float = 0.0
    signal: int | None = None
    stopped: str = ""

    def count(self, operation: str, outcome: Outcome = Outcome.DONE) -> int:
        """Number of steps of one operation that ended so."""
        return sum(r.operation == operation and r.outcome is outcome for r in self.results)

    @property
    def added(self) -> int:
        """Objects created; a replacement counts here and in ``destroyed``."""
        return self.count("create")

    @property
    def changed(self) -> int:
        """Objects updated in place."""
        return self.count("update")

    @property
    def destroyed(self) -> int:
        """Objects deleted."""
        return self.count("delete")

    @property
    def migrated(self) -> int:
        """Servers brought to another host."""
        return self.count("migrate")

    @property
    def kept(self) -> int:
        """Resources dropped from the store whose objects were left alone."""
        return self.count("forget")

    @property
    def failed(self) -> tuple[StepResult, ...]:
        """The steps that failed."""
        return tuple(r for r in self.results if r.outcome is Outcome.FAILED)

    @property
    def skipped(self) -> tuple[StepResult, ...]:
        """The steps that were not started."""
        return tuple(r for r in self.results if r.outcome is Outcome.SKIPPED)

    @property
    def exit_status(self) -> int:
        """0 all done; 1 something failed; 5 all that failed was stale; 6 the lease was lost; 128 + a signal."""
        if self.signal is not None:
            return 128 + self.signal
        kinds = {r.kind for r in self.failed}
        if "locked" in kinds or (self.stopped and "state" not in kinds):
            return 6  # without a signal, only a lost lease or a store that fails stops a run
        if kinds:
            return 5 if kinds <= {"stale", "gone"} else 1
        return 1 if self.skipped else 0
