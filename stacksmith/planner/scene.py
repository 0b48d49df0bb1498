"""What a rebalance is planned from, and where the servers of the stack are."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.frozen import dataclass
from stacksmith.model.found import ABANDONED, Snapshot
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.placement.request import Group, Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.placement.unit import Unit, bundle
from stacksmith.planner.asking import Asking
from stacksmith.planner.balance import Balance
from stacksmith.planner.build import draft
from stacksmith.planner.floor import lone_unit
from stacksmith.planner.hint import hinted
from stacksmith.planner.inventory import host_states, with_parts_of
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.make import PlanOptions, Rules, make_plan
from stacksmith.planner.part import cell_group, demands, of_cells
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.planner.schedule import Schedule, group_members, in_zone_of, server_requests, with_held, with_hints
from stacksmith.planner.sharing import held_by
from stacksmith.planner.wait import Circle


@dataclass(frozen=True, slots=True)
class Scene:
    """What a plan is made from."""

    stack: Stack
    snapshot: Snapshot
    records: Sequence[Record]
    rules: Rules
    consumers: Sequence[Consumer] = ()

    def plan(self, options: PlanOptions) -> Plan:
        """The plan. Servers that would wait for the parts that each other leaves get other parts, if there are some.

        Raises: Faults.
        """
        try:
            return make_plan(self.stack, self.snapshot, self.records, self.rules, options, tuple(self.consumers))
        except Circle as circle:
            stuck = (circle.stuck & demands(self.stack).keys()) - options.holding
            if not stuck:
                raise
            try:
                return self.plan(replace(options, holding=options.holding | stuck))
            except Faults:
                raise circle from None

    def moves(self, options: PlanOptions) -> Plan:
        """As ``plan``. Raises: Faults also when a server cannot be moved as it is."""
        plan = self.plan(options)
        causes = dict(plan.refusals)
        refused = [
            error("no-valid-host", f"cannot move {s.address} to {s.host}: {causes[s.id]}", address=s.address)
            for s in plan.steps
            if s.id in causes and s.operation is Operation.MIGRATE
        ]
        if refused:
            raise Faults(refused)
        return plan


def whereabouts(scene: Scene) -> dict[Address, str]:
    """The host of each server of the stack. Raises: Faults when servers or volumes have changes to be applied."""
    plan = scene.plan(PlanOptions())
    recorded = {record.address: record.host for record in scene.records}
    # What a move that was killed at its very end, or one by hand, did not bring along: this plan mends it.
    mends = (Operation.UPDATE, Operation.MIGRATE)
    moved = [s for s in plan.steps if s.operation in mends and s.host != recorded.get(s.address, s.host)]
    # One that a killed migration paused, and that is nowhere else: the next move lets it go on first.
    moved += [
        s for s in plan.steps if s.address in _abandoned(scene) and [c.path for c in s.changes] == ["power_state"]
    ]
    waiting = [
        s for s in plan.steps if s.address.kind in ("server", "volume") and s.address.host is None and s not in moved
    ]
    if waiting or plan.unknown:
        changes = ", ".join([*map(_told, waiting), *(f"{a} (its host cannot be read)" for a in plan.unknown)])
        message = f"cannot rebalance {scene.stack.name}: other changes come first: {changes}"
        raise Faults([error("changes-first", message, hint="apply the stack first: stacksmith apply")])
    there = {each.address: each.host for each in plan.unchanged} | {step.address: step.host for step in moved}
    hosts = scene.stack.fleet.hosts  # what is on a bare-metal node stays there
    return {address: host for address, host in there.items() if address.kind == "server" and host in hosts}


def _abandoned(scene: Scene) -> set[Address]:
    return {f.address for host in scene.snapshot.hosts for f in host.found if ABANDONED in f.facts}


def _told(step: Step) -> str:
    """A step and the first of what it changes, for a message."""
    paths = [change.path for change in step.changes]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{step.address} ({step.operation}: {paths[0]}{more})" if paths else f"{step.address} ({step.operation})"


def balance_of(
    scene: Scene, where: Mapping[Address, str], staying: Collection[Address], with_groups: bool = False
) -> Balance:
    """The servers that may be moved alone, without changing what binds them to others; with ``with_groups`` also those
    that an affinity group or same_host hints bind to each other, all of them as one, by the address of the first.

    ``staying`` are left where they are, as are servers that follow one of several others, and those with devices,
    with volumes in storages of one host, or with a query about what changes.
    """
    stack, snapshot = scene.stack, scene.snapshot
    drafted, asking = draft(stack, {}), Asking(stack)
    there = {f.address: f.host for h in snapshot.hosts for f in h.found if not f.partial}
    users = drafted.users()
    volumes = {a: host for a, host in there.items() if a in drafted.volumes and users.get(a) not in where}
    asked = Schedule({}, demands=demands(stack))
    requests = server_requests(asking, drafted, volumes, users, asked)
    hints = hinted(stack, snapshot, volumes)
    ledger = Ledger(stack.name, stack.fleet, snapshot, scene.consumers)
    held = held_by(ledger, (f for h in snapshot.hosts for f in h.found), users, dict.fromkeys(where, ()))
    every = [with_hints(with_held(r, held, users), hints) for r in requests if r.address in where]
    groups = {n: Group(n, g.policy, g.max_server_per_host) for n, g in stack.server_groups.items()}
    free = [in_zone_of(stack, r, where[r.address]) for r in every if r.address not in staying]
    free = [r for r in free if not r.queries]
    units = [lone_unit(r, groups) for r in _alone(stack, free) if r.parts is None or of_cells(r.parts, r.held)]
    units += _whole(stack, every, free, where) if with_groups else []
    movable = {request.address: where[request.address] for unit in units for request in unit.requests}
    leaves = {**movable, **{volume: movable[server] for volume, server in users.items() if server in movable}}
    leaving = [f for h in snapshot.hosts for f in h.found if leaves.get(f.address) == f.host]
    fixed = {**volumes, **{address: host for address, host in where.items() if address not in movable}}
    pending = ledger.pending({f.address for f in leaving})
    members = group_members(asking, fixed, hints)
    states = with_parts_of(
        host_states(stack.fleet, snapshot, leaving, members, pending=pending),
        host_states(stack.fleet, snapshot, (), members, pending=pending),
    )
    return Balance(states, {unit.address: unit for unit in units}, {u.address: where[u.address] for u in units})


def _alone(stack: Stack, requests: Iterable[Request]) -> list[Request]:
    """Those that no affinity, same_host hint or part of a host binds to where they are."""
    return [r for r in _leading(requests) if r.together is None and not _is_near(stack, r)]


def _whole(stack: Stack, every: Iterable[Request], free: Sequence[Request], where: Mapping[Address, str]) -> list[Unit]:
    """Those that must share a host, as one unit for each host's: all of them there, and all of them free to move."""
    bound = [r for r in _leading(free) if _has_no_cells(r) and (r.together is not None or _is_near(stack, r))]
    names = {r.address: {r.together, r.group if _is_near(stack, r) else None} - {None} for r in every}
    counts = Counter(name for each in names.values() for name in each)
    groups = {n: Group(n, g.policy, g.max_server_per_host) for n, g in stack.server_groups.items()}
    found = []
    for unit in bundle(bound, (), groups):
        here = Counter(name for request in unit.requests for name in names[request.address])
        hosts = {where[request.address] for request in unit.requests}
        if len(hosts) == 1 and all(counts[name] == count for name, count in here.items()):
            found.append(unit)
    return found


def _has_no_cells(request: Request) -> bool:
    """True for a server that asks for no parts but disks that it holds."""
    parts = request.parts
    return parts is None or (of_cells(parts, request.held) and not parts.groups.keys() & {cell_group(0)})


def _leading(requests: Iterable[Request]) -> list[Request]:
    """Those that follow no one of several servers, and that none follows so."""
    asked = list(requests)
    followed = {hint.mark for request in asked for hint in request.follows}
    return [r for r in asked if not r.follows and followed.isdisjoint(r.marks)]


def _is_near(stack: Stack, request: Request) -> bool:
    return request.group is not None and stack.server_groups[request.group].policy == "affinity"
