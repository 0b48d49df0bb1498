"""What ``place`` promises beside the recorded cases."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from bench.skewed import skewed
from stacksmith.address import Address
from stacksmith.placement import (
    UNLIMITED,
    Goal,
    Group,
    Hint,
    HostState,
    Inventory,
    Provider,
    Request,
    SchedulerSpec,
    Strategy,
    allocate,
    load_request,
    place,
)
from stacksmith.placement.stay import stays


@pytest.fixture
def without_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed: the import fails."""
    monkeypatch.setitem(sys.modules, "highspy", None)


def server(name: str, number: int = 0, vcpu: int = 1, memory: int = 1, group: str | None = None) -> Request:
    return Request(Address("server", name, number), {"VCPU": vcpu, "MEMORY_MB": memory}, group=group)


def host(name: str, vcpu: int = 8, memory: int = 8, **used: int) -> HostState:
    return HostState(name, {"VCPU": Inventory(vcpu), "MEMORY_MB": Inventory(memory)}, used)


@pytest.mark.parametrize(
    ("inventory", "capacity"),
    [
        (Inventory(8, 0, 4.0), 32.0),
        (Inventory(65024, 512), 64512.0),
        (Inventory(3, 0, 1.1), 3.3000000000000003),
        (Inventory(100, 0, 1.15), 114.99999999999999),
        (Inventory(4, 4, 16.0), 0.0),
        (Inventory(UNLIMITED, 10, 2.0), float("inf")),
    ],
)
def test_inventory_capacity_is_placements_float(inventory: Inventory, capacity: float) -> None:
    assert inventory.capacity == capacity


def test_place_unknown_group_raises_key_error() -> None:
    with pytest.raises(KeyError, match="web"):
        place([server("a", group="web")], [host("hv1")], {})


def test_place_address_or_host_that_is_there_twice_raises_value_error() -> None:
    with pytest.raises(ValueError, match=r"request server\.web\[0\] is there twice"):
        place([server("web"), server("web")], [host("hv1")], {})
    with pytest.raises(ValueError, match="host hv1 is there twice"):
        place([server("web")], [host("hv1"), host("hv1")], {})


def test_place_group_of_unknown_policy_raises_value_error() -> None:
    with pytest.raises(ValueError, match="group web has the policy 'anti-afinity', which is none of affinity"):
        place([server("web", group="web")], [host("hv1")], {"web": Group("web", "anti-afinity")})


def test_optimal_places_servers_with_parts_that_a_simple_strategy_places() -> None:
    card = load_request({"groups": {"_card": {"resources": {"CUSTOM_GPU": 1}}}})
    hosts = [
        HostState(
            name,
            {"VCPU": Inventory(cpus)},
            parts=(Provider(f"{name}g", f"{name}g", name, {"CUSTOM_GPU": Inventory(1)}),),
        )
        for name, cpus in (("hv1", 4), ("hv2", 5), ("hv3", 2))
    ]
    asked = [(2, card), (2, card), (2, None), (2, None), (3, card)]
    requests = [Request(Address("server", "s", i), {"VCPU": n}, parts=part) for i, (n, part) in enumerate(asked)]
    assert all(each.host for each in place(requests, hosts, {}, strategy=Strategy.OPTIMAL))


def test_place_takes_requests_and_hosts_that_can_be_read_once() -> None:
    found = place((server(name) for name in "ab"), (host(name) for name in ("hv1", "hv2")), {})  # type: ignore[arg-type]
    assert [each.host for each in found] == ["hv1", "hv2"]


@pytest.mark.parametrize("amount", [-1, 1.5, True, 10**400])
def test_place_amount_that_cannot_be_counted_raises_value_error(amount: Any) -> None:
    request = replace(server("web"), amounts={"VCPU": amount})
    with pytest.raises(ValueError, match=rf"server\.web\[0\]: VCPU {amount} is not an integer of 0 or more"):
        place([request], [host("hv1")], {})


