"""Which server has which bare-metal node, and what keeps a node from being given to one: by the state store."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from uuid import uuid4

from stacksmith.address import Address, identity
from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.engine.claim import give_up, hold
from stacksmith.engine.contents import cache_folder
from stacksmith.engine.node import Nodes, observe_one, open_bmc_of
from stacksmith.engine.session import Options, alone, load_whole
from stacksmith.engine.store import opened
from stacksmith.model.bare_metal import class_of
from stacksmith.model.node_found import Power
from stacksmith.model.realised import Policy, to_data
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.planner.machine import machine
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.deployment import NO_DISK, Cleaning
from stacksmith.providers.registry import make_deployer
from stacksmith.state.store import NodeNote, Reader, Store

MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A node's state (``available``, ``active``, ``deploying``, ``failed`` or ``maintenance``), how far and why, and
    the server that it has, as ``stack/address``."""

    state: str
    stage: str = ""
    reason: str = ""
    server: str = ""


def tenancies(of: Nodes) -> Mapping[str, Tenancy]:
    """What the state store knows of each node of the fleet. Raises: Faults."""
    with opened(of, of.environment, read_only=True) as store:
        notes = {note.name: note for note in store.nodes()}
        records = _records(store)
    return {name: _tenancy(notes.get(name), records.get(name)) for name in of.fleet.nodes}


def _tenancy(note: NodeNote | None, record: tuple[str, Record] | None) -> Tenancy:
    server = f"{record[0]}/{record[1].address}" if record else ""
    if note is not None:
        return Tenancy(note.state, note.stage.partition(" ")[0], note.reason, server)
    if record is None:
        return Tenancy("available")
    return Tenancy("active" if record[1].complete else "deploying", server=server)


def _records(store: Reader) -> dict[str, tuple[str, Record]]:
    """The record of the server on each node, with its stack; records of other hosts' servers are among them."""
    return {
        record.host: (stack, record)
        for stack in store.stacks()
        for record in store.records(stack)
        if record.address.kind == "server"
    }


def maintain(of: Nodes, name: str, on: bool, reason: str = "") -> None:
    """Keeps a node from being given to servers, or gives it back; a server that it has runs on. Raises: Faults."""
    of.one(name)
    with opened(of, of.environment, read_only=False) as store:
        note = next((each for each in store.nodes() if each.name == name), None)
        if note is not None and note.state != MAINTENANCE:
            raise _refused(name, f"it is {note.state}: {note.reason or note.stage}", f"stacksmith node release {name}")
        if on:
            store.note_node(NodeNote(name, MAINTENANCE, reason=reason))
        else:
            store.clear_node(name)


def release(of: Nodes, name: str) -> str:
    """Gives a node back that failed, or whose deployment was given up; what it was released from, in words. The machine
    is left as it is.

    Raises: Faults when a server runs on it; Locked when a run of its stack is at work.
    """
    of.one(name)
    with opened(of, of.environment, read_only=False) as store:
        note = next((each for each in store.nodes() if each.name == name), None)
        held = _records(store).get(name)
        if held is not None and held[1].complete:
            hint = "stacksmith destroy, or take it out of its stack; state rm forgets it as it runs"
            raise _refused(name, f"{held[1].address} of stack {held[0]} is on it", hint)
        if held is not None:
            stack, record = held
            with alone(store, stack, "node release"):
                give_up(stack, [each for each in store.claims(stack) if each.uuid == record.uuid], store)
                store.remove(stack, record.address)
        store.clear_node(name)
    return note.state if note is not None else f"{held[1].address}" if held is not None else "nothing"


def clean(of: Nodes, name: str, disks: tuple[str, ...], whole: bool, tell: Callable[[str], None]) -> None:
    """Wipes disks of a node that has no server, all when none is named: their signatures, or every byte.

    The node is off afterwards; one that failed is kept from servers until it is released. Raises: Faults; Locked when
    it is being cleaned.
    """
    of.one(name)
    _check_names(name, disks)
    with (
        opened(of, of.environment, read_only=False) as store,
        alone(store, f"node {name}", "node clean"),
    ):
        held = _records(store).get(name)
        owner = next((each.owner for each in store.claims() if name in each.allocations), "")
        if held is not None or owner:
            whose = f"{held[1].address} of stack {held[0]} is on it" if held else f"stack {owner} has claimed it"
            raise _refused(name, whose, "stacksmith destroy, or node release")
        before = next((each for each in store.nodes() if each.name == name), None)
        is_kept = before is not None and MAINTENANCE in (before.state, before.stage)
        kept = NodeNote(name, MAINTENANCE, reason=before.reason) if before and is_kept else None
        store.note_node(NodeNote(name, "cleaning", MAINTENANCE if kept else "", kept.reason if kept else ""))
        try:
            _wipe(of, Cleaning(name, str(uuid4()), disks, whole), tell)
        except _Untouched as fault:
            _put_back(store, name, before)
            raise Faults(fault.diagnostics) from None
        except Faults as faults:
            store.note_node(NodeNote(name, "failed", "cleaning", faults.diagnostics[0].message))
            raise
        _put_back(store, name, kept)


