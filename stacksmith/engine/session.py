"""The library's front door: load, plan, apply, and care of the state, each from one set of options."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import field, replace
from functools import partial

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, has_errors
from stacksmith.engine.allow import NotAllowed, barred
from stacksmith.engine.belonging import strange
from stacksmith.engine.check import check_journal
from stacksmith.engine.claim import claim_rooms, give_up, hold_found, settle
from stacksmith.engine.contents import cache_folder
from stacksmith.engine.inspection import inspections
from stacksmith.engine.interrupt import Stop, interruptible
from stacksmith.engine.lost_image import with_applied_images
from stacksmith.engine.material import check_drives, contents_of
from stacksmith.engine.note import drop_ended
from stacksmith.engine.observe import Sessions
from stacksmith.engine.opening import Opener, nodes_of, open_places, read_places, with_owners, with_tenants
from stacksmith.engine.options import Options as Options  # noqa: PLC0414 - callers of this module pass them
from stacksmith.engine.options import load as load  # noqa: PLC0414
from stacksmith.engine.outdated import forget_updated
from stacksmith.engine.output import LIVE_VALUES, server_values
from stacksmith.engine.preflight import node_faults
from stacksmith.engine.quote import quoted, quoting
from stacksmith.engine.recording import live, record_found, stood_on
from stacksmith.engine.run import RunOptions, run
from stacksmith.engine.store import opened
from stacksmith.engine.tenancy import tenants_of
from stacksmith.engine.unplanned import as_warnings, plan_what_can_be
from stacksmith.events import Event, RunEnded, RunStarted
from stacksmith.frozen import dataclass
from stacksmith.model.change import Impact
from stacksmith.model.found import Snapshot
from stacksmith.model.load import evaluate_outputs
from stacksmith.model.record import Record
from stacksmith.model.report import Report
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.against import against_rules
from stacksmith.planner.aim import Aim
from stacksmith.planner.machine import NOTE, powers_left
from stacksmith.planner.make import PlanOptions, Rules, make_plan
from stacksmith.planner.plan import Plan
from stacksmith.planner.rebalance import rebalance as make_rebalance
from stacksmith.planner.scene import Scene
from stacksmith.planner.unnamed import unnamed_that_go
from stacksmith.providers.base import Contents, Session
from stacksmith.providers.registry import make_deployer, node_rules, provider
from stacksmith.state.lease import Patience, held
from stacksmith.state.process import this_process
from stacksmith.state.store import Store


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what it was made from. ``sessions`` are hosts that are still open, for writing.

    ``unplanned`` are warnings of what the plan is without, for none can be made of it, or has in vain.
    """

    plan: Plan
    snapshot: Snapshot
    stack: Stack
    diagnostics: tuple[Diagnostic, ...] = ()
    sessions: Mapping[str, Session] = field(default_factory=dict)
    unplanned: tuple[Diagnostic, ...] = ()

    @property
    def unplanned_addresses(self) -> frozenset[Address]:
        """The resources that ``unplanned`` is about."""
        return frozenset(each.address for each in self.unplanned if each.address is not None)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The records of a rebuilt state. ``unread`` are (host, error): the records of what is there are as they were."""

    records: tuple[Record, ...]
    unread: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """What an apply may do. ``allowed`` is the worst impact a step may have. ``is_saved`` is set by ``apply``: the plan
    was made by another process, and may be done in part."""

    command: str = "apply"
    allowed: Impact = Impact.LIVE
    overwrite_drift: bool = False
    lock_timeout_seconds: float = 0.0
    parallel: int = 64
    is_saved: bool = True


def plan(options: Options) -> Planned:
    """What an apply would do. Opens hosts and the store read-only. Raises: Faults."""
    with _planning(options, read_only=True) as planned:
        return planned


def drift(options: Options) -> Planned:
    """The plan without what cannot be planned, of which ``unplanned`` tells why. Raises: Faults."""
    with _planning(replace(options, without_images=True), read_only=True, is_lenient=True) as planned:
        return planned


@contextmanager
def planning(options: Options) -> Iterator[Planned]:
    """The same with the hosts opened for writing and kept open, for an apply in this process. Raises: Faults."""
    with _planning(options, read_only=False) as planned:
        yield planned


@contextmanager
def _planning(options: Options, read_only: bool, is_lenient: bool = False) -> Iterator[Planned]:
    stack, diagnostics = _loaded(options)
    stack = with_applied_images(stack, options.environment)
    with _observed(stack, options, read_only) as (records, newest, read):
        # Read after the hosts: what runs by then was claimed before it was made.
        with opened(stack, options.environment, read_only=True) as store:
            consumers = store.claims()
        snapshot = with_owners(read.snapshot, stack.name, consumers)
        with quoting(stack):
            make = partial(_planned, stack, snapshot, records, options, consumers)
            wanted = PlanOptions(options.targets, options.excludes, options.replaces, options.destroy)
            made, unplanned = plan_what_can_be(stack, wanted, make) if is_lenient else (make(wanted), ())
            made = replace(made, journal=newest)
            faults = node_faults(stack, made, read.sessions)
            if faults and not is_lenient:
                raise Faults(faults)
            unplanned += tuple(quoted(as_warnings(faults), stack.secrets))
        told = [*unnamed_that_go(stack, made), *against_rules(stack, made), *powers_left(stack, made, snapshot)]
        diagnostics += tuple(quoted(told, stack.secrets))
        sessions = {} if read_only else read.sessions
        yield Planned(made, snapshot, stack, diagnostics, sessions, unplanned)


def rebalance(options: Options, aim: Aim = Aim()) -> Planned:  # noqa: B008
    """The fewest migrations that reach the aim; without one, that end what violates rules. Raises: Faults."""
    stack, diagnostics = _loaded(options)
    with _observed(stack, options) as (records, newest, read):
        with opened(stack, options.environment, read_only=True) as store:
            consumers = store.claims()
        scene = Scene(stack, read.snapshot, records, _rules(stack), consumers)
        made = make_rebalance(scene, aim)
        return Planned(replace(made, provider=options.provider, journal=newest), read.snapshot, stack, diagnostics)


def survey(options: Options, every_node: bool = False) -> tuple[Stack, Snapshot]:
    """The stack and what the hosts of its fleet hold, where no plan is wanted or can be made. Raises: Faults."""
    stack, _ = _loaded(options)
    with _observed(stack, options, every_node=every_node) as (_, _, read):
        return stack, read.snapshot


def apply(
    options: Options,
    planned: Plan,
    sink: Callable[[Event], None],
    what: ApplyOptions,
    made: Planned | None = None,
) -> Report:
    """Walks the plan, and only it. Holds the stack's lease meanwhile. ``made`` is what ``planning`` gave, if it did.

    Raises: NotAllowed before anything is done; Faults; Locked.
    """
    if found := barred(planned, what.allowed, what.overwrite_drift):
        raise NotAllowed(found)
    stack = made.stack if made is not None else _loaded(options)[0]
    with opened(stack, options.environment, read_only=True) as store:
        records = store.records(stack.name)
        faults = strange(stack, planned, records)
    if faults:
        raise Faults(faults)
    check_drives(stack, planned)
    already = made.sessions if made is not None else {}
    with (
        opened(stack, options.environment, read_only=False) as store,
        _opener(stack, options, records, read_only=False) as opener,
        open_places(opener, planned, already) as sessions,
    ):
        contents = contents_of(stack, options.environment)
        report = _run(planned, sessions, store, contents, sink, replace(what, is_saved=made is None))
        forget_updated(inspections(options.environment), planned, store.records(stack.name))
        return report


def outputs(options: Options) -> Mapping[str, JSON]:
    """The stack's outputs, with what the hosts say of its servers. Raises: Faults."""
    return plan(options).plan.outputs


