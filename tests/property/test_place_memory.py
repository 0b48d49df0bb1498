"""What is remembered of the parts of hosts, and of their answers, equals what is found out anew."""

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement import Group, HostState, Placement, Request, Strategy, place
from stacksmith.placement.arrange import preferred
from stacksmith.placement.explain import Answers, verdicts
from stacksmith.placement.memory import Memory
from stacksmith.placement.site import Site, open_sites
from stacksmith.placement.unit import Unit, bundle
from tests.property.test_place_parts import World, worlds

WAYS = [Strategy.SPREAD, Strategy.PACK, SchedulerSpec(ram_weight_multiplier=1.0, pci_weight_multiplier=2.0)]
GROUPS = {"apart": Group("apart", "anti-affinity")}


def fleet(world: World, copies: int) -> list[HostState]:
    """Hosts of as many makes as there are boxes, some of each, in mixed order of name."""
    boxes = [replace(box, name=f"hv{i}{box.name}") for i in range(copies) for box in world.boxes]
    return [box.state() for box in boxes]


def batch(world: World, copies: int) -> list[Request]:
    """Each server so many times, together with those of its own time."""
    found = []
    for i in range(copies):
        for number, want in enumerate(world.wants):
            asked = want.request(number)
            together = asked.together and f"{asked.together}{i}"
            found.append(replace(asked, address=Address("server", f"s{i}", number), together=together))
    return found


def filled(units: Sequence[Unit], sites: Sequence[Site]) -> list[object]:
    """What each site answers to one unit after the other, those that it takes put there, every other taken off again.

    With the parts of all who are there at the end.
    """
    found: list[object] = []
    for site in sites:
        for number, unit in enumerate(units):
            fits = site.takes(unit)
            found.append((fits, site.parts_lack(unit) if unit.has_parts else ""))
            if fits:
                site.add(unit)
            if fits and number % 2:
                site.remove(unit)
        found.append({address: (c.mappings, c.allocations) for address, c in site.parts.choices.items()})
    return found


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_hosts_answer_with_what_others_of_their_make_found_as_they_would_alone(world: World) -> None:
    hosts, units, memory = fleet(world, 3), bundle(batch(world, 2), (), GROUPS), Memory()
    shared = filled(units, open_sites(hosts, memory))
    assert shared == [answer for host in hosts for answer in filled(units, open_sites([host]))]
    assert filled(units, open_sites(hosts, memory)) == shared


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sampled_from(WAYS))
def test_a_batch_is_placed_as_without_a_memory(world: World, way: Strategy | SchedulerSpec) -> None:
    def placed() -> tuple[Placement, ...]:
        return place(batch(world, 2), fleet(world, 2), GROUPS, strategy=way)

    remembered = placed()
    with patch("stacksmith.placement.memory.MOST_KEPT", 0):
        assert placed() == remembered


@settings(max_examples=100, deadline=None)
@given(worlds(), st.sampled_from(WAYS))
def test_hosts_tell_again_what_they_would_tell_anew(world: World, way: Strategy | SchedulerSpec) -> None:
    hosts, units = fleet(world, 2), bundle(batch(world, 3), (), GROUPS)
    sites, known = open_sites(hosts), Answers()
    weigher = preferred(way, hosts, sites)
    for unit in units:
        told = verdicts(unit, sites, weigher, (0, "named"), known)
        assert told == verdicts(unit, sites, weigher, (0, "named"))
        if there := next((s for s, verdict in zip(sites, told, strict=True) if verdict.fits), None):
            there.add(unit)
            there.introduce(unit)
