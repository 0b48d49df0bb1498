"""What the claims in the state store mean for a plan: room that is taken before anything runs, and what to claim."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.fleet import Fleet
from stacksmith.model.found import Found, Snapshot, Unmanaged
from stacksmith.model.hardware import Holding, holding
from stacksmith.model.realised import Machine, Realised, Server, Volume
from stacksmith.placement.host import HostState, Inventory
from stacksmith.placement.request import CLASSES, Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.claim import Allocations, Amounts, Claims, PlannedClaim, Room
from stacksmith.planner.inventory import Pending, guests, sharing
from stacksmith.planner.layout import (
    WHOLE_CPU,
    Layout,
    Taken,
    cpu_of,
    host_of,
    layout_of,
    parts_taken,
    shared_uuid,
    taken,
)
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
        self._taken: dict[int, tuple[Found | Unmanaged, Taken]] = {}
        self.layouts = {snap.host: layout_of(fleet.hosts[snap.host], snap) for snap in snapshot.hosts}
        self.layouts |= {snap.host: Layout(snap.host) for snap in snapshot.nodes}
        self._guests: dict[str, list[Found | Unmanaged]] = {snap.host: list(guests(snap)) for snap in snapshot.places}
        self.shared = {shared_uuid(storage): frozenset(hosts) for storage, hosts in sharing(fleet).items()}
        for uuid, hosts in self.shared.items():
            self._guests[uuid] = [guest for host in sorted(hosts) for guest in self._guests.get(host, ())]
        self._held: dict[str, dict[str, Consumer]] = defaultdict(dict)  # by host or shared storage, then uuid
        for consumer in self.consumers:
            if consumer.owner == stack:
                self.own[consumer.uuid] = consumer
            for provider in consumer.allocations:
                self._held[host_of(provider)][consumer.uuid] = consumer

    def pending(self, leaving: Container[Address] = frozenset(), anew: Container[Address] = frozenset()) -> Pending:
        """What is claimed beyond what runs: units by provider, class and stack.

        Of what leaves nothing counts, and of servers in ``anew``, that get parts of their host anew, only the host's.
        """
        found: dict[str, dict[str, Counter[str]]] = {}
        for root in self._held:
            for consumer, guest in self._pairs(root):
                address = guest.address if isinstance(guest, Found) else None
                if (guest is None and consumer.owner == self.stack) or address in leaving:
                    continue
                seen, gets_anew = self.taken(guest), address in anew
                if seen == consumer.allocations:
                    continue
                for provider, name, amount in _on(root, consumer):
                    over = amount - seen.get(provider, {}).get(name, 0)
                    if over > 0 and not (gets_anew and provider != root):
                        owners = found.setdefault(provider, {}).setdefault(name, Counter())
                        owners[consumer.owner] += over
        return {uuid: {name: dict(owners) for name, owners in each.items()} for uuid, each in found.items()}

    def unfinished(self, host: str) -> int:
        """How many servers of other stacks are claimed on a host and not there."""
        return sum(
            guest is None and consumer.owner != self.stack and consumer.name.startswith("server.")
            for consumer, guest in self._pairs(host)
        )

    def unclaimed(self, root: str, without: Container[str]) -> Taken:
        """What runs on a host, or is in a shared storage, beyond the claims for it, but for the objects of some uuids:
        units by provider."""
        total: dict[str, Counter[str]] = defaultdict(Counter)
        claimed = {id(guest): consumer for consumer, guest in self._pairs(root) if guest is not None}
        for guest in self._guests.get(root, ()):
            if guest.uuid in without:
                continue
            consumer = claimed.get(id(guest))
            held = consumer.allocations if consumer is not None else {}
            for provider, amounts in self.taken(guest).items():
                if host_of(provider) != root:
                    continue
                mine = held.get(provider, {})
                total[provider].update({name: max(0, n - mine.get(name, 0)) for name, n in amounts.items()})
        return {uuid: {name: n for name, n in sorted(each.items()) if n} for uuid, each in total.items()}

    def taken(self, guest: Found | Unmanaged | None) -> Taken:
        """What an object takes, by provider; nothing for none."""
        if guest is None:
            return {}
        known = self._taken.get(id(guest))  # guests are kept beside, so that no other gets the id
        if known is None:
            known = self._taken[id(guest)] = guest, taken(guest, self.layouts[guest.host])
        return known[1]

    def held_on(self, provider: str, uuid: str) -> Amounts:
        """What this stack has claimed of a provider for one of its objects."""
        consumer = self.own.get(uuid)
        return consumer.allocations.get(provider, {}) if consumer is not None else {}

    def _pairs(self, root: str) -> Iterator[tuple[Consumer, Found | Unmanaged | None]]:
        """Every claim on a host or a shared storage with the object that it is for, None when that is not there.

        Of what is no host or storage of this fleet nothing is known.
        """
        left = dict(self._held.get(root, {}))
        if not left or root not in self._guests:
            return
        short = {uuid[:_ID8]: uuid for uuid in left}
        for guest in self._guests[root]:
            uuid = short.get(guest.uuid, guest.uuid)
            consumer = left.pop(uuid, None)
            if consumer is not None:
                yield consumer, guest
        yield from ((consumer, None) for consumer in left.values())


def _on(host: str, consumer: Consumer) -> Iterator[tuple[str, str, int]]:
    """What a consumer holds of a host and of what is below it: (provider, class, units)."""
    for provider, amounts in consumer.allocations.items():
        if host_of(provider) == host:
            yield from ((provider, name, amount) for name, amount in amounts.items())


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
    rooms = tuple(_rooms(ledger, {state.name: state for state in states}, sight, wanted, covered))
    hosts = sorted({step.host for step in sight.steps if step.address.kind in CLAIMED_KINDS} & ledger.layouts.keys())
    return Claims(tuple(there), tuple(wanted), rooms, tuple(ledger.layouts[host] for host in hosts))


def _of_steps(ledger: Ledger, sight: Sight) -> tuple[list[PlannedClaim], list[PlannedClaim]]:
    there, wanted = [], []
    for step in sight.steps:
        if step.address.kind not in CLAIMED_KINDS or step.operation not in _CLAIM:
            continue
        after = _needs(step, sight.requests.get(step.address), ledger.layouts[step.host])
        found = sight.found.get(step.address)
        if found is not None and not found.partial:
            before = ledger.taken(found)
            after = _during(step, before, after)
            if not _covers(ledger.own.get(step.uuid), before):
                there.append(PlannedClaim(step.uuid, str(step.address), before))
            if after == before and step.operation is Operation.UPDATE:
                continue
        wanted.append(PlannedClaim(step.uuid, str(step.address), after))
    return there, wanted


def _needs(step: Step, request: Request | None, layout: Layout) -> Taken:
    """What placement gave a server or volume: a server's request has its new volumes in it, which claim their own."""
    needs = spec_amounts(step.wanted, dict(layout.apart))
    parts: Taken = {}
    if isinstance(step.wanted, Server):
        parts = parts_taken(holding(step.wanted), layout)
        if request is not None:
            asked, local = request.amounts, needs.get("DISK_GB", 0)
            needs = {name: asked.get(name, 0) for name in CLASSES} | {"DISK_GB": min(local, asked.get("DISK_GB", 0))}
    elif isinstance(step.wanted, Volume):
        gib = -(-step.wanted.size_bytes // GIB)
        parts = parts_taken(Holding(disks=((step.wanted.volume_type, gib),)), layout)
    needs = {name: amount for name, amount in needs.items() if amount}
    return ({step.host: needs} if needs else {}) | parts


def _during(step: Step, before: Taken, after: Taken) -> Taken:
    """What is claimed while a step is under way: of hosts and of pools the larger of before and after.

    Of the other parts of its host it is what comes after: what it leaves there is seen by every plan until it has left,
    and servers of one plan may change places.
    """
    stays = {p: amounts for p, amounts in before.items() if host_of(p) != step.host or amounts.keys() <= set(CLASSES)}
    both = {provider: dict(amounts) for provider, amounts in after.items()}
    for provider, amounts in stays.items():
        mine = both.setdefault(provider, {})
        mine.update({name: max(amount, mine.get(name, 0)) for name, amount in amounts.items()})
    return both


def _covers(consumer: Consumer | None, allocations: Allocations) -> bool:
    held = consumer.allocations if consumer is not None else {}
    return all(
        amount <= held.get(host, {}).get(name, 0)
        for host, amounts in allocations.items()
        for name, amount in amounts.items()
    )


def _correction(ledger: Ledger, found: Found) -> PlannedClaim | None:
    """The claim of an object that no step changes, where the store has another."""
    if found.partial or found.spec is None or found.problem:
        return None
    allocations = ledger.taken(found)
    held = ledger.own.get(found.uuid)
    if allocations == (held.allocations if held is not None else {}):
        return None
    return PlannedClaim(found.uuid, str(found.address), allocations)


def _orphans(ledger: Ledger, wanted: Container[str]) -> Iterator[PlannedClaim]:
    """Claims of this stack for what is nowhere; of a host that was not read nothing is known."""
    if not ledger.own:
        return
    read = {snap.host for snap in ledger.snapshot.places if snap.error is None}
    read |= {uuid for uuid, hosts in ledger.shared.items() if hosts <= read}
    there = {found.uuid for snap in ledger.snapshot.places for found in snap.found}
    for uuid, consumer in ledger.own.items():
        if uuid not in there and uuid not in wanted and read.issuperset(map(host_of, consumer.allocations)):
            yield PlannedClaim(uuid, consumer.name)


def _rooms(
    ledger: Ledger,
    states: Mapping[str, HostState],
    sight: Sight,
    wanted: Iterable[PlannedClaim],
    covered: set[str],
) -> Iterator[Room]:
    """The hosts on which steps make or change what is claimed, each followed by what is claimed below it."""
    makes = [s for s in sight.steps if s.address.kind in CLAIMED_KINDS]
    below: dict[str, set[str]] = {host: set() for s in makes if s.operation in _CLAIM for host in (s.host, s.source)}
    for provider in (provider for claim in wanted for provider in claim.allocations):
        below.setdefault(host_of(provider), set()).add(provider)
    gone: dict[str, set[str]] = defaultdict(set)
    for step in makes:
        if step.operation is Operation.DELETE and not step.replaces:
            gone[step.host].add(step.uuid)
    gone |= {uuid: set().union(*(gone[host] for host in hosts)) for uuid, hosts in ledger.shared.items()}
    offers = _offers(states.values())
    for root in sorted(below.keys() & (states.keys() | ledger.shared.keys())):
        unclaimed = ledger.unclaimed(root, covered | gone[root])
        for provider in (root, *sorted(below[root] - {root})):
            leaving: Counter[str] = Counter()
            for uuid in gone[root]:
                leaving.update(ledger.held_on(provider, uuid))
            leaving.update(_freed(ledger, sight, provider))
            whole = {WHOLE_CPU: Inventory(1)} if cpu_of(provider) is not None else {}
            left = dict(sorted(leaving.items()))
            offer = {**_left_behind(ledger, sight, provider), **offers.get(provider, whole)}
            yield Room(provider, offer, unclaimed.get(provider, {}), left)


def _left_behind(ledger: Ledger, sight: Sight, provider: str) -> dict[str, Inventory]:
    """None of each class that servers which leave hold: the provider may have it no more, and gives them no more."""
    moves = (s for s in sight.steps if s.operation is Operation.MIGRATE and s.source == host_of(provider))
    held = (ledger.taken(sight.found.get(step.address)).get(provider, {}) for step in moves)
    return {name: Inventory(0) for amounts in held for name in amounts}


def _offers(states: Iterable[HostState]) -> dict[str, Mapping[str, Inventory]]:
    """What hosts, and the providers below them, have of each class."""
    found = {state.name: state.inventories for state in states}
    return found | {part.uuid: part.inventories for state in states for part in state.parts}


def _freed(ledger: Ledger, sight: Sight, provider: str) -> Counter[str]:
    """What is certain to have left a host, or a part of it, by migration whenever others have come to it.

    Who comes later waits for all that those before wait for (``planner/wait.py``).
    """
    moves = [s for s in sight.steps if s.operation is Operation.MIGRATE and s.address.kind in CLAIMED_KINDS]
    host = host_of(provider)
    leaving = {s.id: ledger.taken(sight.found.get(s.address)).get(provider, {}) for s in moves if s.source == host}
    waits = {s.id: leaving.keys() & set(s.requires) for s in moves if s.address.kind == "server"}
    coming: list[tuple[set[str], dict[str, int]]] = []
    for step in (s for s in moves if s.host == host):
        carrier = next((i for i in (step.id, *step.requires) if i in waits), step.id)
        needs = _needs(step, sight.requests.get(step.address), ledger.layouts[host]).get(provider, {})
        coming.append((set(waits.get(carrier, ())), needs))
    least: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for place, (before, needs) in enumerate(sorted(coming, key=lambda each: -len(each[0]))):
        sure = Counter(later)
        for identifier in before:
            sure.update(leaving[identifier])
        least = sure if place == 0 else Counter({name: min(least[name], sure[name]) for name in least | sure})
        later.update(needs)
    return least
