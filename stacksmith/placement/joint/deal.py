"""Deals the units of lots to the slots that a program found, so that anti-affinity holds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.placement.joint.lot import Lot, takes
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit


@dataclass(slots=True)
class Deal:
    """Who goes where, and the anti-affinity groups of those for whom no slot was found."""

    placed: list[tuple[Unit, int]] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)


def deal(lots: Sequence[Lot], slots: Sequence[Mapping[int, int]], sites: Sequence[Site]) -> Deal:
    """Deals lot by lot, those with the most bundles first, and then makes way for who found no slot.

    ``slots``: of each lot the number of its units by host; ``sites`` are filled. Who has no slot is stuck with its
    groups. What is placed may still be refused by exact count, by hints or by parts of hosts: see ``holds``.
    """
    table = _Table(lots, sites)
    left: list[tuple[int, Unit]] = []
    order = sorted(range(len(lots)), key=lambda i: (-len(lots[i].bundles), i))
    rest: list[dict[int, int]] = [{} for _ in lots]
    for number in order:
        flow = _Flow(lots[number], slots[number], sites)
        for (_, units), hosts in zip(lots[number].bundles, flow.spread(), strict=True):
            for unit, index in zip(units, sorted(hosts), strict=False):
                table.put(number, unit, index)
            left += [(number, unit) for unit in units[len(hosts) :]]
        rest[number] = {host: count for host, count in flow.slots.items() if count}
    made = Deal()
    for number, unit in left:
        host = table.make_way(number, unit, rest[number])
        if host is None:
            made.stuck |= {rule.group for rule in unit.apart}
        else:
            rest[number][host] -= 1
    made.placed = ordered(place for places in table.places for place in places.values())
    return made


def ordered(placed: Iterable[tuple[Unit, int]]) -> list[tuple[Unit, int]]:
    """Those first who others follow or keep away from, then the rest; by address among equals."""
    return sorted(placed, key=lambda p: (bool(p[0].follows), any(not r.count for r in p[0].apart), p[0].address.order))


def holds(placed: Iterable[tuple[Unit, int]], sites: Sequence[Site]) -> bool:
    """True when every unit is taken by its host, one after the other; the sites are filled."""
    for unit, host in placed:
        if not sites[host].takes(unit):
            return False
        sites[host].add(unit)
    return True


def _whole(unit: Unit) -> Unit:
    """The unit without what it asks of parts of hosts, which a program does not know of: ``holds`` asks for them."""
    return replace(unit, has_parts=False) if unit.has_parts else unit


class _Table:
    """Units of each lot on their hosts. Two of one lot may change places as far as room goes."""

    def __init__(self, lots: Sequence[Lot], sites: Sequence[Site]) -> None:
        self.sites = sites
        self.places: list[dict[Address, tuple[Unit, int]]] = [{} for _ in lots]
        self.members: dict[tuple[str, int], list[tuple[int, Unit]]] = {}

    def put(self, lot: int, unit: Unit, host: int) -> None:
        self.places[lot][unit.address] = (unit, host)
        self.sites[host].add(_whole(unit))
        for rule in unit.apart:
            self.members.setdefault((rule.group, host), []).append((lot, unit))

    def take(self, lot: int, unit: Unit) -> int:
        _, host = self.places[lot].pop(unit.address)
        self.sites[host].remove(_whole(unit))
        for rule in unit.apart:
            self.members[rule.group, host].remove((lot, unit))
        return host

    def make_way(self, lot: int, unit: Unit, slots: Mapping[int, int]) -> int | None:
        """Finds room for a unit and returns the host whose slot is gone; None when no change of places helps."""
        open_slots = sorted(host for host, count in slots.items() if count > 0)
        for host in open_slots:
            if self._enter(lot, unit, host):
                return host
        for host in open_slots:  # one of its lot may go there and leave its own place
            for other, there in list(self.places[lot].values()):
                if there == host or not self.sites[host].keeps_apart(other):
                    continue
                self.take(lot, other)
                if self._enter(lot, unit, there):
                    self.put(lot, other, host)
                    return host
                self.put(lot, other, there)
        return None

    def _enter(self, lot: int, unit: Unit, host: int) -> bool:
        """Puts a unit on a host, if need be after one who keeps it from there changed places."""
        if self.sites[host].keeps_apart(unit):
            self.put(lot, unit, host)
            return True
        for number, blocker in [each for rule in unit.apart for each in self.members.get((rule.group, host), ())]:
            if self._change(number, blocker, host, unit):
                self.put(lot, unit, host)
                return True
        return False

    def _change(self, lot: int, blocker: Unit, host: int, unit: Unit) -> bool:
        """Lets one of the blocker's lot take its place, so that both and the unit are apart from their likes."""
        self.take(lot, blocker)
        for other, there in list(self.places[lot].values()):
            if there == host or not self.sites[there].keeps_apart(blocker):
                continue
            self.take(lot, other)
            if self.sites[there].keeps_apart(blocker) and self.sites[host].keeps_apart(other):
                self.put(lot, blocker, there)
                self.put(lot, other, host)
                if self.sites[host].keeps_apart(unit):
                    return True
                self.take(lot, blocker)
                self.take(lot, other)
            self.put(lot, other, there)
        self.put(lot, blocker, host)
        return False


