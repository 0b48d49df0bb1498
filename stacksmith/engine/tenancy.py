"""Which server has which bare-metal node, and what state each node is in: by the state store."""

import time
from collections.abc import Mapping
from typing import Final

from stacksmith.diagnostics import Faults, error
from stacksmith.engine.node import Nodes
from stacksmith.engine.store import opened
from stacksmith.frozen import dataclass
from stacksmith.model.record import Record
from stacksmith.state.process import is_dead
from stacksmith.state.store import Holder, NodeNote, Reader

CLEANING: Final = "cleaning"  # the state of a node that is being wiped


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A node's state (``available``, ``active``, ``deploying``, ``failed`` or ``maintenance``), how far and why, and
    the server that it has, as ``stack/address``. ``adopted``: that ran there before, and no image was written since."""

    state: str
    stage: str = ""
    reason: str = ""
    server: str = ""
    adopted: bool = False


def tenancies(of: Nodes) -> Mapping[str, Tenancy]:
    """What the state store knows of each node of the fleet. Raises: Faults."""
    with opened(of, of.environment, read_only=True) as store:
        notes = {note.name: note for note in store.nodes()}
        held = records(store)
    return {name: _tenancy(notes.get(name), held.get(name)) for name in of.fleet.nodes}


def _tenancy(note: NodeNote | None, record: tuple[str, Record] | None) -> Tenancy:
    server, adopted = (f"{record[0]}/{record[1].address}", record[1].adopted) if record else ("", False)
    if note is not None:
        return Tenancy(note.state, note.stage.partition(" ")[0], note.reason, server, adopted)
    if record is None:
        return Tenancy("available")
    return Tenancy("active" if record[1].complete else "deploying", server=server, adopted=adopted)


def records(store: Reader) -> dict[str, tuple[str, Record]]:
    """The record of the server on each node, with its stack; records of other hosts' servers are among them."""
    return {
        record.host: (stack, record)
        for stack in store.stacks()
        for record in store.records(stack)
        if record.address.kind == "server"
    }


def tenants_of(store: Reader, stack: str) -> dict[str, str]:
    """The servers of other stacks on nodes, in words, by node."""
    return {name: f"{r.address} of stack {owner}" for name, (owner, r) in records(store).items() if owner != stack}


def worker(store: Reader, name: str, note: NodeNote | None, stack: str = "") -> Holder | None:
    """Who is at work on a node: the run that cleans it, else one of the stack that it is deployed for, or has it."""
    lease = f"node {name}" if note is not None and note.state == CLEANING else note.stack if note else stack
    holder = store.holder(lease) if lease else None
    return holder if holder is not None and holder.expires > time.time() and not is_dead(holder) else None


def in_use(name: str, cause: str, hint: str) -> Faults:
    """The refusal to take a node."""
    return Faults((error("node-in-use", f"cannot take {name}: {cause}", hint=hint),))
