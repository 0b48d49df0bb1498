"""Hosts that are used unevenly, and the fewest migrations that even them out."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.planner.aim import Aim, Evenness, Outcome
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.planfile import read_plan, write_plan
from stacksmith.providers.memory.provider import forget, world
from stacksmith.views.notice import fewest
from stacksmith.views.plan_json import plan_data
from stacksmith.views.plan_text import plan_text

Servers = Mapping[str, Mapping[str, Any]]
SIZES = {"tiny": 1, "small": 2, "medium": 3, "large": 4}


class Shop:
    """Servers of several sizes on hosts of ten CPUs."""

    def __init__(self, folder: Path, hosts: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder, self.uri = folder, f"memory:{folder.name}"
        (folder / "base.img").write_bytes(b"x" * 512)
        self.say(hosts)

    def say(self, hosts: Mapping[str, Mapping[str, Any]], **fleet: Any) -> None:
        """Writes the fleet file."""
        self.hosts = sorted(hosts)
        uri = f"{self.uri}?vcpus=10&memory_mib=16384&disk_gib=100"
        told = {name: {"libvirt": uri, **more} for name, more in hosts.items()}
        (self.folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "hosts": told, **fleet}))

    def options(self) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml")

    def write(self, servers: Servers, **more: Any) -> None:
        stack = {
            "stack": "shop",
            "fleet": "fleet.yaml",
            "flavors": {name: {"vcpus": n, "ram": 64, "disk": 1} for name, n in SIZES.items()},
            "images": {"base": {"source": "base.img", "format": "raw"}},
            "servers": {name: {"image": "base", **given} for name, given in servers.items()},
        }
        (self.folder / "stack.yaml").write_text(json.dumps(stack | more))

    def start(self, servers: Servers, where: Mapping[str, str], **more: Any) -> None:
        """The servers are where they are said to be, then without a pin unless they have one."""
        self.write({name: {**given, "host": where[name]} for name, given in servers.items()}, **more)
        self.run(session.plan(self.options()).plan)
        self.write(servers, **more)
        self.run(session.plan(self.options()).plan)

    def run(self, plan: Plan) -> None:
        report = session.apply(self.options(), plan, lambda event: None, session.ApplyOptions(allowed=Impact.MIGRATE))
        assert report.exit_status == 0, report.failed

    def even(self, **aim: Any) -> Plan:
        return session.rebalance(self.options(), Aim(even=True, **aim)).plan

    def shares(self) -> dict[str, int]:
        """CPUs of the stack's servers by host."""
        used = dict.fromkeys(self.hosts, 0)
        for host in self.hosts:
            used[host] = sum(o.spec.vcpus for o in world(self.uri).objects(host) if o.kind == "server")  # type: ignore[union-attr]
        return used


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, {"hv1": {}, "hv2": {}, "hv3": {}})
    yield made
    forget(made.uri)


def of(flavor: str, *names: str) -> dict[str, dict[str, Any]]:
    return {name: {"flavor": flavor} for name in names}


def on(host: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, host)


def moves(plan: Plan) -> dict[str, str]:
    return {s.address.name: s.host for s in plan.steps if s.operation is Operation.MIGRATE}


def outcome(plan: Plan) -> Outcome:
    assert plan.outcome is not None
    return plan.outcome


def test_full_host_gives_up_the_fewest_servers_and_the_second_time_nothing(shop: Shop) -> None:
    shop.start(of("small", *"abcdef"), on("hv1", *"abcde") | on("hv2", "f"))
    plan = shop.even()
    assert sorted(moves(plan).values()) == ["hv2", "hv3", "hv3"]
    shop.run(plan)
    assert shop.shares() == {"hv1": 4, "hv2": 4, "hv3": 4}
    assert shop.even().steps == ()


def test_text_says_the_measure_before_and_after(shop: Shop) -> None:
    shop.start(of("small", *"abc"), on("hv1", *"abc"))
    plan = shop.even()
    text = plan_text(plan)
    assert (
        "Evenness: VCPU, the scarcest class: between 0 % (hv3) and 60 % (hv1), a spread of 60 %\n"
        "  after 2 migrations: between 20 % (hv3) and 20 % (hv1), a spread of 0 %\n"
        "  even: within the tolerance of 10 %\n"
    ) in text
    assert fewest(plan) == "2 migrations; fewer do not do it."


