"""What is done to a node between servers: maintenance, release and cleaning."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

from stacksmith.diagnostics import Faults, error
from stacksmith.engine.claim import give_up
from stacksmith.engine.contents import cache_folder
from stacksmith.engine.node import Nodes, observe_one, open_bmc_of, patiently, switch
from stacksmith.engine.note import DEPLOYING
from stacksmith.engine.session import alone
from stacksmith.engine.store import opened
from stacksmith.engine.tenancy import CLEANING, check_machine_free, claim_on, in_use, records, worker
from stacksmith.model.bare_metal import MAINTENANCE
from stacksmith.model.machine_identity import fault
from stacksmith.model.node import is_disk_name
from stacksmith.providers.base import Deadline, ProviderError, Refused
from stacksmith.providers.bmc import BmcSession
from stacksmith.providers.deployment import NO_DISK, Cleaning, Stage
from stacksmith.providers.registry import make_deployer
from stacksmith.state.store import Locked, NodeNote, Store


def maintain(of: Nodes, name: str, on: bool, reason: str = "") -> None:
    """Keeps a node from being given to servers, or gives it back; a server that it has runs on. Raises: Faults."""
    of.one(name)
    with opened(of, of.environment, read_only=False) as store, alone(store, f"node {name}", "node maintenance"):
        note = next((each for each in store.nodes() if each.name == name), None)
        begun = note if note is not None and note.at == Stage.SETTINGS else None  # the server that it has runs on
        if note is not None and note.state != MAINTENANCE and begun is None:
            hint = f"stacksmith node release {name}, when no run is at work on it"
            raise in_use(name, f"it is {words_of(note)}", hint)
        if on:
            store.note_node(replace(begun or NodeNote(name, ""), state=MAINTENANCE, reason=reason))
        elif begun is not None:
            store.note_node(replace(begun, state=DEPLOYING, reason=""))
        else:
            store.clear_node(name)


def power(of: Nodes, name: str, *, off: bool, on: bool, hard: bool = False) -> None:
    """Switches a node, and keeps others from it meanwhile. Raises: Faults; Locked when a run deploys or cleans it."""
    of.one(name)
    with opened(of, of.environment, read_only=False) as store, alone(store, f"node {name}", "node power"):
        note = next((each for each in store.nodes() if each.name == name), None)
        if note is not None and note.stack and (holder := worker(store, name, note)) is not None:
            raise Locked(f"node {name}", holder)
        _check_machine(of, store, name)
        switch(of, name, off=off, on=on, hard=hard)


def _check_machine(of: Nodes, store: Store, name: str) -> None:
    """Passes when the node's BMC leads to the machine that servers know under its name. Raises: Faults."""
    machine, held = observe_one(of, name).identity, records(store).get(name)
    check_machine_free(store, name, machine)
    other = fault(name, str(held[1].address), held[1].machine, machine) if held is not None else None
    if other is not None:
        raise in_use(name, *other)


def release(of: Nodes, name: str) -> str:
    """Gives a node back that failed, or whose deployment was given up; what it was released from, in words. The machine
    is left as it is.

    Raises: Faults when a server runs on it; Locked when a run of its stack is at work, or it is being cleaned.
    """
    of.one(name)
    with opened(of, of.environment, read_only=False) as store, alone(store, f"node {name}", "node release"):
        note = next((each for each in store.nodes() if each.name == name), None)
        held = records(store).get(name)
        if note is not None and note.stage == MAINTENANCE:  # its cleaning was cut off
            store.note_node(NodeNote(name, MAINTENANCE, reason=note.reason))
            return note.state
        if note is not None and note.state == MAINTENANCE:
            raise in_use(name, f"it is {words_of(note)}", f"stacksmith node maintenance {name} off")
        is_settings = note is not None and note.at == Stage.SETTINGS
        if note is not None and note.stack and (held is None or note.uuid != held[1].uuid or is_settings):
            with alone(store, note.stack, "node release"):  # what it was deployed for is not on it, or runs on
                store.clear_node(name)
            if held is not None and held[1].complete:
                return note.state
        if held is not None and held[1].complete:
            hint = "stacksmith destroy, or take it out of its stack; state rm forgets it as it runs"
            raise in_use(name, f"{held[1].address} of stack {held[0]} is on it", hint)
        if held is not None:
            stack, record = held
            with alone(store, stack, "node release"):
                give_up(stack, [each for each in store.claims(stack) if each.uuid == record.uuid], store)
                store.remove(stack, record.address)
        store.clear_node(name)
    return note.state if note is not None else f"{held[1].address}" if held is not None else "nothing"


