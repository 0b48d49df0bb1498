"""What the claims in the state store mean for a plan: room that is taken before anything runs, and what to claim."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stacksmith.address import Address
from stacksmith.model.fleet import Fleet
from stacksmith.model.found import Found, HostSnapshot, Snapshot, Unmanaged
from stacksmith.model.realised import Machine, Realised, Server, Volume
from stacksmith.placement.host import HostState
from stacksmith.placement.request import CLASSES, Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.claim import Allocations, Amounts, Claims, PlannedClaim, Room
from stacksmith.planner.inventory import Pending, dedicated_cpus, guest_amounts, guests
from stacksmith.planner.plan import Operation, Step

GIB = 2**30
CLAIMED_KINDS = frozenset({"server", "volume"})
_CLAIM = (Operation.CREATE, Operation.UPDATE, Operation.MIGRATE)
_ID8 = 8  # digits of a uuid by which hosts know the volumes of other stacks


def spec_amounts(spec: Realised | None, apart: Container[str] = ()) -> dict[str, int]:
    """What an object takes of its host as a whole by its spec: whole CPUs are no VCPU, and large pages no MEMORY_MB.

    Zeros are left out, as are volumes of types that are ``apart``.
    """
    amounts = {}
    if isinstance(spec, Server):
        local = sum(d.size_bytes or 0 for d in spec.disks if d.source != "volume")
        pins = [pin for cell in spec.numa_cells for pin in cell.pins]
        is_dedicated = len(set(pins)) == spec.vcpus and all(len(pin) == 1 for pin in pins)
        amounts = {
            "VCPU": 0 if is_dedicated else spec.vcpus,
            "MEMORY_MB": 0 if spec.page_size else spec.ram_mib,
            "DISK_GB": -(-local // GIB),
        }
    elif isinstance(spec, Machine):
        amounts = {spec.resource_class: 1}
    elif isinstance(spec, Volume) and spec.volume_type not in apart:
        amounts = {"DISK_GB": -(-spec.size_bytes // GIB)}
    return {name: amount for name, amount in amounts.items() if amount}


class Ledger:
    """The claims of all stacks beside what was found, for the plan of one stack.

    A claim and the object that it is for, on the same host, are one consumption: the larger of both. Claims of this
    stack whose objects are not there do not count, for the plan makes them anew or gives them up.
    """

    def __init__(self, stack: str, fleet: Fleet, snapshot: Snapshot, consumers: Iterable[Consumer]) -> None:
        self.stack, self.snapshot, self.consumers = stack, snapshot, tuple(consumers)
        self.own: dict[str, Consumer] = {}
        self._dedicated = {name: dedicated_cpus(host) for name, host in fleet.hosts.items()}
        self._apart = {name: host.volume_types_apart for name, host in fleet.hosts.items()}
        self._held: dict[str, dict[str, Consumer]] = defaultdict(dict)  # by host, then uuid
        for consumer in self.consumers:
            if consumer.owner == stack:
                self.own[consumer.uuid] = consumer
            for host in consumer.allocations:
                self._held[host][consumer.uuid] = consumer

    def pending(self, leaving: Container[Address] = frozenset()) -> Pending:
        """What is claimed beyond what runs: units by host, class and stack. Of what leaves nothing counts."""
        found: Pending = {}
        for snap in self.snapshot.places:
            if not self._held.get(snap.host):
                continue
            here: dict[str, Counter[str]] = defaultdict(Counter)
            for consumer, guest in self._pairs(snap):
                if guest is None and consumer.owner == self.stack:
                    continue
                if isinstance(guest, Found) and guest.address in leaving:
                    continue
                seen = self.amounts(snap.host, guest)
                for name, amount in consumer.allocations[snap.host].items():
                    if amount > seen.get(name, 0):
                        here[name][consumer.owner] += amount - seen.get(name, 0)
            found[snap.host] = {name: dict(owners) for name, owners in here.items()}
        return found

    def unclaimed(self, snap: HostSnapshot, without: Container[str]) -> dict[str, int]:
        """What runs on a host beyond the claims for it, but for the objects of some uuids."""
        total: Counter[str] = Counter()
        claimed = {id(guest): consumer for consumer, guest in self._pairs(snap) if guest is not None}
        for guest in guests(snap):
            if guest.uuid in without:
                continue
            consumer = claimed.get(id(guest))
            held = consumer.allocations[snap.host] if consumer is not None else {}
            total.update({n: max(0, a - held.get(n, 0)) for n, a in self.amounts(snap.host, guest).items()})
        return {name: amount for name, amount in sorted(total.items()) if amount}

    def amounts(self, host: str, guest: Found | Unmanaged | None) -> dict[str, int]:
        """What an object takes of its host; nothing for none."""
        return {} if guest is None else guest_amounts(guest, self._dedicated.get(host, frozenset()), self.apart(host))

    def held_on(self, host: str, uuid: str) -> Amounts:
        """What this stack has claimed for one of its objects on a host."""
        consumer = self.own.get(uuid)
        return consumer.allocations.get(host, {}) if consumer is not None else {}

    def apart(self, host: str) -> tuple[str, ...]:
        """The volume types that a host has apart from its own disks."""
        return self._apart.get(host, ())

    def dedicated(self, host: str) -> tuple[int, ...]:
        """The CPUs of a host that are given whole."""
        return tuple(sorted(self._dedicated.get(host, ())))

    def _pairs(self, snap: HostSnapshot) -> Iterator[tuple[Consumer, Found | Unmanaged | None]]:
        """Every claim on a host with the object that it is for, None when that is not there."""
        left = dict(self._held.get(snap.host, {}))
        short = {uuid[:_ID8]: uuid for uuid in left} if left and snap.unmanaged else {}
        for guest in guests(snap):
            uuid = short.get(guest.uuid, guest.uuid)
            consumer = left.pop(uuid, None)
            if consumer is not None:
                yield consumer, guest
        yield from ((consumer, None) for consumer in left.values())


@dataclass(frozen=True, slots=True)
class Sight:
    """What claims are made from, beside the ledger: the plan's steps, and the objects that stay in the stack."""

    steps: Sequence[Step]
    found: Mapping[Address, Found]
    known: Container[Address]  # wanted or recorded
    requests: Mapping[Address, Request]


