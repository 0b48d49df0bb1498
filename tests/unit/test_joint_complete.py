"""An arrangement that left units over is made whole by changes, on as few hosts as it can."""

from collections.abc import Sequence

from stacksmith.address import Address
from stacksmith.placement import Group, HostState, Inventory, Request
from stacksmith.placement.attempt import Eligible
from stacksmith.placement.joint.complete import completed
from stacksmith.placement.unit import bundle

GROUPS = {"apart": Group("apart", "anti-affinity")}


def host(name: str, vcpus: int, used: int = 0) -> HostState:
    return HostState(name, {"VCPU": Inventory(vcpus)}, {"VCPU": used} if used else {})


def server(name: str, vcpus: int, *hosts: str, group: str | None = None) -> Request:
    return Request(Address("server", name), {"VCPU": vcpus}, with_hosts=hosts, group=group)


def made(requests: Sequence[Request], hosts: Sequence[HostState], there: dict[str, str]) -> dict[str, str] | None:
    units, names = bundle(requests, hosts, GROUPS), [each.name for each in hosts]
    placed = [(u, names.index(there[u.address.name])) for u in units if u.address.name in there]
    found = completed(placed, units, hosts, Eligible(hosts))
    return None if found is None else {unit.address.name: names[index] for unit, index in found.placed}


def test_one_that_fits_beside_the_others_opens_no_host() -> None:
    hosts = [host("hv1", 4), host("hv2", 4), host("hv3", 4)]
    assert made([server("a", 3), server("b", 1)], hosts, {"a": "hv2"}) == {"a": "hv2", "b": "hv2"}


def test_another_makes_room_before_an_empty_host_is_opened() -> None:
    hosts = [host("hv1", 4), host("hv2", 4), host("hv3", 4)]
    there = {"a": "hv1", "b": "hv2"}
    assert made([server("a", 2), server("b", 2), server("c", 4)], hosts, there) == {"a": "hv2", "b": "hv2", "c": "hv1"}


def test_two_make_room_one_for_the_other() -> None:
    hosts = [host("hv1", 2), host("hv2", 2), host("hv3", 3, used=1)]
    requests = [server("a", 2, "hv1", "hv2"), server("b", 2, "hv2", "hv3"), server("c", 2, "hv1")]
    assert made(requests, hosts, {"a": "hv1", "b": "hv2"}) == {"a": "hv2", "b": "hv3", "c": "hv1"}


def test_members_of_a_group_stay_apart() -> None:
    hosts = [host("hv1", 4, used=1), host("hv2", 4, used=1), host("hv3", 4)]
    requests = [server(name, 1, group="apart") for name in "abc"]
    assert made(requests, hosts, {"a": "hv1", "b": "hv2"}) == {"a": "hv1", "b": "hv2", "c": "hv3"}


def test_the_largest_empty_host_is_opened_when_no_change_helps() -> None:
    hosts = [host("hv1", 2), host("hv2", 2), host("hv3", 8)]
    assert made([server("a", 2), server("b", 2)], hosts, {"a": "hv1"}) == {"a": "hv1", "b": "hv3"}


def test_what_no_host_takes_is_no_arrangement() -> None:
    hosts = [host("hv1", 2), host("hv2", 1)]
    assert made([server("a", 2), server("b", 2)], hosts, {"a": "hv1"}) is None
