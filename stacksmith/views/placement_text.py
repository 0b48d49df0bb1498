"""Where servers go and why: every host's verdict."""

from collections.abc import Iterable, Iterator
from math import inf

from stacksmith.model.found import Snapshot
from stacksmith.placement.verdict import Placement, Verdict
from stacksmith.planner.plan import Plan
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table
from stacksmith.views.words import clean


def placements(plan: Plan, snapshot: Snapshot, stays: Iterable[Placement] = ()) -> list[Placement]:
    """Every server's place in order of address: those of the plan, and those that run and stay, as ``stays`` tells."""
    known = {each.address: each for each in (*stays, *plan.placements)}
    for host in snapshot.hosts:
        for found in host.found:
            if found.address.kind == "server" and not found.partial:
                known.setdefault(found.address, Placement(found.address, host.host, (), kept=True))
    return [known[address] for address in sorted(known)]


def placements_text(placements: Iterable[Placement], paint: Paint = PLAIN) -> str:
    """A table of hosts per server, best first, then those that do not fit."""
    return "\n".join("\n".join(_placement(each, paint)) + "\n" for each in placements)


def _placement(placement: Placement, paint: Paint) -> Iterator[str]:
    if placement.host is None:
        answer = f"{paint.red}nowhere{paint.reset}: {clean(placement.cause)}"
    elif placement.kept:
        answer = f"stays on {placement.host}, where it is"
    else:
        answer = f"goes to {paint.green}{placement.host}{paint.reset}"
    yield f"{paint.bold}{placement.address}{paint.reset} {answer}"
    if placement.verdicts:
        at = placement.host if placement.kept else None
        rows = [_row(v, placement) for v in sorted(placement.verdicts, key=lambda v: (v.host != at, *_order(v)))]
        yield from (f"  {line}" for line in table(("HOST", "FITS", "SCORE", "WHY"), rows, paint))
    if placement.hint:
        yield f"  {paint.cyan}hint:{paint.reset} {clean(placement.hint)}"


def _order(verdict: Verdict) -> tuple[bool, float, str]:
    return (not verdict.fits, -inf if verdict.score is None else -verdict.score, verdict.host)


def _row(verdict: Verdict, placement: Placement) -> tuple[str, str, str, str]:
    chosen = "stays" if placement.kept else "chosen"
    fits = chosen if verdict.host == placement.host else "yes" if verdict.fits else "no"
    return (verdict.host, fits, "" if verdict.score is None else f"{verdict.score:.3f}", verdict.reason)
