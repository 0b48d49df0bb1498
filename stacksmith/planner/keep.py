"""The fewest migrations after which no server group, host pin or availability zone is violated."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Stack
from stacksmith.planner.aim import Aim, Outcome
from stacksmith.planner.make import PlanOptions
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.scene import Scene, whereabouts

MOST_TRIES = 500  # sets of servers that are tried before the search for the fewest moves is given up
LISTED = 5

Moving = frozenset[Address]


def keep_rules(scene: Scene, aim: Aim) -> Plan:
    """The plan with the fewest migrations that end what is violated, or that come nearest with as many as are allowed.

    Sets of servers are tried, smaller ones first, so that the first that does it is the smallest. Where servers could
    only exchange full hosts, one of them stops on a third host, and is brought on by the next rebalance.
    Raises: Faults when none of the sets that were tried does it.
    """
    where = whereabouts(scene)
    guilty = sorted(broken(scene.stack, where))
    most = len(guilty) if aim.max_moves is None else min(aim.max_moves, len(guilty))
    faults: list[tuple[Faults, Moving]] = []
    best: Plan | None = None
    for moving in _tries(scene.stack, where, guilty, most):
        try:
            plan = _judged(scene, where, scene.plan(PlanOptions(moving=moving)))
        except Faults as fault:
            faults.append((fault, moving))
            continue
        if not _left(plan):
            return plan
        if best is None or len(_left(plan)) < len(_left(best)):
            best = plan
    stopover = _stopover(scene, where, faults, most)
    if stopover is not None:
        return stopover
    if best is not None and most < len(guilty):
        return best
    if faults:
        raise faults[-1][0]
    names = ", ".join(map(str, guilty))
    raise Faults([error("no-valid-host", f"cannot keep the rules of {names}: no set of migrations tried does it")])


def _tries(stack: Stack, where: Mapping[Address, str], guilty: Sequence[Address], most: int) -> Iterator[Moving]:
    """Those that break a rule by themselves must all move; of the others ever more."""
    must = [address for address in guilty if _is_astray(stack, address, where[address])]
    others = [address for address in guilty if address not in must]
    if len(must) > most:
        fewer = (combinations(must, size) for size in range(most, -1, -1))
        yield from islice((frozenset(moving) for each in fewer for moving in each), MOST_TRIES)
        return
    more = (combinations(others, size) for size in range(most - len(must) + 1))
    yield from islice((frozenset((*must, *moving)) for each in more for moving in each), MOST_TRIES)
    if most == len(guilty) and 2 ** len(others) > MOST_TRIES:
        yield frozenset(guilty)


def _judged(scene: Scene, where: Mapping[Address, str], plan: Plan) -> Plan:
    """The plan with what rules it leaves broken."""
    after = {**where, **{s.address: s.host for s in plan.steps if s.operation is Operation.MIGRATE}}
    left = [str(a) for a in sorted(broken(scene.stack, {a: h for a, h in after.items() if a in where}))]
    words = tuple(f"{name} is where a rule does not let it be" for name in left)
    return replace(plan, outcome=Outcome(is_fewest=not words, left=words))


def _left(plan: Plan) -> tuple[str, ...]:
    return plan.outcome.left if plan.outcome is not None else ()


def _stopover(
    scene: Scene, where: Mapping[Address, str], faults: Sequence[tuple[Faults, Moving]], most: int
) -> Plan | None:
    """A plan in which one server of a circle goes to a third host, so that the others can go where they are to be."""
    circles = [moving for fault, moving in faults if fault.diagnostics[0].code == "circular-steps"]
    hosts = [n for n, host in sorted(scene.stack.fleet.hosts.items()) if host.state == "enabled"]
    stops = ((a, host, moving) for moving in circles for a in sorted(moving) for host in hosts if host != where[a])
    for address, host, moving in islice(stops, MOST_TRIES):
        try:
            plan = scene.plan(PlanOptions(moving=moving, to={address: host}))
        except Faults:
            continue
        plan = _judged(scene, where, plan)
        if len(_left(plan)) == 1 and len(moving) <= most:
            words = f"{address} stops on {host} on its way: apply this, then rebalance again"
            return replace(plan, outcome=Outcome(is_fewest=False, left=(words,)))
    return None


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def broken(stack: Stack, where: Mapping[Address, str]) -> set[Address]:
    """Servers that are where a rule does not let them be: their pin, their zone, or the policy of their group."""
    guilty = set()
    groups: dict[str, dict[str, list[Address]]] = defaultdict(lambda: defaultdict(list))
    for address, host in where.items():
        spec = stack.resources[address].spec
        assert isinstance(spec, ServerSpec)
        if _is_astray(stack, address, host):
            guilty.add(address)
        if spec.group:
            groups[spec.group][host].append(address)
    for name, by_host in groups.items():
        guilty |= set(_apart(stack, name, by_host))
    return guilty


def _is_astray(stack: Stack, address: Address, host: str) -> bool:
    """True for a server that its own pin or zone does not let be there."""
    spec = stack.resources[address].spec
    assert isinstance(spec, ServerSpec)
    zone = stack.fleet.hosts[host].availability_zone
    return spec.host not in (None, host) or spec.availability_zone not in (None, zone)


def _apart(stack: Stack, name: str, by_host: Mapping[str, Sequence[Address]]) -> Iterator[Address]:
    group = stack.server_groups[name]
    for members in by_host.values():
        too_near = group.policy == "anti-affinity" and len(members) > group.max_server_per_host
        too_far = group.policy == "affinity" and len(by_host) > 1
        if too_near or too_far:
            yield from members