@pytest.mark.parametrize(
    ("counts", "name"),
    [({"used": {"VCPU": -1}}, "VCPU"), ({"groups": {"web": -1}}, "web"), ({"parts_used": {"p": {"PCPU": -1}}}, "PCPU")],
)
def test_place_host_with_less_than_nothing_raises_value_error(counts: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"host hv1: {name} -1 is not an integer of 0 or more"):
        place([server("web")], [replace(host("hv1"), **counts)], {})


@pytest.mark.parametrize("most", [0, -1])
def test_place_group_that_takes_nobody_raises_value_error(most: int) -> None:
    with pytest.raises(ValueError, match=f"group web: max_server_per_host {most} is not an integer of 1 or more"):
        place([server("web", group="web")], [host("hv1")], {"web": Group("web", "anti-affinity", most)})


def test_place_server_kept_on_a_host_that_is_not_there_raises_value_error() -> None:
    with pytest.raises(ValueError, match=r"server\.web is kept on hv9, which is none of the hosts"):
        place([], [host("hv1")], {}, {Address("server", "web"): "hv9"})


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((Provider("hv1", "p", "hv1"),), "there is a provider with uuid hv1 already"),
        ((Provider("p", "hv1", "hv1"),), "there is a provider with name hv1 already"),
        ((Provider("p", "p", "hv1"), Provider("p", "q", "hv1")), "there is a provider with uuid p already"),
        ((Provider("p", "p", "hv1"), Provider("q", "p", "hv1")), "there is a provider with name p already"),
        ((Provider("p", "p", "hv9"),), "there is no provider hv9"),
        ((Provider("p", "p", "q"), Provider("q", "q", "p")), "q cannot be the parent of p: it is in its own subtree"),
    ],
)
def test_place_parts_that_are_no_tree_raise_value_error(parts: tuple[Provider, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=f"cannot place: host hv1: {problem}"):
        place([server("web")], [replace(host("hv1"), parts=parts)], {})


def test_goal_takes_a_strategy_as_text() -> None:
    hosts = [host("hv1"), host("hv2", VCPU=2)]
    spread = allocate([server("web")], hosts, {}, goal=Goal("spread"))  # type: ignore[arg-type]
    assert [each.host for each in spread.placements] == ["hv1"]
    assert allocate([server("web")], hosts, {}, goal=Goal("optimal")).optimum is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "seconds", "problem"),
    [
        ("bogus", 60, "'bogus' is not a valid Strategy"),
        (SchedulerSpec(weight_classes=["RAMWeigher", "Bogus"]), 60, "there is no weigher Bogus"),
        ("optimal", None, "time_limit_seconds None is not a number above 0"),
        ("optimal", 0, "time_limit_seconds 0 is not a number above 0"),
    ],
)
def test_goal_that_cannot_be_meant_raises_value_error(strategy: Any, seconds: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Goal(strategy, seconds)


def test_place_request_that_follows_what_is_nowhere_is_told_as_proven() -> None:
    lost = replace(server("a"), follows=(Hint("gone", "server.gone"),), marks=("a",))
    after = replace(server("b"), follows=(Hint("a", "server.a"),))
    other = replace(server("c"), marks=("c",))
    behind = replace(server("d"), follows=(Hint("c", "server.c"),))
    found = place([lost, after, other, behind], [host("hv1")], {})
    assert [each.cause.split(":")[0] for each in found] == ["no valid host", "no valid host", "", ""]


def test_place_parts_are_not_what_the_host_itself_offers() -> None:
    asked = replace(server("a"), amounts={}, parts=load_request({"groups": {"": {"resources": {"VCPU": 6}}}}))
    (bare,) = place([asked], [host("hv1", VCPU=8)], {})
    assert (bare.host, bare.verdicts[0].reason) == (None, "it has no parts")
    cell = Provider("cell", "hv1_cell", "hv1", {"VCPU": Inventory(6)})
    (with_part,) = place([asked], [replace(host("hv1", VCPU=8), parts=(cell,))], {})
    assert with_part.allocations == {"cell": {"VCPU": 6}}


@pytest.mark.parametrize(
    ("inventory", "problem"),
    [
        (Inventory(8.5), "total 8.5 is not an integer"),  # type: ignore[arg-type]
        (Inventory(-2), "total -2 is not 0 or more, nor UNLIMITED"),
        (Inventory(4, reserved=5), "reserved 5 is not from 0 to the total, 4"),
        (Inventory(4, reserved=-1), "reserved -1 is not from 0 to the total, 4"),
        (Inventory(4, allocation_ratio=0.0), "allocation_ratio 0.0 is not a number above 0"),
        (Inventory(4, allocation_ratio=float("inf")), "allocation_ratio inf is not a number above 0"),
        (Inventory(4, step_size=0), "step_size 0 is not 1 or more"),
        (Inventory(4, min_unit=0), "min_unit 0 is not from 1 to max_unit, 2147483647"),
        (Inventory(4, min_unit=3, max_unit=2), "min_unit 3 is not from 1 to max_unit, 2"),
    ],
)
def test_place_inventory_that_cannot_be_raises_value_error(inventory: Inventory, problem: str) -> None:
    for wrong in (
        HostState("hv1", {"VCPU": inventory}),
        HostState("hv1", parts=(Provider("cell", "cell", "hv1", {"VCPU": inventory}),)),
    ):
        with pytest.raises(ValueError, match=f"^cannot place: host hv1: VCPU: {problem}$"):
            place([server("web")], [wrong], {})


def test_place_offer_of_nothing_or_of_what_is_not_known_is_an_offer() -> None:
    nothing = HostState("hv1", {"VCPU": Inventory(0)})
    unknown = HostState("hv2", {"VCPU": Inventory(UNLIMITED, reserved=512)})
    request = Request(Address("server", "web"), {"VCPU": 1})
    assert [p.host for p in place([request], [nothing, unknown], {})] == ["hv2"]


def test_place_host_in_unknown_state_raises_value_error() -> None:
    with pytest.raises(ValueError, match="host hv1 has the state 'disable', which is none of enabled, disabled, drain"):
        place([server("web")], [HostState("hv1", state="disable")], {})


def test_place_unknown_strategy_raises_value_error() -> None:
    with pytest.raises(ValueError, match="tallest"):
        place([server("a")], [host("hv1")], {}, strategy="tallest")


def test_place_one_more_server_moves_no_kept_one_and_no_earlier_choice() -> None:
    hosts = [host(f"hv{i}") for i in range(3)]
    few = [server("a", i) for i in range(5)]
    first = {p.address: p.host for p in place(few, hosts, {})}
    more = {p.address: p.host for p in place([*few, server("b")], hosts, {})}
    assert {address: name for address, name in more.items() if address in first} == first
    kept = {address: name for address, name in first.items() if name is not None}
    used = [host(h.name, VCPU=[*kept.values()].count(h.name), MEMORY_MB=1) for h in hosts]
    again = place([*few, server("b")], used, {}, kept=kept)
    assert {p.address: p.host for p in again if p.kept} == kept
    assert [(str(p.address), p.host) for p in again if not p.kept] == [("server.b[0]", "hv2")]


def test_place_unlike_hosts_nearly_full_leaves_nothing_over() -> None:
    """Hosts rich in one class and poor in the other, filled to the last unit: spread alone cannot do it."""
    hosts = [host(f"cpu{i}", 32, 16) for i in range(8)] + [host(f"ram{i}", 16, 32) for i in range(8)]
    requests = [server("c", i, 4, 2) for i in range(64)] + [server("m", i, 2, 4) for i in range(64)]
    placements = place(requests, hosts, {})
    assert [p.address for p in placements if p.host is None] == []


def test_place_large_batch_without_proof_claims_no_arrangement(without_solver: None) -> None:
    """Each host has one unit of memory left over after any packing: counting shows no shortage, no search is made."""
    hosts = [host(f"hv{i:02}", 99, 5) for i in range(40)]
    requests = [server("a", i, 1, 2) for i in range(81)]
    failed = [p for p in place(requests, hosts, {}) if p.host is None]
    assert [p.cause for p in failed] == [
        "no arrangement found within the search limit (spread, then biggest first by alignment, a search): "
        "beside the rest of this batch, none of 40 hosts has MEMORY_MB 2 free"
    ]
    assert failed[0].hint == "free MEMORY_MB 1 on hv00, or ask for that much less"


def test_place_large_batch_with_the_solver_proves_that_there_is_none() -> None:
    hosts = [host(f"hv{i:02}", 99, 5) for i in range(40)]
    failed = [p for p in place([server("a", i, 1, 2) for i in range(81)], hosts, {}) if p.host is None]
    assert [p.cause.split("; ") for p in failed] == [
        [
            "no valid host: beside the rest of this batch, none of 40 hosts has MEMORY_MB 2 free",
            "the solver proved that no arrangement of the 81 requests exists",
            "server.a[0], server.a[1], server.a[2] and 78 more conflict over MEMORY_MB: all but any one of them fit, "
            "and no fewer conflict",
        ]
    ]


def test_place_large_batch_short_of_parts_says_that_no_arrangement_was_found() -> None:
    """The solver knows nothing of parts: what it deals is asked of the hosts, and refused."""
    gpu = load_request({"groups": {"_gpu": {"resources": {"CUSTOM_GPU": 1}}}})
    hosts = [
        replace(
            host(f"hv{i:02}", 99, 99),
            parts=(Provider(f"gpu{i}", f"gpu{i}", f"hv{i:02}", {"CUSTOM_GPU": Inventory(1)}),),
        )
        for i in range(66)
    ]
    failed = [p for p in place([replace(server("a", i), parts=gpu) for i in range(67)], hosts, {}) if p.host is None]
    assert [p.cause.partition(" (")[0] for p in failed] == ["no arrangement found within the search limit"]


def test_place_disk_and_volume_too_large_together_for_the_hosts_own_disks_is_explained() -> None:
    pool = Provider("pool", "pool", "hv1", {"DISK_GB": Inventory(100)}, frozenset({"CUSTOM_POOL"}))
    only = HostState("hv1", {"DISK_GB": Inventory(100)}, parts=(pool,), own_disks=frozenset({"pool"}))
    volume = load_request({"groups": {"_disk": {"resources": {"DISK_GB": 60}, "required": ["CUSTOM_POOL"]}}})
    (failed,) = place([Request(Address("server", "a"), {"DISK_GB": 60}, parts=volume)], [only], {})
    assert failed.cause == "no valid host: even if all were empty, no host (of 1) has room for it in its parts"
    assert "pool: DISK_GB 20 short (used 60 of 100, 60 asked)" in failed.verdicts[0].reason


def test_place_optimal_without_its_solver_raises_import_error(without_solver: None) -> None:
    with pytest.raises(ImportError, match="highspy"):
        place([server("a"), server("b")], [host("hv1"), host("hv2")], {}, strategy="optimal")


def test_place_without_optimal_imports_no_solver() -> None:
    code = "import sys, stacksmith.placement, stacksmith.placement.arrange as a; print(a.installed(), *sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told[0] == "True"
    assert not {"highspy", "numpy"} & set(told)


def test_place_optimal_says_nothing_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    place([server("a"), server("b")], [host("hv1"), host("hv2")], {}, strategy="optimal")
    assert capfd.readouterr() == ("", "")


def test_place_optimal_out_of_time_keeps_the_greedy_answer_and_states_its_bound() -> None:
    requests, hosts, groups = skewed(50, 500)
    found = allocate(requests, hosts, groups, goal=Goal(Strategy.OPTIMAL, 1e-6), explain=False)
    assert all(p.host for p in found.placements)
    optimum = found.optimum
    assert optimum is not None
    assert (optimum.proven, optimum.stopped_after) == (False, 1e-6)
    assert optimum.opened_at_least < optimum.opened == len({p.host for p in found.placements})


@pytest.mark.parametrize("seed", [9, 11, 19, 30])
def test_place_moves_a_few_where_greedy_passes_leave_some_over(seed: int, without_solver: None) -> None:
    requests, hosts, groups = skewed(30, 300, share=0.97, seed=seed)
    assert all(p.host for p in place(requests, hosts, groups, explain=False))


def test_place_search_that_gives_up_claims_no_arrangement(without_solver: None) -> None:
    """No host takes four of these, which no count shows and a search would take ages to prove."""
    hosts = [host(f"hv{i}", 999, 106 + i) for i in range(10)]
    requests = [server("a", i, 1, 29 + i % 7) for i in range(31)]
    causes = {p.cause.split(":")[0] for p in place(requests, hosts, {}) if p.host is None}
    assert causes == {
        "no arrangement found within the search limit (spread, then biggest first by alignment, a search)"
    }


def test_place_without_explain_gives_verdicts_to_failures_only() -> None:
    placements = place([server("a"), server("b", vcpu=9)], [host("hv1")], {}, explain=False)
    assert [(p.host, len(p.verdicts)) for p in placements] == [("hv1", 0), (None, 1)]


def test_place_joined_by_key_and_by_group_is_one_unit() -> None:
    groups = {"g": Group("g", "affinity"), "h": Group("h", "affinity")}
    a = Request(Address("server", "a"), {"VCPU": 1}, group="g")
    b = Request(Address("server", "b"), {"VCPU": 1}, group="h")
    c = Request(Address("server", "c"), {"VCPU": 1}, group="h", together="v")
    d = Request(Address("volume", "d"), {"VCPU": 1}, together="v")
    e = Request(Address("server", "e"), {"VCPU": 1}, group="g", together="v")
    placements = place([a, b, c, d, e], [host("hv1", 4), host("hv2", 5)], groups)
    assert {p.host for p in placements} == {"hv2"}


@pytest.mark.parametrize(
    ("policy", "others", "told"),
    [
        ("anti-affinity", ["hv2"], ["stays here, where it is", "anti-affinity: web has server.a[1] here"]),
        ("affinity", ["hv1"], ["stays here, where it is", "affinity: web is on hv1"]),
        ("affinity", [], ["stays here, where it is", "fits: free after VCPU 7, MEMORY_MB 7"]),
        ("soft-affinity", ["hv1"], ["stays here, where it is", "fits: free after VCPU 7, MEMORY_MB 7"]),
    ],
)
def test_stays_tells_how_the_other_host_would_answer_with_the_group_as_it_is(
    policy: str, others: list[str], told: list[str]
) -> None:
    homes = {Address("server", "a", i): name for i, name in enumerate(["hv1", *others])}
    hosts = [replace(host(n), groups={"web": [*homes.values()].count(n)}) for n in ("hv1", "hv2")]
    requests = [server("a", i, group="web") for i in range(len(homes))]
    first = stays(requests, hosts, {"web": Group("web", policy)}, homes)[0]
    assert (first.host, first.kept) == ("hv1", True)
    assert [verdict.reason for verdict in first.verdicts] == told


def test_stays_is_short_in_the_words_of_a_plan() -> None:
    big = HostState("hv2", {"MEMORY_MB": Inventory(65024, 512), "VCPU": Inventory(8)}, {"MEMORY_MB": 61440})
    kept = stays([server("a", memory=6144)], [host("hv1"), big], {}, {Address("server", "a", 0): "hv1"})
    assert kept[0].verdicts[1].reason == "MEMORY_MB 3,072 short (used 61,440 of 64,512 = 65,024 - 512 reserved)"
