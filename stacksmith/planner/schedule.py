"""Which host each new server and volume gets: the stack and the snapshot put as placement's question."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.frozen import dataclass
from stacksmith.model.demand import FLAT, Demand
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.realised import Volume
from stacksmith.model.stack import Resource, Stack
from stacksmith.placement.allocate import allocate
from stacksmith.placement.filters import instances
from stacksmith.placement.host import INSTANCES, HostState
from stacksmith.placement.joint.solver import installed
from stacksmith.placement.refusal import Refusal, Rule
from stacksmith.placement.request import NO_ZONE, Goal, Group, Request, Strategy
from stacksmith.placement.verdict import Optimum, Placement
from stacksmith.planner.asking import Asking
from stacksmith.planner.build import Draft
from stacksmith.planner.drive import drive_format
from stacksmith.planner.flight import with_limits, with_operations
from stacksmith.planner.hint import Hinted, hinted
from stacksmith.planner.inventory import host_states, types_apart, with_parts_of
from stacksmith.planner.layout import Taken
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.part import Parts, allot, demands, flat_amounts, kept_parts, parts_request
from stacksmith.planner.sharing import held_by

GIB = 2**30
EXPLAINED = 200  # verdict tables are kept for this many new servers; failures always explain themselves


@dataclass(slots=True)
class Schedule:
    """Hosts of servers and volumes, and why. ``states`` are the hosts with what stays on them.

    ``holding`` are servers whose parts no other was given, though they may leave them.
    """

    hosts: dict[Address, str]
    placements: tuple[Placement, ...] = ()
    optimum: Optimum | None = None
    conflicts: list[tuple[Address, str]] = field(default_factory=list)
    parts: dict[Address, Parts] = field(default_factory=dict)
    requests: dict[Address, Request] = field(default_factory=dict)
    demands: dict[Address, Demand] = field(default_factory=dict)
    states: Sequence[HostState] = ()
    holding: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class Moving:
    """A server that may leave ``host``; ``to`` is the only one it may be on then, None for any.

    ``holds``: the parts it has of its host are given to no other; ``leaves``: it may not stay. ``frees`` are shared
    storages in which it keeps no room: what its volumes have of others stays theirs, wherever it goes.
    """

    host: str
    to: str | None = None
    holds: bool = False
    leaves: bool = False
    frees: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Asks for any host but the one that a server is to leave."""

    host: str

    def refusal(self, host: HostState) -> Refusal | None:
        """Refuses that one."""
        return Refusal(Rule.FILTER, "rebalance", "it is to leave this host") if host.name == self.host else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What exists. ``fixed`` is what stays on its host, or is recorded there; ``leaving`` are servers and volumes that
    the plan deletes or moves: their room counts as free. ``moving`` are servers that may leave the host they are on,
    those ``anew`` get parts of theirs anew.
    """

    fixed: Mapping[Address, str]
    leaving: Sequence[Found]
    moving: Mapping[Address, Moving]
    anew: Collection[Address] = ()


@dataclass(frozen=True, slots=True)
class _Told:
    """Asks for a host in the zone that a config drive told its guest, where another is asked for now."""

    zone: str

    def refusal(self, host: HostState) -> Refusal | None:
        """Refuses those in other zones."""
        if (host.availability_zone or NO_ZONE) == self.zone:
            return None
        return Refusal(Rule.FILTER, "config drive", zone_told(self.zone), help="give it config_drive: nocloud or false")


def schedule(stack: Stack, ledger: Ledger, draft: Draft, standing: Standing) -> Schedule:
    """Hosts for everything in ``draft``. What the ledger's stacks have claimed and do not use yet counts as used."""
    fixed, moving, snapshot = standing.fixed, standing.moving, ledger.snapshot
    result = Schedule(dict(fixed))
    users, wanted = draft.users(), demands(stack)
    frees = {address: each.frees for address, each in moving.items()}
    held = held_by(ledger, standing.leaving, users, frees)
    leaving = [f for f in standing.leaving if f.address not in held]
    result.demands = wanted
    known = _known_parts(wanted, snapshot, fixed)
    known |= {address: None for address in known if address in standing.anew}
    anew = sorted(a for a, parts in known.items() if parts is None)
    asking, hints = Asking(stack), hinted(stack, snapshot, fixed)
    requests = [with_hints(r, hints) for r in server_requests(asking, draft, fixed, users, result)]
    requests = [to_move(stack, with_held(r, held, users), moving.get(r.address)) for r in requests]
    requests = with_operations(stack.fleet, requests, {a for a, each in moving.items() if each.to is not None})
    requests += [Request(a, {}, host=fixed[a], parts=parts_request(wanted[a])) for a in anew]
    requests += _volume_requests(stack, draft, fixed, users)
    groups = {n: Group(n, g.policy, g.max_server_per_host) for n, g in stack.server_groups.items()}
    pending = ledger.pending({f.address for f in leaving}, frozenset(anew))
    members = group_members(asking, fixed, hints)
    states = host_states(stack.fleet, snapshot, leaving, members, anew, pending)
    result.holding = frozenset(address for address, each in moving.items() if each.holds)
    letting = [f for f in leaving if f.address not in result.holding]
    if result.holding:
        states = with_parts_of(states, host_states(stack.fleet, snapshot, letting, members, anew, pending))
    result.states = states = with_limits(stack.fleet, ledger, states)
    allocation = allocate(requests, states, groups, goal=_goal(stack), explain=len(requests) <= EXPLAINED)
    result.placements, result.optimum = allocation.placements, allocation.optimum
    result.requests = {r.address: r for r in requests if r.address not in fixed}
    for placement in allocation.placements:
        if placement.host is not None:
            result.hosts[placement.address] = placement.host
    result.parts = {address: parts for address, parts in known.items() if parts is not None}
    gone = {*anew, *(f.address for f in letting)}
    result.parts |= allot(wanted, allocation.placements, stack.fleet, snapshot, gone, pending)
    for volume, server in users.items():
        if server in result.hosts and volume in draft.volumes:
            result.hosts.setdefault(volume, result.hosts[server])
    return result


