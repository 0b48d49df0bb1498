"""The servers of a stack on a floor, with how evenly they use it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from stacksmith.address import Address
from stacksmith.placement.filter import unfit
from stacksmith.placement.host import HostState
from stacksmith.placement.request import CLASSES
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit
from stacksmith.planner.aim import Evenness
from stacksmith.planner.floor import Floor, Move

SLACK = 1e-9  # shares closer than this are equal


class Balance:
    """Which servers may go where, and the share of the scarcest class that each host uses.

    Hosts count that are enabled, can be read, and could have a server of the stack; a server stays in its zone, so
    hosts are compared within theirs. Servers that must share a host can be one unit, by the address of the first.
    """

    def __init__(
        self, states: Sequence[HostState], units: Mapping[Address, Unit], where: Mapping[Address, str]
    ) -> None:
        """``where`` are the servers that may move; ``states`` are the hosts without them."""
        self.states, self.units, self.start = states, units, dict(where)
        self._prepare({})

    def again(self, moves: Iterable[Move] = ()) -> "Balance":
        """The same as at the start, then with these moves done."""
        made = Balance.__new__(Balance)
        made.states, made.units, made.start = self.states, self.units, self.start
        made._prepare(self._fitting)
        for move in moves:
            made.move(move.address, move.host)
        return made

    def _prepare(self, fitting: dict[tuple[object, ...], frozenset[str]]) -> None:
        states, units, where = self.states, self.units, self.start
        self.floor = Floor(states, units, where)
        self._fitting = fitting
        targets = {host for unit in units.values() for host in self._hosts(unit)}
        self.zones: dict[str | None, list[Site]] = defaultdict(list)
        for site in self.floor.sites.values():
            if site.host.name in targets:
                self.zones[site.host.availability_zone].append(site)

    @cached_property
    def resource_class(self) -> str:
        """The class of which the counted hosts use the largest share together; the first in a tie."""
        sites = [site for zone in self.zones.values() for site in zone]
        return max(CLASSES, key=lambda name: _share_of_all(sites, name))

    @cached_property
    def movable(self) -> list[Address]:
        """Servers that could be elsewhere, in order of address."""
        counted = {site.host.name for sites in self.zones.values() for site in sites}
        return [
            address
            for address in sorted(self.start, key=lambda a: a.order)
            if self.start[address] in counted and self._hosts(self.units[address]) - {self.start[address]}
        ]

    @cached_property
    def by_host(self) -> dict[str, list[Address]]:
        """Those of each host, as they are now."""
        found: dict[str, list[Address]] = defaultdict(list)
        for address in self.movable:
            found[self.floor.where[address]].append(address)
        return found

    def amount(self, address: Address) -> int:
        """Units of the class that a server takes."""
        return dict(self.units[address].amounts).get(self.resource_class, 0)

    def size(self, address: Address) -> int:
        """How many servers move with it, itself counted."""
        return len(self.units[address].requests)

    def cost(self, moves: Iterable[Move]) -> int:
        """How many migrations these are."""
        return sum(self.size(move.address) for move in moves)

    def kind(self, address: Address) -> tuple[object, ...]:
        """Equal for servers that can stand for each other."""
        unit = self.units[address]
        return (unit.key, unit.apart, unit.joins)

    def capacity(self, site: Site) -> float:
        """Units of the class that the host has."""
        return site.capacity.get(self.resource_class, 0.0)

    def used(self, site: Site) -> int:
        """Units of the class in use there."""
        return site.used.get(self.resource_class, 0)

    def share(self, site: Site) -> float:
        """The used part of the class, 0 where it has no end."""
        capacity = self.capacity(site)
        return self.used(site) / capacity if capacity > 0 else 0.0

    def suits(self, address: Address, host: str) -> bool:
        """True when the host as it is suits the server, whatever is on it."""
        return host in self._hosts(self.units[address])

    def is_free(self, move: Move) -> bool:
        """True when the server may go there as things are now."""
        return self.suits(move.address, move.host) and self.floor.takes(move.address, move.host)

    def move(self, address: Address, host: str) -> None:
        """Lets it be on another host."""
        self.by_host[self.floor.where[address]].remove(address)
        self.floor.move(address, host)
        self.by_host[host].append(address)

    @property
    def spread(self) -> float:
        """The greatest difference of two hosts in one zone."""
        return max((self.spread_of(zone) for zone in self.zones), default=0.0)

    def spread_of(self, zone: str | None) -> float:
        """The greatest difference of two hosts of a zone."""
        shares = [self.share(site) for site in self.zones[zone]]
        return max(shares) - min(shares)

    def evenness(self) -> Evenness:
        """What is told of it: the zone that differs most."""
        if not self.zones:
            return Evenness(self.resource_class)
        zone = max(sorted(self.zones, key=str), key=self.spread_of)
        shares = sorted(((self.share(s), s.host.name) for s in self.zones[zone]), key=lambda each: (-each[0], each[1]))
        return Evenness(self.resource_class, tuple((name, share) for share, name in shares), zone)

    def moved(self) -> Iterator[Move]:
        """Each server that is elsewhere than at the start."""
        for address in self.movable:
            if self.floor.where[address] != self.start[address]:
                yield Move(address, self.start[address], self.floor.where[address])

    def _hosts(self, unit: Unit) -> frozenset[str]:
        known = self._fitting.get(unit.key)
        if known is None:
            known = frozenset(s.name for s in self.states if next(unfit(unit, s), None) is None)
            self._fitting[unit.key] = known
        return known


def _share_of_all(sites: Sequence[Site], name: str) -> float:
    known = [site for site in sites if 0 < site.capacity.get(name, 0.0) < float("inf")]
    capacity = sum(site.capacity[name] for site in known)
    return sum(site.used.get(name, 0) for site in known) / capacity if capacity else 0.0
