"""Batches on hosts that share storages, against brute force: never more than there is, and all that can be placed."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement import Inventory, Provider, place
from stacksmith.placement.host import HostState
from stacksmith.placement.request import Request, Strategy
from stacksmith.placement.tree.request import CandidateRequest, ResourceGroup

TRAIT, SHARES = "CUSTOM_VOLUME_TYPE_NFS", "MISC_SHARES_VIA_AGGREGATE"
WEIGHED = SchedulerSpec(weight_classes=["RAMWeigher"])


Asked = tuple[int, int, tuple[int, int] | None]  # memory, GiB, and what it has already: (storage, GiB)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[tuple[int, int | None]], list[tuple[int, int]], list[Asked]]:
    """Hosts as (memory, storage), storages as (total, used), requests. What is held is used, maybe beyond the total."""
    storages = draw(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6)), min_size=1, max_size=2))
    choice = st.one_of(st.none(), st.integers(0, len(storages) - 1))
    hosts = draw(st.lists(st.tuples(st.integers(0, 6), choice), min_size=1, max_size=4))
    held = st.one_of(st.none(), st.tuples(st.integers(0, len(storages) - 1), st.integers(1, 6)))
    requests = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), held), min_size=1, max_size=5))
    for storage, gib in (has for _, _, has in requests if has is not None):
        storages[storage] = (storages[storage][0], storages[storage][1] + gib)
    return hosts, storages, requests


def state(number: int, host: tuple[int, int | None], storages: list[tuple[int, int]]) -> HostState:
    memory, storage = host
    inventories = {"MEMORY_MB": Inventory(memory)} if memory else {}
    if storage is None:
        return HostState(f"hv{number}", inventories)
    uuid, (total, used) = f"shared:{storage}", storages[storage]
    part = Provider(uuid, uuid, None, {"DISK_GB": Inventory(total)}, frozenset({TRAIT, SHARES}), frozenset({uuid}))
    return HostState(f"hv{number}", inventories, parts=(part,), parts_used={uuid: {"DISK_GB": used}})


def request(number: int, asked: Asked) -> Request:
    memory, gib, has = asked
    group = ResourceGroup({"DISK_GB": gib}, (frozenset({TRAIT}),)) if gib else None
    parts = CandidateRequest({"_disk_nfs": group}) if group is not None else None
    held = {f"shared:{has[0]}": {"DISK_GB": has[1]}} if has is not None else {}
    return Request(Address("server", "s", number), {"MEMORY_MB": memory} if memory else {}, parts=parts, held=held)


def can_be_placed(hosts: list[tuple[int, int | None]], storages: list[tuple[int, int]], requests: list[Asked]) -> bool:
    return any(fits(chosen, hosts, storages, requests) for chosen in product(range(len(hosts)), repeat=len(requests)))


def fits(
    chosen: tuple[int, ...],
    hosts: list[tuple[int, int | None]],
    storages: list[tuple[int, int]],
    requests: list[Asked],
) -> bool:
    """True when no host has too little memory, and no storage that gets more than it had is fuller than it may be."""
    memory, more = [0] * len(hosts), [0] * len(storages)
    for host, (ram, gib, has) in zip(chosen, requests, strict=True):
        memory[host] += ram
        storage = hosts[host][1]
        if gib and storage is None:
            return False
        if gib and storage is not None:
            more[storage] += max(0, gib - has[1]) if has is not None and has[0] == storage else gib
    has_room = all(not new or used + new <= total for new, (total, used) in zip(more, storages, strict=True))
    return has_room and all(taken <= have for taken, (have, _) in zip(memory, hosts, strict=True))


@settings(max_examples=300, deadline=None)
@given(worlds(), st.sampled_from([Strategy.SPREAD, Strategy.PACK, WEIGHED]))
def test_batch_never_takes_more_of_a_shared_storage_than_there_is_and_is_placed_when_it_can_be(
    world: tuple[list[tuple[int, int | None]], list[tuple[int, int]], list[Asked]],
    strategy: Strategy | SchedulerSpec,
) -> None:
    hosts, storages, requests = world
    states = [state(number, host, storages) for number, host in enumerate(hosts)]
    asked = [request(number, each) for number, each in enumerate(requests)]
    found = {p.address.key: p for p in place(asked, states, {}, strategy=strategy)}
    placed = [n for n in range(len(requests)) if found[n].host is not None]
    names = [state.name for state in states]
    chosen = tuple(names.index(found[n].host or "") for n in placed)
    assert fits(chosen, hosts, storages, [requests[n] for n in placed])
    assert (len(placed) == len(requests)) == can_be_placed(hosts, storages, requests)
    for number in placed:
        gib, storage = requests[number][1], hosts[names.index(found[number].host or "")][1]
        assert found[number].allocations == ({f"shared:{storage}": {"DISK_GB": gib}} if gib else {})


def test_what_one_that_holds_a_storage_takes_of_another_is_no_proof_against_who_comes_after_it() -> None:
    hosts = [storages(6, "S0"), storages(0, "S0", "S1")]
    for world in (hosts, hosts[1:]):
        first = Request(Address("server", "a"), {"VCPU": 1}, parts=disks(3), held={"S1": {"DISK_GB": 5}})
        other = Request(Address("server", "b"), {"VCPU": 1}, parts=disks(10, "CUSTOM_S0"))
        found = place([first, other], world, {})
        left = [placement for placement in found if placement.host is None]
        assert not any("every arrangement" in (each.cause or "") for each in left)
    assert [(p.host, p.allocations) for p in place([first, other], hosts[1:], {})] == [
        ("hv0", {"S1": {"DISK_GB": 3}}),
        ("hv0", {"S0": {"DISK_GB": 10}}),
    ]


def storages(number: int, *names: str) -> HostState:
    """A host with storages that others share, of which S1 has less than is used."""
    parts = tuple(
        Provider(
            n,
            n,
            None,
            {"DISK_GB": Inventory(10 if n == "S0" else 7)},
            frozenset({SHARES, f"CUSTOM_{n}"}),
            frozenset({n}),
        )
        for n in names
    )
    return HostState(f"hv{number}", {"VCPU": Inventory(4)}, parts=parts, parts_used={"S1": {"DISK_GB": 12}})


def disks(gib: int, *traits: str) -> CandidateRequest:
    """Asks for a disk, on a storage with the traits."""
    return CandidateRequest({"_disk": ResourceGroup({"DISK_GB": gib}, tuple(frozenset({trait}) for trait in traits))})
