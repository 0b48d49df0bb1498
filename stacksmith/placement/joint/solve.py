"""Solves a batch jointly: program, deal, and again with the groups that the deal could not keep apart."""

from collections.abc import Sequence
from dataclasses import replace

from stacksmith.frozen import dataclass
from stacksmith.placement.attempt import Arrangement, Eligible, attempt
from stacksmith.placement.host import HostState
from stacksmith.placement.joint.complete import completed
from stacksmith.placement.joint.deal import deal, holds
from stacksmith.placement.joint.lot import lots, twins
from stacksmith.placement.joint.model import Model, is_open, whole
from stacksmith.placement.joint.solver import Limits, Solution, Status, solve
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Optimum
from stacksmith.placement.weigher import Alignment, most_free

MERGED = 0.5  # share of the time for the program with equal hosts as one
FILLED = 0.4  # share of what is left then for filling the hosts that it opens
FILLABLE = 3_000  # columns of the program for that: of a larger one no answer is to be had in such a share
MOST_COLUMNS = 5_000  # of a program for as many units as can be placed
NODES = 200  # of a rescue, which must end the same on a slow machine
NOTHING = Arrangement(())


@dataclass(frozen=True, slots=True)
class Joint:
    """What a joint solve found. Without an arrangement, ``impossible`` says that the solver proved there is none, and
    ``nearest`` has most of the batch."""

    arrangement: Arrangement | None = None
    optimum: Optimum | None = None
    impossible: bool = False
    seconds: float = 0.0
    nearest: Arrangement = NOTHING


def optimise(
    units: Sequence[Unit],
    hosts: Sequence[HostState],
    eligible: Eligible,
    known: Sequence[Arrangement],
    seconds: float,
) -> Joint:
    """The arrangement that keeps the most soft rules and opens the fewest empty hosts, or the best until time is up.

    ``known`` are whole arrangements of the batch found otherwise: the answer is as good as the best of them at least.
    """
    search = _Search(units, hosts, eligible, seconds, seconds)
    for arrangement in known:
        search.keep(arrangement)
    if not search.merge() or not search.refine():
        return Joint(impossible=_is_proof(units))
    if search.best is None:
        return Joint(seconds=seconds - search.left)
    return Joint(search.best, _optimum(search.cost, search.bound, len(hosts) + 1, seconds, search.left))


@dataclass(slots=True)
class _Search:
    """The best arrangement so far and its cost, what every arrangement costs at least, and the seconds left."""

    units: Sequence[Unit]
    hosts: Sequence[HostState]
    eligible: Eligible
    seconds: float
    left: float
    best: Arrangement | None = None
    cost: int = 0
    bound: int = 0

    @property
    def done(self) -> bool:
        """True when nothing better can be found, or no time is left to find it."""
        return (self.best is not None and self.cost <= self.bound) or self.left <= 0

    def keep(self, found: Arrangement | None) -> None:
        """Takes a whole arrangement if it is the best."""
        if found is None:
            return
        value = cost(found, self.hosts)
        if self.best is None or value < self.cost:
            self.best, self.cost = found, value

    def merge(self) -> bool:
        """Solves with equal hosts as one, then fills as many of them. False when that has no solution."""
        made = lots(self.units, self.eligible)
        sites = open_sites(self.hosts)
        equal = twins(made, sites)
        if self.done or len(equal) == len(sites) or not _is_proof(self.units):
            return True
        sizes = {site.index: len(equal.get(site.index, ())) for site in sites}
        model = Model(made, sites, sizes=sizes).build()
        answer = self._solve(model, self.seconds * MERGED)
        if answer.values is not None and not self.done:
            values = answer.values
            self._fill({h for first, column in model.opens.items() for h in equal[first][: values[column]]})
        return answer.status is not Status.INFEASIBLE

    def _fill(self, opened: set[int]) -> None:
        """Looks for an arrangement that opens no host but these."""
        sites = open_sites(self.hosts)
        hosts = [host if i in opened or is_open(sites[i]) else replace(host, state="disabled") for i, host in
                 enumerate(self.hosts)]  # fmt: skip
        eligible = Eligible(hosts)
        size = most_free(sites)
        order = sorted(
            self.units, key=lambda u: (-sum(a / size[n] for n, a in u.amounts if n in size), u.address.order)
        )
        found = attempt(order, hosts, eligible, Alignment(size))
        self.keep(completed(found.placed, self.units, hosts, eligible) or self._completed(found))
        if not self.done and columns(self.units, eligible) <= FILLABLE:
            joint = rescue(self.units, hosts, eligible, self.left * FILLED)
            self.left -= joint.seconds
            self.keep(joint.arrangement or self._completed(joint.nearest))

    def _completed(self, found: Arrangement) -> Arrangement | None:
        """The whole batch, with other hosts opened for those that were left over, if any were not."""
        return completed(found.placed, self.units, self.hosts, self.eligible) if found.placed else None

    def refine(self) -> bool:
        """Solves host by host, with more groups in the program each time. False when there is no solution."""
        counted = frozenset[str]()
        while not self.done:
            model = Model(lots(self.units, self.eligible, counted), open_sites(self.hosts)).build()
            model.cost_at_least(self.bound)
            answer = self._solve(model, self.left)
            if answer.status is Status.INFEASIBLE:
                return False
            if answer.values is None:
                return True
            dealt = deal(model.lots, model.slots(answer.values), open_sites(self.hosts))
            self.keep(self._completed(Arrangement(tuple(dealt.placed))))
            if answer.status is Status.LIMIT or not dealt.stuck - counted:
                return True
            counted |= dealt.stuck
        return True

    def _solve(self, model: Model, seconds: float) -> Solution:
        if not model.fits:
            return Solution(Status.INFEASIBLE, None, 0.0, 0.0)
        answer = solve(model.program, Limits(min(seconds, self.left)))
        self.left -= answer.seconds
        if answer.status is not Status.INFEASIBLE:
            self.bound = max(self.bound, whole(answer.bound))
        return answer


