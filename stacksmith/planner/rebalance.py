"""Which servers should migrate: the fewest that empty a host, end a broken rule, or even a fleet out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Stack
from stacksmith.planner.aim import Aim, Outcome
from stacksmith.planner.balance import SLACK
from stacksmith.planner.even import evened
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.scene import Scene, balance_of, whereabouts

MOST_TRIES = 500  # sets of servers that are tried before the search for the fewest moves is given up
MOST_REFUSALS = 10  # servers that placement keeps where they are, though there is room elsewhere


def rebalance(scene: Scene, aim: Aim) -> Plan:
    """The plan with the fewest migrations that reach the aim, or that come nearest with as many as it allows.

    Raises: Faults when it cannot be reached, or the stack has other changes.
    """
    if aim.drain:
        return _drain(scene, aim)
    return _even_out(scene, aim) if aim.even else _keep_rules(scene, aim)


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
    left = tuple(f"{host} still has {_listed(names)}" for host, names in sorted(stay.items()))
    return replace(plan, outcome=Outcome(left=left))


def _keep_rules(scene: Scene, aim: Aim) -> Plan:
    """Ends what violates a server group, host pin or zone.

    Sets of the servers that break rules are tried, smaller ones first, so that the first that does is the smallest.
    Raises: Faults when none of ``MOST_TRIES`` sets does it.
    """
    where = whereabouts(scene)
    guilty = sorted(broken(scene.stack, where))
    most = len(guilty) if aim.max_moves is None else min(aim.max_moves, len(guilty))
    tries = (frozenset(moving) for size in range(most + 1) for moving in combinations(guilty, size))
    last: Faults | None = None
    best: tuple[int, Plan] | None = None
    for number, moving in enumerate(tries):
        if number == MOST_TRIES:
            break
        try:
            plan = scene.plan(PlanOptions(moving=moving))
        except Faults as faults:
            last = faults
            continue
        after = where | {s.address: s.host for s in plan.steps if s.operation is Operation.MIGRATE}
        left = broken(scene.stack, after)
        if not left:
            return replace(plan, outcome=Outcome())
        if best is None or len(left) < best[0]:
            words = f"{_listed([str(each) for each in sorted(left)])}: a rule does not let them be where they are"
            best = len(left), replace(plan, outcome=Outcome(is_fewest=False, left=(words,)))
    if aim.max_moves is not None and aim.max_moves < len(guilty) and best is not None:
        return best[1]
    if last is not None:
        raise last
    names = ", ".join(map(str, guilty))
    raise Faults([error("no-valid-host", f"cannot keep the rules of {names}: no set of migrations tried does it")])


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
        except Faults as faults:  # something that this does not count, as the parts of a host
            refused = {each.address for each in faults.diagnostics if each.address in to}
            staying |= {address for address in refused if address is not None}
            if not refused or len(staying) > MOST_REFUSALS:
                raise
    before, after = balance.evenness(), balance.again(found.moves).evenness()
    left: tuple[str, ...] = ()
    if after.spread > aim.tolerance + SLACK:
        few = aim.max_moves is not None and len(to) >= aim.max_moves
        left = ("even with so few migrations" if few else "even: nothing that was found is nearer by the tolerance",)
    return replace(plan, outcome=Outcome(found.is_fewest, left, before, after, aim.tolerance))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def broken(stack: Stack, where: Mapping[Address, str]) -> set[Address]:
    """Servers that are where a rule does not let them be: their pin, their zone, or the policy of their group."""
    guilty = set()
    groups: dict[str, dict[str, list[Address]]] = defaultdict(lambda: defaultdict(list))
    for address, host in where.items():
        spec = stack.resources[address].spec
        assert isinstance(spec, ServerSpec)
        zone = stack.fleet.hosts[host].availability_zone
        if spec.host not in (None, host) or spec.availability_zone not in (None, zone):
            guilty.add(address)
        if spec.group:
            groups[spec.group][host].append(address)
    for name, by_host in groups.items():
        guilty |= set(_apart(stack, name, by_host))
    return guilty


def _apart(stack: Stack, name: str, by_host: Mapping[str, Sequence[Address]]) -> Iterator[Address]:
    group = stack.server_groups[name]
    for members in by_host.values():
        too_near = group.policy == "anti-affinity" and len(members) > group.max_server_per_host
        too_far = group.policy == "affinity" and len(by_host) > 1
        if too_near or too_far:
            yield from members
