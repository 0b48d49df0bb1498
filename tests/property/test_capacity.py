"""Capacity is exact: so many are placed, and one more is not."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.model.query import read_query
from stacksmith.placement import Request, place
from stacksmith.placement.capacity import capacity
from stacksmith.placement.filters.query import Queried
from tests.property.test_placement import World, worlds


def single(world: World) -> Request:
    """The first request without what binds it to others: of those that go together none is placed without the rest."""
    return replace(world.requests[0], group=None, together=None)


def copies(world: World, count: int) -> tuple[int, int]:
    """How many like the first request are placed of so many, and how many hosts they are on."""
    asked = [replace(single(world), address=Address("server", "more", i)) for i in range(count)]
    hosts = [p.host for p in place(asked, world.hosts, {}, strategy=world.strategy, explain=False)]
    return sum(host is not None for host in hosts), len({*hosts} - {None})


def with_query(request: Request, operator: str, most: int) -> Request:
    """Asks that so many CPUs are in use at the moment of placing."""
    query = read_query([operator, "$vcpus_used", most])
    assert query is not None
    return replace(request, queries=(Queried(query),))


@given(
    worlds(), st.sampled_from([1, 3]), st.one_of(st.none(), st.tuples(st.sampled_from(["<=", "="]), st.integers(0, 6)))
)
def test_capacity_is_what_can_be_placed_and_no_more(world: World, scale: int, query: tuple[str, int] | None) -> None:
    hosts = tuple(
        replace(h, inventories={n: replace(i, total=i.total * scale if i.total > 0 else -1, max_unit=99)
                                for n, i in h.inventories.items()})
        for h in world.hosts
    )  # fmt: skip
    first = world.requests[0] if query is None else with_query(world.requests[0], *query)
    world = World((first, *world.requests[1:]), hosts, world.strategy)
    found = capacity(single(world), world.hosts)
    if found.total is None:
        assert copies(world, 50)[0] == 50
        return
    placed, used = copies(world, found.total)
    assert (placed, used) == (found.total, sum(bool(room.count) for room in found.rooms))
    assert copies(world, found.total + 1)[0] == found.total
    assert all(room.reason for room in found.rooms)


@given(worlds(requests=1))
def test_capacity_of_all_is_that_of_each_host_alone(world: World) -> None:
    request = single(world)
    rooms = capacity(request, world.hosts).rooms
    assert rooms == tuple(capacity(request, [host]).rooms[0] for host in sorted(world.hosts, key=lambda h: h.name))
