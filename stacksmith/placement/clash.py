"""Who of a batch cannot be placed together, and for which constraints: as few as can be found within a limit.

What is found is irreducible: none of it can be left out. It is the smallest when all sets of one less were tried: a set
that conflicts does so with any more, so that a still smaller one would have shown among them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import partial
from itertools import chain, combinations, islice
from typing import Final, TypeVar

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.placement.arrange import placeable
from stacksmith.placement.attempt import Eligible
from stacksmith.placement.conflict import AMOUNT, constraint_of, order_of
from stacksmith.placement.filter import unfit
from stacksmith.placement.host import HostState
from stacksmith.placement.memory import Memory
from stacksmith.placement.refusal import Refusal, Rule
from stacksmith.placement.unit import Apart, Unit
from stacksmith.placement.verdict import Clash, Constraint

T = TypeVar("T")

MOST_QUESTIONS: Final = 200  # of one batch: whether some of it can be placed
MOST_WORK: Final = 15_000  # on parts of hosts, for all those questions
MOST_SETS: Final = 60  # sets of one less, of servers or of constraints, that are tried for one clash
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

    def __init__(self, hosts: Sequence[HostState], memory: Memory, dropped: frozenset[Constraint]) -> None:
        super().__init__(hosts, memory)
        self._dropped = dropped

    def _named(self, unit: Unit) -> Iterable[int]:
        loose = any(constraint.rule in _NAMES for constraint in self._dropped)
        return range(len(self._sites)) if loose else super()._named(unit)

    def _unfit(self, unit: Unit, host: HostState) -> Iterator[Refusal]:
        return (refusal for refusal in unfit(unit, host) if constraint_of(refusal) not in self._dropped)


@dataclass(slots=True)
class Clashes:
    """Clashes of one batch. ``asked`` counts the questions, of all of them together; ``doubt`` is set by one that
    had no answer. ``relaxed`` keeps which hosts fit which units.
    """

    hosts: Sequence[HostState]
    memory: Memory
    asked: int = 0
    doubt: bool = False
    relaxed: dict[frozenset[Constraint], _Relaxed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.memory.allow(MOST_WORK)

    def of(self, unit: Unit, placed: Sequence[Unit], left: Sequence[Unit]) -> Clash | None:
        """Why the unit cannot be placed beside those who are, or else why all cannot; None when that is not proven.

        The placed ones alone fit, so that a clash with them has the unit among its own.
        """
        self.doubt = False
        if len(placed) + len(left) > MOST_UNITS or (len(placed) + len(left)) * len(self.hosts) > MOST_PAIRS:
            return None
        for others in (placed, [*placed, *(each for each in left if each is not unit)]):
            if self._conflicts([unit, *others]):
                clash = self._clash(unit, others, [*placed, *(each for each in left if each is not unit)])
                return clash if len(clash.addresses) > 1 else None  # one alone clashes with nobody
        return None

    def _clash(self, unit: Unit, others: Sequence[Unit], batch: Sequence[Unit]) -> Clash:
        few, is_least, is_fewest = self._fewest(unit, others), False, False
        if not self.doubt:
            few, is_least = self._smaller(few, batch)
        every = _constraints(few, self.hosts)
        constraints = self._needed(few, every)
        if not self.doubt:
            constraints, is_fewest = self._fewer(few, every, constraints)
        addresses = sorted((each.address for each in few), key=lambda a: a.order)
        return Clash(tuple(addresses), constraints, not self.doubt, is_least and is_fewest and not self.doubt)

    def _conflicts(self, units: Sequence[Unit], dropped: frozenset[Constraint] = frozenset()) -> bool:
        """True when it is proven that the units cannot be placed, without the dropped constraints."""
        if self.asked >= MOST_QUESTIONS:
            self.doubt = True
            return False
        self.asked += 1
        eligible = self.relaxed.setdefault(dropped, _Relaxed(self.hosts, self.memory, dropped))
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

    def _smaller(self, few: list[Unit], batch: Sequence[Unit]) -> tuple[list[Unit], bool]:
        """A smaller clash of its first unit with others of the batch, else ``few``; True when none is smaller."""
        while True:
            choices = _choices(batch, len(few) - 2) if len(few) > 1 else ()
            found, is_least = self._first(([few[0], *chosen] for chosen in choices), self._conflicts)
            if not found:
                return few, is_least
            ((first, *others),) = found
            without, is_known = self._first([others], self._conflicts)
            if without or not is_known:  # it is not the first that they conflict with
                return few, False
            few = self._fewest(first, others)

    def _first(self, sets: Iterable[T], conflicts: Callable[[T], bool]) -> tuple[list[T], bool]:
        """The first of the sets that conflicts, if one does; True when all were tried, and none in doubt."""
        doubt, tried = self.doubt, list(islice(sets, MOST_SETS + 1))
        self.doubt = len(tried) > MOST_SETS
        found = [] if self.doubt else list(islice(filter(conflicts, tried), 1))
        is_whole, self.doubt = not self.doubt, doubt
        return found, is_whole

    def _needed(self, units: Sequence[Unit], every: Sequence[Constraint]) -> tuple[Constraint, ...]:
        """The constraints of the units without any of which they fit together."""
        dropped = frozenset[Constraint]()
        for each in every:
            if self._conflicts(units, dropped | {each}):
                dropped |= {each}
        return tuple(each for each in every if each not in dropped)

    def _fewer(
        self, units: Sequence[Unit], every: Sequence[Constraint], kept: tuple[Constraint, ...]
    ) -> tuple[tuple[Constraint, ...], bool]:
        """Fewer constraints that the units conflict over, else ``kept``; True when no fewer do."""
        while kept:
            dropped = (frozenset(every).difference(each) for each in combinations(every, len(kept) - 1))
            found, is_least = self._first(dropped, partial(self._conflicts, units))
            if not found:
                return kept, is_least
            kept = tuple(each for each in every if each not in found[0])
        return kept, True


def _choices(units: Sequence[Unit], size: int) -> Iterator[list[Unit]]:
    """Every choice of so many units, of equal ones the first."""
    equal: dict[object, list[Unit]] = {}
    for unit in units:
        equal.setdefault((unit.key, unit.joins), []).append(unit)

    def choose(kinds: Sequence[list[Unit]], left: int) -> Iterator[list[Unit]]:
        if left == 0:
            yield []
        elif kinds:
            for count in range(min(left, len(kinds[0])), -1, -1):
                yield from (kinds[0][:count] + rest for rest in choose(kinds[1:], left - count))

    return choose(list(equal.values()), max(0, size))


def _constraints(units: Sequence[Unit], hosts: Sequence[HostState]) -> list[Constraint]:
    """What the units ask that a host, or another of them, may bring them to miss; not the states of hosts."""
    refused = {constraint_of(r) for unit in units for host in hosts for r in unfit(unit, host)}
    return sorted({*(c for c in refused if c.rule not in _STATES), *chain(*map(_own, units))}, key=order_of)


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
        queries=tuple(q for q in unit.queries if Constraint(Rule.FILTER.value, q.filter) not in dropped),
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
    whole = "all but any one of them fit, and no fewer conflict" if clash.smallest else "all but any one of them fit"
    cut = whole if clash.irreducible else "perhaps fewer do: the search was cut short"
    return f"{whom} conflict over {over}: {cut}"


def _named(constraint: Constraint) -> str:
    if constraint.rule == AMOUNT:
        return constraint.subject
    words = _WORDS.get(Rule(constraint.rule), f"{constraint.rule} {{}}").format(constraint.subject)
    return f"{words} ({constraint.about})" if constraint.about else words
