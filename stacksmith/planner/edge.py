"""The edges of the plan: what must end before what starts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from stacksmith.address import Address
from stacksmith.model.found import Found
from stacksmith.model.realised import Realised, Server
from stacksmith.model.record import Record
from stacksmith.planner.plan import Operation, Step
from stacksmith.planner.subnet import freed_before

_MAKES = (Operation.CREATE, Operation.UPDATE, Operation.MIGRATE)


def connect(
    steps: Sequence[Step],
    found: Mapping[Address, Found],
    records: Mapping[Address, Record],
    waits: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> list[Step]:
    """The steps with what they require, besides what they were made with.

    Making waits for what it stands on; removing waits for everything that stood on it; the two halves of a
    replacement follow each other; a volume that moves waits for its server, which brings the data along; a network
    waits for those whose subnet it takes.
    ``waits`` are migrations, by id, with those whose room they take.
    """
    makes = {s.address: s.id for s in steps if s.operation in _MAKES}
    removes = {s.address: s for s in steps if s.operation is Operation.DELETE}
    carriers = {a: s.id for s in steps if s.operation is Operation.MIGRATE for a in s.depends_on if a.kind == "volume"}
    # While the move of a volume has not ended, its server tells which copy is the volume: it must not let go of it.
    arrivals = {s.address: s.id for s in steps if s.operation is Operation.MIGRATE and s.address.kind == "volume"}
    users = _users(steps, found, records)
    gives, frees = _gives(steps, found), freed_before(steps, found)
    connected = []
    for step in steps:
        if step.operation in _MAKES:
            # A volume that moves goes with its server, not before it.
            needs = [makes[a] for a in step.depends_on if a in makes and (a not in carriers or carriers[a] != step.id)]
            if step.operation is Operation.MIGRATE and step.address in carriers:
                needs.append(carriers[step.address])
            if isinstance(step.wanted, Server):
                # A volume that changes hands is let go before it is taken.
                taken = [a for a in step.depends_on if a.kind == "volume"]
                needs += [i for a in taken for i in gives.get(a, ()) if i != step.id]
            if step.replaces:
                needs.append(removes[step.address].id)
        else:
            needs = [i for i in users.get(step.address, ()) if i != step.id]
        needs += (*step.requires, *waits.get(step.id, ()), *frees.get(step.id, ()))
        if step.address.kind == "server" and step.operation is not Operation.MIGRATE and step.address in found:
            needs += [arrivals[a] for a in attached(found[step.address].spec) if a in arrivals]
        connected.append(replace(step, requires=tuple(dict.fromkeys(needs))))
    return connected


def leavers(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """By host, the steps that delete servers for good."""
    found: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        if step.operation is Operation.DELETE and step.address.kind == "server" and not step.replaces:
            found[step.host].append(step)
    return found


def after_leavers(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps; what is made anew on a host waits for those of them that make room there, and needs none of them."""
    gone = {host: [step.id for step in left] for host, left in leavers(steps).items()}
    return tuple(
        replace(step, requires=tuple(dict.fromkeys([*step.requires, *gone[step.host]])))
        if step.operation is Operation.CREATE and step.address.kind in ("server", "volume") and step.host in gone
        else step
        for step in steps
    )


def _gives(steps: Iterable[Step], found: Mapping[Address, Found]) -> dict[Address, list[str]]:
    """For each volume, the steps that take it from the server it is attached to."""
    gives: dict[Address, list[str]] = defaultdict(list)
    for step in steps:
        live = found.get(step.address)
        if step.operation not in (Operation.DELETE, Operation.UPDATE) or live is None:
            continue
        kept = attached(step.wanted) if step.operation is Operation.UPDATE else set()
        for address in attached(live.spec) - kept:
            gives[address].append(step.id)
    return gives


def attached(spec: Realised | None) -> set[Address]:
    """The volumes that are attached to a server; none to anything else."""
    if not isinstance(spec, Server):
        return set()
    return {Address.parse(d.ref) for d in spec.disks if d.source == "volume" and d.ref}


def _users(
    steps: Iterable[Step], found: Mapping[Address, Found], records: Mapping[Address, Record]
) -> dict[Address, list[str]]:
    """For each object, the steps that end another object's use of it: that other's delete, or its update."""
    users: dict[Address, list[str]] = defaultdict(list)
    for step in steps:
        if step.operation not in (Operation.DELETE, Operation.UPDATE, Operation.MIGRATE):
            continue
        record, live = records.get(step.address), found.get(step.address)
        # Only a delete gives up what depends_on named: an update would make a cycle with a create it waits for.
        used = set(record.requires if record and step.operation is Operation.DELETE else ())
        if live is not None:
            used |= _used(live.spec, live.host) - _used(step.wanted, step.host)
        for address in used:
            users[address].append(step.id)
        if step.address.kind in ("server", "volume"):
            users[Address("image", "*", host=step.source or step.host)].append(step.id)
    for step in steps:
        if step.operation is Operation.DELETE and step.address.kind == "image":
            users[step.address] += users[Address("image", "*", host=step.host)]
    return users


def _used(spec: Realised | None, host: str) -> set[Address]:
    """The volumes and networks of a server on a host."""
    nics = spec.nics if isinstance(spec, Server) else ()
    return attached(spec) | {Address("network", nic.network, host=host) for nic in nics}
