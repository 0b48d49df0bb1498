"""Finds an arrangement for a batch: greedy passes first, a search when they leave something over, then the solver."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement.attempt import Arrangement, Eligible, attempt
from stacksmith.placement.host import HostState
from stacksmith.placement.joint.solve import Joint, optimise, rescue
from stacksmith.placement.joint.solver import installed
from stacksmith.placement.normalised import normalised
from stacksmith.placement.proof import Shortage
from stacksmith.placement.request import Goal, Strategy
from stacksmith.placement.search import search
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Optimum
from stacksmith.placement.weigher import Alignment, Weigher, make_weigher, most_free

NO_HOST = "no valid host"
FORCED = "chosen so that all find room"
JOINTLY = "chosen together with all others"
SOLVED = "the solver proved that no arrangement of the {} requests exists"
RESCUE_SECONDS = 20.0  # of the solver when greedy passes and the search fail; it stops at its nodes long before


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit without a host. ``claim`` says ``no valid host`` only when that is proven; ``proof`` adds to it."""

    unit: Unit
    claim: str = NO_HOST
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which unit goes where, in the order decided, with the weigher that orders the hosts.

    ``forced`` says why the choices are not the strategy's own: they were needed to find room for all, say.
    """

    placed: tuple[tuple[Unit, int], ...]
    failures: tuple[Failure, ...]
    weigher: Weigher
    forced: str = ""
    optimum: Optimum | None = None


def arrange(units: Sequence[Unit], hosts: Sequence[HostState], goal: Goal) -> Outcome:
    """Places the units on hosts, which are in order of name.

    What no host takes even without the rest of the batch fails by itself and does not hinder the others.
    """
    strategy = goal.strategy
    sites, eligible = open_sites(hosts), Eligible(hosts)
    alone = {unit.address for unit in units if any(sites[i].keeps_apart(unit) for i in eligible.hosts(unit))}
    possible = [unit for unit in units if unit.address in alone]
    hopeless = tuple(Failure(unit) for unit in units if unit.address not in alone)
    if strategy is Strategy.OPTIMAL and possible:
        return _jointly(possible, hopeless, hosts, eligible, goal.time_limit_seconds)
    tried: list[tuple[Arrangement, Weigher]] = []
    first = preferred(strategy, hosts, sites)
    for order, weigher in _passes(possible, sites, eligible, first):
        found = attempt(order, hosts, eligible, weigher)
        if not found.left:
            return Outcome(found.placed, hopeless, weigher, FORCED if tried else "")
        tried.append((found, weigher))
    best, weigher = min(tried, key=lambda t: len(t[0].left))
    shortage = Shortage(possible, sites, eligible)
    failures = [Failure(unit, proof=shortage.cause(unit)) for unit in best.left]
    if not any(failure.proof for failure in failures):
        answer = _repair(possible, hosts, eligible)
        if answer.arrangement is not None:
            return Outcome(answer.arrangement.placed, hopeless, tried[0][1], FORCED)
        failures = [Failure(unit, proof=answer.proof) for unit in best.left]
    way = "by weights" if isinstance(strategy, SchedulerSpec) else strategy
    limits = f"{way}, then biggest first by alignment, a search{', the solver' if installed() else ''}"
    claim = f"no arrangement found within the search limit ({limits})"
    failures = [failure if failure.proof else Failure(failure.unit, claim) for failure in failures]
    return Outcome(best.placed, (*hopeless, *failures), weigher, FORCED if weigher is not tried[0][1] else "")


@dataclass(frozen=True, slots=True)
class _Repair:
    """What was found for a batch that the greedy passes could not place: an arrangement, a proof, or neither."""

    arrangement: Arrangement | None = None
    proof: str = ""


def _repair(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible) -> _Repair:
    """A search, and where it gives up the solver, if it is installed."""
    sites = open_sites(hosts)
    answer = search(_hardest_first(units, sites, eligible), hosts, eligible)
    if answer.arrangement is not None:
        return _Repair(answer.arrangement)
    if answer.proven and not any(unit.follows for unit in units):
        return _Repair(proof=f"every arrangement of the {_number(units)} requests was tried")
    if not installed():
        return _Repair()
    joint = rescue(units, hosts, eligible, RESCUE_SECONDS)
    return _Repair(joint.arrangement, SOLVED.format(_number(units)) if joint.impossible else "")


def _number(units: Sequence[Unit]) -> int:
    return sum(len(unit.requests) for unit in units)


def _jointly(
    units: Sequence[Unit], hopeless: tuple[Failure, ...], hosts: Sequence[HostState], eligible: Eligible, seconds: float
) -> Outcome:
    """The whole batch by the solver; greedy passes give it a first answer, and what is left when there is none."""
    sites = open_sites(hosts)
    tried = [(attempt(order, hosts, eligible, weigher), weigher) for order, weigher in
             _passes(units, sites, eligible, make_weigher(Strategy.PACK, sites))]  # fmt: skip
    known = [found for found, _ in tried if not found.left]
    joint: Joint = optimise(units, hosts, eligible, known, seconds)
    if joint.arrangement is not None:
        return Outcome(joint.arrangement.placed, hopeless, tried[0][1], JOINTLY, joint.optimum)
    best, weigher = min(tried, key=lambda t: len(t[0].left))
    shortage = Shortage(units, sites, eligible)
    proof = SOLVED.format(_number(units)) if joint.impossible else ""
    claim = NO_HOST if joint.impossible else f"no arrangement found within the time limit of {seconds:g} s"
    failures = [Failure(unit, claim, shortage.cause(unit) or proof) for unit in best.left]
    return Outcome(best.placed, (*hopeless, *failures), weigher, FORCED if weigher is not tried[0][1] else "")


def preferred(strategy: Strategy | SchedulerSpec, hosts: Sequence[HostState], sites: Sequence[Site]) -> Weigher:
    """The weigher of a strategy, or of the fleet, over these hosts as they are."""
    return normalised(strategy, hosts) if isinstance(strategy, SchedulerSpec) else make_weigher(strategy, sites)


def _passes(
    units: Sequence[Unit], sites: Sequence[Site], eligible: Eligible, weigher: Weigher
) -> Iterator[tuple[list[Unit], Weigher]]:
    """The greedy passes: those with the fewest hosts first by the weigher, then biggest first by alignment."""
    depth, size = _depths(units), _sizes(sites)
    yield sorted(units, key=lambda u: (depth[u.address], len(eligible.hosts(u)), u.address.order)), weigher
    yield sorted(units, key=lambda u: (depth[u.address], -size(u), u.address.order)), Alignment(most_free(sites))


def _hardest_first(units: Sequence[Unit], sites: Sequence[Site], eligible: Eligible) -> list[Unit]:
    """Fewest hosts first, then biggest, equal ones side by side."""
    depth, size = _depths(units), _sizes(sites)
    return sorted(units, key=lambda u: (depth[u.address], len(eligible.hosts(u)), -size(u), u.joins, u.address.order))


def _depths(units: Sequence[Unit]) -> dict[Address, int]:
    """How many units each one follows, one after the other: what is followed is placed first.

    Units that follow each other in a circle, which the load refuses of servers, come in any order.
    """
    depths = {unit.address: 0 for unit in units}
    followers = [unit for unit in units if unit.follows]
    if not followers:
        return depths
    bearers: dict[str, set[Address]] = {hint.mark: set() for unit in followers for hint in unit.follows}
    for unit in units:
        for mark, _ in unit.joins:
            if mark in bearers:
                bearers[mark].add(unit.address)
    for _ in bearers:
        of_mark = {mark: max((depths[a] for a in borne), default=0) for mark, borne in bearers.items()}
        depths |= {unit.address: 1 + max(of_mark[hint.mark] for hint in unit.follows) for unit in followers}
    return depths


def _sizes(sites: Sequence[Site]) -> Callable[[Unit], float]:
    """Gives a unit's size: the sum of its amounts, each as a share of what all hosts have free."""
    free = {name: sum(site.free(name) for site in sites) for name in most_free(sites)}
    return lambda unit: sum(amount / free[name] for name, amount in unit.amounts if name in free)
