"""Claims in the state store: granted whole or not at all, and never more than there is, whoever else claims."""

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from stacksmith.address import Address
from stacksmith.placement import Claim, Inventory, Provider, Refused, claim_faults, load
from stacksmith.state import migration
from stacksmith.state.sqlite import SqliteStore
from stacksmith.state.store import LeaseLost, Store
from tests.forests import make_claims, make_world
from tests.forked import at_once
from tests.placement_oracle import grant, may_claim
from tests.postgres import Place
from tests.unit.claimant import claim_parts, claim_rooms
from tests.unit.state_parts import STACK, entry, leased, record

HOSTS = {name: Provider(name, name, None, {"VCPU": Inventory(4), "MEMORY_MB": Inventory(8)}) for name in ("hv1", "hv2")}
CHECK = partial(claim_faults, HOSTS)


def claim(consumer: str, host: str, vcpu: int, generation: int | None = None) -> Claim:
    return Claim(consumer, {host: {"VCPU": vcpu, "MEMORY_MB": 1}}, generation)


def test_claims_are_kept_and_read_back_by_stack(place: Place) -> None:
    store = place.open()
    given = store.claim(STACK, [claim("b", "hv1", 2), claim("a", "hv2", 1)], CHECK)
    other = store.claim("other", [claim("c", "hv1", 1)], CHECK)
    store.close()
    again = place.open(read_only=True)
    assert [consumer.uuid for consumer in given] == ["b", "a"]
    assert again.claims(STACK) == tuple(reversed(given))
    assert again.claims() == (*reversed(given), *other)
    assert again.claims("nobody") == ()
    again.close()


def test_claim_replaces_what_its_consumer_holds_and_an_empty_one_ends_it(place: Place) -> None:
    store = place.open()
    store.claim(STACK, [claim("a", "hv1", 4)], CHECK)
    (moved,) = store.claim(STACK, [claim("a", "hv2", 3, 1)], CHECK)
    assert (moved.generation, dict(moved.allocations)) == (2, {"hv2": {"VCPU": 3, "MEMORY_MB": 1}})
    store.claim(STACK, [claim("b", "hv1", 4)], CHECK)
    assert store.claim(STACK, [Claim("a", {}, 2)], CHECK) == ()
    assert [consumer.uuid for consumer in store.claims()] == ["b"]


def test_claims_of_another_stack_count(place: Place) -> None:
    store = place.open()
    store.claim("other", [claim("a", "hv1", 3)], CHECK)
    with pytest.raises(Refused, match=r"^hv1: VCPU 1 short \(used 3 of 4, 2 asked\)$"):
        store.claim(STACK, [claim("b", "hv1", 2)], CHECK)


def test_one_refused_claim_refuses_all_of_its_transaction(place: Place) -> None:
    store = place.open()
    before = store.claim(STACK, [claim("a", "hv1", 1)], CHECK)
    with pytest.raises(Refused, match="hv2: VCPU 1 short"):
        store.claim(STACK, [claim("a", "hv1", 2, 1), claim("b", "hv2", 5)], CHECK)
    assert store.claims() == before


def test_consumer_that_somebody_else_wrote_is_refused(place: Place) -> None:
    store = place.open()
    store.claim(STACK, [claim("a", "hv1", 1)], CHECK)
    with pytest.raises(Refused, match="consumer a is at generation 1, expected to be new"):
        store.claim(STACK, [claim("a", "hv2", 1)], CHECK)


def test_a_plan_of_many_claims_is_one_transaction(place: Place) -> None:
    hosts = {f"hv{i}": Provider(f"hv{i}", f"hv{i}", None, {"VCPU": Inventory(1)}) for i in range(10_500)}
    store, claims = place.open(), [Claim(f"s{i}", {f"hv{i}": {"VCPU": 1}}) for i in range(10_500)]
    assert len(store.claim(STACK, claims, partial(claim_faults, hosts))) == 10_500
    with pytest.raises(Refused) as refused:
        store.claim(
            STACK, [Claim(f"t{i}", {f"hv{i}": {"VCPU": 1}}) for i in range(10_500)], partial(claim_faults, hosts)
        )
    assert len(refused.value.reasons) == 10_500


@pytest.mark.parametrize("seed", range(3))
def test_store_grants_what_the_arithmetic_allows(place: Place, seed: int) -> None:
    random, store = Random(seed), place.open()
    for _ in range(40):
        world = make_world(random)
        world["consumers"] = {}
        check = partial(claim_faults, {provider.uuid: provider for provider in load(world).providers})
        for each in store.claims():
            store.claim(STACK, [Claim(each.uuid, {}, each.generation)], lambda *_: ())
        for _ in range(8):
            claims = make_claims(random, world)
            asked = [Claim(c["consumer"], c["allocations"], c["generation"]) for c in claims]
            if may_claim(world, claims):
                store.claim(STACK, asked, check)
                grant(world, claims)
            else:
                with pytest.raises(Refused):
                    store.claim(STACK, asked, check)
            held = {c.uuid: {"allocations": c.allocations, "generation": c.generation} for c in store.claims()}
            assert held == world["consumers"]


