"""Nodes that are not as the state store says, whatever stack has them, or none: no stack file is asked."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from stacksmith.diagnostics import Diagnostic
from stacksmith.engine.node import Nodes, access_to, ask_each, patiently, provider_faults
from stacksmith.engine.opening import access_of
from stacksmith.engine.store import opened
from stacksmith.engine.tenancy import CLEANING, Machines, records, tenants_of, worker
from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import MAINTENANCE
from stacksmith.model.change import Change
from stacksmith.model.found import Found, HostSnapshot
from stacksmith.model.machine_identity import machine_of
from stacksmith.model.machine_identity import told as words_of
from stacksmith.model.realised import from_data, to_data
from stacksmith.model.record import Record
from stacksmith.planner.diff import compare
from stacksmith.planner.machine import declared_only, help_with_unknown
from stacksmith.planner.plan import Deviation
from stacksmith.providers.base import Scope
from stacksmith.providers.registry import open_node
from stacksmith.state.store import NodeNote, Reader


@dataclass(frozen=True, slots=True)
class NodeDrift:
    """What a node is, beside what it should be.

    ``server`` is ``stack/address`` and ``deviation`` how that differs from what was applied; ``problem`` is what is
    wrong with the node itself, ``hint`` what to type; ``kept`` why nothing of it is compared; ``error`` why it could
    not be read, ``error_hint`` what to type then.
    """

    node: str
    server: str = ""
    deviation: Deviation | None = None
    problem: str = ""
    hint: str = ""
    kept: str = ""
    error: str = ""
    error_hint: str = ""

    @property
    def is_drift(self) -> bool:
        """True when somebody should look at it."""
        return bool(self.deviation or self.problem)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the state store has of a node; ``is_worked_on``: a run holds the lease of what is being done to it."""

    name: str
    note: NodeNote | None = None
    stack: str = ""
    record: Record | None = None
    is_worked_on: bool = False

    @property
    def state(self) -> str:
        """The note's, or of a server that is not whole."""
        if self.note is not None:
            return self.note.state
        return "deploying" if self.record is not None and not self.record.complete else ""

    @property
    def server(self) -> str:
        return f"{self.stack}/{self.record.address}" if self.record is not None else ""


def node_drift(of: Nodes) -> list[NodeDrift]:
    """Every node of the fleet, in order of name. Those that are not in maintenance are read, in the two requests of
    ``node list`` and one more for each of what was declared of a server beyond them.

    Raises: Faults when the store cannot be read.
    """
    with opened(of, of.environment, read_only=True) as store:
        known, machines = _known(of, store), Machines(tenants_of(store))
    read = ask_each(of, lambda name: _read(of, known[name]))
    return [_judged(of, known[name], found, why, machines) for name, found, why in read]


def _known(of: Nodes, store: Reader) -> dict[str, _Known]:
    notes, held = {note.name: note for note in store.nodes()}, records(store)
    known = {}
    for name in of.fleet.nodes:
        note, (stack, record) = notes.get(name), held.get(name, ("", None))
        known[name] = _Known(name, note, stack, record, worker(store, name, note, stack) is not None)
    return known


def _read(of: Nodes, known: _Known) -> HostSnapshot | None:
    name, node = known.name, of.one(known.name)
    if known.state == MAINTENANCE:  # somebody is at work there; Ironic does not look at such nodes either
        return None
    access = access_to(of, name)
    if known.record is not None:
        access = access_of(known.record, None, access)
    scope = Scope(of.fleet.fleet, known.stack, {})
    with provider_faults(), closing(open_node(name, node, access, None)) as place:
        return patiently(lambda until: place.observe(scope, until), node.timeout_seconds)


def _judged(
    of: Nodes, known: _Known, read: HostSnapshot | None, why: Diagnostic | None, machines: Machines
) -> NodeDrift:
    told = NodeDrift(known.name, known.server)
    if why is not None:
        told = replace(told, error=why.message, error_hint=why.hint or "")
    if known.note is not None and known.state == MAINTENANCE:
        reason = known.note.reason
        return replace(told, kept=f"in maintenance: {reason}" if reason else "in maintenance", error="", error_hint="")
    if known.state and known.is_worked_on:
        return replace(told, kept=f"{known.state}, by a run that is at work")
    if known.state:
        problem, hint = _unfinished(known)
        return replace(told, problem=problem, hint=hint)
    if read is None:
        return told
    machine = machine_of(read.facts)
    if (elsewhere := machines.find(known.name, machine)) is not None:
        problem = f"its machine ({words_of(machine)}) has {elsewhere.words}"
        return replace(told, problem=problem, hint=elsewhere.help(known.name))
    if known.record is None:
        return _unclaimed(told, read, of.one(known.name).state)
    changes = tuple(change for found in read.found for change in _changes(known.record, found))
    return replace(told, deviation=Deviation(known.record.address, known.name, changes) if changes else None)


def _unfinished(known: _Known) -> tuple[str, str]:
    """What failed or was cut off, and what to type."""
    stage = known.note.at if known.note is not None else ""
    is_clean = CLEANING in (known.state, stage)
    again = f"stacksmith node clean {known.name}" if is_clean else "stacksmith apply"
    hint = f"{again}, or stacksmith node release {known.name}"
    if known.note is not None and known.state == "failed":
        return f"{'clean' if is_clean else 'deploy'} failed: {known.note.reason or stage}", hint
    at = "" if is_clean or not stage else f" at {stage}"
    return f"its {'cleaning' if is_clean else 'deployment'} was cut off{at}", hint


def _unclaimed(told: NodeDrift, read: HostSnapshot, state: str) -> NodeDrift:
    if state != "enabled":
        return replace(told, kept=f"{state} in the fleet file")
    if not read.unmanaged:
        return told
    return replace(told, problem=read.unmanaged[0].detail, hint=help_with_unknown(told.node))


def _changes(record: Record, found: Found) -> Iterator[Change]:
    """How the server differs from what was applied, and what else waits for its next boot."""
    if found.spec is None:
        return
    applied = from_data("server", record.applied)
    live = compare(record.applied, record.applied, to_data(declared_only(applied, found.spec)))
    yield from live
    if found.saved is not None:
        paths = {change.path for change in live}
        saved = compare(record.applied, record.applied, to_data(declared_only(applied, found.saved)))
        yield from (replace(change, saved_only=True) for change in saved if change.path not in paths)
