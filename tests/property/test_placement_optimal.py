"""Joint placement against brute force: no broken rule, nothing better than what it calls the best, bounds that hold."""

import sys
from collections.abc import Sequence
from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import MonkeyPatch

from bench.skewed import in_use, skewed
from stacksmith.address import Address
from stacksmith.placement import Goal, HostState, Inventory, Request, Strategy, allocate, place
from stacksmith.placement.attempt import Eligible, attempt
from stacksmith.placement.joint.complete import completed
from stacksmith.placement.joint.solve import rescue
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import bundle
from stacksmith.placement.weigher import make_weigher
from tests.property.test_placement import GROUPS, NAMES, Where, World, _suits, legal, solvable, worlds

OPTIMAL = Goal(Strategy.OPTIMAL, 30)


def dearness(where: Where, requests: Sequence[Request], hosts: Sequence[HostState]) -> tuple[int, int]:
    """(soft members not where preferred, empty hosts that get something)."""
    empty = {h.name for h in hosts if not any(h.used.values()) and not any(h.groups.values())}
    missed = 0
    for name in ("soft-affinity", "soft-anti-affinity"):
        old = {h.name: h.groups.get(name, 0) for h in hosts}
        new = [where[r.address] for r in requests if r.group == name]
        if name == "soft-affinity":
            homes = {host for host, count in old.items() if count}
            missed += len(set(new) - homes) - (1 if new and not homes else 0)
        else:
            missed += sum(new.count(host) - (0 if old[host] else 1) for host in set(new))
    return missed, len(empty & set(where.values()))


def cheapest(world: World) -> tuple[int, int] | None:
    """The least dearness of all legal arrangements of the whole batch; None when there is none."""
    options = [[h.name for h in world.hosts if _suits(r, h)] for r in world.requests]
    addresses = [r.address for r in world.requests]
    ways = (dict(zip(addresses, choice, strict=True)) for choice in product(*options))
    costs = [
        dearness(where, world.requests, world.hosts) for where in ways if legal(where, world.requests, world.hosts)
    ]
    return min(costs, default=None)


def roomy(seed: int) -> World:
    """Hosts that are mostly empty and have room for most batches, so that how many are opened and what soft groups
    miss is what decides."""
    random = Random(seed)
    hosts = [
        HostState(
            name,
            {"VCPU": Inventory(random.randint(3, 8)), "MEMORY_MB": Inventory(random.randint(3, 10))},
            {"VCPU": 1} if random.random() < 0.2 else {},
            frozenset({"CUSTOM_A"} if random.random() < 0.5 else ()),
            groups={group: 1 for group in GROUPS if random.random() < 0.08},
        )
        for name in NAMES[: random.randint(2, 4)]
    ]
    groups = [None, None, *GROUPS, "soft-affinity", "soft-anti-affinity"]
    requests = [
        Request(
            Address("server", "a", i),
            {"VCPU": random.randint(1, 3), "MEMORY_MB": random.randint(1, 4)},
            frozenset({"CUSTOM_A"} if random.random() < 0.15 else ()),
            group=random.choice(groups),
            together=random.choice([None] * 6 + ["x"]),
        )
        for i in range(random.randint(2, 5))
    ]
    return World(tuple(requests), tuple(hosts), "pack")


@settings(max_examples=300, deadline=None)
@given(worlds(hosts=3) | st.integers(0, 2**32).map(roomy))
def test_optimal_is_what_brute_force_finds_best(world: World) -> None:
    allocation = allocate(world.requests, world.hosts, GROUPS, goal=OPTIMAL)
    where = {p.address: p.host for p in allocation.placements if p.host is not None}
    assert legal(where, world.requests, world.hosts)
    best = cheapest(world)
    assert (best is not None) == (len(where) == len(world.requests))
    if best is not None:
        optimum = allocation.optimum
        assert optimum is not None
        assert dearness(where, world.requests, world.hosts) == best == (optimum.missed, optimum.opened)
        assert optimum.proven
        assert optimum.stopped_after is None


@settings(max_examples=100, deadline=None)
@given(worlds(hosts=3), st.randoms(use_true_random=False))
def test_optimal_is_the_same_whatever_the_order(world: World, random: Random) -> None:
    requests, hosts = list(world.requests), list(world.hosts)
    random.shuffle(requests)
    random.shuffle(hosts)
    assert allocate(requests, hosts, GROUPS, goal=OPTIMAL) == allocate(
        world.requests, world.hosts, GROUPS, goal=OPTIMAL
    )


@settings(max_examples=200, deadline=None)
@given(worlds(hosts=3))
def test_rescue_finds_an_arrangement_or_proves_there_is_none(world: World) -> None:
    units, eligible = bundle(world.requests, world.hosts, GROUPS), Eligible(world.hosts)
    joint = rescue(units, world.hosts, eligible, 30)
    way = solvable(world.requests, world.hosts)
    assert (joint.arrangement is not None, joint.impossible) == (way, not way)
    if joint.arrangement is not None:
        where = {r.address: world.hosts[i].name for unit, i in joint.arrangement.placed for r in unit.requests}
        assert legal(where, world.requests, world.hosts)


