"""A complete search for small batches: finds an arrangement that greedy passes miss, or proves there is none."""

from collections.abc import Iterator, Sequence
from dataclasses import field

from stacksmith.frozen import dataclass
from stacksmith.placement.attempt import Arrangement, Eligible
from stacksmith.placement.host import HostState
from stacksmith.placement.memory import Memory
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit

MOST_UNITS = 64
MOST_TRIES = 20_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found. Without an arrangement, ``proven`` says that all were tried: there is none."""

    arrangement: Arrangement | None
    proven: bool = False


def search(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, most: int = MOST_TRIES) -> Answer:
    """Tries to place all of the units, in the given order, backtracking; those with queries in any order.

    Gives up after ``most`` choices, and when no more work is allowed on parts of hosts.
    """
    if len(units) > MOST_UNITS:
        return Answer(None)
    memory = eligible.memory
    tree = _Tree(units, open_sites(hosts, memory), [eligible.hosts(unit) for unit in units], most, memory)
    chosen = tree.descend()
    if chosen is None:
        unsettled = tree.gave_up or any(unit.has_parts and eligible.is_unsettled(unit) for unit in units)
        return Answer(None, proven=not (tree.is_tired or unsettled))
    return Answer(Arrangement(tuple(chosen)))


@dataclass(slots=True)
class _Tree:
    """Depth-first choice of a host per unit, in order of index.

    Of arrangements that differ only in which of several equal units, or equal hosts, is which, it tries the one
    that is first in order: equal units go to ascending hosts, and of equal untouched hosts the first is taken.
    """

    units: Sequence[Unit]
    sites: Sequence[Site]
    options: Sequence[tuple[int, ...]]
    most: int
    memory: Memory
    tries: int = 0
    chosen: list[int] = field(default_factory=list)
    touched: list[int] = field(default_factory=list)
    has_queries: bool = False
    twins: list[int] = field(default_factory=list)

    def descend(self) -> list[tuple[Unit, int]] | None:
        """Each unit with the index of its host, in an order in which all are met, or None."""
        self.touched = [0] * len(self.sites)
        self.twins, self.has_queries = self._find_twins(), any(unit.queries for unit in self.units)
        pending = [self._candidates(0)]
        while True:
            if len(self.chosen) == len(self.units) and (ordered := self._in_order()) is not None:
                return ordered
            index = next(pending[-1], None) if len(self.chosen) < len(self.units) else None
            if index is None:
                pending.pop()
                if not pending:
                    return None
                self._undo()
                continue
            self.tries += 1
            if self.is_tired:
                return None
            if self._put(index):
                pending.append(self._candidates(len(self.chosen)))

    def _in_order(self) -> list[tuple[Unit, int]] | None:
        """The choice in an order in which the queries of all are met: what a host answers depends on itself alone."""
        if not self.has_queries:
            return list(zip(self.units, self.chosen, strict=True))
        found: list[tuple[Unit, int]] = []
        for site in open_sites([site.host for site in self.sites], self.memory):
            here = [unit for unit, index in zip(self.units, self.chosen, strict=True) if index == site.index]
            ordered = self._order(site, here)
            if ordered is None:
                return None
            found += [(unit, site.index) for unit in ordered]
        return found

    def _order(self, site: Site, units: Sequence[Unit]) -> list[Unit] | None:
        """An order in which a host takes units one after the other, or None."""
        if not units:
            return []
        tried: list[Unit] = []
        for unit in units:
            self.tries += 1
            if self.is_tired:
                return None
            if any(_equal(unit, other) for other in tried) or not site.takes(unit):
                continue
            tried.append(unit)
            site.add(unit)
            rest = self._order(site, [other for other in units if other is not unit])
            site.remove(unit)
            if rest is not None:
                return [unit, *rest]
        return None

    @property
    def is_tired(self) -> bool:
        """True when it has tried as much as it may."""
        return self.tries >= self.most or is_too_much(self.units, self.memory)

    @property
    def gave_up(self) -> bool:
        """True when a host refused a unit without proof, or for what others may have of another storage instead."""
        asking = [unit for unit in self.units if unit.has_parts]
        return any(s.parts.gave_up or any(map(s.parts.is_choice_of_shared, asking)) for s in self.sites if asking)

    def _candidates(self, depth: int) -> Iterator[int]:
        lowest = self.chosen[depth - 1] if depth and _equal(self.units[depth], self.units[depth - 1]) else 0
        fresh: set[int] = set()
        for index in self.options[depth]:
            if not self.touched[index]:
                if self.twins[index] in fresh:
                    continue
                fresh.add(self.twins[index])
            if index >= lowest:
                yield index

    def _put(self, index: int) -> bool:
        site, unit = self.sites[index], self.units[len(self.chosen)]
        takes = site.has_room(unit) and site.keeps_apart(unit) if self.has_queries else site.takes(unit)
        if not takes:
            return False
        site.add(unit)
        self.touched[index] += 1
        self.chosen.append(index)
        return True

    def _undo(self) -> None:
        index = self.chosen.pop()
        self.touched[index] -= 1
        self.sites[index].remove(self.units[len(self.chosen)])

    def _find_twins(self) -> list[int]:
        """For each host the first that every unit sees as the same."""
        known: dict[object, int] = {}
        sets = [frozenset(option) for option in self.options]
        if any(unit.has_parts or unit.queries for unit in self.units):  # hosts with parts, or names, are not told equal
            return [site.index for site in self.sites]
        for hosts in {hint.hosts for unit in self.units for hint in unit.follows}:
            sets.append(frozenset(site.index for site in self.sites if site.host.name in hosts))
        return [known.setdefault(self._looks(site, sets), site.index) for site in self.sites]

    @staticmethod
    def _looks(site: Site, sets: Sequence[frozenset[int]]) -> object:
        return (
            tuple(site.index in s for s in sets),
            tuple(sorted(site.capacity.items())),
            tuple(sorted(site.used.items())),
            tuple(sorted(site.members.items())),
        )


def is_too_much(units: Sequence[Unit], memory: Memory) -> bool:
    """True when units ask for parts of hosts and no more work is allowed on these."""
    return memory.is_spent and any(unit.has_parts for unit in units)


def _equal(unit: Unit, other: Unit) -> bool:
    return (unit.key, unit.joins) == (other.key, other.joins)
