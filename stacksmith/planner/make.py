"""make_plan: stack, snapshot and records in, plan out. Pure: same input, same bytes (rule 2)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from functools import partial

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.frozen import dataclass
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.realised import Machine, Policy
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.placement.host import EMPTIED
from stacksmith.placement.request import Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.placement.verdict import Placement
from stacksmith.planner.build import Wanted, build, draft
from stacksmith.planner.diff import differences
from stacksmith.planner.edge import after_leavers, connect, leavers
from stacksmith.planner.fit import overgrown
from stacksmith.planner.graph import check_named, matches, ordered, selected
from stacksmith.planner.image import is_edited_image, sparing
from stacksmith.planner.inventory import host_states
from stacksmith.planner.ledger import Ledger, Sight, make_claims
from stacksmith.planner.machine import (
    as_adopted,
    check_staying,
    in_maintenance_now,
    left_alone,
    maintained,
    node_states,
    only_compared,
    place_machines,
)
from stacksmith.planner.move import migrates, move
from stacksmith.planner.plan import Deviation, Operation, Plan, Step, Unchanged
from stacksmith.planner.replacement import refused_replacements
from stacksmith.planner.schedule import Moving, Schedule, Standing, schedule
from stacksmith.planner.step import create, delete, forget, is_superseded, kept, record_of, timed, update, with_losses
from stacksmith.planner.subnet import check_subnets
from stacksmith.planner.unplanned import gone, hidden, no_valid_host
from stacksmith.planner.view import View, check_names, view_of
from stacksmith.planner.wait import waits
from stacksmith.planner.watch import running
from stacksmith.providers.base import ProviderRules

Rules = Callable[[str], ProviderRules]


class Unplaced(Faults):
    """No plan, for some servers found no host: ``placements`` are those of the whole batch."""

    def __init__(self, diagnostics: Sequence[Diagnostic], placements: tuple[Placement, ...]) -> None:
        super().__init__(diagnostics)
        self.placements = placements


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the user asked of the plan: addresses to limit it to, leave out, or replace; destroy wants nothing.

    ``moving`` are servers that are placed anew and migrate when that is on another host; ``avoid`` are hosts that they
    may not go to, ``to`` the only ones that some of them may be on; those ``away`` may not stay. What those
    ``holding`` have of the parts of their hosts goes to no other of them. ``unplanned`` are what no plan can be made
    for: what is there of them is left alone. ``impossible`` are planned though their host cannot make them: what is
    there of them is to be compared. ``frees`` are shared storages in which those that move keep no room. Those ``anew``
    stay where they are and get their parts of the host anew. Steps may wait for each other when ``unordered``.
    """

    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    destroy: bool = False
    moving: frozenset[Address] = frozenset()
    avoid: frozenset[str] = frozenset()
    to: Mapping[Address, str] = field(default_factory=dict)
    away: frozenset[Address] = frozenset()
    holding: frozenset[Address] = frozenset()
    frees: frozenset[str] = frozenset()
    anew: frozenset[Address] = frozenset()
    unplanned: frozenset[Address] = frozenset()
    impossible: frozenset[Address] = frozenset()
    unordered: bool = False


@dataclass(slots=True)
class _Draft:
    """The plan in the making."""

    steps: list[Step] = field(default_factory=list)
    unchanged: list[Unchanged] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
    unknown: list[Address] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    kept: Collection[str] = ()  # nodes in maintenance
    requests: dict[Address, Request] = field(default_factory=dict)


