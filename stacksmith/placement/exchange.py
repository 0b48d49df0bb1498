"""Makes room for what greedy passes left over by moving a few of those they placed: chains of ejections."""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations

from stacksmith.address import Address
from stacksmith.placement.attempt import Arrangement, Eligible
from stacksmith.placement.host import HostState
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import Unit

LONGEST = 3  # hosts that a chain goes over
MOST_ASKED = 100_000  # times that a host is asked for room


def exchange(found: Arrangement, hosts: Sequence[HostState], eligible: Eligible) -> Arrangement:
    """The arrangement with as many of the units that are left over placed as a few moves make room for.

    Batches with hints, queries or parts stay as they are: there, moving one unit may break what holds for another.
    """
    units = [*(unit for unit, _ in found.placed), *found.left]
    if not all(map(_is_plain, units)):
        return found
    order = {unit.address: place for place, unit in enumerate(units)}
    room = _Room(hosts, eligible)
    for unit, index in found.placed:
        room.put(unit, index)
    left, refused = list[Unit](), set[object]()
    for unit in found.left:
        key = (unit.key, unit.joins)
        if key in refused or room.is_tired or not any(room.make(unit, moves) for moves in range(LONGEST + 1)):
            refused.add(key)
            left.append(unit)
    if len(left) == len(found.left):
        return found
    return Arrangement(tuple(sorted(room.placed, key=lambda placed: order[placed[0].address])), tuple(left))


def _is_plain(unit: Unit) -> bool:
    return (
        not unit.has_parts
        and not unit.follows
        and not unit.queries
        and not any(r.marks or r.away for r in unit.requests)
    )


class _Room:
    """Units on hosts while some are moved, with a log of what was done, for going back."""

    def __init__(self, hosts: Sequence[HostState], eligible: Eligible) -> None:
        self._sites, self._eligible = open_sites(hosts), eligible
        self._here: list[dict[Address, Unit]] = [{} for _ in hosts]
        self._moving: set[Address] = set()  # taken off by a chain that has not ended
        self._log: list[tuple[Unit, int, bool]] = []
        self._asked = 0

    @property
    def placed(self) -> Iterator[tuple[Unit, int]]:
        """Every unit that is somewhere, with the index of its host."""
        return ((unit, index) for index, here in enumerate(self._here) for unit in here.values())

    @property
    def is_tired(self) -> bool:
        """True when it has asked enough: what finds no room as things are will find none."""
        return self._asked >= MOST_ASKED

    def put(self, unit: Unit, index: int) -> None:
        """Puts a unit on a host."""
        self._sites[index].add(unit)
        self._here[index][unit.address] = unit
        self._log.append((unit, index, True))

    def _take(self, unit: Unit, index: int) -> None:
        self._sites[index].remove(unit)
        del self._here[index][unit.address]
        self._log.append((unit, index, False))

    def make(self, unit: Unit, moves: int) -> bool:
        """Puts a unit somewhere, moving others over at most so many hosts; changes nothing when it cannot."""
        options = self._eligible.hosts(unit)
        self._asked += len(options)
        index = next((i for i in options if self._sites[i].takes(unit)), None)
        if index is not None:
            self.put(unit, index)
            return True
        self._moving.add(unit.address)
        found = moves > 0 and any(self._instead(unit, others, i, moves - 1) for i in options for others in self._out(i))
        self._moving.discard(unit.address)
        return found

    def _out(self, index: int) -> Iterator[tuple[Unit, ...]]:
        """What may leave a host: one unit, then two."""
        here = [unit for address, unit in self._here[index].items() if address not in self._moving]
        for others in chain(combinations(here, 1), combinations(here, 2)):
            if self.is_tired:
                return
            yield others

    def _instead(self, unit: Unit, others: Sequence[Unit], index: int, moves: int) -> bool:
        self._asked += 1
        before = len(self._log)
        for other in others:
            self._take(other, index)
        if self._sites[index].takes(unit):
            self.put(unit, index)
            if all(self.make(other, moves) for other in others):
                return True
        self._rewind(before)
        return False

    def _rewind(self, length: int) -> None:
        while len(self._log) > length:
            unit, index, was_put = self._log.pop()
            (self._take if was_put else self.put)(unit, index)
            self._log.pop()