def clean(of: Nodes, name: str, disks: tuple[str, ...], whole: bool, tell: Callable[[str], None]) -> None:
    """Wipes disks of a node that has no server, all when none is named: their signatures, or every byte.

    The node is off afterwards; one that failed is kept from servers until it is released, and one that could not be
    opened or read, or was not touched, is what it was. Raises: Faults; Locked when it is being cleaned.
    """
    of.one(name)
    _check_names(name, disks)
    with (
        opened(of, of.environment, read_only=False) as store,
        alone(store, f"node {name}", "node clean"),
    ):
        _check_unused(store, name)
        with open_bmc_of(of, name) as bmc:
            machine = patiently(bmc.observe, of.one(name).timeout_seconds).identity
            check_machine_free(store, name, machine)
            _check_unused(store, name)  # by whoever came while it was read
            _clean(of, store, bmc, Cleaning(name, str(uuid4()), disks, whole), tell)


def _check_unused(store: Store, name: str) -> None:
    held = records(store).get(name)
    if held is not None:
        hint = "stacksmith destroy" if held[1].complete else "stacksmith destroy, or node release"
        raise in_use(name, f"{held[1].address} of stack {held[0]} is on it", hint)
    if (claim := claim_on(store, name)) is not None:
        raise in_use(name, f"stack {claim.owner} has claimed it", "stacksmith destroy, or node release")


class _Untouched(Faults):
    """A cleaning ended before anything was changed."""


def _clean(of: Nodes, store: Store, bmc: BmcSession, wanted: Cleaning, tell: Callable[[str], None]) -> None:
    """Wipes, which is noted; what failed is noted too, unless the node was not touched: then it is what it was."""
    name = wanted.node
    before = next((each for each in store.nodes() if each.name == name), None)
    is_kept = before is not None and MAINTENANCE in (before.state, before.stage)
    kept = NodeNote(name, MAINTENANCE, reason=before.reason) if before and is_kept else None
    store.note_node(NodeNote(name, CLEANING, MAINTENANCE if kept else "", kept.reason if kept else ""))
    try:
        _wipe(of, bmc, wanted, tell)
    except _Untouched:
        _put_back(store, name, before)
        raise
    except Faults as faults:
        cause = faults.diagnostics[0].message
        if kept is None:
            store.note_node(NodeNote(name, "failed", CLEANING, cause))
        else:  # which keeps servers from it as well, until its operator ends it
            reason = "; ".join(filter(None, [kept.reason, cause]))
            store.note_node(replace(kept, reason=reason))
        raise
    _put_back(store, name, kept)


def _wipe(of: Nodes, bmc: BmcSession, wanted: Cleaning, tell: Callable[[str], None]) -> None:
    clock, seconds, before = time.monotonic, of.one(wanted.node).wipe_seconds(whole=wanted.whole), bmc.writes
    try:
        with closing(make_deployer(of.fleet, cache_folder(of.environment).parent)) as deployer:
            deployer.clean(bmc, wanted, tell, Deadline(clock() + seconds, clock))
    except ProviderError as fault:
        is_untouched, hint = bmc.writes == before, fault.hint
        if isinstance(fault, Refused) and fault.path == NO_DISK:
            is_untouched = True
            hint = f"stacksmith node inspect {wanted.node} lists disks; nothing was wiped, and it is off"
        raise (_Untouched if is_untouched else Faults)((error("node", str(fault), hint=hint),)) from fault


def _put_back(store: Store, name: str, note: NodeNote | None) -> None:
    if note is None:
        store.clear_node(name)
    else:
        store.note_node(note)


def words_of(note: NodeNote) -> str:
    """The state of a node, with how far or why."""
    more = note.reason or note.at
    return f"{note.state}: {more}" if more else note.state


def _check_names(name: str, disks: tuple[str, ...]) -> None:
    """An empty name, as of a variable that is not set, is no disk, and not all of them. Raises: Faults."""
    for disk in disks:
        if not is_disk_name(disk):
            hint = "its serial, or a name as the kernel gives it: --disk S4EVNX0M, --disk sda"
            raise Faults((error("node", f"cannot clean {name}: {disk!r} is no name of a disk", hint=hint),))
