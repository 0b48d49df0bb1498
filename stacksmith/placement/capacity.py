"""How many more of one request hosts take, each by itself: counted by the fit that ``place`` uses, so it is exact."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isinf

from stacksmith.frozen import dataclass
from stacksmith.placement.filter import refusals, unfit
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Rule
from stacksmith.placement.request import Request
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit, bundle

MOST_FILLED = 10_000  # that are put on a host one by one


@dataclass(frozen=True, slots=True)
class Room:
    """What one host takes: ``count`` more, None where nothing limits it.

    ``reason`` is why it does not take one more, with what ``count`` of them use; ``limits`` are the classes that
    lack, where nothing else is in the way.
    """

    host: str
    availability_zone: str | None
    count: int | None
    limits: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What hosts take of one request, in order of their names."""

    rooms: tuple[Room, ...]

    @property
    def total(self) -> int | None:
        """Of all hosts together, None when one takes any number."""
        return _sum([room.count for room in self.rooms])

    @property
    def by_zone(self) -> Mapping[str | None, int | None]:
        """The same of each availability zone, by name; those in none come last, under None."""
        zones = sorted({room.availability_zone for room in self.rooms}, key=lambda zone: (zone is None, zone))
        return {z: _sum([room.count for room in self.rooms if room.availability_zone == z]) for z in zones}

    @property
    def limits(self) -> Mapping[str, int]:
        """How many hosts are limited by each class, the most first."""
        counts = Counter(name for room in self.rooms for name in room.limits)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def capacity(request: Request, hosts: Sequence[HostState]) -> Capacity:
    """How many like the request the hosts take beside what is there, each by itself: in no group and without hints.

    Exact for what asks for nothing of the parts of a host, and for parts as exact as ``place``. Of what asks for parts,
    or has queries, no more than ``MOST_FILLED`` are counted.
    """
    unit = bundle([request], (), {})[0]
    ordered = sorted(hosts, key=lambda host: host.name)
    return Capacity(tuple(_room(unit, Site(index, host)) for index, host in enumerate(ordered)))


def _room(unit: Unit, site: Site) -> Room:
    name, zone = site.host.name, site.host.availability_zone
    if any(True for _ in unfit(unit, site.host)):
        count = 0
    elif unit.has_parts or unit.queries:
        unit, count = _filled(unit, site)
        if count == MOST_FILLED and isinf(_most(unit, site)):
            return Room(name, zone, None)
    else:
        most = _most(unit, site)
        if isinf(most):
            return Room(name, zone, None)
        count = bisect_left(range(1, int(most) + 2), True, key=lambda n: not site.has_room(_times(unit, n)))
        site.add(_times(unit, count))
    found = list(refusals(unit, site))
    is_short = all(refusal.rule is Rule.SHORT for refusal in found)
    limits = tuple(refusal.subject for refusal in found) if is_short else ()
    return Room(name, zone, count, limits, "; ".join(refusal.reason for refusal in found))


def _filled(unit: Unit, site: Site) -> tuple[Unit, int]:
    """Puts one after the other on the site: the first that it does not take, and how many it took."""
    count, request = 0, unit.requests[0]
    while count < MOST_FILLED and site.takes(unit):
        site.add(unit)
        count += 1
        unit = bundle([replace(request, address=replace(request.address, key=count))], (), {})[0]
    return unit, count


def _most(unit: Unit, site: Site) -> float:
    """No less than what fits, and at most a rounding error more."""
    return min((site.free(name) / amount + 1 for name, amount in unit.amounts), default=inf)


def _times(unit: Unit, count: int) -> Unit:
    return replace(unit, amounts=tuple((name, amount * count) for name, amount in unit.amounts))


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
