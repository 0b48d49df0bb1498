"""Says why: a verdict per host, the cause of a failure, and the smallest change that would help."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isinf

from stacksmith.placement.filter import refusals
from stacksmith.placement.host import INSTANCES
from stacksmith.placement.refusal import Refusal, Rule
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Verdict
from stacksmith.placement.weigher import DIGITS, Weigher
from stacksmith.placement.wording import number

# How one host, and several, are counted in a cause.
_COUNTED = {
    Rule.REACH: ("is not reachable", "are not reachable"),
    Rule.STATE: ("is {}", "are {}"),
    Rule.PIN: ("is not {}", "are not {}"),
    Rule.BESIDE: ("is not where {} is", "are not where {} is"),
    Rule.ZONE: ("is not in availability zone {}", "are not in availability zone {}"),
    Rule.TRAIT: ("lacks trait {}", "lack trait {}"),
    Rule.FORBIDDEN: ("has forbidden trait {}", "have forbidden trait {}"),
    Rule.AGGREGATE: ("is not in aggregate {}", "are not in aggregate {}"),
    Rule.FILTER: ("fails {}", "fail {}"),
    Rule.AFFINITY: ("is not where group {} is", "are not where group {} is"),
    Rule.UNIT: ("does not take that amount of {}", "do not take that amount of {}"),
    Rule.MISSING: ("has no {}", "have no {}"),
    Rule.ANTI_AFFINITY: ("has as many members of {} as it may", "have as many members of {} as they may"),
    Rule.SHORT: ("lacks {}", "lack {}"),
    Rule.PARTS: ("lacks room in its parts", "lack room in their parts"),
    Rule.NO_PARTS: ("has no such parts", "have no such parts"),
}

# What would help when a host refuses for this alone, the smallest change first.
_HELP = {
    Rule.STATE: "set the state of {host} to enabled",
    Rule.SHORT: "free {amounts} on {host}, or ask for that much less",
    Rule.PARTS: "{host} is nearest: {reason}",
    Rule.ZONE: "let it go to another availability zone: {host} has room",
    Rule.ANTI_AFFINITY: "add a host, or raise max_server_per_host of {subject}: {host} has room",
    Rule.AGGREGATE: "add {host} to aggregate {subject}",
    Rule.FILTER: "{host} is nearest: {reason}",
    Rule.TRAIT: "give {host} the trait {subject}",
    Rule.FORBIDDEN: "let it go to a host with the trait {subject}: {host} has room",
    Rule.PIN: "drop the pin to {subject}: {host} has room",
    Rule.UNIT: "ask {host} for another amount: {reason}",
    Rule.MISSING: "offer {subject} on {host}",
    Rule.AFFINITY: "take it out of group {subject}: {host} has room",
    Rule.BESIDE: "move {subject} to {host}, which has room",
    Rule.NO_PARTS: "{host} has none of it: {reason}",
    Rule.REACH: "make {host} reachable: what it has free is not known",
}
_RANK = {rule: rank for rank, rule in enumerate(_HELP)}


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
        if name == INSTANCES and isinf(site.capacity[name]):
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
    amounts = ", ".join(f"{name} {amount}" for name, amount in unit.amounts)
    return f" (together on one host: {listed}: {amounts})"


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why no host takes a unit: its verdicts, the hosts counted by their first reason, and what would help."""

    verdicts: tuple[Verdict, ...]
    summary: str
    hint: str


def complain(unit: Unit, sites: Sequence[Site]) -> Complaint:
    """The complaint of a unit that every one of these hosts refuses as things stand."""
    answers = [(site, list(refusals(unit, site))) for site in sites]
    return Complaint(tuple(_refused(site, answer) for site, answer in answers), _summary(answers), _hint(answers))


def _summary(answers: Sequence[tuple[Site, list[Refusal]]]) -> str:
    """``3 hosts: 2 lack MEMORY_MB, 1 is disabled``."""
    if not answers:
        return "the fleet has no hosts"
    counts = Counter(_first(answer) for _, answer in answers)
    parts = sorted(counts.items(), key=lambda item: (-item[1], _RANK[item[0][0]], item[0][1]))
    counted = [f"{n} {_COUNTED[rule][n > 1].format(subject)}" for (rule, subject), n in parts]
    return f"{len(answers)} host{'s' if len(answers) > 1 else ''}: {', '.join(counted)}"


def _first(found: Sequence[Refusal]) -> tuple[Rule, str]:
    rule = found[0].rule
    if rule in (Rule.SHORT, Rule.MISSING, Rule.TRAIT):
        return rule, " and ".join(refusal.subject for refusal in found if refusal.rule is rule)
    return rule, found[0].subject


def _hint(answers: Sequence[tuple[Site, list[Refusal]]]) -> str:
    """The smallest single change that makes a host take the unit, or how near the nearest host is."""
    if not answers:
        return "add a host to the fleet"
    site, answer = min(answers, key=lambda item: (_effort(item[1], item[0]), item[0].index))
    name = site.host.name
    if len({refusal.rule for refusal in answer}) > 1 or (len(answer) > 1 and answer[0].rule is Rule.FILTER):
        return f"{name} is nearest: {'; '.join(refusal.reason for refusal in answer)}"
    subjects = " and ".join(refusal.subject for refusal in answer)
    if _too_big(answer, site):
        return f"even empty {name} has too little {subjects}: ask for less, or add a larger host"
    amounts = " and ".join(f"{refusal.subject} {ceil(refusal.short)}" for refusal in answer)
    first = answer[0]
    if first.help and len(answer) == 1:
        return first.help
    return _HELP[first.rule].format(host=name, amounts=amounts, subject=subjects, reason=first.reason)


def _effort(answer: Sequence[Refusal], site: Site) -> tuple[int, bool, int, float]:
    """How much must change: how many rules, whether it can be, which, and the share of the capacity that lacks."""
    lack = sum(refusal.short / max(1.0, site.capacity[refusal.subject]) for refusal in answer if refusal.short)
    return len({refusal.rule for refusal in answer}), _too_big(answer, site), _RANK[answer[0].rule], lack


def _too_big(answer: Sequence[Refusal], site: Site) -> bool:
    """True when taking everything off the host would not make room."""
    return any(refusal.short > site.used.get(refusal.subject, 0) for refusal in answer if refusal.short)
