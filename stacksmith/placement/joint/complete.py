"""Makes a whole arrangement of one that left some units over: on hosts in use, by way of changes, on other hosts."""

from collections.abc import Iterable, Sequence

from stacksmith.placement.attempt import Arrangement, Eligible
from stacksmith.placement.host import HostState
from stacksmith.placement.joint.deal import holds, ordered
from stacksmith.placement.joint.model import is_open
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit
from stacksmith.placement.weigher import most_free

LONGEST = 2  # chain of units that make room for each other
MOST_CHANGES = 20_000  # units that are taken off in search of such chains


def completed(
    placed: Iterable[tuple[Unit, int]], units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible
) -> Arrangement | None:
    """The arrangement with those put in that it lacks, or that their host refuses, the biggest first; None when one of
    them finds no place.

    An empty host is only opened for one that no host in use takes, though others make room for it.
    """
    table = _Table(open_sites(hosts, eligible.memory), eligible)
    for unit, host in placed:
        if table.sites[host].takes(unit):  # the parts of its host may not
            table.put(unit, host)
    if not all(table.enter(unit) for unit in sorted(units, key=table.rank) if unit.address not in table.where):
        return None
    found = ordered(table.where.values())
    return Arrangement(tuple(found)) if holds(found, open_sites(hosts, eligible.memory)) else None


class _Table:
    """Units on their hosts. The parts of hosts are asked for only in the end: who asks for some is never moved."""

    def __init__(self, sites: Sequence[Site], eligible: Eligible) -> None:
        self.sites, self.eligible = sites, eligible
        self.where: dict[object, tuple[Unit, int]] = {}
        self._guests: dict[int, dict[object, Unit]] = {site.index: {} for site in sites}
        self._sizes = most_free(sites)
        self._changes = 0

    def rank(self, unit: Unit) -> tuple[float, object]:
        """Those first who take the most."""
        return -sum(amount / self._sizes[n] for n, amount in unit.amounts if n in self._sizes), unit.address.order

    def put(self, unit: Unit, host: int) -> None:
        self.sites[host].add(unit)
        self.where[unit.address] = (unit, host)
        self._guests[host][unit.address] = unit

    def take(self, unit: Unit) -> None:
        _, host = self.where.pop(unit.address)
        self.sites[host].remove(unit)
        del self._guests[host][unit.address]

    def enter(self, unit: Unit) -> bool:
        """Puts it somewhere; False when that was not found."""
        ways = (self._make_way(unit, length) for length in range(1, LONGEST + 1))
        return self._put_on_open(unit) or any(ways) or self._open_for(unit)

    def _put_on_open(self, unit: Unit, but: int = -1) -> bool:
        for host in self.eligible.hosts(unit):
            if host != but and is_open(self.sites[host]) and self.sites[host].takes(unit):
                self.put(unit, host)
                return True
        return False

    def _make_way(self, unit: Unit, length: int, but: int = -1) -> bool:
        """Puts it where another makes room, which goes to another host in use; so many may do so one for the other."""
        for host in self.eligible.hosts(unit):
            if host == but or not is_open(self.sites[host]):
                continue
            for other in list(self._guests[host].values()):
                if self._changes >= MOST_CHANGES:
                    return False
                if not (other.has_parts or other.follows) and self._change(unit, other, host, length):
                    return True
        return False

    def _change(self, unit: Unit, other: Unit, host: int, length: int) -> bool:
        self._changes += 1
        self.take(other)
        if self.sites[host].takes(unit):
            self.put(unit, host)
            if self._put_on_open(other, but=host) or (length > 1 and self._make_way(other, length - 1, but=host)):
                return True
            self.take(unit)
        self.put(other, host)
        return False

    def _open_for(self, unit: Unit) -> bool:
        """Puts it on the empty host that has the most room for others besides."""
        takes = [self.sites[host] for host in self.eligible.hosts(unit) if self.sites[host].takes(unit)]
        if not takes:
            return False
        size = self._sizes
        best = max(takes, key=lambda site: (sum(site.free(name) / size[name] for name in size), -site.index))
        self.put(unit, best.index)
        return True
