"""Which server has which bare-metal node, and what state each node is in: by the state store."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.engine.node import Nodes
from stacksmith.engine.store import opened
from stacksmith.frozen import dataclass
from stacksmith.model.machine_identity import UNKNOWN, Identity, is_same, told
from stacksmith.model.record import Record
from stacksmith.state.process import is_dead
from stacksmith.state.store import Holder, NodeNote, Reader

if TYPE_CHECKING:
    from stacksmith.placement.tree.provider import Consumer

CLEANING: Final = "cleaning"  # the state of a node that is being wiped


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A node's state (``available``, ``active``, ``deploying``, ``failed`` or ``maintenance``), how far and why, and
    the server that it has, as ``stack/address``. ``adopted``: that ran there before, and no image was written since;
    ``machine`` is the one that the node was then."""

    state: str
    stage: str = ""
    reason: str = ""
    server: str = ""
    adopted: bool = False
    machine: Identity = UNKNOWN


@dataclass(frozen=True, slots=True)
class Tenant:
    """A server on a node, and the machine that it was then."""

    node: str
    stack: str
    address: Address
    machine: Identity

    @property
    def words(self) -> str:
        return f"{self.address} of stack {self.stack}, as node {self.node}"

    def help(self, node: str) -> str:
        """What to look at when the node has the machine."""
        gone = f"when {self.address} is no more: stacksmith state rm {self.address}, in stack {self.stack}"
        return f"the addresses of {node} and {self.node} in the fleet file; {gone}"


def tenancies(of: Nodes) -> Mapping[str, Tenancy]:
    """What the state store knows of each node of the fleet. Raises: Faults."""
    with opened(of, of.environment, read_only=True) as store:
        notes = {note.name: note for note in store.nodes()}
        held = records(store)
    return {name: _tenancy(notes.get(name), held.get(name)) for name in of.fleet.nodes}


def _tenancy(note: NodeNote | None, record: tuple[str, Record] | None) -> Tenancy:
    if record is None:
        return Tenancy(note.state, note.at, note.reason) if note is not None else Tenancy("available")
    stack, known = record
    of = Tenancy("active", "", "", f"{stack}/{known.address}", known.adopted, known.machine)
    if note is not None:
        return replace(of, state=note.state, stage=note.at, reason=note.reason)
    return of if known.complete else replace(of, state="deploying")


def records(store: Reader) -> dict[str, tuple[str, Record]]:
    """The record of the server on each node, with its stack; records of other hosts' servers are among them."""
    return {
        record.host: (stack, record)
        for stack in store.stacks()
        for record in store.records(stack)
        if record.address.kind == "server"
    }


def tenants_of(store: Reader) -> tuple[Tenant, ...]:
    """The servers of all stacks on nodes; those of other hosts' are among them."""
    return tuple(Tenant(name, owner, r.address, r.machine) for name, (owner, r) in records(store).items())


class Machines:
    """On which machines servers are known to be, whatever their nodes are called now."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._known: dict[Identity, list[Tenant]] = defaultdict(list)
        for each in tenants:
            self._known[each.machine].append(each)

    def find(self, node: str, machine: Identity) -> Tenant | None:
        """The server on the machine, which another node than this one was when it was made."""
        there = self._known.get(machine, ())
        return next((each for each in there if each.node != node and is_same(each.machine, machine)), None)


def claim_on(store: Reader, name: str, but: str = "") -> "Consumer | None":
    """A claim of the node, other than that of the server ``but``."""
    return next((each for each in store.claims() if name in each.allocations and each.uuid != but), None)


def check_machine_free(store: Reader, name: str, machine: Identity) -> None:
    """Passes unless the machine has a server under another node's name. Raises: Faults."""
    tenant = Machines(tenants_of(store)).find(name, machine)
    if tenant is not None:
        raise in_use(name, f"its machine ({told(machine)}) has {tenant.words}", tenant.help(name))


def worker(store: Reader, name: str, note: NodeNote | None, stack: str = "") -> Holder | None:
    """Who is at work on a node: the run that cleans it, else one of the stack that it is deployed for, or has it."""
    lease = f"node {name}" if note is not None and note.state == CLEANING else note.stack if note else stack
    holder = store.holder(lease) if lease else None
    return holder if holder is not None and holder.expires > time.time() and not is_dead(holder) else None


def in_use(name: str, cause: str, hint: str) -> Faults:
    """The refusal to take a node."""
    return Faults((error("node-in-use", f"cannot take {name}: {cause}", hint=hint),))