def rescue(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, seconds: float) -> Joint:
    """Any arrangement of the whole batch, or the proof that there is none, within a number of nodes."""
    counted, left, nearest = frozenset[str](), seconds, NOTHING
    while left > 0:
        model = Model(lots(units, eligible, counted), open_sites(hosts), opening=False).build()
        if not model.fits:
            return Joint(impossible=_is_proof(units), seconds=seconds - left)
        answer = solve(model.program, Limits(left, NODES))
        left -= answer.seconds
        if answer.values is None:
            impossible = answer.status is Status.INFEASIBLE and _is_proof(units)
            return Joint(impossible=impossible, seconds=seconds - left, nearest=nearest)
        dealt = deal(model.lots, model.slots(answer.values), open_sites(hosts))
        nearest = Arrangement(tuple(dealt.placed))
        if whole_one := completed(nearest.placed, units, hosts, eligible):
            return Joint(whole_one, seconds=seconds - left)
        if not dealt.stuck - counted:
            break
        counted |= dealt.stuck
    return Joint(seconds=seconds - left, nearest=nearest)


def columns(units: Sequence[Unit], eligible: Eligible) -> int:
    """How large a program of the units is: equal ones count once for each host that they may use."""
    return sum(len(lot.hosts) for lot in lots(units, eligible))


def most(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, seconds: float) -> Joint:
    """An arrangement of as many units as can be placed, within a number of nodes.

    ``impossible`` says that it is proven: no more can be. None where the deal or a limit leaves no arrangement.
    """
    counted, left = frozenset[str](), seconds if columns(units, eligible) <= MOST_COLUMNS else 0.0
    while left > 0:
        model = Model(lots(units, eligible, counted), open_sites(hosts), opening=False, partial=True).build()
        answer = solve(model.program, Limits(left, NODES))
        left -= answer.seconds
        if answer.values is None:
            break
        slots = model.slots(answer.values)
        dealt = deal(model.lots, slots, open_sites(hosts))
        if len(dealt.placed) == sum(map(sum, (each.values() for each in slots))):
            held = holds(dealt.placed, open_sites(hosts, eligible.memory))
            proven = held and answer.status is Status.OPTIMAL and _is_proof(units)
            return Joint(Arrangement(tuple(dealt.placed)) if held else None, impossible=proven)
        if not dealt.stuck - counted:
            break
        counted |= dealt.stuck
    return Joint()


def _is_proof(units: Sequence[Unit]) -> bool:
    """True unless the search for parts of a host may have given up on some."""
    return not any(unit.has_parts for unit in units)


def cost(arrangement: Arrangement, hosts: Sequence[HostState]) -> int:
    """Opened hosts, and more than all of them for each soft member that is not where it should be."""
    sites = open_sites(hosts)
    opened = len({i for _, i in arrangement.placed if not is_open(sites[i])})
    old = {group for site in sites for group, count in site.members.items() if count}
    soft = {rule for unit, _ in arrangement.placed for rule in unit.soft}
    new: dict[str, dict[int, int]] = {group: {} for group, _ in soft}
    for unit, index in arrangement.placed:
        for group, count in unit.joins:
            if group in new:
                new[group][index] = new[group].get(index, 0) + count
    return opened + (len(hosts) + 1) * sum(_missed(new[g], sign, g, g in old, sites) for g, sign in soft)


def _missed(new: dict[int, int], sign: int, group: str, old: bool, sites: Sequence[Site]) -> int:
    here = {index: sites[index].members.get(group, 0) for index in new}
    if sign < 0:
        return sum(count - (0 if here[index] else 1) for index, count in new.items())
    return sum(not count for count in here.values()) - (0 if old else 1)


def _optimum(value: int, bound: int, weight: int, seconds: float, left: float) -> Optimum:
    missed, opened = divmod(value, weight)
    least, least_opened = divmod(min(bound, value), weight)
    if least < missed:
        least_opened = 0
    return Optimum(opened, least_opened, missed, least, None if bound >= value or left > 0 else seconds)
