"""Which servers should migrate: those of a host that is to be emptied, or the fewest that end a broken rule."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.model.found import Snapshot
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.make import PlanOptions, Rules, make_plan
from stacksmith.planner.plan import Operation, Plan

MOST_TRIES = 500  # sets of servers that are tried before the search for the fewest moves is given up


@dataclass(frozen=True, slots=True)
class Scene:
    """What a plan is made from."""

    stack: Stack
    snapshot: Snapshot
    records: Sequence[Record]
    rules: Rules
    consumers: Sequence[Consumer] = ()

    def plan(self, options: PlanOptions) -> Plan:
        """The plan. Raises: Faults."""
        return make_plan(self.stack, self.snapshot, self.records, self.rules, options, tuple(self.consumers))


def drain(scene: Scene, hosts: frozenset[str]) -> Plan:
    """The plan that empties the hosts of the stack's servers. Each migrates once, fewer moves cannot do it.

    Raises: Faults when a host is unknown, the stack has other changes, or a server has nowhere to go.
    """
    unknown = sorted(hosts - scene.stack.fleet.hosts.keys())
    if unknown:
        known = ", ".join(sorted(scene.stack.fleet.hosts))
        message = f"cannot empty {unknown[0]}: the fleet has no such host"
        raise Faults([error("bad-host", message, hint=f"its hosts are {known}")])
    where = _where(scene)
    moving = frozenset(address for address, host in where.items() if host in hosts)
    return scene.plan(PlanOptions(moving=moving, avoid=hosts))


def keep_rules(scene: Scene) -> Plan:
    """The plan with the fewest migrations after which no server group, host pin or zone is violated.

    Sets of the servers that break rules are tried, smaller ones first, so that the first that does is the smallest.
    Raises: Faults when none of ``MOST_TRIES`` sets does it, or the stack has other changes.
    """
    where = _where(scene)
    guilty = sorted(broken(scene.stack, where))
    tries = (frozenset(moving) for size in range(len(guilty) + 1) for moving in combinations(guilty, size))
    last: Faults | None = None
    for number, moving in enumerate(tries):
        if number == MOST_TRIES:
            break
        try:
            plan = scene.plan(PlanOptions(moving=moving))
        except Faults as faults:
            last = faults
            continue
        after = where | {s.address: s.host for s in plan.steps if s.operation is Operation.MIGRATE}
        if not broken(scene.stack, after):
            return plan
    if last is not None:
        raise last
    names = ", ".join(map(str, guilty))
    raise Faults([error("no-valid-host", f"cannot keep the rules of {names}: no set of migrations tried does it")])


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


def _where(scene: Scene) -> dict[Address, str]:
    """The host of each server of the stack. Raises: Faults when servers or volumes have changes to be applied."""
    plan = scene.plan(PlanOptions())
    recorded = {record.address: record.host for record in scene.records}
    # What a move that was killed at its very end, or one by hand, did not bring along: this plan mends it.
    moved = [s for s in plan.steps if s.operation is Operation.UPDATE and s.host != recorded.get(s.address, s.host)]
    waiting = [
        s for s in plan.steps if s.address.kind in ("server", "volume") and s.address.host is None and s not in moved
    ]
    if waiting or plan.unknown:
        names = ", ".join(dict.fromkeys(map(str, (*(s.address for s in waiting), *plan.unknown))))
        message = (
            f"cannot rebalance {scene.stack.name}: {names} have other changes, or are on hosts that cannot be read"
        )
        raise Faults([error("changes-first", message, hint="apply the stack first: stacksmith apply")])
    there = {each.address: each.host for each in plan.unchanged} | {step.address: step.host for step in moved}
    return {address: host for address, host in there.items() if address.kind == "server"}