def make_claims(ledger: Ledger, states: Iterable[HostState], sight: Sight) -> Claims:
    """What an apply of these steps claims before the first of them."""
    there, wanted = _of_steps(ledger, sight)
    acted_on = {step.address for step in sight.steps}
    there += [
        claim
        for address, found in sight.found.items()
        if address.kind in CLAIMED_KINDS and address not in acted_on and address in sight.known
        if (claim := _correction(ledger, found)) is not None
    ]
    there += _orphans(ledger, {claim.uuid for claim in wanted})
    covered = {claim.uuid for claim in (*there, *wanted)}
    return Claims(tuple(there), tuple(wanted), tuple(_rooms(ledger, states, sight, covered)))


def _of_steps(ledger: Ledger, sight: Sight) -> tuple[list[PlannedClaim], list[PlannedClaim]]:
    there, wanted = [], []
    for step in sight.steps:
        if step.address.kind not in CLAIMED_KINDS or step.operation not in _CLAIM:
            continue
        after: Allocations = {step.host: _needs(step, sight.requests.get(step.address), ledger)}
        found = sight.found.get(step.address)
        if found is not None and not found.partial:
            before = {found.host: ledger.amounts(found.host, found)}
            after = _larger(before, after)
            if not _covers(ledger.own.get(step.uuid), before):
                there.append(PlannedClaim(step.uuid, str(step.address), before))
            if after == before and step.operation is Operation.UPDATE:
                continue
        wanted.append(PlannedClaim(step.uuid, str(step.address), _bare(after)))
    return there, wanted


def _needs(step: Step, request: Request | None, ledger: Ledger) -> dict[str, int]:
    """What placement gave a server or volume: a server's request has its new volumes in it, which claim their own."""
    needs = spec_amounts(step.wanted, ledger.apart(step.host))
    if request is not None and isinstance(step.wanted, Server):
        asked, local = request.amounts, needs.get("DISK_GB", 0)
        needs = {name: asked.get(name, 0) for name in CLASSES} | {"DISK_GB": min(local, asked.get("DISK_GB", 0))}
    return {name: amount for name, amount in needs.items() if amount}


def _larger(one: Allocations, other: Allocations) -> dict[str, dict[str, int]]:
    """The larger of both amounts in each place."""
    both = {host: dict(amounts) for host, amounts in one.items()}
    for host, amounts in other.items():
        mine = both.setdefault(host, {})
        mine.update({name: max(amount, mine.get(name, 0)) for name, amount in amounts.items()})
    return both


def _covers(consumer: Consumer | None, allocations: Allocations) -> bool:
    held = consumer.allocations if consumer is not None else {}
    return all(
        amount <= held.get(host, {}).get(name, 0)
        for host, amounts in allocations.items()
        for name, amount in amounts.items()
    )


def _bare(allocations: Allocations) -> dict[str, Amounts]:
    return {host: amounts for host, amounts in allocations.items() if amounts}


def _correction(ledger: Ledger, found: Found) -> PlannedClaim | None:
    """The claim of an object that no step changes, where the store has another."""
    if found.partial or found.spec is None or found.problem:
        return None
    amounts = ledger.amounts(found.host, found)
    allocations = {found.host: amounts} if amounts else {}
    held = ledger.own.get(found.uuid)
    if allocations == (held.allocations if held is not None else {}):
        return None
    return PlannedClaim(found.uuid, str(found.address), allocations)


def _orphans(ledger: Ledger, wanted: Container[str]) -> Iterator[PlannedClaim]:
    """Claims of this stack for what is nowhere; of a host that was not read nothing is known."""
    if not ledger.own:
        return
    read = {snap.host for snap in ledger.snapshot.places if snap.error is None}
    there = {found.uuid for snap in ledger.snapshot.places for found in snap.found}
    for uuid, consumer in ledger.own.items():
        if uuid not in there and uuid not in wanted and read.issuperset(consumer.allocations):
            yield PlannedClaim(uuid, consumer.name)


def _rooms(ledger: Ledger, states: Iterable[HostState], sight: Sight, covered: set[str]) -> Iterator[Room]:
    """The hosts on which steps make or change what is claimed."""
    makes = [s for s in sight.steps if s.address.kind in CLAIMED_KINDS]
    hosts = {host for s in makes if s.operation in _CLAIM for host in (s.host, s.source)}
    gone: dict[str, set[str]] = defaultdict(set)
    for step in makes:
        if step.operation is Operation.DELETE and not step.replaces:
            gone[step.host].add(step.uuid)
    snaps = {snap.host: snap for snap in ledger.snapshot.places}
    for state in states:
        if state.name not in hosts:
            continue
        leaving: Counter[str] = Counter()
        for uuid in gone[state.name]:
            leaving.update(ledger.held_on(state.name, uuid))
        unclaimed = ledger.unclaimed(snaps[state.name], covered | gone[state.name])
        left, name = dict(sorted(leaving.items())), state.name
        yield Room(name, state.inventories, unclaimed, left, ledger.dedicated(name), ledger.apart(name))
