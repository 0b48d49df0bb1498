"""What the search of candidates promises beside the recorded cases: it stays small where there are very many ways."""

import re
from collections.abc import Mapping
from itertools import islice, product
from random import Random
from time import process_time
from typing import Any

import pytest

from stacksmith.placement import (
    CandidateRequest,
    Claim,
    GaveUp,
    Ledger,
    Refused,
    ResourceGroup,
    World,
    candidates,
    load,
    load_request,
    verdicts,
)
from stacksmith.placement.tree.matching import all_served

AT_ONCE = 60  # CPU seconds, also on a slow machine: what tries every way would take years


def siblings(*totals: int, **more: Any) -> World:
    """A host with a cell for each total of VCPU."""
    cells = {f"cell{i:02}": {"parent": "hv1", "inventories": {"VCPU": {"total": n}}} for i, n in enumerate(totals)}
    return load({"providers": {"hv1": {}, **cells, **more}})


def groups(count: int, amount: int = 2, **more: Any) -> Mapping[str, Any]:
    return {"groups": {f"_{i:02}": {"resources": {"VCPU": amount}} for i in range(count)}, **more}


@pytest.mark.parametrize("policy", ["none", "isolate"])
def test_eight_groups_over_64_siblings_answer_at_once(policy: str) -> None:
    request, before = load_request(groups(8, group_policy=policy)), process_time()
    found = list(candidates(siblings(*[4] * 64), request, 1000))
    assert len({tuple(c.mappings.items()) for c in found}) == 1000
    assert process_time() - before < AT_ONCE


def test_groups_that_nothing_can_hold_together_are_refused_at_once() -> None:
    unequal = siblings(*range(2, 34))
    before = process_time()
    assert not list(candidates(unequal, load_request(groups(33, group_policy="isolate"))))
    assert not list(candidates(siblings(*[3] * 40), load_request(groups(41, group_policy="none"))))
    assert process_time() - before < AT_ONCE


def test_two_groups_that_want_one_provider_do_not_let_the_others_be_tried() -> None:
    request = groups(6, group_policy="none")
    picky = {"resources": {"VCPU": 2}, "required": ["CUSTOM_ONLY"]}
    request = {**request, "groups": {**request["groups"], "_x": picky, "_y": {**picky, "resources": {"VGPU": 1}}}}
    only = {"parent": "hv1", "traits": ["CUSTOM_ONLY"], "inventories": {"VCPU": {"total": 2}, "VGPU": {"total": 1}}}
    world = siblings(*range(2, 66), only=only)
    before = process_time()
    assert not list(candidates(world, load_request({**request, "group_policy": "isolate"})))
    assert process_time() - before < AT_ONCE


def test_same_subtree_is_not_searched_outside_of_one_subtree() -> None:
    providers: dict[str, Any] = {"hv1": {}}
    for i in range(8):
        providers[f"numa{i}"] = {"parent": "hv1", "traits": ["HW_NUMA_ROOT"]}
        for j in range(8):
            providers[f"pf{i}{j}"] = {"parent": f"numa{i}", "inventories": {"SRIOV_NET_VF": {"total": 1}}}
    names = [f"_{i}" for i in range(7)]
    asked = {name: {"resources": {"SRIOV_NET_VF": 1}} for name in names} | {"_T": {"required": ["HW_NUMA_ROOT"]}}
    request = {"groups": asked, "group_policy": "isolate", "same_subtree": [[*names, "_T"]]}
    before = process_time()
    found = list(candidates(load({"providers": providers}), load_request(request), 100))
    assert all(len({uuid[-2] for name in names for uuid in c.mappings[name]}) == 1 for c in found)
    assert len(found) == 100
    assert process_time() - before < AT_ONCE


def test_more_pairs_than_subtrees_that_can_hold_one_are_refused_at_once() -> None:
    providers: dict[str, Any] = {"hv1": {}}
    for i in range(8):
        providers[f"numa{i}"] = {"parent": "hv1", "inventories": {"VCPU": {"total": 4}}}
        traits = ["CUSTOM_PHYSNET"] if i < 7 else []
        for j in range(4):
            inventories = {"SRIOV_NET_VF": {"total": 1}}
            providers[f"pf{i}{j}"] = {"parent": f"numa{i}", "traits": traits, "inventories": inventories}
    cells = {f"_c{i}": {"resources": {"VCPU": 4}} for i in range(8)}
    ports = {f"_p{i}": {"resources": {"SRIOV_NET_VF": 1}, "required": ["CUSTOM_PHYSNET"]} for i in range(8)}
    pairs = [[f"_c{i}", f"_p{i}"] for i in range(8)]
    world, before = load({"providers": providers}), process_time()
    asked = {"groups": {**cells, **ports}, "group_policy": "none", "same_subtree": pairs}
    assert not list(candidates(world, load_request(asked)))
    fewer = {"groups": {n: g for n, g in asked["groups"].items() if n[-1] != "7"}, "same_subtree": pairs[:7]}
    assert len(list(candidates(world, load_request({**fewer, "group_policy": "isolate"}), 100))) == 100
    assert process_time() - before < AT_ONCE


