"""What would make a unit fit that no host takes: per host the constraints it refuses, of which the least are told."""

import re
from collections.abc import Sequence
from math import ceil, floor, isinf
from typing import Final

from stacksmith.placement.conflict import constraint_of, minimal
from stacksmith.placement.host import EMPTIED, Inventory
from stacksmith.placement.refusal import Refusal, Rule
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Constraint, Relaxation, Remedy

TOLD: Final = 3  # alternatives in a hint
Answer = tuple[Site, Sequence[Refusal]]

OTHER_ZONE: Final = "let it go to another availability zone than {subject}"
# What to do when a host refuses for this, in the order of how little it takes; amounts have words of their own.
_HELP: Final = {
    Rule.STATE: "set the state of {host} to enabled",
    Rule.SHORT: "",
    Rule.PARTS: "make room in the parts of {host}: {reason}",
    Rule.ZONE: OTHER_ZONE,
    Rule.ANTI_AFFINITY: "add a host, or raise max_server_per_host of {subject}",
    Rule.AGGREGATE: "add {host} to aggregate {subject}",
    Rule.FILTER: "make {host} pass {subject}: {reason}",
    Rule.TRAIT: "give {host} the trait {subject}, or do not require it",
    Rule.FORBIDDEN: "take the trait {subject} from {host}, or do not forbid it",
    Rule.PIN: "drop the pin to {subject}",
    Rule.UNIT: "",
    Rule.MISSING: "offer {subject} on {host}",
    Rule.AFFINITY: "take it out of group {subject}",
    Rule.BESIDE: "move {subject} to {host}",
    Rule.UNSETTLED: "ask less of the parts of {host}, or for fewer of them: {reason}",
    Rule.NO_PARTS: "offer such parts on {host}: {reason}",
    Rule.REACH: "make {host} reachable: what it has free is not known",
}
_RANK: Final = {rule: rank for rank, rule in enumerate(_HELP)}


def relaxations(unit: Unit, answers: Sequence[Answer]) -> tuple[Relaxation, ...]:
    """What would make hosts take the unit, the least first; of hosts that refuse the same constraints the nearest.

    A host that refuses all that another does, and more, is left out, as is one that is to be emptied. ``answers`` have
    all refusals of each host, in order of name, and none of them is without.
    """
    by_signature: dict[frozenset[Constraint], list[Answer]] = {}
    for site, refused in answers:
        if site.host.state != EMPTIED:
            by_signature.setdefault(frozenset(map(constraint_of, refused)), []).append((site, refused))
    nearest = [(min(by_signature[s], key=_effort), len(by_signature[s]) - 1) for s in minimal(by_signature)]
    nearest.sort(key=lambda item: _effort(item[0]))
    return tuple(
        Relaxation(site.host.name, tuple(_remedies(unit, site, refused)), like) for (site, refused), like in nearest
    )


def helps(found: Sequence[Relaxation]) -> str:
    """The relaxations with the fewest remedies as one hint; a host of which nothing is known is last resort."""
    if not found:
        return "add a host to the fleet"
    least = [each for each in found if len(each.remedies) == len(found[0].remedies)]
    known = [each for each in least if not any(_is_blind(remedy.constraint) for remedy in each.remedies)]
    least = (known or least)[:TOLD]
    return "; or ".join(map(_said, least))


def _said(relaxation: Relaxation) -> str:
    words = [remedy.words for remedy in relaxation.remedies]
    if len(words) == 1:
        named = relaxation.host in re.split(r"[\s:,]+", words[0])
        return words[0] if named else f"{words[0]}: {relaxation.host} has room"
    return f"for {relaxation.host}, all of: {'; '.join(words)}"


def _is_blind(constraint: Constraint) -> bool:
    """True for what keeps from knowing what a host has free."""
    return constraint.rule == Rule.REACH or (constraint.rule == Rule.STATE and constraint.subject == "failed")


def _effort(answer: Answer) -> tuple[int, bool, int, float, int]:
    """How much must change: how many constraints, whether it can be, which, the share that lacks; then by name."""
    site, refused = answer
    lack = sum(r.short / max(1.0, site.capacity[r.subject]) for r in refused if r.short)
    count = len({constraint_of(r) for r in refused})
    too_big = any(_is_too_big(r, site) for r in refused)
    return count, too_big, max(map(_rank, refused)), lack, site.index


def _rank(refusal: Refusal) -> int:
    return _RANK[Rule.REACH if _is_blind(constraint_of(refusal)) else refusal.rule]


def _is_too_big(refusal: Refusal, site: Site) -> bool:
    """True when taking everything off the host would not make room."""
    return refusal.short > site.used.get(refusal.subject, 0) if refusal.short else False


def _remedies(unit: Unit, site: Site, refused: Sequence[Refusal]) -> list[Remedy]:
    """One remedy per constraint, in the order of the refusals."""
    by_constraint: dict[Constraint, list[Refusal]] = {}
    for refusal in refused:
        by_constraint.setdefault(constraint_of(refusal), []).append(refusal)
    return [Remedy(constraint, _words(unit, site, each)) for constraint, each in by_constraint.items()]


def _words(unit: Unit, site: Site, refused: Sequence[Refusal]) -> str:
    """What to do about refusals of one constraint."""
    first, name = refused[0], site.host.name
    if first.rule is Rule.STATE and _is_blind(constraint_of(first)):
        return f"mend {name} and set its state to enabled: what it has free is not known"
    if any(each.rule is Rule.UNIT for each in refused):
        return _other_amount(unit, site, first.subject)
    if first.rule is Rule.SHORT and not first.help:
        return _less(unit, site, first)
    if first.help:
        return first.help
    return _HELP[first.rule].format(host=name, subject=first.subject, reason=first.reason)


def _less(unit: Unit, site: Site, refusal: Refusal) -> str:
    name, host, lack = refusal.subject, site.host.name, ceil(refusal.short)
    asked = dict(unit.amounts)[name]
    best = _accepted(site.host.inventories[name], asked - lack)
    less = asked - best if best is not None and len(unit.requests) == 1 else lack if best is not None else None
    if _is_too_big(refusal, site):
        ask = f"ask for {name} {less:,} less, or " if less is not None else ""
        return f"even empty {host} has too little {name}: {ask}add a larger host"
    if less is None:
        return f"free {name} {lack:,} on {host}"
    return f"free {name} {lack:,} on {host}, or ask for {'that much' if less == lack else f'{name} {less:,}'} less"


def _accepted(inventory: Inventory, most: int) -> int | None:
    """The largest amount that one request may ask for and that is no more than this; None when there is none."""
    amount = min(most, inventory.max_unit)
    amount -= amount % inventory.step_size
    return amount if amount >= max(1, inventory.min_unit) else None


def _other_amount(unit: Unit, site: Site, name: str) -> str:
    """The nearest amount that the host accepts and has free: less if it can be, else more."""
    inventory, asked, host = site.host.inventories[name], dict(unit.amounts)[name], site.host.name
    if len(unit.requests) > 1:
        return f"ask {host} for other amounts of {name} each"
    free = site.free(name)
    room = inventory.max_unit if isinf(free) else floor(free)
    best = _accepted(inventory, min(asked, room))
    if best is None:
        least = max(asked, inventory.min_unit)
        best = least + -least % inventory.step_size
        if best > room or best > inventory.max_unit:
            return f"ask {host} for no {name}: no amount that it takes is free"
    return f"ask {host} for {name} {best:,} instead of {asked:,}"
