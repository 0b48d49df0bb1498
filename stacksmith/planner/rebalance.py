"""Which servers should migrate: the fewest that empty a host, end a broken rule, or even a fleet out."""

from collections import defaultdict
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.planner.aim import Aim, Outcome
from stacksmith.planner.balance import SLACK
from stacksmith.planner.even import evened
from stacksmith.planner.keep import keep_rules, listed
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.plan import Plan
from stacksmith.planner.scene import Scene, balance_of, whereabouts

MOST_REFUSALS = 10  # servers that placement keeps where they are, though there is room elsewhere


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
    plan = scene.plan(PlanOptions(moving=frozenset(chosen), avoid=aim.drain))
    stay: dict[str, list[str]] = defaultdict(list)
    for address in moving[len(chosen) :]:
        stay[where[address]].append(str(address))
    left = tuple(f"{host} still has {listed(names)}" for host, names in sorted(stay.items()))
    return replace(plan, outcome=Outcome(left=left))


def _even_out(scene: Scene, aim: Aim) -> Plan:
    """Evens out how much hosts are used, by the share of the scarcest class."""
    where, staying = whereabouts(scene), set[Address]()
    while True:
        balance = balance_of(scene, where, staying)
        found = evened(balance, aim.tolerance, aim.max_moves)
        to = {move.address: move.host for move in found.moves}
        try:
            plan = scene.plan(PlanOptions(moving=frozenset(to), to=to))
            break
        except Faults as faults:  # something that this does not count, as the devices of a host
            refused = {each.address for each in faults.diagnostics if each.address in to}
            staying |= {address for address in refused if address is not None}
            if not refused or len(staying) > MOST_REFUSALS:
                raise
    before, after = balance.evenness(), balance.again(found.moves).evenness()
    left: tuple[str, ...] = ()
    if after.spread > aim.tolerance + SLACK:
        few = aim.max_moves is not None and len(to) >= aim.max_moves
        left = ("even with so few migrations" if few else "even: nothing that was found is nearer by the tolerance",)
    # Their places were chosen for the whole: that only one host was left to each is no reason.
    placements = tuple(each for each in plan.placements if each.address not in to)
    outcome = Outcome(found.is_fewest, left, before, after, aim.tolerance)
    return replace(plan, placements=placements, outcome=outcome)