class _Untouched(Faults):
    """A cleaning was refused before anything was written."""


def _wipe(of: Nodes, wanted: Cleaning, tell: Callable[[str], None]) -> None:
    clock, seconds = time.monotonic, of.one(wanted.node).deploy_timeout_seconds
    with (
        open_bmc_of(of, wanted.node) as bmc,
        closing(make_deployer(of.fleet, cache_folder(of.environment).parent)) as deployer,
    ):
        try:
            deployer.clean(bmc, wanted, tell, Deadline(clock() + seconds, clock))
        except Refused as refusal:
            if refusal.path == NO_DISK:
                hint = f"stacksmith node inspect {wanted.node} lists disks; nothing was wiped, and it is off"
                raise _Untouched((error("node", str(refusal), hint=hint),)) from refusal
            raise


def _put_back(store: Store, name: str, note: NodeNote | None) -> None:
    if note is None:
        store.clear_node(name)
    else:
        store.note_node(note)


def _check_names(name: str, disks: tuple[str, ...]) -> None:
    """An empty name, as of a variable that is not set, is no disk, and not all of them. Raises: Faults."""
    for disk in disks:
        if not re.fullmatch(r"(/dev/)?[A-Za-z0-9][A-Za-z0-9!._:-]*", disk):
            hint = "its serial, or a name as the kernel gives it: --disk S4EVNX0M, --disk sda"
            raise Faults((error("node", f"cannot clean {name}: {disk!r} is no name of a disk", hint=hint),))


def adopt(options: Options, of: Nodes, name: str, text: str) -> Address:
    """Takes the machine on a node for a server of the stack, as if it had been deployed: nothing of it is touched.

    Raises: Faults; Locked when a run of the stack is at work.
    """
    node, stack = of.one(name), load_whole(options)
    address = _address(stack, text)
    if class_of(stack, stack.resources[address]) != node.resource_class:
        raise _refused(name, f"it is {node.resource_class}, {address} asks for another", "see the flavor's extra_specs")
    found = observe_one(of, name)
    uuid = str(identity(stack.fleet.fleet, stack.name, address))
    wanted = machine(stack, stack.resources[address], uuid, node)
    applied = replace(
        wanted,
        power_state="stopped" if found.power_state is Power.OFF else "running",
        boot_mode=found.boot_mode or wanted.boot_mode,
        bios={attribute: found.bios.get(attribute) for attribute in wanted.bios},
        indicator_led=found.indicator_led,
        asset_tag=found.asset_tag,
    )
    with opened(stack, options.environment, read_only=False) as store, alone(store, stack.name, "node adopt"):
        _check_free(store, name, address, stack.name)
        resource = stack.resources[address]
        policy = Policy(protect=getattr(resource.spec, "protect", False))
        store.put(stack.name, Record(address, name, uuid, to_data(applied), policy, True, resource.depends_on))
        hold(stack.name, str(address), uuid, {name: {node.resource_class: 1}}, store)
    return address


def _check_free(store: Store, name: str, address: Address, stack: str) -> None:
    held = _records(store).get(name)
    if held is not None:
        raise _refused(name, f"{held[1].address} of stack {held[0]} is on it", "an adopted node has one server")
    if mine := next((each for each in store.records(stack) if each.address == address), None):
        raise _refused(name, f"{address} is on {mine.host}", f"stacksmith state rm {address} forgets it")


def _address(stack: Stack, text: str) -> Address:
    try:
        address = Address.parse(text)
    except ValueError:
        address = Address("server", text)
    if address in stack.resources and class_of(stack, stack.resources[address]) is not None:
        return address
    names = [str(a) for a, each in stack.resources.items() if class_of(stack, each) is not None]
    hint = f"it has {', '.join(names[:10])}" if names else "give a server a flavor of bare metal"
    raise Faults([error("unknown-reference", f"stack {stack.name} has no bare-metal server {text!r}", hint=hint)])


def _refused(name: str, cause: str, hint: str) -> Faults:
    fault: Diagnostic = error("node-in-use", f"cannot take {name}: {cause}", hint=hint)
    return Faults([fault])