class _Flow:
    """The bundles of one lot flow to the slots of hosts, each pair up to what anti-affinity lets pass."""

    def __init__(self, lot: Lot, slots: Mapping[int, int], sites: Sequence[Site]) -> None:
        self.slots = dict(slots)
        self.sizes = [len(units) for _, units in lot.bundles]
        self.room = [
            {host: min(count, count if (most := takes(rules, sites[host])) is None else most) for host, count in
             slots.items()}
            for rules, _ in lot.bundles
        ]  # fmt: skip
        self.sent: list[dict[int, int]] = [{} for _ in lot.bundles]

    def spread(self) -> list[list[int]]:
        """For each bundle the hosts of its units, as many times as they take some; fewer where none is left."""
        for bundle in sorted(range(len(self.sizes)), key=lambda b: (sum(self.room[b].values()) - self.sizes[b], b)):
            left = self.sizes[bundle]
            for host in sorted(self.slots, key=lambda h: (-self.slots[h], h)):
                if left == 0:
                    break
                passed = min(left, self.slots[host], self.room[bundle][host])
                self._send(bundle, host, passed)
                left -= passed
            while left and self._augment(bundle):
                left -= 1
        return [[host for host, count in sorted(sent.items()) for _ in range(count)] for sent in self.sent]

    def _send(self, bundle: int, host: int, count: int) -> None:
        if count:
            self.slots[host] -= count
            self.room[bundle][host] -= count
            self.sent[bundle][host] = self.sent[bundle].get(host, 0) + count

    def _augment(self, bundle: int) -> bool:
        """Makes way for one unit of a bundle by moving others, along the shortest chain; False when there is none."""
        came: dict[int, tuple[int, int | None]] = {}  # host: the bundle that moves there, and the host it leaves
        wave: list[tuple[int, int | None]] = [(bundle, None)]
        seen = {bundle}
        while wave:
            later: list[tuple[int, int | None]] = []
            for mover, leaves in wave:
                for host, room in self.room[mover].items():
                    if room <= 0 or host in came:
                        continue
                    came[host] = (mover, leaves)
                    if self.slots[host] > 0:
                        self._shift(came, host)
                        return True
                    later += [(b, host) for b, sent in enumerate(self.sent) if sent.get(host) and b not in seen]
                    seen.update(b for b, sent in enumerate(self.sent) if sent.get(host))
            wave = later
        return False

    def _shift(self, came: Mapping[int, tuple[int, int | None]], host: int) -> None:
        self.slots[host] -= 1
        at: int | None = host
        while at is not None:
            mover, leaves = came[at]
            self.room[mover][at] -= 1
            self.sent[mover][at] = self.sent[mover].get(at, 0) + 1
            if leaves is not None:
                self.room[mover][leaves] += 1
                self.sent[mover][leaves] -= 1
            at = leaves
