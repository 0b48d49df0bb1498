"""One greedy pass over a batch: every unit goes to the best host that takes it now."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from heapq import heapify, heappop, heappush

from stacksmith.frozen import dataclass
from stacksmith.placement.filter import unfit
from stacksmith.placement.host import HostState
from stacksmith.placement.memory import Memory
from stacksmith.placement.refusal import Refusal
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Apart, Unit
from stacksmith.placement.weigher import Steady, Weigher

# Hosts skipped in one choice for anti-affinity from which on a queue of its own pays.
LARGE = 16


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where the units of a batch go: (unit, index of its host) in the order they were put, and those left over."""

    placed: tuple[tuple[Unit, int], ...]
    left: tuple[Unit, ...] = ()


class Eligible:
    """Which hosts fit a unit by themselves, before anything else of the batch is placed; kept per unit key.

    ``memory`` is what is learned of the parts of these hosts, then and later.
    """

    def __init__(self, hosts: Sequence[HostState], memory: Memory | None = None) -> None:
        self.memory = Memory() if memory is None else memory
        self._sites = open_sites(hosts, self.memory)
        self._index = {host.name: index for index, host in enumerate(hosts)}
        self._known: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._unsettled: set[tuple[object, ...]] = set()

    def hosts(self, unit: Unit) -> tuple[int, ...]:
        """Indices in order of host name. Server groups that forbid do not count here."""
        found = self._known.get(unit.key)
        if found is None:
            found = tuple(i for i in self._named(unit) if self._fits(unit, self._sites[i]))
            self._known[unit.key] = found
        return found

    def _named(self, unit: Unit) -> Iterable[int]:
        names = unit.named_hosts
        return range(len(self._sites)) if names is None else sorted(self._index[n] for n in names if n in self._index)

    def is_unsettled(self, unit: Unit) -> bool:
        """True when some host may fit a unit though it is not among its ``hosts``: a search was cut short."""
        self.hosts(unit)
        return unit.key in self._unsettled

    def _fits(self, unit: Unit, site: Site) -> bool:
        has_room = site.has_room(unit)
        is_unsettled = not has_room and unit.has_parts and site.parts.is_unsettled(unit)
        if not (has_room or is_unsettled) or next(self._unfit(unit, site.host), None) is not None:
            return False
        if is_unsettled:
            self._unsettled.add(unit.key)
        return has_room

    def _unfit(self, unit: Unit, host: HostState) -> Iterator[Refusal]:
        return unfit(unit, host)


@dataclass(slots=True)
class _Queue:
    """Hosts of one class of units as a heap of (-score, index); ``seen`` is how much of the pass's log it knows."""

    heap: list[tuple[float, int]]
    members: frozenset[int]
    seen: int


