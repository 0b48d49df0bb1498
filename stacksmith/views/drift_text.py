"""Drift as text."""

from collections.abc import Collection, Iterator

from stacksmith.address import Address
from stacksmith.planner.plan import Plan
from stacksmith.views import notice, outside
from stacksmith.views.action import resource_actions
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import counted


def drift_text(plan: Plan, paint: Paint = PLAIN, unplanned: Collection[Address] = ()) -> str:
    """What deviates, what waits to be applied, what is not this stack's, what could not be read, and a verdict.

    ``unplanned`` are resources that no plan can be made for.
    """
    sections = [
        outside.deviations(plan, paint),
        _pending(plan, unplanned),
        notice.unreachable(plan, paint),
        notice.unmanaged(plan, paint),
        _verdict(plan, paint, unplanned),
    ]
    texts = ["\n".join(lines) for section in sections if (lines := list(section))]
    return "\n\n".join(texts) + "\n"


def pending(plan: Plan, unplanned: Collection[Address] = ()) -> list[str]:
    """Addresses of the resources that have a step, or for which none can be planned, but do not deviate: the stack was
    edited and not applied."""
    return [str(address) for address in _words(plan, unplanned)]


def _words(plan: Plan, unplanned: Collection[Address]) -> dict[Address, str]:
    """What is to be done with each resource that waits."""
    told = {deviation.address for deviation in plan.deviations} | set(plan.unknown)
    words = {action.address: action.action.value for action in resource_actions(plan) if action.address not in told}
    return words | {each: "cannot be planned:" for each in sorted(unplanned) if each not in told and each not in words}


def _pending(plan: Plan, unplanned: Collection[Address]) -> Iterator[str]:
    words = _words(plan, unplanned)
    if not words:
        return
    yield "Changes of the stack that are not applied yet:"
    yield ""
    for address, word in words.items():
        yield f"  {word:8} {address}"


def _verdict(plan: Plan, paint: Paint, unplanned: Collection[Address]) -> Iterator[str]:
    missing = sum(deviation.missing for deviation in plan.deviations)
    differing = len(plan.deviations) - missing
    waiting = len(pending(plan, unplanned))
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
