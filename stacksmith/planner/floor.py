"""Hosts with servers on them that are put and taken off one by one: what each host takes at that moment."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState
from stacksmith.placement.request import Group, Request
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import Unit, bundle

MOST_STATES = 5_000  # how many sets of moves that are done are looked at in search of an order


@dataclass(frozen=True, slots=True)
class Move:
    """A server that goes from one host to another."""

    address: Address
    source: str
    host: str


def lone_unit(request: Request, groups: Mapping[str, Group]) -> Unit:
    """The request as a unit of its own, whatever binds it to others."""
    return bundle([replace(request, together=None)], (), groups)[0]


def without_parts(unit: Unit) -> Unit:
    """The unit, for which the parts of a host that it asks for are not counted."""
    return replace(unit, has_parts=False) if unit.has_parts else unit


class Floor:
    """Where servers are. While one migrates it is on both of its hosts.

    Parts of a host (cells, CPUs, large pages) are counted for units that have some, beside those that all servers have
    where they are at first, which they do not give back: so the order of moves makes no difference to them.
    """

    def __init__(
        self,
        states: Iterable[HostState],
        units: Mapping[Address, Unit],
        where: Mapping[Address, str],
        leavers: Iterable[Address] = (),
    ) -> None:
        """``states`` are hosts without the servers of ``units``, which are then put where they are, but with the parts
        these have. Who asks for parts and goes to a host waits for all of ``leavers`` that leave parts there.
        """
        self.sites = {site.host.name: site for site in open_sites(sorted(states, key=lambda state: state.name))}
        self.units, self.where, self._homes = units, dict(where), where
        self._with_parts: set[tuple[Address, str]] = set()
        self._leaving_parts: dict[str, set[Address]] = defaultdict(set)
        self._origins = {address: where[address] for address in leavers if self._asks_parts(address)}
        for address, host in where.items():
            self.put(address, host)

    def takes(self, address: Address, host: str) -> bool:
        """True when the host has room for it now, and no anti-affinity or different_host forbids it."""
        site, unit = self.sites[host], self.units[address]
        if self._leaving_parts[host] and self._asks_parts(address):
            return False
        return site.has_room(unit) and site.keeps_apart(unit)

    def put(self, address: Address, host: str) -> None:
        """It is on this host, too."""
        site, unit = self.sites[host], self.units[address]
        if unit.has_parts and self._homes[address] != host and site.parts.takes(unit):
            self._with_parts.add((address, host))
            site.add(unit)
        else:
            site.add(without_parts(unit))
        if self._origins.get(address) == host:
            self._leaving_parts[host].add(address)

    def take_off(self, address: Address, host: str) -> None:
        """It is not on this host any more."""
        unit = self.units[address]
        self.sites[host].remove(unit if (address, host) in self._with_parts else without_parts(unit))
        self._with_parts.discard((address, host))
        self._leaving_parts[host].discard(address)

    def move(self, address: Address, host: str) -> None:
        """It leaves the host it is on for another."""
        self.put(address, host)
        self.take_off(address, self.where[address])
        self.where[address] = host

    def _asks_parts(self, address: Address) -> bool:
        return any(request.parts is not None for request in self.units[address].requests)


def in_order(floor: Floor, moves: Sequence[Move]) -> tuple[list[Move], list[Move]]:
    """The moves in an order in which each finds room when those before it have ended; and, where no such order was
    found, those that wait for each other in the end."""
    order, stuck = _greedy(floor, moves)
    if not stuck:
        return order, []
    for move in reversed(order):
        floor.move(move.address, move.source)
    found = _search(floor, moves)
    return (order, stuck) if found is None else (found, [])


def _greedy(floor: Floor, moves: Sequence[Move]) -> tuple[list[Move], list[Move]]:
    order: list[Move] = []
    left = list(moves)
    while True:
        waiting = []
        for move in left:
            if floor.takes(move.address, move.host):
                floor.move(move.address, move.host)
                order.append(move)
            else:
                waiting.append(move)
        if not waiting or len(waiting) == len(left):
            return order, waiting
        left = waiting


def _search(floor: Floor, moves: Sequence[Move]) -> list[Move] | None:
    """Tries orders until one holds: who takes room first may leave none for another that must go before it."""
    done: list[Move] = []
    seen: set[frozenset[Address]] = set()
    choices = [_choices(floor, moves, done)]
    while choices:
        move = next(choices[-1], None)
        if move is None or len(seen) > MOST_STATES:
            choices.pop()
        else:
            floor.move(move.address, move.host)
            done.append(move)
            if len(done) == len(moves):
                return done
            state = frozenset(each.address for each in done)
            if state not in seen:
                seen.add(state)
                choices.append(_choices(floor, moves, done))
                continue
        if done:
            back = done.pop()
            floor.move(back.address, back.source)
    return None


def _choices(floor: Floor, moves: Sequence[Move], done: Sequence[Move]) -> Iterator[Move]:
    """What may go now, first those who leave hosts that others wait for."""
    gone = {each.address for each in done}
    left = [move for move in moves if move.address not in gone]
    free = [move for move in left if floor.takes(move.address, move.host)]
    wanted = {move.host for move in left} - {move.host for move in free}
    return iter(sorted(free, key=lambda move: move.source not in wanted))