def test_tolerance_decides_how_much_is_moved(shop: Shop) -> None:
    shop.start(of("small", *"abc"), on("hv1", *"abc"))
    assert len(moves(shop.even(tolerance=0.6))) == 0
    assert len(moves(shop.even(tolerance=0.4))) == 1
    assert len(moves(shop.even(tolerance=0.0))) == 2


def test_one_large_server_is_moved_in_place_of_two_small_ones(shop: Shop) -> None:
    shop.start(of("small", "a", "b") | of("large", "c", "d"), on("hv1", *"abc") | on("hv2", "d"))
    plan = shop.even()
    assert moves(plan) == {"c": "hv3"}
    assert outcome(plan).is_fewest


def test_servers_change_places_when_no_single_move_helps(shop: Shop) -> None:
    shop.start(
        of("medium", "a", "b") | of("small", "c", "d") | of("tiny", "e", "f", "g", "h", "i"),
        on("hv1", "a", "b") | on("hv2", "c", "d") | on("hv3", *"efghi"),
    )
    pinned = {name: {"flavor": "tiny", "host": "hv3"} for name in "efghi"}
    shop.write(of("medium", "a", "b") | of("small", "c", "d") | pinned)
    plan = shop.even()
    assert len(moves(plan)) == 2
    shop.run(plan)
    assert shop.shares() == {"hv1": 5, "hv2": 5, "hv3": 5}


def test_rules_hold(shop: Shop) -> None:
    servers = {name: {"flavor": "small", "group": "apart"} for name in "abc"}
    servers |= {name: {"flavor": "small", "host": "hv1"} for name in "de"}
    group = {"server_groups": {"apart": {"policy": "anti-affinity"}}}
    shop.start(servers, {"a": "hv1", "b": "hv2", "c": "hv3"} | on("hv1", "d", "e"), **group)
    plan = shop.even()
    assert moves(plan) == {}
    told = "even: nothing that was found is nearer by the tolerance; server.d, server.e cannot leave hv1"
    assert f"Not reached: {told}, by rules, hints, devices or volumes of their own\n" in plan_text(plan)


def test_servers_stay_in_their_zone_and_hosts_are_compared_in_theirs(shop: Shop) -> None:
    zones = {"hv1": "east", "hv2": "east", "hv3": "west"}
    shop.say({name: {"availability_zone": zone} for name, zone in zones.items()})
    shop.start(of("small", *"abcd"), on("hv1", *"abcd"))
    plan = shop.even()
    assert set(moves(plan).values()) == {"hv2"}
    assert len(moves(plan)) == 2
    assert outcome(plan).after == Evenness("VCPU", (("hv1", 0.4), ("hv2", 0.4)), "east")


def test_draining_host_gets_nothing_and_does_not_count(shop: Shop) -> None:
    shop.start(of("small", *"abcd"), on("hv1", *"abcd"))
    shop.say({"hv1": {}, "hv2": {}, "hv3": {"state": "drain"}})
    plan = shop.even()
    assert set(moves(plan).values()) == {"hv2"}
    assert len(moves(plan)) == 2


def test_larger_host_takes_its_share(shop: Shop) -> None:
    shop.say({"hv1": {}, "hv2": {"allocation_ratios": {"VCPU": 2.0}}})
    shop.start(of("small", *"abc"), on("hv1", *"abc"))
    plan = shop.even()
    shop.run(plan)
    assert shop.shares() == {"hv1": 2, "hv2": 4}


def test_members_of_an_affinity_group_stay_together(shop: Shop) -> None:
    servers = {name: {"flavor": "small", "group": "near"} for name in "abc"}
    shop.start(servers, on("hv1", *"abc"), server_groups={"near": {"policy": "affinity"}})
    assert moves(shop.even()) == {}


