"""The places of a stack, opened and read: the fleet's hosts, and the bare-metal nodes that it is about."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.engine.contents import session_folder
from stacksmith.engine.observe import Place, Sessions, observe
from stacksmith.engine.quote import quoting
from stacksmith.engine.scope import scope_of
from stacksmith.engine.tenancy import Machines, Tenant
from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import class_of
from stacksmith.model.fleet import Host
from stacksmith.model.found import HostSnapshot, Snapshot, between_hosts
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.machine_identity import Identity, machine_of, told
from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects
from stacksmith.model.realised import Machine, from_data, is_machine_data
from stacksmith.model.record import Record
from stacksmith.model.secret import NoSecret, secret
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.inventory import FAILED_BUILDS
from stacksmith.planner.machine import NOTE, TENANT, machine
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.sharing import seen_once
from stacksmith.planner.view import check_machines
from stacksmith.providers.base import Deadline, Refused, Session
from stacksmith.providers.bmc import Access, Deployer, Occupant
from stacksmith.providers.registry import open_node, provider
from stacksmith.state.store import NodeNote

SETTLE_TIMES, SETTLE_SECONDS = 3, 0.7
FAILED = "marked failed in the fleet file"
GONE = "the fleet file has no such node; stacksmith state rm forgets the server that it has"
_LEAVE = "take the server out of its stack, or destroy it"


@dataclass(frozen=True, slots=True)
class Opener:
    """How the places of a stack are opened: what is recorded tells which server a node has. ``every_node``: all of the
    fleet's nodes are read, whatever the stack has."""

    stack: Stack
    records: Sequence[Record]
    environment: Mapping[str, str]
    provider: str | None = None
    deployer: Deployer | None = None
    every_node: bool = False

    def __call__(self, name: str, place: Place, read_only: bool, deadline: Deadline) -> Session:
        """A session. Raises: Transient, Refused, TimedOut."""
        if isinstance(place, Host):
            return provider(place.libvirt).open(name, place, read_only, deadline)
        return open_node(name, place, self._access(name, place), None if read_only else self.deployer)

    def _access(self, name: str, node: Node) -> Access:
        folder = self.stack.fleet_path.parent
        ca = str(folder / node.ca) if node.ca else None
        if ca and not Path(ca).is_file():
            raise Refused(f"cannot use {ca}: there is no such file", "ca", "name the authority's file in ca:")
        try:
            password = secret(node.password, self.environment, folder)
        except NoSecret as fault:
            raise Refused(f"cannot sign in to {name}: {fault}", "password", fault.hint) from None
        record = next((r for r in self.records if r.host == name and r.address.kind == "server"), None)
        access = Access(password, ca, sessions=session_folder(self.environment))
        access = access if record is None else access_of(record, self._wanted(record, node), access)
        drives = self._raid_to_come(name, node)
        if drives is None:
            return access
        aspects = replace(access.aspects, raid=True, drives=access.aspects.drives | drives)
        return replace(access, aspects=aspects)

    def _raid_to_come(self, name: str, node: Node) -> frozenset[str] | None:
        """The drives that RAID volumes name of servers that may be made on the node; None when there is no such server.
        The plan says which volumes of the node are lost for them."""
        made = {record.address for record in self.records if record.host in self.stack.fleet.nodes}
        coming = [
            said.raid
            for address, resource in self.stack.resources.items()
            if address not in made and class_of(self.stack, resource) == node.resource_class
            if isinstance(spec := resource.spec, ServerSpec) and spec.host in (None, name)
            if (said := spec.bare_metal) is not None and said.raid
        ]
        return frozenset(drive for raid in coming for volume in raid for drive in volume.drives) if coming else None

    def _wanted(self, record: Record, node: Node) -> Machine | None:
        """The server as it is to be; None when it is not in the stack any more."""
        resource = self.stack.resources.get(record.address)
        if resource is None or class_of(self.stack, resource) is None:
            return None
        return machine(self.stack, resource, record.uuid, node)


def access_of(record: Record, wanted: Machine | None, access: Access) -> Access:
    """The access with who is on the node, and what is to be read of it: what is declared, or was when applied."""
    applied = from_data("server", record.applied)
    assert isinstance(applied, Machine)
    declared = wanted or applied
    return replace(
        access,
        occupant=Occupant(record.address, record.uuid, record.applied, record.complete, record.machine),
        aspects=Aspects(
            secure_boot=declared.secure_boot is not None,
            pending=bool(declared.bios),
            firmware=bool(declared.firmware),
            raid=bool(declared.raid),
            drives=frozenset(name for volume in declared.raid for name in volume.drives),
        ),
        bios=frozenset(declared.bios),
        firmware=frozenset(declared.firmware),
    )