def make_plan(
    stack: Stack,
    snapshot: Snapshot,
    records: Sequence[Record],
    rules: Rules,
    options: PlanOptions,
    consumers: Sequence[Consumer] = (),
) -> Plan:
    """The plan that turns what was found into what the stack wants; ``consumers`` are the claims of all stacks.

    Raises: Unplaced with one diagnostic per server that has no valid host, each with a verdict for every host; Faults
    with one for each thing that a provider cannot make, or that the options name and nobody knows.
    """
    if not options.destroy:
        check_names(snapshot)
    view, ledger = view_of(snapshot, records), Ledger(stack.name, stack.fleet, snapshot, consumers)
    plan = _Draft(kept=in_maintenance_now(snapshot))
    wanted: dict[Address, Wanted] = {}
    scheduled = Schedule({})
    if not options.destroy:
        wanted, scheduled = _wanted(stack, ledger, view, plan, options)
    for address in sorted(wanted):
        _plan_wanted(wanted[address], view, rules, options, plan)
    unplanned = options.unplanned - set(wanted)
    plan.deviations += gone(unplanned, view)
    plan.unknown += hidden(unplanned, view)
    _plan_unwanted(wanted, view, plan, options, partial(_is_declared, stack))
    _plan_leftovers(wanted, view, plan)
    plan.steps = timed(with_losses(plan.steps, snapshot), stack.fleet.nodes)
    plan.refusals += maintained(plan.steps, snapshot)
    plan.refusals += refused_replacements(plan.steps, view.found, stack.resources, options.replaces)
    _check(stack, [s for s in plan.steps if s.address not in options.impossible], wanted, rules)
    named = {"target": options.targets, "exclude": options.excludes, "replace": options.replaces}
    check_named(named, {*stack.resources, *wanted, *view.found, *view.records, *_unrolled(stack)})
    steps = _asked(stack, view, scheduled, plan, options)
    kept = {s.id for s in steps}
    leaving = [view.found[s.address] for s in steps if s.operation is Operation.DELETE and s.address in view.found]
    states = host_states(stack.fleet, snapshot, leaving, {}, pending=ledger.pending({f.address for f in leaving}))
    states += node_states(stack, snapshot, consumers, leaving)
    plan.refusals += overgrown(steps, states, leavers(s for s in plan.steps if s.id not in kept))
    check_subnets(steps, snapshot, view.found, wanted)
    sight = Sight(steps, view.found, {*wanted, *view.records}, plan.requests)
    return Plan(
        fleet=stack.fleet.fleet,
        stack=stack.name,
        steps=steps,
        unchanged=tuple(plan.unchanged),
        deviations=tuple(sorted(plan.deviations, key=lambda d: d.address)),
        unmanaged=tuple(u for host in snapshot.places for u in host.unmanaged),
        unreachable=tuple((h.host, h.error or "") for h in snapshot.unreachable),
        unknown=tuple(sorted(set(plan.unknown))),
        placements=scheduled.placements,
        offences=() if options.moving or options.anew else running(stack, ledger, scheduled.states, view.found, wanted),
        optimum=scheduled.optimum,
        refusals=tuple(r for r in plan.refusals if r[0] in kept or not (options.targets or options.excludes)),
        destroy=options.destroy,
        stack_path=str(stack.path),
        fleet_path=str(stack.fleet_path),
        claims=make_claims(ledger, states, sight),
    )


def _asked(stack: Stack, view: View, scheduled: Schedule, plan: _Draft, options: PlanOptions) -> tuple[Step, ...]:
    """The steps that the options leave, with what they wait for, in their order."""
    connected = connect(plan.steps, view.found, view.records, waits(stack, scheduled, options.moving, plan.steps))
    excludes = (*options.excludes, *map(str, sorted(options.unplanned)))
    steps = after_leavers(selected(connected, options.targets, excludes, options.replaces))
    return steps if options.unordered else ordered(steps)


def _is_declared(stack: Stack, address: Address) -> bool:
    """Whether the stack has what is realised on a host at ``address``."""
    in_stack = address.block in stack.resources or (address.kind == "image" and address.name in stack.images)
    return address.host is not None and in_stack


def _is_half_made(found: Found) -> bool:
    """Whether it is what a killed run of this stack left; a part of an image may be what another stack is uploading."""
    return bool(found.begun) if found.address.kind == "image" else found.partial