@dataclass(slots=True)
class Pass:
    """Places units one after the other with one weigher. Nothing is taken off again: what refuses now always will, but
    for queries, which may be met when there is more on a host.

    A queue per class of units keeps its hosts by score. Scores that can only fall are corrected when they come up;
    for a weigher whose scores also rise, and for soft affinity, changed hosts are put in again before each choice.
    Units of a large anti-affinity group get a queue of their own, which drops the hosts that have their members.
    """

    sites: Sequence[Site]
    eligible: Eligible
    weigher: Steady
    log: list[int] = field(default_factory=list)
    queues: dict[tuple[object, ...], _Queue] = field(default_factory=dict)
    large: set[tuple[Apart, ...]] = field(default_factory=set)

    def place(self, unit: Unit) -> int | None:
        """Puts a unit on the best host that takes it and returns the host's index, or None."""
        index = self._choose(unit)
        if index is not None:
            self.sites[index].add(unit)
            self.log.append(index)
        return index

    def _choose(self, unit: Unit) -> int | None:
        rises = self.weigher.rises or any(sign > 0 for _, sign in unit.soft)
        queue = self._queue(unit, rises)
        heap, aside, found = queue.heap, [], None
        while heap and found is None:
            entry = heappop(heap)
            site = self.sites[entry[1]]
            if not self._is_next(unit, entry, heap, rises):
                continue
            if site.keeps_apart(unit) and site.has_company(unit) and site.answers(unit):
                found = site.index
            elif unit.apart in self.large and not unit.queries:
                continue
            if found is None or not rises:
                aside.append(entry)
        for entry in aside:
            heappush(heap, entry)
        if len(aside) > LARGE and not unit.queries:
            self.large.add(unit.apart)
        return found

    def _is_next(self, unit: Unit, entry: tuple[float, int], heap: list[tuple[float, int]], rises: bool) -> bool:
        """True when a host has room and the score that it came up with; one whose score fell is put in again.

        Its parts are asked last: they may need a search.
        """
        site = self.sites[entry[1]]
        if not site.has_amounts(unit):
            return False
        score = self.weigher.score(unit, site)
        if score == -entry[0]:
            return site.has_parts(unit)
        if not rises:
            heappush(heap, (-score, site.index))
        return False

    def _queue(self, unit: Unit, rises: bool) -> _Queue:
        key = (unit.key, unit.soft, unit.apart if unit.apart in self.large else ())
        queue = self.queues.get(key)
        if queue is None:
            hosts = self.eligible.hosts(unit)
            heap = [(-self.weigher.score(unit, self.sites[i]), i) for i in hosts]
            heapify(heap)
            queue = self.queues[key] = _Queue(heap, frozenset(hosts), len(self.log))
        elif rises:
            for index in queue.members.intersection(self.log[queue.seen :]):
                heappush(queue.heap, (-self.weigher.score(unit, self.sites[index]), index))
            queue.seen = len(self.log)
        return queue


@dataclass(slots=True)
class Ranking:
    """Places units one after the other, weighing anew for each all the hosts that take it: any weigher will do.

    ``open`` keeps the hosts that take units of a class, with how much of the pass's log they know: a host that refuses
    one will refuse all that come after, but for queries, which are asked anew.
    """

    sites: Sequence[Site]
    eligible: Eligible
    weigher: Weigher
    log: list[int] = field(default_factory=list)
    open: dict[tuple[object, ...], tuple[list[Site], int]] = field(default_factory=dict)

    def place(self, unit: Unit) -> int | None:
        """As ``Pass.place``."""
        takes = self._takes(unit)
        if not takes:
            return None
        scores = self.weigher.scores(unit, takes)
        best = takes[scores.index(max(scores))]
        best.add(unit)
        self.log.append(best.index)
        return best.index

    def _takes(self, unit: Unit) -> list[Site]:
        key = (unit.key, unit.apart)
        if key in self.open and not unit.queries:
            before, seen = self.open[key]
            changed = set(self.log[seen:])
            takes = [
                site for site in before if (site.index not in changed and _is_same(unit, site)) or site.takes(unit)
            ]
        else:
            takes = [site for i in self.eligible.hosts(unit) if (site := self.sites[i]).takes(unit)]
        self.open[key] = (takes, len(self.log))
        return takes


def _is_same(unit: Unit, site: Site) -> bool:
    """True when a host to which nothing was done answers as before: its parts may be shared with one that changed."""
    return not unit.has_parts or site.stands_alone


def attempt(units: Iterable[Unit], hosts: Sequence[HostState], eligible: Eligible, weigher: Weigher) -> Arrangement:
    """Places units in the given order, each on the best host that takes it then."""
    sites = open_sites(hosts, eligible.memory)
    run = Pass(sites, eligible, weigher) if isinstance(weigher, Steady) else Ranking(sites, eligible, weigher)
    placed: list[tuple[Unit, int]] = []
    left: list[Unit] = []
    for unit in units:
        index = run.place(unit)
        if index is None:
            left.append(unit)
        else:
            placed.append((unit, index))
    return Arrangement(tuple(placed), tuple(left))