def test_file_of_the_schema_before_claims_is_brought_forward(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with pytest.MonkeyPatch.context() as patch:
        for module in ("stacksmith.state.migration", "stacksmith.state.file"):
            patch.setattr(sys.modules[module], "MIGRATIONS", migration.MIGRATIONS[:1])
        old = SqliteStore.open(path)
        old.put(STACK, record("server.web"))
        old.close()
    db = sqlite3.connect(path)
    assert migration.version(db) == 1
    db.close()
    store = SqliteStore.open(path)
    assert [str(each.address) for each in store.records(STACK)] == ["server.web"]
    assert len(store.claim(STACK, [claim("a", "hv1", 1)], CHECK)) == 1
    store.close()


def eight_at_once(place: Place, main: Callable[[str, Path, int], int]) -> list[int]:
    """What eight processes return that begin at the same moment."""
    ended = at_once(main, [(place.url, place.folder, me) for me in range(8)])
    assert not any(each.err for each in ended), ended
    return [each.status for each in ended]


def test_eight_processes_that_claim_the_same_room_never_get_more_than_there_is(place: Place) -> None:
    store = place.open()
    granted = eight_at_once(place, claim_rooms)
    held = [host for consumer in store.claims() for host in consumer.allocations]
    store.close()
    assert sum(granted) == 60
    assert {host: held.count(host) for host in held} == {"hv1": 30, "hv2": 30}


def test_eight_processes_never_get_more_of_a_cell_a_device_or_a_pool_than_there_is(place: Place) -> None:
    store = place.open()
    granted = eight_at_once(place, claim_parts)
    used: dict[str, Counter[str]] = {}
    for consumer in store.claims():
        for provider, amounts in consumer.allocations.items():
            used.setdefault(provider, Counter()).update(amounts)
    count = len(store.claims())
    store.close()
    assert count == sum(granted) == 15, "as many as the pool has room for, neither more nor fewer"
    assert used["hv1/pool_fast"] == {"DISK_GB": 60}
    assert used["hv1"] == {"VCPU": 15}
    parts = {provider: amounts for provider, amounts in used.items() if provider not in ("hv1", "hv1/pool_fast")}
    assert parts and all(amounts["PCPU"] <= 5 and amounts["CUSTOM_GPU"] <= 1 for amounts in parts.values())


def named(consumer: str, name: str, host: str = "hv1") -> Claim:
    return Claim(consumer, {host: {"VCPU": 1}}, name=name)


def held(store: Store, stack: str | None = None) -> dict[str, dict[str, dict[str, int]]]:
    return {consumer.uuid: {**consumer.allocations} for consumer in store.claims(stack)}


def test_claims_tell_whose_they_are_and_what_they_are_called(place: Place) -> None:
    store = place.open()
    store.claim(STACK, [named("a", "server.web")], CHECK)
    store.claim("other", [named("b", "server.web")], CHECK)
    assert [(c.uuid, c.owner, c.name) for c in store.claims()] == [
        ("a", STACK, "server.web"),
        ("b", "other", "server.web"),
    ]


def test_removed_record_gives_up_the_claim_of_its_name(place: Place) -> None:
    store = leased(place.open())
    store.claim(STACK, [named("a", "server.web"), named("1b2c", "server.db")], CHECK)
    store.claim("other", [named("b", "server.web")], CHECK)
    store.remove(STACK, Address.parse("server.web"))
    assert set(held(store)) == {"1b2c", "b"}
    store.begin(entry("server.db", operation="delete"))
    store.end(entry("server.db", operation="delete"), "done", remove=Address.parse("server.db"))
    assert set(held(store)) == {"b"}


def test_end_writes_what_is_held_with_what_is_recorded(place: Place) -> None:
    store = leased(place.open())
    store.claim(STACK, [named("1b2c", "server.web")], CHECK)
    store.begin(entry("server.web"), record("server.web", complete=False))
    store.end(entry("server.web"), "done", record("server.web"), holds={"hv1": {"VCPU": 1, "DISK_GB": 9}})
    assert held(store) == {"1b2c": {"hv1": {"VCPU": 1, "DISK_GB": 9}}}
    assert [c.generation for c in store.claims()] == [2]
    store.begin(entry("server.web", operation="update"))
    store.end(entry("server.web", operation="update"), "done", holds={"hv1": {"VCPU": 1, "DISK_GB": 9}})
    assert [c.generation for c in store.claims()] == [2], "what stays as it is is not written"


def test_removed_half_of_a_replacement_keeps_the_room_for_the_other(place: Place) -> None:
    store = leased(place.open())
    store.claim(STACK, [named("1b2c", "server.web")], CHECK)
    store.begin(entry("server.web", operation="delete"))
    delete = entry("server.web", operation="delete")
    store.end(delete, "done", remove=Address.parse("server.web"), holds={"hv1": {"VCPU": 3}})
    assert held(store) == {"1b2c": {"hv1": {"VCPU": 3}}}


def test_end_of_a_run_that_lost_its_step_changes_no_claim(place: Place) -> None:
    store = leased(place.open())
    store.claim(STACK, [named("1b2c", "server.web")], CHECK)
    store.begin(entry("server.web", "run-1"))
    leased(store, "run-2")
    store.begin(entry("server.web", "run-2"))
    with pytest.raises(LeaseLost):
        store.end(entry("server.web", "run-1"), "failed", remove=Address.parse("server.web"))
    assert held(store) == {"1b2c": {"hv1": {"VCPU": 1}}}
