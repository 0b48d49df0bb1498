"""The fewest migrations after which hosts are used evenly.

A greedy pass finds a set that does it; what can be left out of it is, and a search of bounded length looks for a
smaller one. The pass lowers the sum of used² / capacity, which is least when all shares are equal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.placement.site import Site
from stacksmith.planner.balance import SLACK, Balance
from stacksmith.planner.floor import Floor, Move, in_order

MOST_NODES = 20_000  # sets of migrations that the search for fewer looks at,
MOST_LOOKS = 400_000  # fewer where a look is at many servers and hosts
MOST_ROUNDS = 20  # how often the end is taken as a new beginning
PRUNED = 100  # of more moves it is not tried whether one can be left out


@dataclass(frozen=True, slots=True)
class Found:
    """The moves, in an order that finds room; ``is_fewest`` when fewer are shown not to do it. ``goes_on``: after them
    others come nearer, which cannot be made together with them."""

    moves: tuple[Move, ...]
    is_fewest: bool
    goes_on: bool = False


def evened(balance: Balance, tolerance: float, most: int | None) -> Found:
    """Moves after which the spread is within the tolerance, or within the tolerance of the least that was found.

    The same question put again after them is answered with no move, unless ``most`` cut them short, or one ``goes_on``.
    """
    goal, steps = _descend(balance, tolerance)
    fewest = _least(balance.again(), goal) == len(steps)
    if not fewest:
        steps, fewest = _fewer(balance, goal, steps)
    if most is not None and len(steps) > most:
        return Found(tuple(_best_of(balance, steps, most)), False)
    return _settled(balance, tolerance, Found(tuple(steps), fewest), most)


def _settled(balance: Balance, tolerance: float, found: Found, most: int | None) -> Found:
    """Goes on from the end until nothing is left to do; a server that moved twice then moves once."""
    for _ in range(MOST_ROUNDS):
        end = balance.again(found.moves)
        here = Balance(balance.states, balance.units, end.floor.where)
        more = _descend(here, tolerance)[1]
        if not more:
            break
        for move in more:
            end.move(move.address, move.host)
        ordered = _orderable(balance, list(end.moved()))
        if ordered is None:
            return replace(found, goes_on=True)
        if most is not None and len(ordered) > most:
            break
        found = Found(tuple(ordered), False)
    return found


def _orderable(balance: Balance, moves: Sequence[Move]) -> list[Move] | None:
    order, stuck = in_order(Floor(balance.states, balance.units, balance.start), moves)
    return None if stuck else order


def _descend(balance: Balance, tolerance: float) -> tuple[float, list[Move]]:
    """The spread to reach, and the shortest greedy way to it, without what can be left out of it."""
    run, moves, spreads = balance.again(), list[Move](), [balance.spread]
    moved: set[Address] = set()
    while spreads[-1] > tolerance + SLACK and (chosen := _next(run, tolerance, moved)):
        for move in chosen:
            run.move(move.address, move.host)
            moved.add(move.address)
            moves.append(move)
            spreads.append(run.spread)
    least = min(spreads)
    goal = tolerance if least <= tolerance + SLACK else least + tolerance
    length = next(place for place, spread in enumerate(spreads) if spread <= goal + SLACK)
    return goal, _pruned(balance, moves[:length], goal)


def _pruned(balance: Balance, moves: list[Move], goal: float) -> list[Move]:
    for move in list(moves) if len(moves) <= PRUNED else []:
        fewer = [each for each in moves if each is not move]
        ordered = _orderable(balance, fewer)
        if ordered is not None and balance.again(ordered).spread <= goal + SLACK:
            moves = ordered
    return moves


def _next(run: Balance, tolerance: float, moved: set[Address]) -> tuple[Move, ...]:
    """The best move from the fullest host that can give something up; where there is none, the best exchange."""
    zones = [zone for zone in sorted(run.zones, key=str) if run.spread_of(zone) > tolerance + SLACK]
    ranked = {zone: sorted(run.zones[zone], key=lambda s: (-run.share(s), s.host.name)) for zone in zones}
    for choose in (_single, _exchange):
        for zone in sorted(zones, key=lambda zone: (-run.spread_of(zone), str(zone))):
            for source in ranked[zone]:
                if chosen := choose(run, source, ranked[zone][::-1], moved):
                    return chosen
    return ()


def _single(run: Balance, source: Site, targets: Sequence[Site], moved: set[Address]) -> tuple[Move, ...]:
    best: tuple[Move, ...] = ()
    most = SLACK
    for address in _each_kind(run, source, moved):
        for target in targets:
            move = Move(address, source.host.name, target.host.name)
            gain = _gain(run, source, target, run.amount(address))
            if target is not source and gain > most and run.is_free(move):
                best, most = (move,), gain
    return best


def _exchange(run: Balance, source: Site, targets: Sequence[Site], moved: set[Address]) -> tuple[Move, ...]:
    """Two servers that change places, one after the other."""
    for target in (t for t in targets if run.share(t) < run.share(source)):
        there, here = source.host.name, target.host.name
        for large in _each_kind(run, source, moved):
            for small in _each_kind(run, target, moved):
                if _gain(run, source, target, run.amount(large) - run.amount(small)) <= SLACK:
                    continue
                pair = (Move(large, there, here), Move(small, here, there))
                for first, second in (pair, pair[::-1]):
                    if run.is_free(first) and run.suits(second.address, second.host) and _follows(run, first, second):
                        return first, second
    return ()


def _follows(run: Balance, first: Move, second: Move) -> bool:
    run.floor.move(first.address, first.host)
    fits = run.floor.takes(second.address, second.host)
    run.floor.move(first.address, first.source)
    return fits


def _each_kind(run: Balance, site: Site, moved: set[Address]) -> Iterator[Address]:
    """One server of the host of each kind, by address."""
    seen = set()
    for address in sorted(run.by_host[site.host.name], key=lambda a: a.order):
        if address not in moved and run.kind(address) not in seen:
            seen.add(run.kind(address))
            yield address


def _gain(run: Balance, source: Site, target: Site, amount: int) -> float:
    """By how much the sum of used² / capacity falls when so much goes from one host to the other."""
    if amount <= 0 or min(run.capacity(source), run.capacity(target)) <= 0:
        return 0.0
    before = run.used(source) ** 2 / run.capacity(source) + run.used(target) ** 2 / run.capacity(target)
    after = (run.used(source) - amount) ** 2 / run.capacity(source)
    return before - after - (run.used(target) + amount) ** 2 / run.capacity(target)


def _least(run: Balance, goal: float) -> int:
    """No fewer moves than this bring every zone within the goal: the mean of a zone stays, and all must be near it."""
    total = 0
    for sites in run.zones.values():
        capacity = sum(map(run.capacity, sites))
        mean = sum(map(run.used, sites)) / capacity if capacity else 0.0
        zone = [run.amount(a) for s in sites for a in run.by_host[s.host.name]]
        leave = sum(
            _times(run.used(s) - (mean + goal) * run.capacity(s), [run.amount(a) for a in run.by_host[s.host.name]])
            for s in sites
        )
        come = sum(_times((mean - goal) * run.capacity(s) - run.used(s), zone) for s in sites)
        total += max(leave, come)
    return total


def _times(lack: float, amounts: Sequence[int]) -> int:
    """How many of the largest amounts it takes; all of them, when they are too few."""
    count = 0
    for amount in sorted(amounts, reverse=True):
        if lack <= SLACK:
            break
        lack -= amount
        count += 1
    return count


class _Search:
    """All sets of so many moves, looked through until one brings the spread within the goal."""

    def __init__(self, balance: Balance, goal: float) -> None:
        self.balance, self.goal, self.run = balance, goal, balance.again()
        self.left = min(MOST_NODES, MOST_LOOKS // (len(balance.movable) + len(balance.states) + 1))
        self.order = sorted(balance.movable, key=lambda a: (balance.start[a], str(balance.kind(a)), a.order))

    @property
    def is_over(self) -> bool:
        """True when it was ended before it had seen all."""
        return self.left < 0

    def find(self, moves: int, begin: int = 0) -> list[Move] | None:
        """The first set, in an order that finds room; None when there is none or it took too long."""
        self.left -= 1
        if self.is_over or _least(self.run, self.goal) > moves:
            return None
        if not moves:
            return _orderable(self.balance, list(self.run.moved())) if self.run.spread <= self.goal + SLACK else None
        for place in range(begin, len(self.order)):
            address = self.order[place]
            if place > begin and self._equals(address, self.order[place - 1]):
                continue
            for host in sorted(s.host.name for sites in self.run.zones.values() for s in sites):
                if host != self.run.start[address] and self.run.suits(address, host):
                    self.run.move(address, host)
                    found = self.find(moves - 1, place + 1)
                    self.run.move(address, self.run.start[address])
                    if found is not None:
                        return found
        return None

    def _equals(self, one: Address, other: Address) -> bool:
        """True for servers of one kind on one host: the one not taken stands for both."""
        return self.run.start[one] == self.run.start[other] and self.run.kind(one) == self.run.kind(other)


def _fewer(balance: Balance, goal: float, moves: list[Move]) -> tuple[list[Move], bool]:
    """A smaller set that does it, else these; True when no smaller one than what is given does."""
    search = _Search(balance, goal)
    for count in range(_least(balance.again(), goal), len(moves)):
        found = search.find(count)
        if found is not None:
            return found, not search.is_over
        if search.is_over:
            break
    return moves, not search.is_over


def _best_of(balance: Balance, moves: Sequence[Move], most: int) -> list[Move]:
    """The moves, no more than so many, that come nearest: those that the search finds, else the first that were."""
    best = _greedy(balance, most)
    search = _Search(balance, balance.again(best).spread - 10 * SLACK)
    while (found := search.find(most)) is not None:
        best, search.goal = found, balance.again(found).spread - 10 * SLACK
    return best


def _greedy(balance: Balance, most: int) -> list[Move]:
    """The first moves of the greedy way, cut where they are nearest."""
    run, moves = balance.again(), list[Move]()
    best, least = list[Move](), run.spread
    while len(moves) < most and (chosen := _next(run, 0.0, {move.address for move in moves})):
        for move in chosen[: most - len(moves)]:
            run.move(move.address, move.host)
            moves.append(move)
            if run.spread < least - SLACK:
                best, least = list(moves), run.spread
    return best