def test_dead_ends_in_the_middle_are_entered_once() -> None:
    """Room for all by number, but three sixes and six fours do not go into six tens as they are asked."""
    request = groups(6, 4, group_policy="none")
    big = {f"_a{i}": {"resources": {"VCPU": 7}} for i in range(4)}
    before = process_time()
    assert not list(
        candidates(siblings(*[10] * 6), load_request({**request, "groups": {**request["groups"], **big}}), 1)
    )
    assert process_time() - before < AT_ONCE


def bearers(seed: int, classes: int, traits: int, count: int, each: tuple[int, int]) -> tuple[World, CandidateRequest]:
    """One unsuffixed group that wants every trait, over siblings with a few of them each."""
    random, names = Random(seed), [f"CUSTOM_T{i}" for i in range(traits)]
    amounts = {f"CUSTOM_C{i}": 1 for i in range(classes)}
    offer = {name: {"total": 1} for name in amounts}
    cells = {
        f"cell{i:03}": {"parent": "hv1", "traits": random.sample(names, random.randint(*each)), "inventories": offer}
        for i in range(count)
    }
    request = load_request({"groups": {"": {"resources": amounts, "required": names}}})
    return load({"providers": {"hv1": {}, **cells}}), request


def weights(seed: int, count: int, cells: int, most: int, spare: int) -> tuple[World, CandidateRequest]:
    """Groups of unequal amounts that fill equal cells but for a few units of each."""
    random = Random(seed)
    amounts = [random.randint(most // 6, most) for _ in range(count)]
    world = siblings(*[-(-sum(amounts) // cells) + spare] * cells)
    asked = {f"_{i:02}": {"resources": {"VCPU": amount}} for i, amount in enumerate(amounts)}
    return world, load_request({"groups": asked, "group_policy": "none"})


@pytest.mark.parametrize(("seed", "traits", "each"), [(0, 14, (1, 2)), (2, 17, (2, 3)), (3, 17, (2, 3))])
def test_traits_that_no_choice_of_64_siblings_has_together_are_told_within_the_steps(
    seed: int, traits: int, each: tuple[int, int]
) -> None:
    assert not list(candidates(*bearers(seed, 6, traits, 64, each), most_steps=2_000))


@pytest.mark.parametrize("seed", range(6))
def test_first_choice_of_64_siblings_with_all_traits_is_found_within_the_steps(seed: int) -> None:
    world, request = bearers(seed, 6, 14, 64, (2, 4))
    first = next(candidates(world, request, most_steps=2_000))
    had = {p.uuid: p.traits for p in world.providers}
    assert len(frozenset().union(*(had[uuid] for uuid in first.allocations))) == 14


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spare", [0, 1, 3])
def test_sixteen_groups_that_fill_seven_siblings_are_settled_within_the_steps(seed: int, spare: int) -> None:
    world, request = weights(seed, 16, 7, 60, spare)
    for candidate in candidates(world, request, 1, 20_000):
        assert all(a["VCPU"] <= world.providers[1].inventories["VCPU"].total for a in candidate.allocations.values())


HARD = weights(0, 40, 13, 900, 1)


def test_a_search_that_gives_up_says_so_and_never_that_there_is_nothing() -> None:
    with pytest.raises(GaveUp) as gave_up:
        next(candidates(*HARD, most_steps=1_000))
    words = "gave up after 1,000 steps: whether it can meet the request is not known"
    assert str(gave_up.value) == f"hv1: {words}"
    (verdict,) = verdicts(*HARD, most_steps=1_000)
    assert (verdict.fits, verdict.settled, verdict.reason) == (False, False, words)


def test_a_root_that_is_given_up_does_not_hide_the_candidates_of_others() -> None:
    world, request = HARD
    roomy = {"inventories": {"VCPU": {"total": 100_000}}}
    both = World((*world.providers, *load({"providers": {"hv0": roomy, "hv2": roomy}}).providers))
    found = candidates(both, request, most_steps=1_000)
    assert [next(found).root, next(found).root] == ["hv0", "hv2"]
    with pytest.raises(GaveUp, match=r"^hv1: gave up after 1,000 steps: [^;]*$"):
        next(found)
    assert len(list(candidates(both, request, 2, 1_000))) == 2
    told = verdicts(both, request, 1_000)
    assert [(v.host, v.fits, v.settled) for v in told] == [
        ("hv0", True, True),
        ("hv1", False, False),
        ("hv2", True, True),
    ]


def test_many_hard_roots_share_the_steps_and_each_has_a_few() -> None:
    world, request = HARD
    cells = {p.name: p.inventories for p in world.providers}
    hosts: dict[str, Any] = {}
    for host in range(20):
        for name, inventories in cells.items():
            parent = {} if name == "hv1" else {"parent": f"hv{host:02}"}
            offer = {"inventories": {n: {"total": i.total} for n, i in inventories.items()}}
            hosts[f"hv{host:02}" if name == "hv1" else f"{name}-{host:02}"] = parent | offer
    with pytest.raises(GaveUp) as gave_up:
        next(candidates(load({"providers": hosts}), request, most_steps=5_000))
    counts = [int(re.search(r"after ([\d,]+) steps", str(r))[1].replace(",", "")) for r in gave_up.value.reasons]  # type: ignore[index]
    assert counts == [5_000] + [500] * 19


def test_more_groups_than_python_may_nest_calls_are_placed() -> None:
    names = {f"_{i}": {"resources": {"VCPU": 1}} for i in range(3_000)}
    request = load_request({"groups": names, "group_policy": "none"})
    assert len(next(candidates(siblings(1_500, 1_500), request)).mappings) == 3_000


def test_candidates_of_a_ledger_see_what_was_claimed_meanwhile() -> None:
    ledger = Ledger(siblings(2, 2, 2))
    found = candidates(ledger, load_request(groups(1)))
    assert next(found).mappings["_00"] == ("cell00",)
    ledger.claim(Claim("a", {"cell02": {"VCPU": 2}}))
    again = candidates(ledger, load_request(groups(1)))
    assert [candidate.mappings["_00"] for candidate in again] == [("cell00",), ("cell01",)]


def test_a_claim_does_not_follow_the_data_it_was_made_of() -> None:
    ledger, amounts = Ledger(siblings(4)), {"VCPU": 2}
    ledger.claim(Claim("a", {"cell00": amounts}))
    amounts["VCPU"] = 4
    assert ledger.used("cell00") == {"VCPU": 2}
    with pytest.raises(Refused, match="VCPU 1 short"):
        ledger.claim(Claim("b", {"cell00": {"VCPU": 3}}))


def test_verdicts_of_a_thousand_hosts_name_each_once() -> None:
    hosts = {f"hv{i:03}": {"inventories": {"VCPU": {"total": i % 4 + 1}}} for i in range(1000)}
    told = verdicts(load({"providers": hosts}), load_request({"groups": {"": {"resources": {"VCPU": 3}}}}))
    assert [v.host for v in told] == sorted(hosts)
    assert sum(v.fits for v in told) == 500


@pytest.mark.parametrize("seed", range(200))
def test_all_served_is_so_when_some_choice_is(seed: int) -> None:
    random = Random(seed)
    names = "abcd"[: random.randint(1, 4)]
    times = {name: random.randint(0, 2) for name in names}
    options = [random.sample(names, random.randint(0, len(names))) for _ in range(random.randint(0, 5))]
    choices = islice(product(*options), 2000)
    expected = any(all(choice.count(name) <= times[name] for name in names) for choice in choices)
    assert all_served(options, times) == expected


@pytest.mark.parametrize("most_steps", [0, -1, True])
def test_steps_that_are_no_number_are_refused(most_steps: int) -> None:
    with pytest.raises(Refused, match=f"most_steps {most_steps} is not an integer of 1 or more"):
        candidates(siblings(1), load_request(groups(1)), most_steps=most_steps)
    with pytest.raises(Refused, match=f"most_steps {most_steps} is not an integer of 1 or more"):
        verdicts(siblings(1), load_request(groups(1)), most_steps)


@pytest.mark.parametrize("limit", [0, -1, 10**19])
def test_limit_that_is_no_number_of_candidates_is_refused(limit: int) -> None:
    with pytest.raises(Refused, match=f"limit {limit} is not an integer of 1 or more"):
        candidates(siblings(1), load_request(groups(1)), limit)


def test_group_policy_given_as_text_is_kept() -> None:
    asked = {name: ResourceGroup({"VCPU": 1}) for name in ("_A", "_B")}
    apart = CandidateRequest(asked, "isolate")  # type: ignore[arg-type]
    assert next(candidates(siblings(2, 2), apart)).mappings == {"_A": ("cell00",), "_B": ("cell01",)}
    with pytest.raises(Refused, match="group_policy 'bogus' is not none or isolate"):
        CandidateRequest(asked, "bogus")  # type: ignore[arg-type]
