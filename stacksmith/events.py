"""What happens in a run: a closed union of frozen events; text, JSON Lines and the run log are views of it."""

from stacksmith.address import Address
from stacksmith.frozen import dataclass


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins; ``steps`` is the number it will walk."""

    run: str
    command: str
    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step's operation begins on its host."""

    step: str
    operation: str
    address: Address
    host: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A step is still at work: ``seconds`` so far; ``detail`` such as ``uploading 40 of 149 MiB``."""

    step: str
    operation: str
    address: Address
    host: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StepRetried:
    """A transient fault; the step is tried again after ``wait_seconds``."""

    step: str
    address: Address
    host: str
    cause: str
    attempt: int
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step ended well. ``detail`` is the object's uuid or such, ``warning`` what is to be known of its end."""

    step: str
    operation: str
    address: Address
    host: str
    seconds: float
    detail: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed. kind: refused, stale, gone, timed-out, transient (retries used up), interrupted (a signal came
    before it ended), locked (the lease was lost), state (the store cannot be written) or internal."""

    step: str
    operation: str
    address: Address
    host: str
    seconds: float
    kind: str
    cause: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A step was not started: ``because`` of a failed step's id, or ``interrupted``."""

    step: str
    operation: str
    address: Address
    host: str
    because: str


@dataclass(frozen=True, slots=True)
class LockWaiting:
    """Another run holds the stack's lease."""

    holder: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over. ``interrupted`` when a signal stopped it."""

    run: str
    done: int
    failed: int
    skipped: int
    seconds: float
    interrupted: bool = False


Event = (
    RunStarted | StepStarted | StepProgress | StepRetried | StepDone | StepFailed | StepSkipped | LockWaiting | RunEnded
)