def _known_parts(
    wanted: Mapping[Address, Demand], snapshot: Snapshot, fixed: Mapping[Address, str]
) -> dict[Address, Parts | None]:
    """What servers that exist have of the hosts that were read; None for one that needs something else."""
    read = {snap.host for snap in snapshot.hosts if snap.error is None}
    found = {f.address: f for snap in snapshot.hosts for f in snap.found if fixed.get(f.address) == f.host}
    return {a: kept_parts(wanted[a], found.get(a)) for a in wanted.keys() & fixed.keys() if fixed[a] in read}


def to_move(stack: Stack, request: Request, moving: Moving | None) -> Request:
    """The request of a server that may leave its host, but not the zone that its guest was told by its config drive.
    Where its place is chosen it goes there whatever it is pinned to.

    One that asked for no zone may go to another, as in nova.
    """
    if moving is None:
        return request
    if moving.leaves:
        request = replace(request, conditions=(*request.conditions, _Elsewhere(moving.host)))
    if moving.to is not None:
        request = replace(request, host=None, with_hosts=(moving.to,), beside="the place chosen for it")
    zone = kept_zone(stack, stack.resources[request.address], moving.host)
    if zone is None:
        return request
    if request.availability_zone not in (None, zone):
        return replace(request, conditions=(*request.conditions, _Told(zone)))
    return replace(request, availability_zone=zone)


def kept_zone(stack: Stack, resource: Resource, host: str) -> str | None:
    """The zone of a server on a host that its config drive told it, NO_ZONE for none; None for one that was told
    nothing, and may go to another."""
    spec = resource.spec
    if not isinstance(spec, ServerSpec) or drive_format(spec) != "configdrive":
        return None
    return stack.fleet.hosts[host].availability_zone or NO_ZONE


def zone_told(zone: str) -> str:
    """Why a server leaves no zone that its config drive told it."""
    words = f"its zone, {zone}" if zone else "that it is in no zone"
    return f"its config drive told the guest {words}: it leaves it only with config_drive: nocloud or false"


def in_zone_of(stack: Stack, request: Request, host: str) -> Request:
    """The request of a server on a host, which goes to no other zone."""
    if request.availability_zone is not None:
        return request
    return replace(request, availability_zone=stack.fleet.hosts[host].availability_zone or NO_ZONE)


def with_parts(request: Request, wanted: Demand | None, disks: Mapping[str, int]) -> Request:
    """The request with what is asked of the providers below the host; ``disks`` are GiB by volume type."""
    if wanted is None and not disks:
        return request
    wanted = wanted or Demand()
    return replace(request, amounts=flat_amounts(wanted, request.amounts), parts=parts_request(wanted, disks))


def with_held(request: Request, held: Mapping[Address, Taken], users: Mapping[Address, Address]) -> Request:
    """The request of a server with what its volumes have of shared storages already."""
    if not held:
        return request
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for volume, amounts in held.items():
        if users[volume] == request.address:
            for provider, each in amounts.items():
                found[provider].update(each)
    return replace(request, held={provider: dict(each) for provider, each in sorted(found.items())})


def with_hints(request: Request, hints: Mapping[Address, Hinted]) -> Request:
    """The request with what its hints, and those of others, make of it."""
    hint = hints.get(request.address)
    if hint is None:
        return request
    marks = (*request.marks, *hint.marks)
    return replace(request, marks=marks, away=tuple(hint.away), follows=tuple(hint.follows), together=hint.together)


def _goal(stack: Stack) -> Goal:
    """What the batch is placed for: optimal asks for the whole, the weighers of a fleet replace the other strategies.

    Raises: Faults when optimal needs a solver that is not installed.
    """
    if stack.strategy == Strategy.OPTIMAL:
        if not installed():
            message = "cannot place by strategy optimal: its solver, highspy, is not installed"
            hint = "pip install 'stacksmith[optimal]', or take strategy: pack"
            raise Faults([error("missing-extra", message, stack.strategy_place, hint)])
        return Goal(Strategy.OPTIMAL, stack.placement_time_limit_seconds)
    return Goal(stack.fleet.scheduler if stack.fleet.scheduler.weighers else Strategy(stack.strategy))