def verify(requests: Sequence[Request], hosts: Sequence[HostState], where: Where) -> None:
    """Room, traits and one member of a group per host, counted anew."""
    for host in hosts:
        here = [r for r in requests if where[r.address] == host.name]
        for name, inventory in host.inventories.items():
            assert host.used.get(name, 0) + sum(r.amounts[name] for r in here) <= inventory.capacity
        assert all(r.required <= host.traits for r in here)
        groups = [r.group for r in here if r.group]
        assert len(groups) == len(set(groups))


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 1000))
def test_optimal_on_skewed_hosts_keeps_every_rule_and_states_a_bound(seed: int) -> None:
    requests, hosts, groups = skewed(20, 150, seed=seed)
    allocation = allocate(requests, hosts, groups, goal=Goal(Strategy.OPTIMAL, 5), explain=False)
    where = {p.address: p.host for p in allocation.placements if p.host is not None}
    verify(requests, hosts, where)
    optimum = allocation.optimum
    assert optimum is not None
    assert optimum.opened_at_least <= optimum.opened == len(set(where.values()))
    pack = place(requests, hosts, groups, strategy="pack", explain=False)
    assert optimum.opened <= len({p.host for p in pack})


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-6, 0.05, 0.3]))
def test_optimal_that_runs_out_of_time_is_never_worse_than_pack(seed: int, seconds: float) -> None:
    requests, hosts, groups = skewed(30, 250, seed=seed)
    allocation = allocate(requests, hosts, groups, goal=Goal(Strategy.OPTIMAL, seconds), explain=False)
    where = {p.address: p.host for p in allocation.placements if p.host is not None}
    assert len(where) == len(requests)
    verify(requests, hosts, where)
    pack = place(requests, hosts, groups, strategy="pack", explain=False)
    optimum = allocation.optimum
    assert optimum is not None
    assert optimum.opened_at_least <= optimum.opened == len(set(where.values())) <= len({p.host for p in pack})


@settings(max_examples=200, deadline=None)
@given(worlds(hosts=3), st.randoms(use_true_random=False))
def test_completed_arrangement_keeps_every_rule(world: World, random: Random) -> None:
    units, eligible = bundle(world.requests, world.hosts, GROUPS), Eligible(world.hosts)
    order = random.sample(units, len(units))
    greedy = attempt(order, world.hosts, eligible, make_weigher(Strategy.PACK, open_sites(world.hosts)))
    kept = random.sample(greedy.placed, random.randint(0, len(greedy.placed)))
    found = completed(kept, units, world.hosts, eligible)
    if found is not None:
        assert sorted(unit.address for unit, _ in found.placed) == sorted(unit.address for unit in units)
        where = {r.address: world.hosts[i].name for unit, i in found.placed for r in unit.requests}
        assert legal(where, world.requests, world.hosts)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["spread", "pack"]))
def test_default_leaves_nothing_over_on_skewed_hosts_at_70_percent(seed: int, strategy: str) -> None:
    requests, hosts, groups = skewed(50, 500, seed=seed)
    placements = place(requests, hosts, groups, strategy=strategy, explain=False)
    where = {p.address: p.host for p in placements if p.host is not None}
    assert len(where) == len(requests)
    verify(requests, hosts, where)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["spread", "pack"]), st.sampled_from([0.8, 0.95, 0.99]))
def test_default_leaves_nothing_over_on_hosts_in_use_at_70_percent(seed: int, strategy: str, full: float) -> None:
    """What runs stays, and there is a way to place the new ones beside it."""
    requests, hosts, groups = in_use(30, 300, full=full, seed=seed)
    used = [sum(host.used[name] for host in hosts) for name in ("VCPU", "MEMORY_MB")]
    have = [sum(host.inventories[name].total for host in hosts) for name in ("VCPU", "MEMORY_MB")]
    assert 0.6 < max(u / h for u, h in zip(used, have, strict=True)) < 0.8
    placements = place(requests, hosts, groups, strategy=strategy, explain=False)
    where = {p.address: p.host for p in placements if p.host is not None}
    assert len(where) == len(requests)
    verify(requests, hosts, where)


def crowded(seed: int) -> World:
    """Hosts in use, and more new servers than they take together."""
    random = Random(seed)
    hosts = [
        HostState(
            name,
            {"VCPU": Inventory(random.randint(4, 9)), "MEMORY_MB": Inventory(random.randint(4, 9))},
            {"VCPU": random.randint(0, 4), "MEMORY_MB": random.randint(0, 4)},
            frozenset({"CUSTOM_A"} if random.random() < 0.5 else ()),
            groups={group: 1 for group in ("anti-affinity", "two") if random.random() < 0.3},
        )
        for name in NAMES[: random.randint(2, 3)]
    ]
    requests = [
        Request(
            Address("server", "a", i),
            {"VCPU": random.randint(1, 4), "MEMORY_MB": random.randint(1, 4)},
            frozenset({"CUSTOM_A"} if random.random() < 0.3 else ()),
            group=random.choice([None, None, "anti-affinity", "two"]),
        )
        for i in range(6)
    ]
    return World(tuple(requests), tuple(hosts), random.choice(["spread", "pack"]))


def most_that_fit(world: World) -> int:
    """The size of the largest set of requests that some legal way places."""
    options = [[None, *(h.name for h in world.hosts if _suits(r, h))] for r in world.requests]
    addresses = [r.address for r in world.requests]
    ways = ({a: h for a, h in zip(addresses, choice, strict=True) if h is not None} for choice in product(*options))
    return max(len(where) for where in ways if legal(where, world.requests, world.hosts))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32).map(crowded))
def test_default_places_as_many_as_brute_force_when_not_all_fit(world: World) -> None:
    placements = world.place(explain=False)
    where = {p.address: p.host for p in placements if p.host is not None}
    assert legal(where, world.requests, world.hosts)
    assert len(where) == most_that_fit(world)
    assert all(p.cause.startswith("no valid host: ") for p in placements if p.host is None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32).map(crowded))
def test_without_the_solver_none_of_those_left_over_finds_room_beside_the_placed(world: World) -> None:
    with MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "highspy", None)
        placements = world.place(explain=False)
    placed = [r for r in world.requests if next(p.host for p in placements if p.address == r.address) is not None]
    for request in world.requests:
        if request not in placed:
            assert not solvable([*placed, request], world.hosts)
