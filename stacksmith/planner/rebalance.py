"""Which servers should migrate: the fewest that empty a host, end a broken rule, or even a fleet out."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.frozen import dataclass
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Stack
from stacksmith.planner.aim import Aim, Evenness, Outcome
from stacksmith.planner.balance import SLACK, Balance
from stacksmith.planner.even import Found, evened
from stacksmith.planner.floor import Move
from stacksmith.planner.keep import keep_rules
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.offence import listed
from stacksmith.planner.plan import Plan
from stacksmith.planner.scene import Scene, balance_of, whereabouts

MOST_REFUSALS = 10  # servers that placement keeps where they are, though there is room elsewhere
SMALLEST_GROUP = 2  # servers that are bound to each other are no fewer


def rebalance(scene: Scene, aim: Aim) -> Plan:
    """The plan with the fewest migrations that reach the aim, or that come nearest with as many as it allows.

    Raises: Faults when it cannot be reached, or the stack has other changes.
    """
    if aim.drain:
        return _drain(scene, aim)
    return _even_out(scene, aim) if aim.even else keep_rules(scene, aim)


def _drain(scene: Scene, aim: Aim) -> Plan:
    """Empties hosts of the stack's servers. Each migrates once, fewer moves cannot do it."""
    unknown = sorted(aim.drain - scene.stack.fleet.hosts.keys())
    if unknown:
        known = ", ".join(sorted(scene.stack.fleet.hosts))
        message = f"cannot empty {unknown[0]}: the fleet has no such host"
        raise Faults([error("bad-host", message, hint=f"its hosts are {known}")])
    where = whereabouts(scene)
    moving = sorted((address for address, host in where.items() if host in aim.drain), key=lambda a: a.order)
    chosen = moving[: aim.max_moves]
    plan = scene.moves(PlanOptions(moving=frozenset(chosen), avoid=aim.drain))
    stay: dict[str, list[str]] = defaultdict(list)
    for address in moving[len(chosen) :]:
        stay[where[address]].append(str(address))
    left = tuple(f"{host} still has {listed(names)}" for host, names in sorted(stay.items()))
    return replace(plan, outcome=Outcome(left=left))


def _even_out(scene: Scene, aim: Aim) -> Plan:
    """Evens out how much hosts are used, by the share of the scarcest class."""
    where, staying = whereabouts(scene), set[Address]()
    while True:
        chosen = _evened(scene, aim, where, staying)
        to = chosen.to
        try:
            plan = scene.moves(PlanOptions(moving=frozenset(to), to=to))
            break
        except Faults as faults:  # something that this does not count, as the devices of a host
            refused = {each.address for each in faults.diagnostics if each.address in to}
            staying |= {address for address in refused if address is not None}
            if not refused or len(staying) > MOST_REFUSALS:
                raise
    # Their places were chosen for the whole: that only one host was left to each is no reason.
    placements = tuple(each for each in plan.placements if each.address not in to)
    before, after = chosen.balance.evenness(), chosen.after
    left = _left(chosen, aim) if after.spread > aim.tolerance + SLACK else ()
    outcome = Outcome(chosen.found.is_fewest, left, before, after, aim.tolerance)
    return replace(plan, placements=placements, outcome=outcome)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Moves on a balance; ``withheld`` are servers that only move together, and are more than may move."""

    where: Mapping[Address, str]
    balance: Balance
    found: Found
    withheld: tuple[Address, ...] = ()

    @property
    def after(self) -> Evenness:
        """How even it is when they are done."""
        return self.balance.again(self.found.moves).evenness()

    @property
    def to(self) -> dict[Address, str]:
        """Where each server goes."""
        units = self.balance.units
        return {r.address: move.host for move in self.found.moves for r in units[move.address].requests}


def _evened(scene: Scene, aim: Aim, where: Mapping[Address, str], staying: Collection[Address]) -> _Chosen:
    """Moves of single servers; where these do not do it, or are more than two, also of those that are bound together,
    if that is nearer or fewer."""
    single = balance_of(scene, where, staying)
    found = evened(single, aim.tolerance, aim.max_moves)
    balance = balance_of(scene, where, staying, with_groups=True) if _has_groups(scene.stack) else single
    if balance.units.keys() == single.units.keys():
        return _Chosen(where, single, found)
    alone, goal = _Chosen(where, balance, found), aim.tolerance + SLACK
    is_even = alone.after.spread <= goal
    if is_even and len(found.moves) <= SMALLEST_GROUP:
        return alone
    moves, withheld = _within(balance, evened(balance, aim.tolerance, None).moves, aim.max_moves)
    together = _Chosen(where, balance, Found(moves, False), withheld)
    gain = alone.after.spread - together.after.spread
    if is_even:
        is_better = together.after.spread <= goal and len(together.to) < len(alone.to)
    else:
        is_better = together.after.spread <= goal or gain > (SLACK if aim.max_moves is not None else goal)
    return together if is_better else replace(alone, found=replace(found, is_fewest=False), withheld=withheld)


def _has_groups(stack: Stack) -> bool:
    """True when something may bind servers to each other."""
    hints = (r.spec.scheduler_hints for r in stack.resources.values() if isinstance(r.spec, ServerSpec))
    return any(g.policy == "affinity" for g in stack.server_groups.values()) or any(h and h.same_host for h in hints)


def _within(balance: Balance, moves: Sequence[Move], most: int | None) -> tuple[tuple[Move, ...], tuple[Address, ...]]:
    """The moves that are no more migrations than allowed, as far as they come nearer, and a group that is too large."""
    if most is None or balance.cost(moves) <= most:
        return tuple(moves), ()
    run, done, best = balance.again(), list[Move](), list[Move]()
    least, withheld = run.spread, tuple[Address, ...]()
    for move in moves:
        if balance.cost([*done, move]) > most:
            withheld = withheld or tuple(r.address for r in balance.units[move.address].requests)
        elif run.is_free(move):
            run.move(move.address, move.host)
            done.append(move)
            if run.spread < least - SLACK:
                best, least = list(done), run.spread
    return tuple(best), withheld if len(withheld) > 1 else ()


def _left(chosen: _Chosen, aim: Aim) -> tuple[str, ...]:
    """Why it is not even after the moves."""
    if chosen.found.goes_on:
        return ("even as it can be: apply this, then rebalance again",)
    few = aim.max_moves is not None and len(chosen.to) >= aim.max_moves
    if chosen.withheld:
        names = listed([str(address) for address in chosen.withheld])
        return (f"even with so few migrations: {names} move only together, {len(chosen.withheld)} migrations",)
    told = "even with so few migrations" if few else "even: nothing that was found is nearer by the tolerance"
    bound = _bound(chosen)
    return (told if few or not bound else f"{told}; {bound}",)


def _bound(chosen: _Chosen) -> str:
    """Who stays on the most used host, whatever it would even out."""
    shares = chosen.after.shares
    movable = {r.address for a in chosen.balance.movable for r in chosen.balance.units[a].requests}
    stay = [a for a, host in chosen.where.items() if shares and host == shares[0][0] and a not in movable]
    if not stay:
        return ""
    names = listed([str(address) for address in sorted(stay, key=lambda a: a.order)])
    return f"{names} cannot leave {shares[0][0]}, by rules, hints, devices or volumes of their own"
