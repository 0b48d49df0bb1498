"""What changed outside of stacksmith: the deviations of a plan."""

from collections.abc import Iterator

from stacksmith.planner.plan import Deviation, Plan
from stacksmith.views import block
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import line


def deviations(plan: Plan, paint: Paint = PLAIN) -> Iterator[str]:
    """Every object that is not as it was applied, field by field; nothing when there is none."""
    if not plan.deviations:
        return
    yield f"{paint.bold}Note: Objects have changed outside of stacksmith{paint.reset}"
    yield ""
    yield "stacksmith found these differences between what it applied and what is there:"
    for deviation in sorted(plan.deviations, key=lambda each: each.address.order):
        yield ""
        yield from difference_of(deviation, paint)


def difference_of(deviation: Deviation, paint: Paint = PLAIN) -> Iterator[str]:
    """One object and its fields."""
    where = f" (on {deviation.host})" if deviation.host else ""
    verb = "is missing" if deviation.missing else "cannot be used" if deviation.problem else "has changed"
    cause = f": {line(deviation.problem)}" if deviation.problem else ""
    yield f"  {paint.bold}# {deviation.address} {verb}{where}{cause}{paint.reset}"
    if deviation.changes:
        symbol = "-" if deviation.missing else "~"
        yield from block.block(symbol, deviation.address, block.deviating(deviation.changes, paint), paint)