def outputs_after(options: Options, planned: Plan) -> Mapping[str, JSON]:
    """The outputs once the plan is applied: the hosts are read again only when one asks for what only they know.

    Raises: Faults.
    """
    stack, _ = _loaded(options)
    texts = stack.outputs.values()
    return outputs(options) if any(word in text for text in texts for word in LIVE_VALUES) else planned.outputs


def records(options: Options) -> tuple[Record, ...]:
    """The stack's records. Raises: Faults."""
    stack, _ = _loaded(options)
    with opened(stack, options.environment, read_only=True) as store:
        return store.records(stack.name)


def forget(options: Options, address: Address) -> bool:
    """Drops one record; the object is left alone. False when there was none. Raises: Faults; Locked when a run of the
    stack is at work."""
    stack, _ = _loaded(options)
    with opened(stack, options.environment, read_only=False) as store, alone(store, stack.name, "state rm"):
        known = any(r.address == address for r in store.records(stack.name))
        store.remove(stack.name, address)
    return known


def rebuild(options: Options) -> Rebuilt:
    """Writes the records and claims anew from what is on the hosts. Those of objects on hosts that cannot be read stay.

    Raises: Faults; Locked when a run of the stack is at work.
    """
    stack, _ = _loaded(options)
    with opened(stack, options.environment, read_only=False) as store, alone(store, stack.name, "state rebuild"):
        before = store.records(stack.name)
        with (
            _opener(stack, options, before, read_only=True) as opener,
            read_places(opener, store.nodes(), {}) as read,
        ):
            snapshot = read.snapshot
        unread = {h.host: h.error or "" for h in snapshot.unreachable}
        found = stood_on(live(snapshot))
        there = {f.address for f in found}
        for record in before:
            if record.host not in unread and record.address not in there:
                store.remove(stack.name, record.address)
        record_found(stack, found, store)
        hold_found(stack, snapshot, found, store)
        return Rebuilt(store.records(stack.name), tuple(sorted(unread.items())))


def empty_run(command: str) -> tuple[Event, ...]:
    """The events of a run that has nothing to do."""
    name = _new_run()
    return RunStarted(name, command, 0), RunEnded(name, 0, 0, 0, 0.0)


def _new_run() -> str:
    return uuid.uuid4().hex[:12]


