"""What hosts of one make, and units of one kind, share of what was found out, and what they must not."""

from dataclasses import replace

import pytest

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement import (
    CandidateRequest,
    GroupPolicy,
    HostState,
    Inventory,
    Provider,
    Request,
    ResourceGroup,
    Strategy,
)
from stacksmith.placement import place as place_all
from stacksmith.placement.memory import Memory
from stacksmith.placement.site import open_sites
from stacksmith.placement.unit import Unit, bundle


def host(name: str, cells: int = 2, cpus: int = 4) -> HostState:
    offer = {"PCPU": Inventory(cpus)}
    parts = tuple(Provider(f"{name}_numa{i}", f"{name}_numa{i}", name, offer) for i in range(cells))
    return HostState(name, {"MEMORY_MB": Inventory(64)}, parts=parts)


def server(number: int, *cpus: int, together: str | None = None) -> Request:
    groups = {f"_numa{i}": ResourceGroup({"PCPU": count}) for i, count in enumerate(cpus)}
    asked = CandidateRequest(groups, GroupPolicy.ISOLATE)
    return Request(Address("server", "s", number), {"MEMORY_MB": 1}, together=together, parts=asked)


def units(*requests: Request) -> list[Unit]:
    return bundle(requests, (), {})


def questions(hosts: list[HostState], unit: Unit) -> tuple[list[bool], int]:
    """What each host answers when all share a memory, and how many ways to give parts were searched for."""
    memory = Memory()
    return [site.takes(unit) for site in open_sites(hosts, memory)], len(memory.found)


def test_hosts_of_one_make_are_searched_once() -> None:
    assert questions([host(f"hv{i}") for i in range(5)], units(server(0, 2, 2))[0]) == ([True] * 5, 1)


def test_hosts_of_another_make_are_searched_for_themselves() -> None:
    hosts = [host("hv0"), host("hv1", cells=3), host("hv2", cpus=1), host("hv3", cells=1)]
    assert questions(hosts, units(server(0, 2, 2))[0]) == ([True, True, False, False], 2)


def test_hosts_that_differ_in_what_is_not_asked_for_are_searched_once() -> None:
    hosts = [host("hv0"), replace(host("hv1"), inventories={"MEMORY_MB": Inventory(65)})]
    assert questions(hosts, units(server(0, 2, 2))[0]) == ([True, True], 1)


def test_a_host_of_which_more_is_used_is_searched_for_itself() -> None:
    free, used = host("hv0"), replace(host("hv1"), parts_used={"hv1_numa1": {"PCPU": 3}})
    assert questions([free, used], units(server(0, 2, 2))[0]) == ([True, False], 1)
    assert questions([used, free], units(server(0, 2, 2))[0]) == ([False, True], 1)


def test_parts_are_those_of_the_host_itself() -> None:
    hosts = [host(f"hv{i}", cpus=2) for i in range(3)]
    placements = place_all([server(i, 2, 2) for i in range(3)], hosts, {})
    cells = [sorted(uuid for uuids in placed.parts.values() for uuid in uuids) for placed in placements]
    assert cells == [[f"{placed.host}_numa0", f"{placed.host}_numa1"] for placed in placements]
    assert [sorted(placed.allocations) for placed in placements] == cells
    assert [placed.host for placed in placements] == ["hv0", "hv1", "hv2"]


def test_a_request_that_names_a_tree_means_another_at_each_host() -> None:
    asked = CandidateRequest({"_numa0": ResourceGroup({"PCPU": 1}, in_tree="hv1_numa0")})
    request = Request(Address("server", "s"), {"MEMORY_MB": 1}, parts=asked)
    assert questions([host(f"hv{i}") for i in range(3)], units(request)[0])[0] == [False, True, False]


@pytest.mark.parametrize("way", [Strategy.SPREAD, SchedulerSpec(ram_weight_multiplier=1.0)])
def test_a_host_of_which_parts_are_shared_is_asked_again_when_another_took_some(way: Strategy | SchedulerSpec) -> None:
    traits = frozenset({"MISC_SHARES_VIA_AGGREGATE"})
    pool = Provider("ceph", "ceph", None, {"DISK_GB": Inventory(20)}, traits, frozenset({"ceph"}))
    hosts = [HostState(f"hv{i}", {"MEMORY_MB": Inventory(64 - i)}, parts=(pool,)) for i in range(2)]
    alone = replace(pool, uuid="own", name="own", aggregates=frozenset({"own"}))
    hosts.append(HostState("hv2", {"MEMORY_MB": Inventory(32)}, parts=(alone,)))
    asked = CandidateRequest({"_disk": ResourceGroup({"DISK_GB": 8})})
    requests = [Request(Address("server", "s", i), {"MEMORY_MB": 1}, parts=asked) for i in range(3)]
    placements = place_all(requests, hosts, {}, strategy=way)
    assert [placed.host for placed in placements] == ["hv0", "hv0", "hv2"]
    fits = [[verdict.fits for verdict in placed.verdicts] for placed in placements]
    assert fits == [[True, True, True], [True, True, True], [False, False, True]]


def test_servers_that_must_share_a_host_are_told_apart_by_how_many_ask_for_what() -> None:
    """Their amounts are equal: what they ask for is parts of the host."""
    too_many = [server(0, 1, together="sll"), server(1, 4, together="sll"), server(2, 4, together="sll")]
    few = [server(3, 1, together="ssl"), server(4, 1, together="ssl"), server(5, 4, together="ssl")]
    placements = place_all([*too_many, *few], [host("hv0"), host("hv1")], {})
    assert [placed.host for placed in placements] == [None, None, None, "hv0", "hv0", "hv0"]