def _unrolled(stack: Stack) -> set[Address]:
    """The blocks of servers with a count, which may be 0 at the moment."""
    return {Address("server", name) for name in stack.unrolled}


def _wanted(
    stack: Stack, ledger: Ledger, view: View, plan: _Draft, options: PlanOptions
) -> tuple[dict[Address, Wanted], Schedule]:
    drafted = draft(stack, view.devices())
    blocks = drafted.blocks
    fixed = {a: host for a in blocks if (host := view.host(a)) is not None}
    leavers = [a for a in sorted(options.moving) if a in fixed]
    holding, away, frees = options.holding, options.away, options.frees
    moving = {a: Moving(fixed.pop(a), options.to.get(a), a in holding, a in away, frees) for a in leavers}
    carried = {volume for volume, server in drafted.users().items() if server in moving}
    fixed = {address: host for address, host in fixed.items() if address not in carried}
    leaving = [f for a, f in view.found.items() if a.kind == "server" and (a not in blocks or a in moving)]
    leaving += [f for a, f in view.found.items() if a in carried]
    held = _held(stack, {*drafted.layouts, *drafted.volumes}, view)
    placeable = drafted.without({*held, *options.unplanned})
    standing = Standing(fixed, leaving, moving, options.anew)
    scheduled = schedule(_without_hosts(stack, options.avoid), ledger, placeable, standing)
    stay = {a for a, each in moving.items() if a in scheduled.demands and scheduled.hosts.get(a) == each.host}
    if stay:  # they keep the parts they have, which others then do not get
        return _wanted(stack, ledger, view, plan, replace(options, moving=options.moving - stay))
    check_staying(stack, {a: r for a, r in drafted.machines.items() if a not in options.unplanned}, fixed)
    new = {a: r for a, r in drafted.machines.items() if a not in fixed and a not in options.unplanned}
    placements, requests = place_machines(stack, ledger, new, leaving)
    scheduled.placements += placements
    scheduled.hosts |= {p.address: p.host for p in placements if p.host is not None}
    plan.requests = scheduled.requests | requests
    plan.unknown += held
    for address, cause in scheduled.conflicts:
        operation = Operation.UPDATE if address in fixed else Operation.CREATE
        plan.refusals.append((f"{operation} {address}", cause))
    failed = [p for p in scheduled.placements if p.host is None]
    if failed:
        faults = [no_valid_host(stack, p, moving.get(p.address), options.avoid) for p in failed]
        raise Unplaced(faults, scheduled.placements)
    return build(stack, drafted, scheduled.hosts, scheduled.parts), scheduled


def _without_hosts(stack: Stack, avoid: frozenset[str]) -> Stack:
    """The stack on a fleet whose hosts to avoid take no servers."""
    if not avoid:
        return stack
    told = {"state": EMPTIED, "state_reason": ""}
    hosts = {n: h.model_copy(update=told) if n in avoid else h for n, h in stack.fleet.hosts.items()}
    return replace(stack, fleet=stack.fleet.model_copy(update={"hosts": hosts}))


def _held(stack: Stack, blocks: set[Address], view: View) -> list[Address]:
    """New resources that may already exist on a host that cannot be read: nothing was ever recorded to say no."""
    if not view.unreachable or view.records:
        return []
    counted = {name for name, host in stack.fleet.hosts.items() if host.state not in ("failed", "disabled")}
    return sorted(a for a in blocks if a not in view.found) if view.unreachable & counted else []


def _plan_wanted(wanted: Wanted, view: View, rules: Rules, options: PlanOptions, plan: _Draft) -> None:
    address, found = wanted.address, view.found.get(wanted.address)
    if wanted.host in view.unreachable:
        plan.unknown.append(address)
    elif found is None or found.partial or found.spec is None:
        _plan_create(wanted, view, plan)
    elif found.problem and address.kind != "volume":
        plan.deviations.append(Deviation(address, found.host, problem=found.problem))
        if any(matches(r, address) for r in options.replaces):
            _plan_replace(wanted, found, (), view, plan)
    elif found.problem:
        plan.deviations.append(Deviation(address, found.host, missing=True, problem=found.problem))
        _plan_create(wanted, view, plan, reason=found.problem)
    else:
        _plan_existing(wanted, found, view, rules, options, plan)


