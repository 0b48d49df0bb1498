"""Events of a run, line by line, in Terraform's words."""

from typing import assert_never

from stacksmith.events import (
    Event,
    LockWaiting,
    RunEnded,
    RunStarted,
    StepDone,
    StepFailed,
    StepProgress,
    StepRetried,
    StepSkipped,
    StepStarted,
)
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import duration, line

# What an operation is called while it runs, when it ended.
VERBS = {
    "create": ("Creating", "Creation"),
    "update": ("Modifying", "Modifications"),
    "delete": ("Destroying", "Destruction"),
    "migrate": ("Migrating", "Migration"),
    "forget": ("Forgetting", "Forgetting"),
}


def event_line(event: Event, paint: Paint = PLAIN) -> str | None:
    """The event as one line, None for one that a reader need not see."""
    match event:
        case RunStarted() | RunEnded():
            return None
        case StepStarted():
            return f"{_head(event, paint)}{VERBS[event.operation][0]}... [{event.host}]"
        case StepProgress():
            detail = f", {line(event.detail)}" if event.detail else ""
            verb = VERBS[event.operation][0].lower()
            return f"{_head(event, paint)}Still {verb}... [{duration(event.seconds)} elapsed{detail}]"
        case StepRetried():
            again = f"trying again in {event.wait_seconds:g}s (attempt {event.attempt + 1})"
            return f"{_head(event, paint)}{paint.yellow}{line(event.cause)}{paint.reset}; {again} [{event.host}]"
        case StepDone():
            detail = f" [id={line(event.detail)}]" if event.detail else ""
            but = f"; {paint.yellow}{line(event.warning)}{paint.reset}" if event.warning else ""
            text = f"{VERBS[event.operation][1]} complete after {duration(event.seconds)}{detail}"
            return f"{_head(event, paint)}{text}{but}"
        case StepFailed():
            text = f"{VERBS[event.operation][1]} failed after {duration(event.seconds)}: {line(event.cause)}"
            return f"{_head(event, paint)}{paint.red}{text}{paint.reset} [{event.host}]"
        case StepSkipped():
            return f"{_head(event, paint)}Skipped: {skip_cause(event.because)}"
        case LockWaiting():
            return f"Waiting for the stack's lock, held by {line(event.holder)}... [{duration(event.seconds)} elapsed]"
        case _:
            assert_never(event)


def skip_cause(because: str) -> str:
    """Why a step was not started, from ``because``: the id of the step it needs; else it says so itself."""
    return f"needs {line(because)}" if because.partition(" ")[0] in VERBS else line(because)


def _head(event: StepStarted | StepProgress | StepRetried | StepDone | StepFailed | StepSkipped, paint: Paint) -> str:
    return f"{paint.bold}{event.address}:{paint.reset} "
