"""Carries out a plan with its events shown, for apply and destroy."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stacksmith.cli.call import Call
from stacksmith.cli.clock import timestamp
from stacksmith.cli.status import Status
from stacksmith.diagnostics import Faults
from stacksmith.frozen import dataclass

if TYPE_CHECKING:
    from stacksmith.engine import session
    from stacksmith.engine.options import Options
    from stacksmith.events import Event
    from stacksmith.model.change import Impact
    from stacksmith.model.types import JSON
    from stacksmith.planner.plan import Plan

    Sink = Callable[[Event], None]

OVERTAKEN = 5  # so often a run that asks nobody makes a new plan because another one was faster


@dataclass(frozen=True, slots=True)
class Manner:
    """How a plan is carried out. ``command`` is apply or destroy."""

    command: str
    allowed: "Impact"
    overwrite_drift: bool
    lock_timeout_seconds: float
    parallel: int
    json_into: Path | None


def refused(call: Call, plan: "Plan", manner: Manner) -> bool:
    """True when the plan does what was not allowed, which is then said; nothing is asked or done after that."""
    from stacksmith.engine.allow import barred
    from stacksmith.views import notice

    found = barred(plan, manner.allowed, manner.overwrite_drift)
    entries = [(each.step, each.cause, each.hint) for each in found]
    if entries:
        call.screen.say("\n" + notice.barred(entries, call.screen.error_paint))
    return bool(entries)


def confirmed(call: Call, question: str, verb: str) -> bool:
    """True when the user typed ``yes``; without a terminal to ask on, an error that names the flag."""
    screen = call.screen
    if not screen.stdin.isatty():
        screen.say(f"\nError: cannot {verb}: there is no terminal to ask on\n  hint: --yes does it without asking\n")
        return False
    if screen.ask(question) == "yes":
        screen.say("\n")
        return True
    screen.say(f"\n{verb.capitalize()} cancelled.\n")
    return False


def carry_out(
    call: Call, options: "Options", plan: "Plan", manner: Manner, made: "session.Planned | None" = None
) -> int:
    """Runs the plan, shows what happens, and returns the exit status. ``made``: the plan was made in this process."""
    from stacksmith.engine import session
    from stacksmith.views.outcome import outcome_text

    what = session.ApplyOptions(
        command=manner.command,
        allowed=manner.allowed,
        overwrite_drift=manner.overwrite_drift,
        lock_timeout_seconds=manner.lock_timeout_seconds,
        parallel=manner.parallel,
    )
    with ExitStack() as stack:
        sinks = [stack.enter_context(_shown(call))]
        if manner.json_into is not None:
            sinks.append(stack.enter_context(_written(manner.json_into)))

        def sink(event: "Event") -> None:
            for each in sinks:
                each(event)

        report = session.apply(options, plan, sink, what, made)
    call.screen.answer("\n" + outcome_text(report, manner.command, call.screen.paint))
    if manner.command == "apply" and plan.outputs and report.exit_status == 0:
        show_outputs(call, session.outputs_after(options, plan))
    return report.exit_status or unread(plan)


def unless_overtaken(call: Call, run: Callable[[], int], asks: bool) -> int:
    """What ``run`` returns. A run that asks nobody begins anew when another one changed the stack between its plan and
    its lease; an answer was given to one plan alone. Raises: Faults (``stale-plan``)."""
    for _ in range(0 if asks else OVERTAKEN):
        try:
            return run()
        except Faults as faults:
            if not any(each.code == "stale-plan" for each in faults.diagnostics):
                raise
            call.screen.say("\nAnother run changed the stack while this one waited for it: planning again.\n\n")
    return run()


def conclude(call: Call, options: "Options", planned: "session.Planned", manner: Manner) -> Status:
    """Ends a run that has nothing to do, and returns the exit status; its events are that it began and ended."""
    from stacksmith.engine import session

    session.correct_store(options, planned)
    if manner.json_into is not None:
        with _written(manner.json_into) as sink:
            for event in session.empty_run(manner.command):
                sink(event)
    if manner.command == "apply":
        show_outputs(call, planned.plan.outputs)
    return unread(planned.plan)


def unread(plan: "Plan") -> Status:
    """An error when resources on hosts that could not be read were left as they are, whatever that is."""
    return Status.ERROR if plan.unknown else Status.OK


def show_outputs(call: Call, outputs: "Mapping[str, JSON]") -> None:
    """The outputs under their heading, nothing for none."""
    from stacksmith.views.output import outputs_text

    if outputs:
        call.screen.answer(f"\nOutputs:\n\n{outputs_text(outputs)}")


@contextmanager
def _shown(call: Call) -> "Iterator[Sink]":
    screen = call.screen
    if screen.stderr.isatty():
        from stacksmith.views.event_live import LiveProgress

        with LiveProgress(screen.stderr, screen.error_paint) as live:
            yield live
        return

    from stacksmith.views.event_text import event_line

    def show(event: "Event") -> None:
        line = event_line(event, screen.error_paint)
        if line is not None:
            screen.say(line + "\n")

    yield show


@contextmanager
def _written(path: Path) -> "Iterator[Sink]":
    from stacksmith.views.event_data import event_data
    from stacksmith.views.json_text import json_line

    with path.open("w", encoding="utf-8") as file:
        number = 0

        def write(event: "Event") -> None:
            nonlocal number
            file.write(json_line(event_data(event, number, timestamp())))
            file.flush()
            number += 1

        yield write
