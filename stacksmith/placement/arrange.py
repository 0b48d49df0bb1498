"""Finds an arrangement for a batch: greedy passes; for what they leave over a few moves, a search, the solver."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement.attempt import Arrangement, Eligible, attempt
from stacksmith.placement.exchange import exchange
from stacksmith.placement.host import HostState
from stacksmith.placement.joint.solve import Joint, columns, most, optimise, rescue
from stacksmith.placement.joint.solver import installed
from stacksmith.placement.memory import Memory
from stacksmith.placement.normalised import normalised
from stacksmith.placement.proof import Shortage
from stacksmith.placement.request import Goal, Strategy
from stacksmith.placement.search import MOST_TRIES, Answer, is_too_much, search
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit
from stacksmith.placement.verdict import Optimum
from stacksmith.placement.weigher import Alignment, Weigher, make_weigher, most_free

NO_HOST = "no valid host"
FORCED = "chosen so that all find room"
CROWDED = "chosen so that as many as can find room"
JOINTLY = "chosen together with all others"
SOLVED = "the solver proved that no arrangement of the {} requests exists"
MOST = "the solver proved that no more of the {} requests find room"
MOST_ASKED = 32  # units for which room is made by arranging all anew, and the units times hosts for which it is
MOST_PAIRS = 5_000
MOST_SWAPS = 32  # ways in which one that was placed makes way for others,
MOST_SWAPPED = 12  # in a batch of no more units,
SWAP_TRIES = 100  # each with so many tries of the search
FEW_TRIES = 2_000  # of the search, for a question that is asked many times
FEW_COLUMNS = 400  # of a program of the solver, for the same
MOST_WORK = 30_000  # on parts of hosts, by searches and all that is arranged anew, after the greedy passes
MOST_ORDERS = 10  # that are tried for units with queries
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


def arrange(units: Sequence[Unit], hosts: Sequence[HostState], goal: Goal, memory: Memory) -> Outcome:
    """Places the units on hosts, which are in order of name.

    What no host takes even without the rest of the batch fails by itself and does not hinder the others. Of what cannot
    all be placed as many are as is found out.
    """
    strategy = goal.strategy
    sites, eligible = open_sites(hosts), Eligible(hosts, memory)
    alone = [unit for unit in units if any(sites[i].keeps_apart(unit) for i in eligible.hosts(unit))]
    possible = _with_company(alone, hosts)
    there = {unit.address for unit in possible}
    hopeless = tuple(
        Failure(unit, _limits(strategy) if eligible.is_unsettled(unit) else NO_HOST)
        for unit in units
        if unit.address not in there
    )
    if strategy is Strategy.OPTIMAL and possible:
        return _jointly(possible, hopeless, hosts, eligible, goal.time_limit_seconds)
    outcome = _settled(possible, hosts, eligible, strategy)
    if any(failure.proof for failure in outcome.failures):
        outcome = _as_many(outcome, possible, hosts, eligible, _limits(strategy))
    outcome = _asked_again(outcome, hosts, eligible)
    return replace(outcome, failures=(*hopeless, *outcome.failures))


def _with_company(units: Sequence[Unit], hosts: Sequence[HostState]) -> list[Unit]:
    """The units without those that follow what neither a host nor another of them bears."""
    names = frozenset(host.name for host in hosts)
    borne = {mark for host in hosts for mark, count in host.groups.items() if count}
    borne |= {mark for unit in units for mark, _ in unit.joins}
    found = [unit for unit in units if all(h.mark in borne or h.hosts & names for h in unit.follows)]
    return found if len(found) == len(units) else _with_company(found, hosts)


def _as_many(
    outcome: Outcome, units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, claim: str
) -> Outcome:
    """The outcome of units that cannot all be placed, with as many of them placed as can be shown to find room."""
    joint = most(units, hosts, eligible, RESCUE_SECONDS) if installed() else Joint()
    proof = MOST.format(_number(units)) if joint.impossible else ""
    found, shortage = joint.arrangement, Shortage(units, open_sites(hosts), eligible)
    if found is not None and len(found.placed) > len(outcome.placed):
        there = {unit.address for unit, _ in found.placed}
        left = [unit for unit in units if unit.address not in there]
        failures = [Failure(unit, proof=shortage.cause(unit) or proof) for unit in left]
        failures = [each if each.proof else Failure(each.unit, claim) for each in failures]
        outcome = replace(outcome, placed=found.placed, failures=tuple(failures), forced=CROWDED)
    elif proof:
        failures = [each if each.proof else Failure(each.unit, proof=proof) for each in outcome.failures]
        outcome = replace(outcome, failures=tuple(failures))
    if proof:
        return outcome
    more = _one_more(outcome, hosts, eligible)
    return _topped(_swapped(more, shortage, hosts, eligible, claim), hosts, eligible)


def _asked_again(outcome: Outcome, hosts: Sequence[HostState], eligible: Eligible) -> Outcome:
    """The outcome with each unit placed whose queries are met by what came after it."""
    while any(failure.unit.queries for failure in outcome.failures):
        before, outcome = outcome, _topped(outcome, hosts, eligible)
        if len(outcome.failures) == len(before.failures):
            break
    return outcome


def _one_more(outcome: Outcome, hosts: Sequence[HostState], eligible: Eligible) -> Outcome:
    """The outcome with each unit placed that finds room when the placed ones are arranged anew, a few tried so."""
    placed, failures, refused = outcome.placed, [], set[object]()
    for failure in outcome.failures:
        unit, key = failure.unit, (failure.unit.key, failure.unit.joins)
        units = [*(each for each, _ in placed), unit]
        found = None
        if key not in refused and len(refused) < MOST_ASKED and len(units) * len(hosts) <= MOST_PAIRS:
            found = _arrangement(units, hosts, eligible)
        if found is None:
            refused.add(key)
            failures.append(failure)
        else:
            placed = found.placed
    moved = placed is not outcome.placed
    return replace(outcome, placed=placed, failures=tuple(failures), forced=CROWDED if moved else outcome.forced)


def _swapped(
    outcome: Outcome, shortage: Shortage, hosts: Sequence[HostState], eligible: Eligible, claim: str
) -> Outcome:
    """The outcome of a small batch in which a placed unit makes way for others with more requests, as often as that
    works; a few such ways are tried."""
    if len(outcome.placed) + len(outcome.failures) > MOST_SWAPPED:
        return outcome
    tried: set[object] = set()
    for out, others in _swaps(outcome):
        key = ((out.key, out.joins), frozenset(Counter((each.key, each.joins) for each in others).items()))
        if key in tried or len(tried) >= MOST_SWAPS:
            continue
        tried.add(key)
        stay = [unit for unit, _ in outcome.placed if unit is not out]
        found = _arrangement([*stay, *others], hosts, eligible, SWAP_TRIES)
        if found is not None:
            left = [each for each in outcome.failures if each.unit not in others]
            left.append(_failure(out, outcome.failures, shortage, claim))
            better = replace(outcome, placed=found.placed, failures=tuple(left), forced=CROWDED)
            return _swapped(better, shortage, hosts, eligible, claim)
    return outcome


def _failure(unit: Unit, others: Sequence[Failure], shortage: Shortage, claim: str) -> Failure:
    """That of a unit that made way: what is short for it, else what is proven of the whole batch."""
    if cause := shortage.cause(unit):
        return Failure(unit, proof=cause)
    of_all = (each for each in others if each.proof and each.proof != shortage.cause(each.unit))
    return replace(next(of_all, Failure(unit, claim)), unit=unit)


def _swaps(outcome: Outcome) -> Iterator[tuple[Unit, tuple[Unit, ...]]]:
    """A placed unit, and one or two that were left over and have more requests together."""
    left = [failure.unit for failure in outcome.failures]
    for others in chain(combinations(left, 1), combinations(left, 2)):
        for out, _ in outcome.placed:
            if _number(others) > len(out.requests):
                yield out, others


def _topped(outcome: Outcome, hosts: Sequence[HostState], eligible: Eligible) -> Outcome:
    """The outcome with each unit placed that some host takes as the others are placed now."""
    sites, placed, refused = open_sites(hosts, eligible.memory), list(outcome.placed), set[object]()
    failures: list[Failure] = []
    for unit, there in placed:
        sites[there].add(unit)
    for failure in outcome.failures:
        unit, key = failure.unit, (failure.unit.key, failure.unit.joins)
        options = () if key in refused else eligible.hosts(unit)
        index = next((i for i in options if sites[i].takes(unit)), None)
        if index is None:
            refused.add(key)
            failures.append(failure)
        else:
            sites[index].add(unit)
            placed.append((unit, index))
    return replace(outcome, placed=tuple(placed), failures=tuple(failures))


def _settled(
    units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, strategy: Strategy | SchedulerSpec
) -> Outcome:
    """The units by greedy passes, and where these leave some over by moves, and without proof by search and solver."""
    sites = open_sites(hosts)
    tried: list[tuple[Arrangement, Weigher]] = []
    first = preferred(strategy, hosts, sites)
    for found, weigher in _attempts(units, hosts, eligible, first):
        if not found.left:
            return Outcome(found.placed, (), weigher, FORCED if tried else "")
        tried.append((found, weigher))
    eligible.memory.allow(MOST_WORK)
    greedy, weigher = min(tried, key=lambda t: len(t[0].left))
    best = exchange(greedy, hosts, eligible)
    if not best.left:
        return Outcome(best.placed, (), tried[0][1], FORCED)
    shortage = Shortage(units, sites, eligible)
    failures = [Failure(unit, proof=shortage.cause(unit)) for unit in best.left]
    if not any(failure.proof for failure in failures):
        answer = _repair(units, hosts, eligible)
        if answer.arrangement is not None:
            return Outcome(answer.arrangement.placed, (), tried[0][1], FORCED)
        failures = [Failure(unit, proof=answer.proof) for unit in best.left]
    failures = [each if each.proof else Failure(each.unit, _limits(strategy)) for each in failures]
    is_own = weigher is tried[0][1] and best is greedy
    return Outcome(best.placed, tuple(failures), weigher, "" if is_own else CROWDED)


def _limits(strategy: Strategy | SchedulerSpec) -> str:
    """What is claimed where nothing is proven."""
    way = "by weights" if isinstance(strategy, SchedulerSpec) else strategy
    limits = f"{way}, then biggest first by alignment, a search{', the solver' if installed() else ''}"
    return f"no arrangement found within the search limit ({limits})"


@dataclass(frozen=True, slots=True)
class _Repair:
    """What was found for a batch that the greedy passes could not place: an arrangement, a proof, or neither."""

    arrangement: Arrangement | None = None
    proof: str = ""


def _repair(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, tries: int = MOST_TRIES) -> _Repair:
    """A search, and where it gives up the solver, if it is installed; with few tries only for what it solves soon."""
    sites = open_sites(hosts)
    answer = search(_hardest_first(units, sites, eligible), hosts, eligible, tries)
    if answer.arrangement is not None:
        return _Repair(answer.arrangement)
    if proof := _tried(units, answer):
        return _Repair(proof=proof)
    if not installed() or (tries < MOST_TRIES and columns(units, eligible) > FEW_COLUMNS):
        return _Repair()
    joint = rescue(units, hosts, eligible, RESCUE_SECONDS)
    return _Repair(joint.arrangement, SOLVED.format(_number(units)) if joint.impossible else "")


def _tried(units: Sequence[Unit], answer: Answer) -> str:
    """What a search proved, in words; it tries no other order of units that follow each other."""
    is_proof = answer.proven and not any(unit.follows for unit in units)
    return f"every arrangement of the {_number(units)} requests was tried" if is_proof else ""


def placeable(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible) -> bool | None:
    """Whether the units can all be placed; None when that was neither shown nor disproved with little work."""
    sites = open_sites(hosts)
    if not all(any(sites[i].keeps_apart(unit) for i in eligible.hosts(unit)) for unit in units):
        return None if any(eligible.is_unsettled(unit) for unit in units) else False
    shortage = Shortage(units, sites, eligible)
    if any(shortage.cause(unit) for unit in units):
        return False
    if is_too_much(units, eligible.memory):
        return None
    if _greedy(units, hosts, eligible) is not None:
        return True
    answer = _repair(units, hosts, eligible, FEW_TRIES)
    return True if answer.arrangement is not None else False if answer.proof else None


def _arrangement(
    units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, tries: int = FEW_TRIES
) -> Arrangement | None:
    if is_too_much(units, eligible.memory):
        return None
    return _greedy(units, hosts, eligible) or _repair(units, hosts, eligible, tries).arrangement


def _greedy(units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible) -> Arrangement | None:
    """The first greedy pass by fullest hosts or alignment that leaves nothing over."""
    sites = open_sites(hosts)
    tried = _attempts(units, hosts, eligible, make_weigher(Strategy.PACK, sites))
    return next((found for found, _ in tried if not found.left), None)


def _number(units: Sequence[Unit]) -> int:
    return sum(len(unit.requests) for unit in units)


def _jointly(
    units: Sequence[Unit], hopeless: tuple[Failure, ...], hosts: Sequence[HostState], eligible: Eligible, seconds: float
) -> Outcome:
    """The whole batch by the solver; greedy passes, or a search, give it a first answer, and what is left when there is
    none. The solver knows no parts of hosts: what it deals may not be, and then the first answer is the best."""
    sites = open_sites(hosts)
    tried = list(_attempts(units, hosts, eligible, make_weigher(Strategy.PACK, sites)))
    eligible.memory.allow(MOST_WORK)
    known, proof = [found for found, _ in tried if not found.left], ""
    if not known:
        searched = search(_hardest_first(units, sites, eligible), hosts, eligible, MOST_TRIES)
        known = [searched.arrangement] if searched.arrangement is not None else []
        proof = _tried(units, searched)
    joint: Joint = optimise(units, hosts, eligible, known, seconds)
    if joint.arrangement is not None:
        return Outcome(joint.arrangement.placed, hopeless, tried[0][1], JOINTLY, joint.optimum)
    best, weigher = min(tried, key=lambda t: len(t[0].left))
    shortage = Shortage(units, sites, eligible)
    proof = SOLVED.format(_number(units)) if joint.impossible else proof
    late = f"no arrangement found within the time limit of {seconds:g} s"
    claim = late if joint.seconds >= seconds else _limits(Strategy.OPTIMAL)
    failures = [Failure(unit, proof=shortage.cause(unit) or proof) for unit in best.left]
    failures = [each if each.proof else Failure(each.unit, claim) for each in failures]
    outcome = Outcome(best.placed, tuple(failures), weigher, CROWDED if weigher is not tried[0][1] else "")
    if proof:
        outcome = _as_many(outcome, units, hosts, eligible, claim)
    outcome = _asked_again(outcome, hosts, eligible)
    return replace(outcome, failures=(*hopeless, *outcome.failures))


def preferred(strategy: Strategy | SchedulerSpec, hosts: Sequence[HostState], sites: Sequence[Site]) -> Weigher:
    """The weigher of a strategy, or of the fleet, over these hosts as they are."""
    return normalised(strategy, hosts) if isinstance(strategy, SchedulerSpec) else make_weigher(strategy, sites)


def _attempts(
    units: Sequence[Unit], hosts: Sequence[HostState], eligible: Eligible, weigher: Weigher
) -> Iterator[tuple[Arrangement, Weigher]]:
    """The greedy passes: those with the fewest hosts first by the weigher, then biggest first by alignment.

    Where they leave units with queries, these come before all others the next time, or, if they were left there, after
    them, and so on: what hosts answer changes with what was placed before.
    """
    sites = open_sites(hosts)
    depth, size, failed = _depths(units), _sizes(sites), Counter[Address]()
    order = sorted(units, key=lambda u: (depth[u.address], len(eligible.hosts(u)), u.address.order))
    found = attempt(order, hosts, eligible, weigher)
    yield found, weigher
    biggest = sorted(units, key=lambda u: (depth[u.address], -size(u), u.address.order))
    alignment = Alignment(most_free(sites))
    yield (other := attempt(biggest, hosts, eligible, alignment)), alignment
    for _ in range(MOST_ORDERS if other.left else 0):
        left = [unit.address for unit in found.left if unit.queries]
        if not left:
            return
        failed.update(left)
        order.sort(key=lambda u: (depth[u.address], failed[u.address] * (-1) ** (failed[u.address] % 2)))
        found = attempt(order, hosts, eligible, weigher)
        yield found, weigher


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
