"""How much is searched for a batch that asks for parts of hosts and cannot all be placed: counted, not timed."""

from collections.abc import Sequence
from random import Random

import pytest

from stacksmith.address import Address
from stacksmith.placement import (
    CandidateRequest,
    Goal,
    GroupPolicy,
    HostState,
    Inventory,
    Provider,
    Request,
    ResourceGroup,
    Strategy,
    place,
)
from stacksmith.placement.arrange import arrange
from stacksmith.placement.clash import MOST_WORK as CLASH_WORK
from stacksmith.placement.clash import Clashes
from stacksmith.placement.memory import Memory
from stacksmith.placement.part import MOST_STEPS
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit, bundle

CLASSES = ("PCPU", "NUMA_MEMORY_MB", "CUSTOM_HUGEPAGE_2048")


def batch(servers: int, hosts: int, seed: int) -> tuple[list[Request], list[HostState]]:
    """Unlike servers of one or two cells and a device now and then, on hosts of two cells and two devices."""
    random = Random(seed)
    return [_server(number, random) for number in range(servers)], [_host(f"hv{i}", random) for i in range(hosts)]


def _server(number: int, random: Random) -> Request:
    cells = [[random.randint(1, 3), random.randint(1, 3), random.randint(0, 2)] for _ in range(random.randint(1, 2))]
    amounts = [{name: units for name, units in zip(CLASSES, cell, strict=True) if units} for cell in cells]
    groups = {f"_numa{place}": ResourceGroup(each) for place, each in enumerate(amounts)}
    if random.random() < 0.3:
        groups["_pci"] = ResourceGroup({"PGPU": 1})
    asked = CandidateRequest(groups, GroupPolicy.ISOLATE)
    return Request(Address("server", "s", number), {"MEMORY_MB": random.randint(1, 2)}, parts=asked)


def _host(name: str, random: Random) -> HostState:
    cells = [{each: Inventory(random.randint(4, 8)) for each in CLASSES} for _ in range(2)]
    parts = [Provider(f"{name}_numa{i}", f"{name}_numa{i}", name, cell) for i, cell in enumerate(cells)]
    device = {"PGPU": Inventory(1)}
    parts += [Provider(f"{name}_pci{i}", f"{name}_pci{i}", f"{name}_numa{i}", device) for i in range(2)]
    return HostState(name, {"MEMORY_MB": Inventory(64)}, parts=tuple(parts))


@pytest.mark.parametrize(("servers", "hosts", "most"), [(16, 2, 6_000), (30, 3, 36_000)])
def test_a_batch_with_parts_that_cannot_all_be_placed_is_told_of_after_bounded_work(
    servers: int, hosts: int, most: int
) -> None:
    requests, states = batch(servers, hosts, 1)
    memory, units = Memory(), bundle(requests, states, {})
    outcome = arrange(units, states, Goal(), memory)
    assert outcome.failures
    assert memory.work <= most
    arranged, clashes, left = memory.work, Clashes(states, memory), [failure.unit for failure in outcome.failures]
    for unit in left:
        clashes.of(unit, [each for each, _ in outcome.placed], left)
    assert memory.work - arranged <= CLASH_WORK + MOST_STEPS


@pytest.mark.parametrize("strategy", [Strategy.SPREAD, Strategy.PACK, Strategy.OPTIMAL])
def test_a_batch_for_which_no_work_is_left_is_never_called_impossible(
    strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, states = batch(16, 2, 1)
    monkeypatch.setattr("stacksmith.placement.arrange.MOST_WORK", 0)
    causes = [placed.cause for placed in place(requests, states, {}, strategy=strategy) if placed.host is None]
    assert causes
    assert all(cause.startswith(f"no arrangement found within the search limit ({strategy}, ") for cause in causes)
    assert not any("was tried" in cause or "conflict over" in cause for cause in causes)


def test_work_is_counted_the_same_every_time() -> None:
    requests, states = batch(16, 2, 1)
    memories = [Memory(), Memory()]
    outcomes = [arrange(bundle(requests, states, {}), states, Goal(), memory) for memory in memories]
    assert outcomes[0].placed == outcomes[1].placed
    assert memories[0].work == memories[1].work


def test_a_host_answers_with_what_is_remembered_as_it_would_without() -> None:
    requests, states = batch(16, 2, 1)
    memory, units = Memory(), bundle(requests, states, {})
    orders = [units, units[::-1], [*units[::2], *units[1::2]], units]
    work = []
    for order in orders:
        before = memory.work
        assert _filled(order, open_sites(states, memory)[0]) == _filled(order, open_sites(states)[0])
        work.append(memory.work - before)
    assert work[-1] < work[0]


def _filled(units: Sequence[Unit], site: Site) -> dict[Address, object]:
    """The parts of those that the site takes, one after the other."""
    for unit in units:
        if site.takes(unit):
            site.add(unit)
    return {address: choice.mappings for address, choice in site.parts.choices.items()}