NEAR: dict[str, Any] = {"server_groups": {n: {"policy": "affinity"} for n in ("one", "two")}}


def test_limit_of_operations_does_not_keep_from_evening_out(shop: Shop) -> None:
    servers = of("tiny", *"abcdef")
    shop.start(servers, on("hv1", *"abcdef"))
    shop.say(
        {name: {} for name in shop.hosts}, scheduler={"enabled_filters": ["IoOpsFilter"], "max_io_ops_per_host": 1}
    )
    assert max(Counter(moves(shop.even()).values()).values()) > 1


def test_servers_with_a_query_about_what_changes_stay(shop: Shop) -> None:
    asks = {"scheduler_hints": {"query": [">=", "$free_ram_mb", 1]}}
    servers = {name: {**each, **(asks if name in "ab" else {})} for name, each in of("small", *"abcd").items()}
    shop.say({name: {} for name in shop.hosts}, scheduler={"enabled_filters": ["ComputeFilter", "JsonFilter"]})
    shop.start(servers, on("hv1", *"abcd"))
    assert set(moves(shop.even())) == {"c", "d"}


def in_groups(**groups: str) -> dict[str, dict[str, Any]]:
    return {name: {"flavor": "small", "group": group} for group, names in groups.items() for name in names}


def test_groups_move_whole_where_single_servers_do_not_even_out(shop: Shop) -> None:
    shop.start(in_groups(one="ab", two="cd"), on("hv1", *"abcd"), **NEAR)
    plan = shop.even(tolerance=0.4)
    assert moves(plan) == {"a": "hv3", "b": "hv3"}
    assert outcome(plan).after == Evenness("VCPU", (("hv1", 0.4), ("hv3", 0.4), ("hv2", 0.0)))
    assert fewest(plan) == "2 migrations; no fewer were found."
    shop.run(plan)
    assert shop.shares() == {"hv1": 4, "hv2": 0, "hv3": 4}
    assert shop.even(tolerance=0.4).steps == ()
    assert session.rebalance(shop.options()).plan.outcome == Outcome()


def test_each_server_of_a_group_counts_as_a_move(shop: Shop) -> None:
    shop.start(in_groups(one="ab", two="cd"), on("hv1", *"abcd"), **NEAR)
    assert moves(shop.even(tolerance=0.4, max_moves=2)) == {"a": "hv3", "b": "hv3"}
    plan = shop.even(tolerance=0.4, max_moves=1)
    assert moves(plan) == {}
    told = "even with so few migrations: server.a, server.b move only together, 2 migrations"
    assert outcome(plan).left == (told,)


def test_single_server_is_moved_rather_than_a_group(shop: Shop) -> None:
    shop.start(in_groups(one="ab") | of("large", "c"), on("hv1", *"abc"), **NEAR)
    assert moves(shop.even(tolerance=0.4)) == {"c": "hv3"}


def test_group_is_moved_rather_than_more_single_servers(shop: Shop) -> None:
    shop.start(in_groups(one="ab") | of("tiny", *"cdef"), on("hv1", *"abcdef"), **NEAR)
    plan = shop.even(tolerance=0.4)
    assert moves(plan) == {"a": "hv3", "b": "hv3"}
    assert fewest(plan) == "2 migrations; no fewer were found."


def test_servers_bound_by_same_host_move_together(shop: Shop) -> None:
    servers = of("small", *"abc") | {"d": {"flavor": "small", "scheduler_hints": {"same_host": ["server.c"]}}}
    servers["b"]["scheduler_hints"] = {"same_host": ["server.a"]}
    shop.start(servers, on("hv1", *"abcd"))
    assert moves(shop.even(tolerance=0.4)) == {"a": "hv3", "b": "hv3"}


def test_group_of_which_a_member_cannot_leave_stays_whole(shop: Shop) -> None:
    servers = in_groups(one="ab")
    servers["b"]["host"] = "hv1"
    shop.start(servers | of("small", "c"), on("hv1", *"abc"), **NEAR)
    plan = shop.even(tolerance=0.1)
    assert moves(plan) == {"c": "hv3"}
    assert (
        outcome(plan)
        .left[0]
        .endswith("; server.a, server.b cannot leave hv1, by rules, hints, devices or volumes of their own")
    )


