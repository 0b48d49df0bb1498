"""The smallest set of a unit's constraints that no host meets together.

A set of constraints conflicts when every host that can be used refuses one of them: it is a hitting set of what the
hosts refuse. Hosts that refuse for the same count once, so that the work depends on how many ways there are to refuse.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.placement.filter import refusals
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import NOT_REACHABLE, Refusal, Rule
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Beside, Conflict, Constraint, Term

MOST_STEPS: Final = 20_000  # of the search for a smallest set, which takes a few dozen in practice
NAMED: Final = 3  # hosts told by name

AMOUNT: Final = "amount"
_RULES: Final = {Rule.UNIT: AMOUNT, Rule.MISSING: AMOUNT, Rule.SHORT: AMOUNT, Rule.NO_PARTS: Rule.PARTS.value}
_WORDS: Final = {
    Rule.PIN: "is {} (pinned)",
    Rule.BESIDE: "is where {} is",
    Rule.ZONE: "is in availability zone {}",
    Rule.TRAIT: "has trait {}",
    Rule.FORBIDDEN: "is without trait {}",
    Rule.AGGREGATE: "is in aggregate {}",
    Rule.FILTER: "passes {}",
    Rule.AFFINITY: "is where group {} is",
    Rule.ANTI_AFFINITY: "has a place left for group {}",
    Rule.PARTS: "has room for it in its parts",
    Rule.UNSETTLED: "was found to have room for it in its parts",
}
_ORDER: Final = {rule: place for place, rule in enumerate((*(rule.value for rule in _WORDS), AMOUNT))}
_PLURALS: Final = {"has": "have", "is": "are", "passes": "pass", "was": "were"}
_SCENES: Final = {
    Beside.NOTHING: "even if all were empty",
    Beside.RUNNING: "beside what runs",
    Beside.BATCH: "beside the rest of this batch",
}

Signature = frozenset[Constraint]


def constraint_of(refusal: Refusal) -> Constraint:
    """What of the request a host refuses; that it lacks, is short of or does not take an amount is one constraint."""
    rule = _RULES.get(refusal.rule, refusal.rule.value)
    if refusal.rule is Rule.STATE and refusal.subject != "failed":
        return Constraint(rule, "")
    return Constraint(rule, refusal.subject, refusal.about)


def order_of(constraint: Constraint) -> tuple[int, str, str]:
    """Sorts constraints in the order they are told; a host's state comes first."""
    return _ORDER.get(constraint.rule, -1), constraint.subject, constraint.about


def is_usable(host: HostState) -> bool:
    """True for a host that may take servers at all, whatever they ask."""
    return host.reachable and host.state == "enabled"


def find_conflict(unit: Unit, scenes: Sequence[tuple[Beside, Sequence[Site]]], marks: frozenset[str]) -> Conflict:
    """The conflict of a unit in the first scene that has one, which the last scene does: no host takes the unit there.

    ``marks`` are what the batch brings: until it is placed, no host can have what a unit follows of it.
    """
    follows = tuple(hint for hint in unit.follows if hint.mark not in marks)
    settled = replace(unit, follows=follows)
    for beside, sites in scenes:
        usable = [site for site in sites if is_usable(site.host)]
        signatures = _signatures(unit if beside is Beside.BATCH else settled, usable)
        if signatures is not None:
            break
    else:
        raise AssertionError(f"a host takes {unit.address}")
    chosen, smallest = hitting_set(set(signatures))
    hosts = [site.host.name for site in usable]
    met = {c: tuple(n for n, each in zip(hosts, signatures, strict=True) if c not in each) for c in chosen}
    terms = tuple(Term(c, _words(c, unit, beside), met[c]) for c in chosen)
    return Conflict(beside, len(usable), terms, smallest)


def _signatures(unit: Unit, sites: Sequence[Site]) -> list[Signature] | None:
    """What each host refuses; None when one refuses nothing."""
    known: dict[Signature, Signature] = {}
    found = []
    for site in sites:
        signature = frozenset(map(constraint_of, refusals(unit, site)))
        if not signature:
            return None
        found.append(known.setdefault(signature, signature))
    return found