def correct_store(options: Options, planned: Planned) -> None:
    """Makes the stack's claims and records as things are on the hosts, for a plan without steps.

    Writes nothing where they are. Raises: Faults; Locked.
    """
    noted = any(NOTE in snap.facts for snap in planned.snapshot.nodes)
    if noted or planned.plan.claims.there or any(each.record is not None for each in planned.plan.unchanged):
        with (
            opened(planned.stack, options.environment, read_only=False) as store,
            alone(store, planned.stack.name, "apply"),
        ):
            claim_rooms(planned.plan, store)
            _record_lost(planned.plan, store)
            drop_ended(store, planned.plan)


def _record_lost(planned: Plan, store: Store) -> None:
    for each in planned.unchanged:
        if each.record is not None:
            store.put(planned.stack, each.record)


def claims(options: Options) -> tuple[Consumer, ...]:
    """What all stacks of the store hold of the hosts. Raises: Faults."""
    stack, _ = _loaded(options)
    with opened(stack, options.environment, read_only=True) as store:
        return store.claims()


def release(options: Options, owner: str, address: str | None = None) -> int:
    """Drops the claims of any stack of the store, or of one of its resources; how many there were. Hosts and records
    are left alone. Raises: Faults; Locked when a run of that stack is at work."""
    stack, _ = _loaded(options)
    with opened(stack, options.environment, read_only=False) as store, alone(store, owner, "state release"):
        gone = [each for each in store.claims(owner) if address in (None, each.name)]
        give_up(owner, gone, store)
        return len(gone)


@contextmanager
def alone(store: Store, stack: str, command: str) -> Iterator[None]:
    """Holds a stack's lease, so that no run is at work meanwhile. Raises: Locked when one is."""
    holder = this_process(_new_run(), command)
    with held(store, stack, holder, lambda event: None, lambda cause: None):
        yield


def load_whole(options: Options) -> Stack:
    """The stack. Raises: Faults when there is anything wrong with its files."""
    return _loaded(options)[0]


def _loaded(options: Options) -> tuple[Stack, tuple[Diagnostic, ...]]:
    loaded = load(options)
    if loaded.stack is None or has_errors(loaded.diagnostics):
        raise Faults(loaded.diagnostics)
    return loaded.stack, loaded.diagnostics


@contextmanager
def _observed(
    stack: Stack, options: Options, read_only: bool = True, every_node: bool = False
) -> Iterator[tuple[tuple[Record, ...], int, Sessions]]:
    """What is recorded of the stack, the number of its newest journal entry, and its places, open and read."""
    with opened(stack, options.environment, read_only=True) as store:
        # The number first: what ends after it was read is after the plan.
        newest, records, notes = store.newest(stack.name), store.records(stack.name), store.nodes()
        failed = store.failed_builds() if "BuildFailureWeigher" in stack.fleet.scheduler.weighers else {}
        tenants = tenants_of(store) if stack.fleet.nodes else ()
    with (
        _opener(stack, options, records, read_only) as opener,
        read_places(replace(opener, every_node=every_node), notes, failed, read_only) as read,
    ):
        read.snapshot = with_tenants(read.snapshot, stack, tenants)
        yield records, newest, read


@contextmanager
def _opener(stack: Stack, options: Options, records: Sequence[Record], read_only: bool) -> Iterator[Opener]:
    """How places are opened, with what deploys nodes for as long as it is used."""
    opener = Opener(stack, records, options.environment, options.provider)
    if read_only or not nodes_of(stack, records):
        yield opener
        return
    with closing(make_deployer(stack.fleet, cache_folder(options.environment).parent)) as deployer:
        yield replace(opener, deployer=deployer)


def _run(
    planned: Plan,
    sessions: Mapping[str, Session],
    store: Store,
    contents: Contents,
    sink: Callable[[Event], None],
    what: ApplyOptions,
) -> Report:
    stop = Stop()
    holder = this_process(_new_run(), what.command)
    options = RunOptions(run=holder.run, command=what.command, allowed=what.allowed, parallel=what.parallel, stop=stop)
    patience = Patience(what.lock_timeout_seconds, sleep=stop.sleep)
    with interruptible(stop), held(store, planned.stack, holder, sink, stop.request, patience):
        check_journal(planned, store, what.is_saved)
        before = claim_rooms(planned, store)
        report = run(planned, sessions, store, contents, sink, options)
        settle(planned, report, before, store)
        if not report.stopped:  # else the lease may be another's
            _record_lost(planned, store)
            drop_ended(store, planned)
        return report


def _rules(stack: Stack) -> Rules:
    hosts = stack.fleet.hosts
    return lambda host: provider(hosts[host].libvirt) if host in hosts else node_rules()


def _planned(
    stack: Stack,
    snapshot: Snapshot,
    records: tuple[Record, ...],
    options: Options,
    consumers: tuple[Consumer, ...],
    wanted: PlanOptions,
) -> Plan:
    made = make_plan(stack, snapshot, records, _rules(stack), wanted, consumers)
    made = replace(made, provider=options.provider)
    if options.destroy or wanted.unplanned or not stack.outputs:
        return made
    return replace(made, outputs=evaluate_outputs(stack, server_values(stack, made, snapshot)))