def test_most_moves_are_kept_to_and_what_is_not_reached_is_told(shop: Shop) -> None:
    shop.start(of("tiny", *"abcdefgh") | of("small", "i"), on("hv1", *"abcdefghi"))
    plan = shop.even(max_moves=2)
    assert len(moves(plan)) == 2
    assert "i" in moves(plan)
    assert set(moves(plan).values()) == {"hv2", "hv3"}
    assert outcome(plan).left == ("even with so few migrations",)
    assert fewest(plan) == "2 migrations; nothing nearer was found."


def test_one_plan_for_one_question(shop: Shop) -> None:
    shop.start(of("tiny", *"abcdef") | of("small", *"ghi"), on("hv1", *"abcghi") | on("hv2", *"def"))
    assert shop.even() == shop.even()


def test_outcome_is_kept_in_a_saved_plan(shop: Shop) -> None:
    shop.start(of("small", *"abc"), on("hv1", *"abc"))
    plan = shop.even()
    write_plan(plan, shop.folder / "moves.plan")
    assert read_plan(shop.folder / "moves.plan").outcome == plan.outcome


def test_json_has_the_measure_before_and_after(shop: Shop) -> None:
    shop.start(of("small", *"abc"), on("hv1", *"abc"))
    data: Any = plan_data(shop.even(), "2026-01-01T00:00:00Z")
    told = data["stacksmith"]["outcome"]
    assert (told["before"]["shares"], told["after"]["spread"]) == ({"hv1": 0.6, "hv2": 0.0, "hv3": 0.0}, 0.0)


def test_other_changes_come_first(shop: Shop) -> None:
    shop.start(of("small", *"abc"), on("hv1", *"abc"))
    shop.write(of("small", *"abcd"))
    with pytest.raises(Faults, match=r"come first: server.d \(create\)"):
        shop.even()


@pytest.mark.parametrize("seed", range(8))
def test_no_smaller_set_of_moves_evens_out_by_trying_all(shop: Shop, seed: int) -> None:
    sizes = [1 + (seed * 7 + place * place) % 4 % 3 for place in range(6)]
    names = [f"s{place}" for place in range(6)]
    flavor = {n: name for name, n in SIZES.items()}
    where = {name: "hv1" if place < 3 + seed % 2 else "hv2" for place, name in enumerate(names)}
    shop.start({name: {"flavor": flavor[size]} for name, size in zip(names, sizes, strict=True)}, where)
    plan = shop.even(tolerance=0.2)
    amounts = dict(zip(names, sizes, strict=True))
    assert outcome(plan).is_fewest
    goal = max(2, round(10 * outcome(plan).after.spread))  # type: ignore[union-attr]
    fewer = len(moves(plan)) - 1
    assert spread(amounts, {**where, **moves(plan)}) <= goal
    for chosen in combinations(names, max(0, fewer)):
        for hosts in product(("hv1", "hv2", "hv3"), repeat=len(chosen)):
            assert fewer < 0 or spread(amounts, {**where, **dict(zip(chosen, hosts, strict=True))}) > goal
    shop.run(plan)
    assert shop.even(tolerance=0.2).steps == ()


def spread(amounts: Mapping[str, int], where: Mapping[str, str]) -> int:
    used = dict.fromkeys(("hv1", "hv2", "hv3"), 0)
    for name, host in where.items():
        used[host] += amounts[name]
    return max(used.values()) - min(used.values())


def test_drain_that_brings_a_host_more_than_its_limit_of_operations_is_refused(shop: Shop) -> None:
    shop.start(of("tiny", *"abc"), on("hv1", *"abc"))
    shop.say({"hv1": {}, "hv2": {}}, scheduler={"enabled_filters": ["IoOpsFilter"], "max_io_ops_per_host": 2})
    with pytest.raises(Faults) as refused:
        session.rebalance(shop.options(), Aim(drain=frozenset({"hv1"})))
    assert "3 requests need IO_OPS 3" in refused.value.diagnostics[0].message