def hitting_set(sets: Iterable[Signature], most: int = MOST_STEPS) -> tuple[tuple[Constraint, ...], bool]:
    """The fewest elements of which each of the sets, none of them empty, has one, in order.

    After ``most`` steps it is one of which no element can be left out: the flag says whether none is smaller.
    """
    least = minimal(sets)
    enough = _irreducible(least)
    search = _Search(most)
    for size in range(len(enough)):
        chosen = search.choose(least, size, frozenset())
        if search.steps >= most:
            return enough, False
        if chosen is not None:
            return tuple(sorted(chosen, key=order_of)), True
    return enough, True


def minimal(sets: Iterable[Signature]) -> list[Signature]:
    """The sets that contain no other, the smallest first and in order."""
    found: list[Signature] = []
    for each in sorted(set(sets), key=lambda s: (len(s), sorted(map(order_of, s)))):
        if not any(other <= each for other in found):
            found.append(each)
    return found


def _irreducible(sets: Sequence[Signature]) -> tuple[Constraint, ...]:
    """A hitting set that is none without any one of its elements: the last in order are left out first."""
    kept = sorted(frozenset[Constraint]().union(*sets), key=order_of)
    for each in reversed(kept.copy()):
        without = frozenset(kept) - {each}
        if all(s & without for s in sets):
            kept.remove(each)
    return tuple(kept)


@dataclass(slots=True)
class _Search:
    """Depth-first choice of an element of a set that has none yet, the smallest first."""

    most: int
    steps: int = 0

    def choose(self, sets: Sequence[Signature], size: int, barred: Signature) -> Signature | None:
        """At most ``size`` elements, none of them barred, of which each set has one; None when there are none."""
        if not sets:
            return frozenset()
        self.steps += 1
        if size == 0 or self.steps >= self.most:
            return None
        for element in sorted(min(sets, key=lambda s: len(s - barred)) - barred, key=order_of):
            rest = self.choose([s for s in sets if element not in s], size - 1, barred)
            if rest is not None:
                return rest | {element}
            barred |= {element}  # what has it was tried in full
        return None


def _words(constraint: Constraint, unit: Unit, beside: Beside) -> str:
    if constraint.rule == AMOUNT:
        amount = dict(unit.amounts)[constraint.subject]
        return f"has {constraint.subject} {amount:,}{'' if beside is Beside.NOTHING else ' free'}"
    words = _WORDS[Rule(constraint.rule)].format(constraint.subject)
    return f"{words} ({constraint.about})" if constraint.about else words


def told(conflict: Conflict, hosts: Sequence[HostState]) -> str:
    """``beside what runs, none of 7 hosts has trait A and is in availability zone z: 3 have trait A (…), 4 are …``."""
    if not hosts:
        return "the fleet has no hosts"
    out = ", ".join(_out_of_use(hosts))
    if not conflict.usable:
        return f"{len(hosts)} host{'s' if len(hosts) > 1 else ''}: {out}"
    more = f"{out} besides" if out else ""
    one = f"no host (of 1{f'; {more}' if more else ''})"
    whom = f"none of {conflict.usable} hosts{f' ({more})' if more else ''}" if conflict.usable > 1 else one
    wanted = " and ".join(term.words for term in conflict.terms)
    counts = ", ".join(_counted(term) for term in conflict.terms if len(conflict.terms) > 1)
    limit = "" if conflict.smallest else " (there may be fewer that conflict: the search for them was cut short)"
    return f"{_SCENES[conflict.beside]}, {whom} {wanted}{f': {counts}' if counts else ''}{limit}"


def _out_of_use(hosts: Sequence[HostState]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for host in hosts:
        if not is_usable(host):
            state = "being drained" if host.state == "drain" else host.state
            told = NOT_REACHABLE if host.state == "enabled" else state
            counts[told] = counts.get(told, 0) + 1
    for state, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield f"{count} {'are' if count > 1 else 'is'} {state}"


def _counted(term: Term) -> str:
    """``3 have trait CUSTOM_SSD (hv1, hv2, hv3)``."""
    names, count = term.hosts[:NAMED], len(term.hosts)
    verb, _, rest = term.words.partition(" ")
    more = f" and {count - NAMED} more" if count > NAMED else ""
    listed = f" ({', '.join(names)}{more})" if names else ""
    return f"{count} {verb if count == 1 else _PLURALS[verb]} {rest}{listed}"