def _plan_create(wanted: Wanted, view: View, plan: _Draft, reason: str = "") -> None:
    found, record = view.found.get(wanted.address), view.records.get(wanted.address)
    if record is not None and is_edited_image(record, view):
        reason = "its file in the stack is another than what was applied"
        record = None
    elif found is not None and found.partial:
        runs = "it runs, but its definition is not saved: it is defined again"
        reason = runs if found.is_unsaved else "a run that did not finish left parts of it"
    elif record is not None and record.complete and not reason:
        reason = f"it is missing on {record.host}"
    if found is not None and found.is_unsaved:
        lost = Change("persistent", True, True, False, Status.DRIFT)
        plan.deviations.append(Deviation(wanted.address, found.host, (lost,)))
    elif record is not None and record.complete and (found is None or found.partial):
        plan.deviations.append(Deviation(wanted.address, record.host, missing=True))
    plan.steps.append(create(wanted, found, reason or "it does not exist"))


def _plan_existing(wanted: Wanted, found: Found, view: View, rules: Rules, options: PlanOptions, plan: _Draft) -> None:
    address = wanted.address
    changes = [rules(found.host).impact(address.kind, c, found) for c in differences(wanted, found, view)]
    changes = left_alone(as_adopted(changes, view.records.get(address)), found.host, plan.kept)
    if found.mark is not None and found.mark.applied is None and all(_is_start(address.kind, c) for c in changes):
        plan.steps.append(create(wanted, found, "a run that did not finish left it half made"))
        return
    drift = tuple(c for c in changes if c.status != "change")
    twice = f"found on several hosts: {', '.join(view.twice[address])}" if address in view.twice else None
    if drift or twice:
        plan.deviations.append(Deviation(address, found.host, drift, problem=twice))
    if migrates(wanted, found, view, options.moving):
        step, refused = move(wanted, found, changes, view)
        plan.steps.append(step)
        plan.refusals += [(step.id, cause) for cause in refused]
        return
    if found.host != wanted.host:
        raise AssertionError(f"{address} is on {found.host} but built for {wanted.host}")
    if twice:
        remedy = (
            f"it is taken for the one on {found.host}; remove the other by hand (virsh undefine, vol-delete), unless "
        )
        remedy += "these are names of one machine: then take one name out of the fleet file"
        plan.refusals.append((f"{Operation.UPDATE} {address}", f"{twice}; {remedy}"))
    forced = any(matches(r, address) for r in options.replaces)
    worst = max((c.impact for c in changes), default=Impact.NONE)
    if forced or any(_is_replacing(address.kind, c) for c in changes):
        _plan_replace(wanted, found, tuple(changes), view, plan)
    elif changes:
        plan.steps.append(update(wanted, found, tuple(changes), worst))
        plan.refusals += [(plan.steps[-1].id, why) for why in only_compared(wanted.spec, changes)]
    else:
        record = view.records.get(address)
        is_known = record is not None and record.complete and record.host == found.host
        plan.unchanged.append(
            Unchanged(address, found.host, kept(wanted, record) if is_known else record_of(wanted, found))
        )


