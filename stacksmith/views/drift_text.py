"""Drift as text."""

from collections.abc import Iterator

from stacksmith.planner.plan import Plan
from stacksmith.views import notice, outside
from stacksmith.views.action import resource_actions
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import counted


def drift_text(plan: Plan, paint: Paint = PLAIN) -> str:
    """What deviates, what waits to be applied, what is not this stack's, what could not be read, and a verdict."""
    sections = [
        outside.deviations(plan, paint),
        _pending(plan),
        notice.unreachable(plan, paint),
        notice.unmanaged(plan, paint),
        _verdict(plan, paint),
    ]
    texts = ["\n".join(lines) for section in sections if (lines := list(section))]
    return "\n\n".join(texts) + "\n"


def pending(plan: Plan) -> list[str]:
    """Addresses of the resources that have a step but do not deviate: the stack was edited and not applied."""
    deviating = {deviation.address for deviation in plan.deviations}
    return [str(action.address) for action in resource_actions(plan) if action.address not in deviating]


def _pending(plan: Plan) -> Iterator[str]:
    deviating = {deviation.address for deviation in plan.deviations}
    actions = [action for action in resource_actions(plan) if action.address not in deviating]
    if not actions:
        return
    yield "Changes of the stack that are not applied yet:"
    yield ""
    for action in actions:
        yield f"  {action.action.value:8} {action.address}"


def _verdict(plan: Plan, paint: Paint) -> Iterator[str]:
    missing = sum(deviation.missing for deviation in plan.deviations)
    differing = len(plan.deviations) - missing
    waiting = len(pending(plan))
    parts = [f"{counted(differing, 'resource')} changed", f"{missing} missing"] if plan.deviations else []
    parts += [f"{counted(waiting, 'change')} not applied yet"] if waiting else []
    parts += [f"{counted(len(plan.unreachable), 'host')} not read"] if plan.unreachable else []
    parts.append(f"{len(plan.unchanged)} in sync")
    if plan.deviations:
        head, colour = "Drift:", paint.red
    elif plan.unreachable or plan.unknown:
        head, colour = "Not known:", paint.yellow
    elif waiting:
        head, colour = "No drift, but changes to apply:", paint.yellow
    else:
        head, colour = "No drift:", paint.green
    yield f"{paint.bold}{colour}{head}{paint.reset} {', '.join(parts)}."
