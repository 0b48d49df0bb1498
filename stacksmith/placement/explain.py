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


@dataclass(slots=True)
class _Answer:
    """What one host says to units of a kind: why it fits them, or the refusals. ``version`` is the host's then.

    ``verdict`` is the last that was told of it; the score and what is said of it may be others the next time.
    """

    version: int
    reason: str
    verdict: Verdict
    more: str = ""

    def weighed(self, score: float, more: str) -> Verdict:
        """The verdict of a host that fits, the same one if nothing of it is new."""
        if self.verdict.score != score or self.more != more:
            self.verdict = Verdict(self.verdict.host, True, self.reason + more, score)
            self.more = more
        return self.verdict


class Answers:
    """What hosts answered to units, told again while nothing is done to them: most of a fleet most of the time."""

    def __init__(self) -> None:
        self._known: dict[object, dict[int, _Answer]] = {}

    def of(self, unit: Unit, sites: Sequence[Site]) -> list[_Answer]:
        """The answer of each site, in order."""
        known = self._known.setdefault((unit.key, unit.apart, unit.follows), {})
        found = []
        for site in sites:
            answer = known.get(site.index)
            if answer is None or answer.version != site.version:
                answer = known[site.index] = _answer(unit, site)
            found.append(answer)
        return found


def _answer(unit: Unit, site: Site) -> _Answer:
    answer = list(refusals(unit, site))
    reason = "" if answer else _fits(unit, site)
    verdict = _refused(site, answer) if answer else Verdict(site.host.name, True, reason)
    return _Answer(site.version, reason, verdict)


def verdicts(
    unit: Unit,
    sites: Sequence[Site],
    weigher: Weigher,
    chosen: tuple[int, str] | None = None,
    known: Answers | None = None,
) -> tuple[Verdict, ...]:
    """One verdict per host, in order of name, as things stand. ``chosen``: a host, and why it was not left to score.

    ``known`` is what the same sites answered before.
    """
    answers = (known or Answers()).of(unit, sites)
    takes = [site for site, answer in zip(sites, answers, strict=True) if answer.verdict.fits]
    weighed = zip(weigher.scores(unit, takes), weigher.words(unit, takes), strict=True)
    found = []
    for site, answer in zip(sites, answers, strict=True):
        if not answer.verdict.fits:
            found.append(answer.verdict)
            continue
        score, words = next(weighed)
        note = f"; {chosen[1]}" if chosen is not None and site.index == chosen[0] else ""
        found.append(answer.weighed(round(score, DIGITS), f"; {words}{note}" if words else note))
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
