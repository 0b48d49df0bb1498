"""The constraints that conflict, what would make a server fit, and who cannot be placed together, by brute force."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.placement import (
    CandidateRequest,
    Group,
    HostState,
    Inventory,
    Placement,
    Provider,
    Request,
    ResourceGroup,
    clash,
    place,
)
from stacksmith.placement.conflict import hitting_set
from stacksmith.placement.verdict import Beside, Constraint
from tests.property.test_placement import GROUPS, NAMES, World, _tight, bound, legal, solvable, worlds

TRAITS = ("CUSTOM_A", "CUSTOM_B", "CUSTOM_C")


@st.composite
def hard(draw: st.DrawFn) -> tuple[Request, tuple[HostState, ...]]:
    """One request with many constraints, and hosts that each keep some of them."""
    some = st.frozensets(st.sampled_from(TRAITS))
    request = Request(
        Address("server", "a"),
        {"VCPU": draw(st.integers(0, 3)), "MEMORY_MB": draw(st.integers(0, 3))},
        required=frozenset({"CUSTOM_A"}) | draw(some),
        forbidden=draw(st.frozensets(st.sampled_from(["CUSTOM_D", "CUSTOM_E"]))),
        availability_zone=draw(st.sampled_from([None, "z1"])),
        member_of=draw(st.sampled_from([frozenset(), frozenset({"gold"})])),
        group=draw(st.sampled_from([None, "anti-affinity"])),
    )
    hosts = tuple(
        HostState(
            name,
            {"VCPU": Inventory(draw(st.integers(1, 4))), "MEMORY_MB": Inventory(draw(st.integers(1, 4)))},
            {"VCPU": draw(st.integers(0, 1)), "MEMORY_MB": draw(st.integers(0, 3))},
            draw(some) | draw(st.frozensets(st.sampled_from(["CUSTOM_D", "CUSTOM_E"]), max_size=1)),
            draw(st.sampled_from(["z1", "z2"])),
            draw(st.sampled_from([frozenset(), frozenset({"gold"})])),
            draw(st.sampled_from(["enabled"] * 5 + ["drain"])),
            groups={"anti-affinity": draw(st.integers(0, 1))},
        )
        for name in NAMES
    )
    return request, hosts


def constraints(request: Request) -> Iterator[Constraint]:
    """Everything that the request asks of a host."""
    yield from (Constraint("trait", name) for name in request.required)
    yield from (Constraint("forbidden trait", name) for name in request.forbidden)
    yield from (Constraint("amount", name) for name, amount in request.amounts.items() if amount)
    if request.availability_zone:
        yield Constraint("availability zone", request.availability_zone)
    if request.member_of:
        yield Constraint("aggregate", "gold")
    if request.group:
        yield Constraint("anti-affinity", request.group)


def keeping(request: Request, kept: Sequence[Constraint]) -> Request:
    """The request with these of its constraints only."""
    named = {rule: frozenset(c.subject for c in kept if c.rule == rule) for rule in {c.rule for c in kept}}
    return replace(
        request,
        amounts={n: a for n, a in request.amounts.items() if n in named.get("amount", ())},
        required=named.get("trait", frozenset()),
        forbidden=named.get("forbidden trait", frozenset()),
        availability_zone=request.availability_zone if "availability zone" in named else None,
        member_of=request.member_of if "aggregate" in named else frozenset(),
        group=request.group if "anti-affinity" in named else None,
    )


def fits(request: Request, host: HostState) -> bool:
    return (
        legal({request.address: host.name}, [request], [host])
        and host.state == "enabled"
        and host.reachable
        and (not request.member_of or bool(request.member_of & host.aggregates))
    )


def emptied(hosts: Sequence[HostState]) -> list[HostState]:
    return [replace(host, used={}, groups={}) for host in hosts]


@settings(max_examples=150, deadline=None)
@given(hard())
def test_conflict_is_the_smallest_set_that_no_host_meets(asked: tuple[Request, tuple[HostState, ...]]) -> None:
    request, hosts = asked
    (placement,) = place([request], hosts, GROUPS)
    assert (placement.host is None) == (placement.conflict is not None)
    if placement.conflict is None:
        return
    conflict, every = placement.conflict, list(constraints(request))
    fits_empty = any(fits(request, host) for host in emptied(hosts))
    assert conflict.beside is (Beside.RUNNING if fits_empty else Beside.NOTHING)
    there = hosts if fits_empty else emptied(hosts)
    usable = [host for host in there if fits(keeping(request, []), host)]
    conflicting = (
        size
        for size in range(len(every) + 1)
        for kept in combinations(every, size)
        if not any(fits(keeping(request, kept), host) for host in usable)
    )
    assert (conflict.usable, conflict.smallest) == (len(usable), True)
    assert len(conflict.terms) == next(conflicting)
    mine = [term.constraint for term in conflict.terms]
    assert not any(fits(keeping(request, mine), host) for host in usable)
    for term in conflict.terms:
        assert list(term.hosts) == [h.name for h in usable if fits(keeping(request, [term.constraint]), h)]


@settings(max_examples=150, deadline=None)
@given(hard())
def test_relaxations_are_the_least_after_which_their_hosts_take_it(
    asked: tuple[Request, tuple[HostState, ...]],
) -> None:
    request, hosts = asked
    (placement,) = place([request], hosts, GROUPS)
    if placement.host is not None:
        return
    every = set(constraints(request))
    lacks = [frozenset(c for c in every if not fits(keeping(request, [c]), enabled(host))) for host in hosts]
    lacks = [
        lack | (frozenset({STATE}) if h.state == "drain" else frozenset()) for lack, h in zip(lacks, hosts, strict=True)
    ]
    least = {lack for lack in lacks if not any(other < lack for other in lacks)}
    found = {frozenset(c.constraint for c in r.remedies): r for r in placement.relaxations}
    assert set(found) == least
    assert len(found) == len(placement.relaxations)
    for lack, relaxation in found.items():
        assert lacks[NAMES.index(relaxation.host)] == lack
        assert lacks.count(lack) == relaxation.like + 1
    sizes = [len(r.remedies) for r in placement.relaxations]
    assert sizes == sorted(sizes)


STATE = Constraint("state", "")


def enabled(host: HostState) -> HostState:
    return replace(host, state="enabled")


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_servers_fail_beside_what_brute_force_says(world: World) -> None:
    requests = {r.address: r for r in world.requests}
    for p in world.place():
        if p.host is not None:
            continue
        assert p.conflict is not None
        alone = solvable(bound(requests[p.address], world.requests, world.hosts), world.hosts)
        assert (p.conflict.beside is Beside.BATCH) == alone


@settings(max_examples=200, deadline=None)
@given(_tight())
def test_clash_cannot_be_placed_and_all_but_any_one_of_it_can(world: World) -> None:
    requests = {r.address: r for r in world.requests}
    failed = [p for p in world.place() if p.host is None]
    for p in failed:
        alone = solvable([requests[p.address]], world.hosts)
        assert (p.clash is not None) == alone
        if p.clash is None:
            continue
        assert p.clash.irreducible
        members = [requests[address] for address in p.clash.addresses]
        assert not solvable(members, world.hosts)
        assert all(solvable([r for r in members if r is not left], world.hosts) for left in members)
        needed = frozenset(c.subject for c in p.clash.constraints)
        assert not solvable([_with_only(r, needed) for r in members], world.hosts)
        assert all(solvable([_with_only(r, needed - {one}) for r in members], world.hosts) for one in needed)


def _conflicting_with(request: Request, others: Sequence[Request], hosts: Sequence[HostState], size: int) -> bool:
    """True when the request conflicts with a set of others, so many altogether, and they not without it."""
    return any(
        not solvable([request, *chosen], hosts) and solvable(chosen, hosts) for chosen in combinations(others, size - 1)
    )


@settings(max_examples=300, deadline=None)
@given(_tight())
def test_clash_that_is_called_the_smallest_is_by_brute_force(world: World) -> None:
    requests = {r.address: r for r in world.requests}
    for p in (p for p in world.place() if p.host is None and p.clash is not None and p.clash.smallest):
        assert p.clash is not None
        mine, others = requests[p.address], [r for r in world.requests if r.address != p.address]
        assert not any(_conflicting_with(mine, others, world.hosts, n) for n in range(1, len(p.clash.addresses)))
        members = [requests[address] for address in p.clash.addresses]
        every = {"VCPU"} | {r.group for r in members if r.group}
        fewer = combinations(sorted(every), len(p.clash.constraints) - 1) if p.clash.constraints else ()
        assert all(solvable([_with_only(r, frozenset(kept)) for r in members], world.hosts) for kept in fewer)


def test_smaller_clash_than_the_first_that_is_found_is_named() -> None:
    """Leaving out one after the other would end with u, y and z, over VCPU."""
    hosts = [HostState("hv1", {"VCPU": Inventory(10), "MEMORY_MB": Inventory(10)})]
    asked = {"u": (7, 5), "x": (1, 6), "y": (2, 2), "z": (2, 2)}
    requests = [Request(Address("server", n), {"VCPU": v, "MEMORY_MB": m}) for n, (v, m) in asked.items()]
    (failed,) = [p for p in place(requests, hosts, {}) if p.host is None]
    assert failed.clash is not None
    assert [str(address) for address in failed.clash.addresses] == ["server.u", "server.x"]
    assert [each.subject for each in failed.clash.constraints] == ["MEMORY_MB"]
    assert failed.clash.smallest
    assert failed.cause.endswith("all but any one of them fit, and no fewer conflict")


def _with_only(request: Request, kept: frozenset[str]) -> Request:
    group = request.group if request.group in kept else None
    return replace(request, group=group, amounts=request.amounts if "VCPU" in kept else {})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=12), st.booleans())
def test_hitting_set_is_smallest_unless_it_says_that_its_steps_ran_out(sets: list[frozenset[int]], cut: bool) -> None:
    named = [frozenset(Constraint("trait", f"CUSTOM_{n}") for n in each) for each in sets]
    found, smallest = hitting_set(named, 2 if cut else 20_000)
    assert smallest or cut
    assert all(each & set(found) for each in named)
    assert not any(all(each & (set(found) - {one}) for each in named) for one in found)
    every = sorted(frozenset[Constraint]().union(*named), key=lambda c: c.subject)
    least = next(
        size
        for size in range(len(every) + 1)
        for chosen in combinations(every, size)
        if all(each & set(chosen) for each in named)
    )
    assert len(found) == least or not smallest


def _disks(gib: int) -> CandidateRequest:
    return CandidateRequest({"_disk": ResourceGroup({"DISK_GB": gib}, (frozenset({"CUSTOM_POOL"}),))})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_what_parts_refuse_is_told_also_of_a_hosts_own_disks(
    asked: list[tuple[int, int]], own: bool, shared: bool
) -> None:
    """A failure without a refusal would be a fault: disks and volumes may take of one room."""
    hosts = []
    for name in NAMES[:2]:
        parent, aggregates = (None, frozenset({"nfs"})) if shared else (name, frozenset[str]())
        traits = frozenset({"CUSTOM_POOL", *(["MISC_SHARES_VIA_AGGREGATE"] if shared else [])})
        uuid = "nfs" if shared else f"{name}-pool"
        pool = Provider(uuid, uuid, parent, {"DISK_GB": Inventory(8)}, traits, aggregates)
        bound = frozenset({uuid} if own and not shared else ())
        hosts.append(HostState(name, {"DISK_GB": Inventory(8)}, parts=(pool,), own_disks=bound))
    requests = [
        Request(Address("server", "a", i), {"DISK_GB": disk}, parts=_disks(volume) if volume else None)
        for i, (disk, volume) in enumerate(asked)
    ]
    for p in place(requests, hosts, {}):
        assert (p.host is None) == (p.conflict is not None) == bool(p.relaxations)
        assert p.host is not None or not any(v.fits or not v.reason for v in p.verdicts)


def test_conflict_of_many_hosts_is_found_from_their_few_signatures() -> None:
    random = Random(0)
    hosts = [
        HostState(
            f"hv{i:05}",
            {"MEMORY_MB": Inventory(8)},
            {"MEMORY_MB": random.choice([0, 8])},
            frozenset(random.sample(TRAITS, 2)),
            random.choice(["z1", "z2"]),
        )
        for i in range(10_000)
    ]
    request = Request(Address("server", "a"), {"MEMORY_MB": 1}, frozenset(TRAITS), availability_zone="z1")
    (placement,) = place([request], hosts, {})
    conflict = _conflicting(placement)
    assert [c.subject for c in conflict] == list(TRAITS)
    assert placement.cause.startswith(
        "no valid host: even if all were empty, none of 10000 hosts has trait CUSTOM_A and has trait CUSTOM_B and has "
        "trait CUSTOM_C: "
    )


def _conflicting(placement: Placement) -> list[Constraint]:
    assert placement.conflict is not None
    return [term.constraint for term in placement.conflict.terms]


def test_clash_of_a_batch_beyond_the_limit_is_not_looked_for() -> None:
    hosts = [HostState(f"hv{i}", {"VCPU": Inventory(100)}) for i in range(12)]
    requests = [Request(Address("server", "a", i), {"VCPU": 1}) for i in range(1201)]
    failed = [p for p in place(requests, hosts, {"g": Group("g", "affinity")}, explain=False) if p.host is None]
    assert [(p.clash, p.conflict is not None) for p in failed] == [(None, True)]


def test_clash_whose_search_was_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clash, "MOST_QUESTIONS", 2)
    hosts = [HostState(f"hv{i}", {"VCPU": Inventory(10)}) for i in range(2)]
    requests = [Request(Address("server", "a", i), {"VCPU": n}) for i, n in enumerate((6, 6, 6, 2, 1))]
    (failed,) = [p for p in place(requests, hosts, {}) if p.host is None]
    assert failed.clash is not None
    assert not failed.clash.irreducible
    assert failed.cause.endswith(" conflict over VCPU: perhaps fewer do: the search was cut short")
    assert not solvable([r for r in requests if r.address in failed.clash.addresses], hosts)
