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
    for host in emptied(plan):
        yield ""
        yield f"{paint.bold}{paint.yellow}Warning:{paint.reset} nothing of what was applied on {line(host)} is there"
        yield "  If it was not made anew, its URI in the fleet file leads to another machine now, and the former one"
        yield "  may still run these servers: an apply would make each a second time, with the same addresses."


def emptied(plan: Plan) -> list[str]:
    """The hosts that have none of at least two objects that were applied there, a server or a volume among them."""
    missing: dict[str, list[str]] = {}
    for deviation in plan.deviations:
        if deviation.missing:
            missing.setdefault(deviation.host, []).append(deviation.address.kind)
    there = {each.host for each in plan.unchanged} | {each.host for each in plan.deviations if not each.missing}
    there |= {step.host for step in plan.steps if step.fingerprint is not None}
    return sorted(
        host
        for host, kinds in missing.items()
        if host not in there and len(kinds) > 1 and {"server", "volume"}.intersection(kinds)
    )


def difference_of(deviation: Deviation, paint: Paint = PLAIN) -> Iterator[str]:
    """One object and its fields."""
    where = f" (on {deviation.host})" if deviation.host else ""
    verb = "is missing" if deviation.missing else "cannot be used" if deviation.problem else "has changed"
    cause = f": {line(deviation.problem)}" if deviation.problem else ""
    yield f"  {paint.bold}# {deviation.address} {verb}{where}{cause}{paint.reset}"
    if deviation.changes:
        symbol = "-" if deviation.missing else "~"
        yield from block.block(symbol, deviation.address, block.deviating(deviation.changes, paint), paint)
