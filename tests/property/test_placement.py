"""Placement against a checker and a brute-force solver that share no code with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.placement import Group, HostState, Inventory, Placement, Request, Strategy, place
from stacksmith.placement.attempt import Eligible, attempt
from stacksmith.placement.exchange import exchange
from stacksmith.placement.proof import Shortage
from stacksmith.placement.search import search
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import bundle
from stacksmith.placement.weigher import make_weigher

POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")
GROUPS = {policy: Group(policy, policy) for policy in POLICIES} | {"two": Group("two", "anti-affinity", 2)}
TRAITS = st.frozensets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"]), max_size=1)
ZONES = st.sampled_from([None, None, None, "z1", "z2"])
NAMES = ("hv1", "hv2", "hv3", "hv4")

Where = Mapping[Address, str]


@dataclass(frozen=True)
class World:
    requests: tuple[Request, ...]
    hosts: tuple[HostState, ...]
    strategy: str

    def place(self, explain: bool = True) -> tuple[Placement, ...]:
        return place(self.requests, self.hosts, GROUPS, strategy=self.strategy, explain=explain)


@st.composite
def worlds(draw: st.DrawFn, hosts: int = 4, requests: int = 5) -> World:
    names = NAMES[: draw(st.integers(1, hosts))]
    made = tuple(draw(_host(name)) for name in names)
    asked = tuple(draw(_request(i)) for i in range(draw(st.integers(1, requests))))
    return World(asked, made, draw(st.sampled_from(["spread", "pack"])))


@st.composite
def _host(draw: st.DrawFn, name: str) -> HostState:
    vcpu = Inventory(draw(st.integers(1, 4)), 0, draw(st.sampled_from([1.0, 1.1, 1.5, 4.0])))
    memory = Inventory(draw(st.sampled_from([-1, 2, 4, 5, 6, 8])), draw(st.integers(0, 1)), step_size=1)
    disk = Inventory(8, max_unit=draw(st.integers(1, 4)), step_size=draw(st.integers(1, 2)))
    return HostState(
        name,
        {"VCPU": vcpu, "MEMORY_MB": memory} | ({"DISK_GB": disk} if draw(st.integers(0, 4)) else {}),
        {"VCPU": draw(st.integers(0, 2)), "MEMORY_MB": draw(st.integers(0, 3))},
        draw(TRAITS),
        draw(ZONES),
        state=draw(st.sampled_from(["enabled"] * 5 + ["disabled"])),
        groups={g: draw(st.integers(0, 2)) for g in GROUPS if not draw(st.integers(0, 5))},
        reachable=bool(draw(st.integers(0, 7))),
    )


@st.composite
def _request(draw: st.DrawFn, number: int) -> Request:
    amounts = {name: draw(st.integers(0, 3)) for name in ("VCPU", "MEMORY_MB", "DISK_GB")}
    pinned, beside = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    return Request(
        Address("server", draw(st.sampled_from("ab")), number),
        amounts,
        draw(TRAITS) if draw(st.booleans()) else frozenset(),
        draw(TRAITS) if not draw(st.integers(0, 3)) else frozenset(),
        draw(ZONES),
        NAMES[pinned] if pinned < 4 else None,
        draw(st.sampled_from([None, None, *GROUPS])),
        NAMES[beside : beside + 2] if beside < 3 else (),
        together=draw(st.sampled_from([None] * 4 + ["x", "y"])),
    )


def legal(where: Where, requests: Sequence[Request], hosts: Sequence[HostState]) -> bool:
    """True when what is placed breaks no rule; requests without a host are passed over."""
    here = {h.name: [r for r in requests if where.get(r.address) == h.name] for h in hosts}
    return (
        all(_suits(r, h) for h in hosts for r in here[h.name])
        and all(_holds(h, here[h.name]) for h in hosts)
        and all(_grouped(name, [r for r in requests if r.group == name], where, hosts) for name in GROUPS)
        and all(
            len({where[r.address] for r in requests if r.together == key and r.address in where}) < 2 for key in "xy"
        )
    )


def _suits(request: Request, host: HostState) -> bool:
    return (
        host.reachable
        and host.state == "enabled"
        and request.host in (None, host.name)
        and (not request.with_hosts or host.name in request.with_hosts)
        and request.availability_zone in (None, host.availability_zone)
        and request.required <= host.traits
        and not request.forbidden & host.traits
    )


def _holds(host: HostState, requests: Sequence[Request]) -> bool:
    for name in {n for r in requests for n, a in r.amounts.items() if a}:
        asked = [r.amounts[name] for r in requests if r.amounts.get(name)]
        if name not in host.inventories:
            return False
        i = host.inventories[name]
        if any(a < i.min_unit or a > i.max_unit or a % i.step_size for a in asked):
            return False
        if i.total != -1 and host.used.get(name, 0) + sum(asked) > (i.total - i.reserved) * i.allocation_ratio:
            return False
    return True


def _grouped(name: str, members: Sequence[Request], where: Where, hosts: Sequence[HostState]) -> bool:
    old = {h.name: h.groups.get(name, 0) for h in hosts}
    new = [where[r.address] for r in members if r.address in where]
    if GROUPS[name].policy == "affinity":
        homes = {h for h, count in old.items() if count}
        return set(new) <= homes if homes else len(set(new)) < 2
    if GROUPS[name].policy == "anti-affinity":
        return all(old[h] + new.count(h) <= GROUPS[name].max_server_per_host for h in new)
    return True


def solvable(requests: Sequence[Request], hosts: Sequence[HostState]) -> bool:
    """True when some way to place all of the requests is legal."""
    options = [[h.name for h in hosts if _suits(r, h)] for r in requests]
    addresses = [r.address for r in requests]
    return any(legal(dict(zip(addresses, choice, strict=True)), requests, hosts) for choice in product(*options))


def bound(request: Request, requests: Sequence[Request], hosts: Sequence[HostState]) -> list[Request]:
    """The request and those that must share its host."""
    bonds, found = set[str](), [request]
    while True:
        for r in found:
            bonds |= {r.together} if r.together else set()
            bonds |= {r.group} if r.group == "affinity" and not any(h.groups.get(r.group) for h in hosts) else set()
        more = [r for r in requests if r.together in bonds or r.group in bonds or r is request]
        if len(more) == len(found):
            return more
        found = more


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_place_breaks_no_rule_and_places_all_when_a_way_exists(world: World) -> None:
    placements = world.place()
    where = {p.address: p.host for p in placements if p.host is not None}
    assert [p.address for p in placements] == sorted((r.address for r in world.requests), key=lambda a: a.order)
    assert legal(where, world.requests, world.hosts)
    assert (len(where) == len(world.requests)) == solvable(world.requests, world.hosts)


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_failure_says_no_valid_host_only_when_it_is_so(world: World) -> None:
    requests = {r.address: r for r in world.requests}
    for p in world.place():
        assert (p.host is None) == bool(p.cause) == bool(p.hint)
        if p.host is None and ";" not in p.cause:
            assert p.cause.startswith("no valid host: ")
            assert not solvable(bound(requests[p.address], world.requests, world.hosts), world.hosts)


@settings(max_examples=300, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_place_does_not_depend_on_the_order_of_its_arguments(world: World, random: Random) -> None:
    requests, hosts = list(world.requests), list(world.hosts)
    random.shuffle(requests)
    random.shuffle(hosts)
    assert World(tuple(requests), tuple(hosts), world.strategy).place() == world.place()


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_every_host_gets_a_verdict_that_agrees_with_the_choice(world: World) -> None:
    for p in world.place():
        verdicts = {v.host: v for v in p.verdicts}
        assert list(verdicts) == sorted(h.name for h in world.hosts)
        assert all((v.score is not None) == v.fits == v.reason.startswith("fits") for v in p.verdicts)
        if p.host is None:
            assert not any(v.fits for v in p.verdicts)
        elif "find room" not in verdicts[p.host].reason:
            best = max(v.score for v in p.verdicts if v.score is not None)
            assert p.host == next(v.host for v in p.verdicts if v.score == best)


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_without_explain_hosts_and_causes_are_the_same(world: World) -> None:
    told = [(p.address, p.host, p.cause, p.hint) for p in world.place()]
    assert told == [(p.address, p.host, p.cause, p.hint) for p in world.place(explain=False)]
    assert all(bool(p.verdicts) == (p.host is None) for p in world.place(explain=False))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["spread", "pack"]), st.sampled_from([1, 2, 40]))
def test_large_batches_break_no_rule_and_choose_the_best_score(seed: int, strategy: str, most: int) -> None:
    random = Random(seed)
    hosts = [
        HostState(
            f"hv{i}",
            {"VCPU": Inventory(random.choice([8, 16, 32]), 0, 2.0), "MEMORY_MB": Inventory(random.choice([64, 128]))},
            {"VCPU": random.randrange(9), "MEMORY_MB": random.randrange(40)},
        )
        for i in range(60)
    ]
    requests = [
        Request(
            Address("server", random.choice("abc"), i),
            {"VCPU": random.choice([1, 2, 4]), "MEMORY_MB": random.choice([1, 4, 8])},
            group=random.choice([None, "soft-affinity", "soft-anti-affinity", "big"]),
        )
        for i in range(120)
    ]
    groups = GROUPS | {"big": Group("big", "anti-affinity", most)}
    placements = place(requests, hosts, groups, strategy=strategy)
    where = {p.address: p.host for p in placements if p.host is not None}
    counts = [sum(where.get(r.address) == h.name for r in requests if r.group == "big") for h in hosts]
    assert max(counts) <= most
    assert all(_holds(h, [r for r in requests if where.get(r.address) == h.name]) for h in hosts)
    for p in placements:
        scores = [v.score for v in p.verdicts if v.score is not None]
        chosen = next((v for v in p.verdicts if v.host == p.host), None)
        assert chosen is None or "find room" in chosen.reason or chosen.score == max(scores)


@st.composite
def _tight(draw: st.DrawFn) -> World:
    """Little but room and anti-affinity to get wrong, and hardly enough of both."""
    count = draw(st.integers(2, 3))
    there = st.sampled_from([{}, {"two": 1}])
    hosts = [HostState(n, {"VCPU": Inventory(draw(st.integers(4, 6)))}, groups=draw(there)) for n in NAMES[:count]]
    asked = draw(st.lists(st.integers(1, 4), min_size=2, max_size=6))
    groups = st.sampled_from([None, None, "two", "anti-affinity"])
    made = [Request(Address("server", "a", i), {"VCPU": n}, group=draw(groups)) for i, n in enumerate(asked)]
    return World(tuple(made), tuple(hosts), "spread")


@settings(max_examples=400, deadline=None)
@given(worlds(hosts=4, requests=12))
def test_exchange_keeps_every_rule_and_loses_nobody(world: World) -> None:
    hosts = sorted(world.hosts, key=lambda host: host.name)
    units, eligible = bundle(world.requests, hosts, GROUPS), Eligible(hosts)
    greedy = attempt(units, hosts, eligible, make_weigher(Strategy(world.strategy), open_sites(hosts)))
    found = exchange(greedy, hosts, eligible)
    assert sorted(u.address for u in [*(u for u, _ in found.placed), *found.left]) == [u.address for u in units]
    assert {u.address for u in found.left} <= {u.address for u in greedy.left}
    where = {r.address: hosts[i].name for unit, i in found.placed for r in unit.requests}
    assert legal(where, world.requests, hosts)


@settings(max_examples=400, deadline=None)
@given(_tight())
def test_search_and_count_agree_with_brute_force(world: World) -> None:
    units, eligible = bundle(world.requests, world.hosts, GROUPS), Eligible(world.hosts)
    way = solvable(world.requests, world.hosts)
    answer = search(units, world.hosts, eligible)
    assert (answer.arrangement is not None, answer.proven) == (way, not way)
    if answer.arrangement is not None:
        where = {r.address: world.hosts[i].name for unit, i in answer.arrangement.placed for r in unit.requests}
        assert legal(where, world.requests, world.hosts)
    shortage = Shortage(units, open_sites(world.hosts), eligible)
    assert not (way and any(shortage.cause(unit) for unit in units))