def _plan_leftovers(wanted: Mapping[Address, Wanted], view: View, plan: _Draft) -> None:
    """Deletes of parts whose object is whole elsewhere; a migrate to their host sees to them itself."""
    ends = {(s.address, s.source) for s in plan.steps if s.operation is Operation.MIGRATE}
    for found in view.leftovers:
        is_target = found.address in wanted and wanted[found.address].host == found.host
        if is_target or (found.address, found.host) in ends:
            continue
        address = replace(found.address, host=found.host)
        reason = f"parts that a move left: {found.address} is on {view.found[found.address].host}"
        step = replace(_delete(address, found.host, found, view, plan, reason), policy=Policy())
        user = next((left for left in view.leftovers if left.uuid == found.facts.get("attached_to")), None)
        if user is not None:
            step = replace(step, requires=(f"{Operation.DELETE} {replace(user.address, host=user.host)}",))
        plan.steps.append(step)


def _check(stack: Stack, steps: Sequence[Step], wanted: Mapping[Address, Wanted], rules: Rules) -> None:
    """What a host's provider cannot make is said at its block, before any host is asked. Raises: Faults."""
    faults = []
    for step in steps:
        if step.wanted is None or step.host not in stack.fleet.hosts:
            continue
        for path, cause in rules(step.host).check(step.address.kind, step.wanted, stack.fleet.hosts[step.host]):
            block = wanted[step.address].block
            message = f"cannot make {step.address} on {step.host}: {path}: {cause}"
            faults.append(error("not-possible", message, block.where() if block else None, address=step.address))
    if faults:
        raise Faults(faults)


def _is_start(kind: str, change: Change) -> bool:
    """True for what a host may still be at when the client that asked for it was killed: a start."""
    return kind == "server" and (change.path == "power_state" or change.found is None)


def _is_replacing(kind: str, change: Change) -> bool:
    """True when the object cannot take the change. A server that loses a local disk with its data stays itself."""
    return change.impact is Impact.REPLACE or (kind != "server" and change.impact > Impact.REPLACE)


def _plan_replace(wanted: Wanted, found: Found, changes: tuple[Change, ...], view: View, plan: _Draft) -> None:
    forcing = [c.path for c in changes if _is_replacing(wanted.address.kind, c)]
    reason = f"{', '.join(forcing)} cannot change in place" if forcing else "asked for by --replace"
    loses = wanted.address.kind == "volume" or isinstance(wanted.spec, Machine)
    impact = Impact.DATA_LOSS if loses else Impact.REPLACE
    plan.steps.append(
        replace(
            _delete(found.address, found.host, found, view, plan, reason), changes=changes, impact=impact, replaces=True
        )
    )
    plan.steps.append(replace(create(wanted, None, reason, replaces=True), changes=changes))


def _delete(address: Address, host: str, found: Found, view: View, plan: _Draft, reason: str) -> Step:
    step = delete(address, host, found, view.policy(address) or Policy(), reason)
    if step.policy.protect:
        plan.refusals.append((step.id, f"{address} is protected: apply protect: false first"))
    return step


def _plan_unwanted(
    wanted: Mapping[Address, Wanted],
    view: View,
    plan: _Draft,
    options: PlanOptions,
    declared: Callable[[Address], bool],
) -> None:
    for address in sorted({*view.found, *view.records} - set(wanted) - set(plan.unknown) - options.unplanned):
        if options.unplanned and declared(address):
            continue  # what cannot be planned may need it
        found, record = view.found.get(address), view.records.get(address)
        host = found.host if found is not None else record.host if record is not None else ""
        if host in view.unreachable:
            plan.unknown.append(address)
            continue
        policy = view.policy(address)
        if found is None or (found.spec is None and not found.partial):
            plan.steps.append(forget(address, host, record, "it no longer exists"))
        elif found.mark is None and record is None and not is_superseded(address) and not _is_half_made(found):
            continue  # kept on purpose by an earlier plan, or an image of the shared cache
        elif policy is not None and policy.on_destroy == "keep":
            plan.steps.append(forget(address, host, record, "it is kept: on_destroy is keep"))
        else:
            gone = f"nothing on {host} needs it any more" if declared(address) else "it is not in the stack any more"
            reason = "the stack is destroyed" if options.destroy else gone
            plan.steps += sparing(_delete(address, host, found, view, plan, reason), record, wanted)
