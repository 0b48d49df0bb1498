"""Candidates of random forests against brute force, and claims against the arithmetic of the specification."""

import threading
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.placement import Claim, GaveUp, Ledger, Refused, candidates, load, load_request, parse_query, verdicts
from tests.forests import make_claims, make_request, make_tight, make_world, to_query
from tests.placement_oracle import Answer, Data, Oracle, grant, may_claim

# Bounded by examples and not by time: a slow machine tests the same.
BOUNDED = settings(max_examples=60, deadline=None)
RANDOM = st.randoms(use_true_random=False)


def answered(world: Data, request: Data) -> list[Answer]:
    return [
        (
            tuple((uuid, tuple(sorted(a.items()))) for uuid, a in sorted(candidate.allocations.items())),
            tuple((suffix, tuple(sorted(uuids))) for suffix, uuids in sorted(candidate.mappings.items())),
        )
        for candidate in candidates(load(world), load_request(request))
    ]


def check_candidates(world: Data, request: Data) -> int:
    found, expected = answered(world, request), Oracle(world, request).answers()
    assert set(found) == expected, (world, request)
    assert len(found) == len(expected), (world, request)
    return len(expected)


@pytest.mark.parametrize("batch", range(8))
def test_candidates_of_thousands_of_forests_are_those_of_brute_force(batch: int) -> None:
    random = Random(batch)
    counts = [check_candidates(make_world(random), make_request(random)) for _ in range(500)]
    assert sum(map(bool, counts)) > 100  # enough of them have an answer


@pytest.mark.parametrize("batch", range(4))
def test_candidates_where_nearly_nothing_fits_are_those_of_brute_force(batch: int) -> None:
    random = Random(batch)
    counts = [check_candidates(*make_tight(random)) for _ in range(250)]
    assert 30 < sum(map(bool, counts)) < 220


@BOUNDED
@given(RANDOM)
def test_candidates_are_those_of_brute_force_each_once(random: Random) -> None:
    check_candidates(make_world(random), make_request(random))


@pytest.mark.parametrize("seed", range(4))
def test_a_search_cut_short_finds_the_first_of_all_and_says_that_it_was_cut(seed: int) -> None:
    random, cut = Random(seed), 0
    for _ in range(200):
        world, request = load(make_world(random)), load_request(make_request(random))
        every, some = list(candidates(world, request)), []
        try:
            for candidate in candidates(world, request, most_steps=random.randint(1, 4)):
                some.append(candidate)
            assert some == every
        except GaveUp:
            cut += 1
            assert [c for c in every if c in some] == some
    assert cut > 10


@pytest.mark.parametrize("seed", range(4))
def test_candidates_come_in_one_order_and_a_limit_cuts_it(seed: int) -> None:
    random = Random(seed)
    for _ in range(50):
        world, request = make_world(random), make_request(random)
        shuffled = {"providers": dict(sorted(world["providers"].items(), reverse=True)), **world}
        found = list(candidates(load(world), load_request(request)))
        assert list(candidates(load(shuffled), load_request(request))) == found
        assert list(candidates(load(world), load_request({**request, "limit": 3}))) == found[:3]
        assert list(candidates(load(world), load_request(request), 2)) == found[:2]


def test_query_string_says_the_same_as_plain_data() -> None:
    random = Random(0)
    for _ in range(500):
        request = make_request(random)
        if all(any(group.values()) for group in request["groups"].values()):
            assert parse_query(to_query(request)) == load_request(request)


@BOUNDED
@given(RANDOM)
def test_first_candidate_of_every_root_that_a_verdict_allows_can_be_claimed(random: Random) -> None:
    world, request = load(make_world(random)), load_request(make_request(random))
    found = list(candidates(world, request))
    names = {provider.uuid: provider.name for provider in world.providers}
    assert {names[c.root] for c in found} <= {v.host for v in verdicts(world, request) if v.fits}
    assert bool(found) == any(v.fits for v in verdicts(world, request))
    for candidate in found[:5]:
        assert Ledger(world).claim(Claim("new", candidate.allocations))[0].allocations == candidate.allocations


@BOUNDED
@given(RANDOM)
def test_claims_are_granted_whole_when_the_arithmetic_allows_and_change_nothing_otherwise(random: Random) -> None:
    check_claims(random)


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_claims_follow_the_arithmetic(seed: int) -> None:
    random = Random(seed)
    granted = [outcome for _ in range(100) for outcome in check_claims(random)]
    assert 0.2 < sum(granted) / len(granted) < 0.8  # enough of both


def check_claims(random: Random) -> list[bool]:
    world = make_world(random)
    for consumer in world["consumers"].values():
        consumer["generation"] = 1
    ledger, outcomes = Ledger(load(world)), []
    for _ in range(10):
        claims, before = make_claims(random, world), ledger.world
        outcomes.append(may_claim(world, claims))
        asked = [Claim(claim["consumer"], claim["allocations"], claim["generation"]) for claim in claims]
        if outcomes[-1]:
            ledger.claim(*asked)
            grant(world, claims)
        else:
            with pytest.raises(Refused):
                ledger.claim(*asked)
            assert ledger.world == before
        assert held(ledger) == world["consumers"]
    assert usage(ledger) == usage(Ledger(ledger.world))
    return outcomes


def held(ledger: Ledger) -> Data:
    return {c.uuid: {"allocations": c.allocations, "generation": c.generation} for c in ledger.world.consumers}


def usage(ledger: Ledger) -> Data:
    return {provider.uuid: ledger.used(provider.uuid) for provider in ledger.world.providers}


def test_eight_threads_that_claim_the_same_room_never_get_more_than_there_is() -> None:
    ledger = Ledger(load({"providers": {f"hv{i}": {"inventories": {"VCPU": {"total": 25}}} for i in range(4)}}))
    request, granted = load_request({"groups": {"": {"resources": {"VCPU": 1}}}}), []

    def take(thread: int) -> None:
        for i in range(20):
            for candidate in candidates(ledger, request):
                try:
                    granted.append(ledger.claim(Claim(f"{thread}-{i}", candidate.allocations)))
                    break
                except Refused:
                    continue  # somebody else was faster

    threads = [threading.Thread(target=take, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledger.used(f"hv{i}") for i in range(4)] == [{"VCPU": 25}] * 4
    assert len(granted) == 100


KEYS = [
    *("providers", "consumers", "groups", "group_policy", "root_required", "same_subtree", "limit", "", "_A", "hv1"),
    *("uuid", "parent", "inventories", "traits", "aggregates", "generation", "total", "allocation_ratio", "VCPU"),
    *("allocations", "resources", "required", "member_of", "in_tree", "CUSTOM_A", "!CUSTOM_A", "isolate"),
]
LEAVES = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(KEYS) | st.binary(max_size=1)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=4)
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=4))
def test_data_of_any_shape_is_read_or_refused_with_words(data: Data) -> None:
    for read in (load, load_request, lambda d: load({"providers": d}), lambda d: load_request({"groups": {"_A": d}})):
        try:
            read(data)
        except Refused as refused:
            assert all(str(reason) for reason in refused.reasons)
