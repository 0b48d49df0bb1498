"""Who of a batch cannot be placed together, and for which constraints: as few as can be found within a limit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from stacksmith.address import Address
from stacksmith.placement.arrange import placeable
from stacksmith.placement.attempt import Eligible
from stacksmith.placement.conflict import AMOUNT, constraint_of, order_of
from stacksmith.placement.filter import unfit
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Rule
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Apart, Unit
from stacksmith.placement.verdict import Clash, Constraint

MOST_QUESTIONS: Final = 100  # of one batch: whether some of it can be placed
MOST_UNITS: Final = 300  # of a batch, times its hosts, of which such questions are asked
MOST_PAIRS: Final = 30_000
NAMED: Final = 3
_WORDS: Final = {
    Rule.PIN: "the pin to {}",
    Rule.BESIDE: "the place of {}",
    Rule.AFFINITY: "affinity of {}",
    Rule.ANTI_AFFINITY: "anti-affinity of {}",
    Rule.PARTS: "what is asked of parts of hosts",
    Rule.FILTER: "{}",
}
_STATES: Final = (Rule.STATE.value, Rule.REACH.value)
_NAMES: Final = (Rule.PIN.value, Rule.BESIDE.value, Rule.AFFINITY.value)


class _Relaxed(Eligible):
    """Which hosts fit a unit that need not keep some constraints."""

    def __init__(self, hosts: Sequence[HostState], dropped: frozenset[Constraint]) -> None:
        super().__init__(hosts)
        self._dropped = dropped

    def _named(self, unit: Unit) -> Iterable[int]:
        loose = any(constraint.rule in _NAMES for constraint in self._dropped)
        return range(len(self._sites)) if loose else super()._named(unit)

    def _fits(self, unit: Unit, site: Site) -> bool:
        kept = (r for r in unfit(unit, site.host) if constraint_of(r) not in self._dropped)
        return site.has_room(unit) and next(kept, None) is None


@dataclass(slots=True)
class Clashes:
    """Clashes of one batch. ``asked`` counts the questions, of all of them together; ``doubt`` is set by one that
    had no answer. ``relaxed`` keeps which hosts fit which units.
    """

    hosts: Sequence[HostState]
    asked: int = 0
    doubt: bool = False
    relaxed: dict[frozenset[Constraint], _Relaxed] = field(default_factory=dict)

    def of(self, unit: Unit, placed: Sequence[Unit], left: Sequence[Unit]) -> Clash | None:
        """Why the unit cannot be placed beside those who are, or else why all cannot; None when that is not proven.

        The placed ones alone fit, so that a clash with them has the unit among its own.
        """
        self.doubt = False
        if len(placed) + len(left) > MOST_UNITS or (len(placed) + len(left)) * len(self.hosts) > MOST_PAIRS:
            return None
        for others in (placed, [*placed, *(each for each in left if each is not unit)]):
            if self._conflicts([unit, *others]):
                few = self._fewest(unit, others)
                constraints = self._needed(few)
                addresses = sorted((each.address for each in few), key=lambda a: a.order)
                return Clash(tuple(addresses), constraints, not self.doubt)
        return None

    def _conflicts(self, units: Sequence[Unit], dropped: frozenset[Constraint] = frozenset()) -> bool:
        """True when it is proven that the units cannot be placed, without the dropped constraints."""
        if self.asked >= MOST_QUESTIONS:
            self.doubt = True
            return False
        self.asked += 1
        eligible = self.relaxed.setdefault(dropped, _Relaxed(self.hosts, dropped))
        answer = placeable([_without(unit, dropped) for unit in units], self.hosts, eligible)
        self.doubt = self.doubt or answer is None
        return answer is False

    def _fewest(self, unit: Unit, others: Sequence[Unit]) -> list[Unit]:
        """The unit with as few of the others as are needed to conflict: of equal ones the first, the smallest go."""
        equal: dict[object, list[Unit]] = {}
        for other in others:
            equal.setdefault((other.key, other.joins), []).append(other)
        kept = sorted(equal.values(), key=lambda each: [a for _, a in each[0].amounts])
        for number, members in enumerate(kept):
            rest = [unit, *chain.from_iterable(kept[:number]), *chain.from_iterable(kept[number + 1 :])]
            low, high = 0, len(members)
            while low < high:
                middle = (low + high) // 2 if low else 0
                if self._conflicts([*rest, *members[:middle]]):
                    high = middle
                else:
                    low = middle + 1
            kept[number] = members[:high]
        return [unit, *chain.from_iterable(kept)]

    def _needed(self, units: Sequence[Unit]) -> tuple[Constraint, ...]:
        """The constraints of the units without any of which they fit together."""
        refused = {constraint_of(r) for unit in units for host in self.hosts for r in unfit(unit, host)}
        kept = sorted({*(c for c in refused if c.rule not in _STATES), *chain(*map(_own, units))}, key=order_of)
        dropped = frozenset[Constraint]()
        for each in kept.copy():
            if self._conflicts(units, dropped | {each}):
                dropped |= {each}
                kept.remove(each)
        return tuple(kept)


def _own(unit: Unit) -> Iterable[Constraint]:
    """The constraints of a unit that others bring it to break."""
    yield from (Constraint(AMOUNT, name) for name, _ in unit.amounts)
    yield from map(_apart, unit.apart)
    yield from (Constraint(Rule.FILTER.value, "SameHostFilter", hint.words) for hint in unit.follows)
    if unit.has_parts:
        yield Constraint(Rule.PARTS.value, "")


def _apart(rule: Apart) -> Constraint:
    if rule.words:
        return Constraint(Rule.FILTER.value, "DifferentHostFilter", rule.words)
    return Constraint(Rule.ANTI_AFFINITY.value, rule.group)


def _without(unit: Unit, dropped: frozenset[Constraint]) -> Unit:
    """The unit without what others bring it to break of some constraints."""
    if not dropped:
        return unit
    return replace(
        unit,
        amounts=tuple((n, a) for n, a in unit.amounts if Constraint(AMOUNT, n) not in dropped),
        apart=tuple(rule for rule in unit.apart if _apart(rule) not in dropped),
        follows=tuple(
            h for h in unit.follows if Constraint(Rule.FILTER.value, "SameHostFilter", h.words) not in dropped
        ),
        has_parts=unit.has_parts and Constraint(Rule.PARTS.value, "") not in dropped,
    )


def instead(clash: Clash, first: Address, equal: Address) -> Clash:
    """The clash of a unit that is equal to the first of those who are its own."""
    if equal in clash.addresses:
        return clash
    addresses = (equal if address == first else address for address in clash.addresses)
    return replace(clash, addresses=tuple(sorted(addresses, key=lambda a: a.order)))


def told(clash: Clash) -> str:
    """``server.a[0], server.a[1] and server.a[2] conflict over MEMORY_MB: all but any one of them fit``."""
    names = [str(address) for address in clash.addresses[:NAMED]]
    if len(clash.addresses) > NAMED + 1:
        names.append(f"{len(clash.addresses) - NAMED} more")
    else:
        names += [str(address) for address in clash.addresses[NAMED:]]
    whom = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    over = " and ".join(map(_named, clash.constraints)) or "what hosts there are"
    cut = "all but any one of them fit" if clash.irreducible else "perhaps fewer do: the search was cut short"
    return f"{whom} conflict over {over}: {cut}"


def _named(constraint: Constraint) -> str:
    if constraint.rule == AMOUNT:
        return constraint.subject
    words = _WORDS.get(Rule(constraint.rule), f"{constraint.rule} {{}}").format(constraint.subject)
    return f"{words} ({constraint.about})" if constraint.about else words
