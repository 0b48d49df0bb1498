"""Says why: a verdict per host, and for a unit that no host takes what conflicts and what would help."""

from collections.abc import Sequence
from dataclasses import replace
from math import isinf

from stacksmith.frozen import dataclass
from stacksmith.placement.conflict import find_conflict, told
from stacksmith.placement.filter import refusals
from stacksmith.placement.host import INSTANCES, IO_OPS, HostState
from stacksmith.placement.refusal import Refusal
from stacksmith.placement.relax import helps, relaxations
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Beside, Conflict, Relaxation, Verdict
from stacksmith.placement.weigher import DIGITS, Weigher
from stacksmith.placement.wording import number


def verdicts(
    unit: Unit, sites: Sequence[Site], weigher: Weigher, chosen: tuple[int, str] | None = None
) -> tuple[Verdict, ...]:
    """One verdict per host, in order of name, as things stand. ``chosen``: a host, and why it was not left to score."""
    answers = [(site, list(refusals(unit, site))) for site in sites]
    takes = [site for site, answer in answers if not answer]
    weighed = zip(weigher.scores(unit, takes), weigher.words(unit, takes), strict=True)
    found = []
    for site, answer in answers:
        if answer:
            found.append(_refused(site, answer))
            continue
        score, words = next(weighed)
        note = f"; {chosen[1]}" if chosen is not None and site.index == chosen[0] else ""
        reason = f"{_fits(unit, site)}{'; ' if words else ''}{words}{note}"
        found.append(Verdict(site.host.name, True, reason, round(score, DIGITS)))
    return tuple(found)


def _refused(site: Site, answer: Sequence[Refusal]) -> Verdict:
    return Verdict(site.host.name, False, "; ".join(refusal.reason for refusal in answer))


def _fits(unit: Unit, site: Site) -> str:
    after = []
    for name, amount in unit.amounts:
        if name in (INSTANCES, IO_OPS) and isinf(site.capacity[name]):
            continue  # counted for a weigher alone
        left = site.capacity[name] - site.used.get(name, 0) - amount
        after.append(f"{name} not limited" if isinf(left) else f"{name} {number(left)}")
    free = f"fits: free after {', '.join(after)}" if after else "fits"
    return f"{free}; {site.parts.told(unit)}" if unit.has_parts else free


def company(unit: Unit) -> str:
    """Names what goes to the same host, as an addition to a cause; empty for a unit of one."""
    if len(unit.requests) == 1:
        return ""
    names = [str(request.address) for request in unit.requests]
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    amounts = ", ".join(f"{name} {amount:,}" for name, amount in unit.amounts)
    return f" (together on one host: {listed}: {amounts})"


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why no host takes a unit: its verdicts, what of it conflicts, in words too, and what would help."""

    verdicts: tuple[Verdict, ...]
    conflict: Conflict
    relaxations: tuple[Relaxation, ...]
    summary: str
    hint: str


class Complaints:
    """Complaints of the units of a batch that every host refuses with the rest in its place.

    ``hosts`` are as before the batch, ``sites`` with it; ``marks`` are what the batch brings.
    """

    def __init__(self, hosts: Sequence[HostState], sites: Sequence[Site], marks: frozenset[str]) -> None:
        empty = [replace(host, used={}, groups={}, parts_used={}, claimed={}, parts_claimed={}) for host in hosts]
        self._hosts, self._sites, self._marks = hosts, sites, marks
        self._before = ((Beside.NOTHING, open_sites(empty)), (Beside.RUNNING, open_sites(hosts)))

    def of(self, unit: Unit) -> Complaint:
        """The complaint of one unit."""
        answers = [(site, list(refusals(unit, site))) for site in self._sites]
        conflict = find_conflict(unit, (*self._before, (Beside.BATCH, self._sites)), self._marks)
        found = relaxations(unit, answers)
        table = tuple(_refused(site, answer) for site, answer in answers)
        return Complaint(table, conflict, found, told(conflict, self._hosts), helps(found))