def group_members(
    asking: Asking, fixed: Mapping[Address, str], hints: Mapping[Address, Hinted]
) -> dict[str, dict[str, int]]:
    """Members of each group, and bearers of each mark, on each host: {host: {group or mark: count}}."""
    members: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for address, host in fixed.items():
        resource = asking.stack.resources.get(address)
        if resource is not None and isinstance(resource.spec, ServerSpec):
            group = [resource.spec.group] if resource.spec.group else []
            marks = hints[address].marks if address in hints else ()
            for name in (*group, *asking.of(resource.spec).marks, *marks):
                members[host][name] += 1
    return members


def server_requests(
    asking: Asking, draft: Draft, fixed: Mapping[Address, str], users: Mapping[Address, Address], result: Schedule
) -> list[Request]:
    """What each server asks that is not ``fixed``; ``result`` has the demands and gets the conflicts."""
    stack = asking.stack
    attached: dict[Address, list[Address]] = defaultdict(list)
    for volume, server in users.items():
        attached[server].append(volume)
    requests = []
    wanted, apart = result.demands, types_apart(stack.fleet)
    for address in draft.layouts:
        volumes = attached[address]
        there = {v: fixed[v] for v in volumes if v in fixed}
        if address in fixed:
            result.conflicts += [
                (address, _scattered(v, host, fixed[address])) for v, host in there.items() if host != fixed[address]
            ]
            continue
        pins = _pins(stack, [v for v in volumes if v not in fixed])
        hosts = sorted({*there.values(), *pins})
        if len(hosts) > 1:
            result.conflicts.append((address, f"its volumes are on several hosts: {', '.join(hosts)}"))
        new = [draft.volumes[v][0] for v in volumes if v not in fixed and v in draft.volumes]
        here = sum(volume.size_bytes for volume in new if volume.volume_type not in apart)
        request = _request(asking, stack.resources[address], draft.local_bytes(address) + here)
        request = with_parts(request, wanted.get(address), _disks(new, apart))
        beside = ", ".join(map(str, there)) or "its volume"
        requests.append(replace(request, with_hosts=tuple(hosts), beside=beside))
    return requests


def _scattered(volume: Address, host: str, server_host: str) -> str:
    way = f"before it is mapped, `host: {host}` and `stacksmith rebalance` move the server there"
    return f"{volume} is on {host}, the server on {server_host}; {way}"


def _pins(stack: Stack, volumes: Iterable[Address]) -> set[str]:
    specs = (stack.resources[v].spec for v in volumes if v in stack.resources)
    return {spec.host for spec in specs if isinstance(spec, VolumeSpec) and spec.host}


def _request(asking: Asking, resource: Resource, disk_bytes: int) -> Request:
    """The request of a flavor, as nova's ``ResourceRequest.from_request_spec`` makes it."""
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    question = asking.of(spec)
    return Request(
        resource.address,
        flavor_amounts(asking.stack, spec.flavor, disk_bytes),
        required=question.required,
        forbidden=question.forbidden,
        availability_zone=spec.availability_zone,
        host=spec.host,
        group=spec.group,
        conditions=question.conditions,
        marks=question.marks,
        queries=question.queries,
    )


def flavor_amounts(stack: Stack, name: str, disk_bytes: int) -> dict[str, int]:
    """The units by class of a server of the flavor with disks of this size, none of them 0."""
    flavor = stack.flavors[name]
    amounts = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": -(-disk_bytes // GIB)}
    amounts |= {n: int(v) for n in FLAT if (v := flavor.extra_specs.get(f"resources:{n}")) is not None}
    if instances(stack.fleet.scheduler, {}) is not None:
        amounts[INSTANCES] = 1
    return {k: v for k, v in amounts.items() if v}


def _volume_requests(
    stack: Stack, draft: Draft, fixed: Mapping[Address, str], users: Mapping[Address, Address]
) -> list[Request]:
    """Volumes that no server uses: placed by their size alone."""
    requests = []
    for address, (spec, _, block) in draft.volumes.items():
        if address in fixed or address in users:
            continue
        declared = block.spec
        pinned = declared if isinstance(declared, VolumeSpec) else None
        disks = _disks([spec], types_apart(stack.fleet))
        request = Request(
            address,
            {} if disks else {"DISK_GB": -(-spec.size_bytes // GIB)},
            availability_zone=pinned.availability_zone if pinned else None,
            host=pinned.host if pinned else None,
        )
        requests.append(with_parts(request, None, disks))
    return requests


def _disks(volumes: Iterable[Volume], apart: Collection[str]) -> dict[str, int]:
    """GiB of volumes by volume type, of the types that are asked of providers of their own."""
    gib: Counter[str] = Counter()
    for volume in volumes:
        if volume.volume_type in apart:
            gib[volume.volume_type] += -(-volume.size_bytes // GIB)
    return dict(gib)