@contextmanager
def read_places(
    opener: Opener, notes: Sequence[NodeNote], failed: Mapping[str, int], read_only: bool = True
) -> Iterator[Sessions]:
    """The fleet's hosts and the stack's nodes, open and read. One that is marked failed is not connected to: what it
    had is unknown. ``notes`` are the store's of its nodes, ``failed`` how many servers could not be made on a host.

    Raises: Faults when two hosts are one machine.
    """
    stack = opener.stack
    nodes = dict(stack.fleet.nodes) if opener.every_node else nodes_of(stack, opener.records)
    places: dict[str, Place] = {**stack.fleet.hosts, **nodes}
    left = {name: FAILED for name, place in places.items() if place.state == "failed"}
    if opener.provider is not None:
        left |= dict.fromkeys(nodes, f"the provider {opener.provider} has no bare-metal nodes")
    alive = {name: place for name, place in places.items() if name not in left}
    servers = (record for record in opener.records if record.address.kind == "server")
    gone = {record.host for record in servers if is_machine_data(record.applied)} - places.keys()
    left |= dict.fromkeys(gone, GONE)
    nodes_read = {*nodes, *gone}
    with _settled(partial(observe, alive, _open(opener, read_only), scope_of(stack, opener.records))) as sessions:
        read = [*sessions.snapshot.hosts, *(HostSnapshot(name, why) for name, why in left.items())]
        read.sort(key=lambda snap: snap.host)
        with quoting(stack):
            check_machines(sessions.snapshot, stack.host_places)
        noted = {note.name: note for note in notes}
        snapshot = Snapshot(
            tuple(_told(snap, FAILED_BUILDS, failed.get(snap.host)) for snap in read if snap.host not in nodes_read),
            tuple(_noted(snap, noted.get(snap.host)) for snap in read if snap.host in nodes_read),
        )
        yield Sessions(seen_once(stack.fleet, snapshot, opener.records), sessions.sessions)


def _settled(observed: Callable[[], Sessions]) -> Sessions:
    """Reads, and again after a moment while a server is between two hosts: libvirt ends what a killed client began."""
    for _ in range(SETTLE_TIMES):
        sessions = observed()
        if not between_hosts(sessions.snapshot):
            return sessions
        sessions.close()
        time.sleep(SETTLE_SECONDS)
    return observed()


def nodes_of(stack: Stack, records: Sequence[Record]) -> dict[str, Node]:
    """The nodes that the stack is about: those of its servers, and every one while a server has none yet."""
    nodes = stack.fleet.nodes
    if not nodes:
        return {}
    placed = {record.address: record.host for record in records if record.host in nodes}
    bare = [address for address, resource in stack.resources.items() if class_of(stack, resource) is not None]
    if any(address not in placed for address in bare):
        return dict(nodes)
    return {name: nodes[name] for name in sorted(set(placed.values()))}


def _noted(snap: HostSnapshot, note: NodeNote | None) -> HostSnapshot:
    return _told(snap, NOTE, note and {"state": note.state, "stage": note.stage, "reason": note.reason})


def _told(snap: HostSnapshot, name: str, fact: JSON) -> HostSnapshot:
    """The snapshot with what the store says of it, if it says anything."""
    return replace(snap, facts={**snap.facts, name: fact}) if fact else snap


def with_owners(snapshot: Snapshot, stack: str, consumers: Sequence[Consumer]) -> Snapshot:
    """The snapshot with the stacks that have claimed the nodes on which this one knows nothing."""
    owners = {name: each.owner for each in consumers if each.owner != stack for name in each.allocations}
    nodes = tuple(
        replace(snap, unmanaged=tuple(replace(each, owner=owners.get(snap.host)) for each in snap.unmanaged))
        for snap in snapshot.nodes
    )
    return replace(snapshot, nodes=nodes)


def with_tenants(snapshot: Snapshot, stack: Stack, tenants: Sequence[Tenant]) -> Snapshot:
    """The snapshot with why nodes are not to be given to this stack, whatever their machines show: another stack has a
    server there, or any a server on the machine under another node's name, or two nodes are one machine. Raises: Faults
    when a server of this stack is on the machine under a name that the fleet has not.
    """
    machines, by_node = Machines(tenants), {each.node: each for each in tenants if each.stack != stack.name}
    first: dict[Identity, str] = {}
    nodes, faults = [], []
    for snap in snapshot.nodes:
        machine = machine_of(snap.facts)
        other = machines.find(snap.host, machine)
        if other is not None and other.stack == stack.name and other.node not in stack.fleet.nodes:
            faults.append(_renamed(snap.host, other))
        tenant, twin = by_node.get(snap.host), first.setdefault(machine, snap.host) if all(machine) else snap.host
        fact: JSON = None
        if tenant is not None:
            fact = [f"{tenant.address} of stack {tenant.stack} is on it", _LEAVE]
        elif other is not None and not snap.found:
            fact = [f"its machine has {other.words}", other.help(snap.host)]
        elif twin != snap.host and not snap.found:
            reason = f"its machine ({told(machine)}) is that of node {twin} too"
            fact = [reason, f"the addresses of {snap.host} and {twin} in the fleet file"]
        nodes.append(_told(snap, TENANT, fact))
    if faults:
        raise Faults(faults)
    return replace(snapshot, nodes=tuple(nodes))


def _renamed(now: str, tenant: Tenant) -> Diagnostic:
    message = (
        f"cannot use node {now}: its machine has {tenant.address}, which was made there under the name {tenant.node}"
    )
    hint = f"call it {tenant.node} again in the fleet file, or forget the server and take it anew: stacksmith state rm"
    return error("renamed-host", message, hint=f"{hint} {tenant.address}; stacksmith node adopt {now} {tenant.address}")


@contextmanager
def open_places(opener: Opener, planned: Plan, already: Mapping[str, Session]) -> Iterator[Mapping[str, Session]]:
    """The places that the plan acts on, open for writing and not read: each step reads its own object."""
    acted_on = {step.host for step in planned.steps if step.operation is not Operation.FORGET}
    acted_on |= {step.source for step in planned.steps if step.source}
    acted_on -= set(already)
    fleet = opener.stack.fleet
    known: dict[str, Place] = {**fleet.hosts, **fleet.nodes}
    places = {name: place for name, place in known.items() if name in acted_on}
    with observe(places, _open(opener, read_only=False), None) as opened:
        yield {**already, **opened.sessions}


def _open(opener: Opener, read_only: bool) -> Callable[[str, Place, Deadline], Session]:
    return lambda name, place, deadline: opener(name, place, read_only, deadline)
