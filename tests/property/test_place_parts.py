"""Servers that ask for parts of their hosts - NUMA cells, whole CPUs, large pages, devices - against brute force.

The brute force knows nothing of providers: it tries every host for every server, and every cell and device for each
that it asks for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.address import Address
from stacksmith.placement import (
    Beside,
    CandidateRequest,
    Goal,
    Group,
    GroupPolicy,
    HostState,
    Inventory,
    Placement,
    Provider,
    Request,
    ResourceGroup,
    Strategy,
    allocate,
)

CELL, FAST = "CUSTOM_NUMA_CELL", "CUSTOM_FAST"
CLASSES = ("PCPU", "NUMA_MEMORY_MB", "CUSTOM_HUGEPAGE_2048")
Amounts = Mapping[str, int]


@dataclass(frozen=True)
class Box:
    """A host: its memory, units and units in use of each cell, and devices (cell or none, fast or not, taken)."""

    name: str
    memory: int
    cells: tuple[tuple[tuple[int, int], ...], ...]
    devices: tuple[tuple[int | None, bool, bool], ...]

    def state(self) -> HostState:
        names = [f"{self.name}_numa{i}" for i in range(len(self.cells))]
        parts, used = [], {}
        for name, units in zip(names, self.cells, strict=True):
            offer = {c: Inventory(total) for c, (total, _) in zip(CLASSES, units, strict=True) if total}
            parts.append(Provider(name, name, self.name, offer, frozenset({CELL})))
            used[name] = {c: taken for c, (total, taken) in zip(CLASSES, units, strict=True) if total and taken}
        for number, (cell, fast, taken) in enumerate(self.devices):
            name = f"{self.name}_pci{number}"
            parent = self.name if cell is None else names[cell]
            parts.append(Provider(name, name, parent, {"PGPU": Inventory(1)}, frozenset({FAST} if fast else ())))
            used[name] = {"PGPU": 1} if taken else {}
        return HostState(self.name, {"MEMORY_MB": Inventory(self.memory)}, parts=tuple(parts), parts_used=used)


@dataclass(frozen=True)
class Want:
    """A server: memory of the host, amounts of its cells, a device (fast or any) or none, perhaps near its cell."""

    memory: int
    cells: tuple[tuple[int, ...], ...]
    device: bool | None
    near: bool
    group: bool
    together: bool

    @property
    def is_near(self) -> bool:
        """True when its one cell and its device belong together."""
        return self.near and len(self.cells) == 1 and self.device is not None

    def amounts(self, cell: int) -> dict[str, int]:
        return {c: units for c, units in zip(CLASSES, self.cells[cell], strict=True) if units}

    def request(self, number: int) -> Request:
        groups = {f"_numa{i}": ResourceGroup(self.amounts(i), (frozenset({CELL}),)) for i in range(len(self.cells))}
        if self.device is not None:
            required = (frozenset({FAST}),) if self.device else ()
            groups["_pci"] = ResourceGroup({"PGPU": 1}, required)
        near = (frozenset(groups),) if self.is_near else ()
        parts = CandidateRequest(groups, GroupPolicy.ISOLATE, same_subtree=near) if groups else None
        return Request(
            Address("server", "s", number),
            {"MEMORY_MB": self.memory},
            group="apart" if self.group else None,
            together="pair" if self.together else None,
            parts=parts,
        )


@dataclass(frozen=True)
class World:
    boxes: tuple[Box, ...]
    wants: tuple[Want, ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    cell = st.tuples(*[st.tuples(st.sampled_from([0, 2, 3, 4]), st.sampled_from([0, 0, 0, 1, 2])) for _ in CLASSES])
    boxes = tuple(
        Box(f"hv{i}", draw(st.integers(3, 8)), cells, tuple(draw(st.lists(_devices(len(cells)), max_size=2))))
        for i in range(draw(st.integers(1, 2)))
        for cells in [tuple(draw(st.lists(cell, min_size=1, max_size=3)))]
    )
    return World(boxes, tuple(draw(st.lists(_wants(), min_size=1, max_size=5))))


def _devices(cells: int) -> st.SearchStrategy[tuple[int | None, bool, bool]]:
    return st.tuples(
        st.one_of(st.none(), st.integers(0, cells - 1)), st.booleans(), st.sampled_from([False] * 4 + [True])
    )


@st.composite
def _wants(draw: st.DrawFn) -> Want:
    units = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 0, 0, 1])).filter(any)
    cells = tuple(draw(st.lists(units, max_size=2)))
    device = draw(st.sampled_from([None, None, False, True]))
    return Want(
        draw(st.integers(0, 2)), cells, device, *(draw(st.sampled_from([False, False, True])) for _ in range(3))
    )


# What a server has: its host, the cell of each of its cells, and its device.
Has = tuple[str, tuple[int, ...], int | None]


def options(want: Want, boxes: Sequence[Box]) -> Iterator[Has]:
    """All that would be right for a server if everything were free."""
    for box in boxes:
        fast = [n for n, (_, is_fast, _) in enumerate(box.devices) if is_fast or not want.device]
        for cells in permutations(range(len(box.cells)), len(want.cells)):
            for device in fast if want.device is not None else [None]:
                if not want.is_near or (device is not None and box.devices[device][0] == cells[0]):
                    yield box.name, cells, device


def room(boxes: Sequence[Box]) -> Counter[tuple[object, ...]]:
    found: Counter[tuple[object, ...]] = Counter()
    for box in boxes:
        found[box.name, "MEMORY_MB"] = box.memory
        for number, units in enumerate(box.cells):
            for name, (total, taken) in zip(CLASSES, units, strict=True):
                found[box.name, number, name] = total - (taken if total else 0)
        for number, (_, _, taken) in enumerate(box.devices):
            found[box.name, "device", number] = 0 if taken else 1
    return found


def takes(want: Want, has: Has) -> Counter[tuple[object, ...]]:
    host, cells, device = has
    found: Counter[tuple[object, ...]] = Counter({(host, "MEMORY_MB"): want.memory})
    for place, cell in enumerate(cells):
        for name, units in want.amounts(place).items():
            found[host, cell, name] += units
    if device is not None:
        found[host, "device", device] += 1
    return found


def ways(wants: Sequence[Want], boxes: Sequence[Box]) -> Iterator[tuple[Has, ...]]:
    """Every way to give all servers what they want at once."""
    free = room(boxes)

    def choose(chosen: tuple[Has, ...]) -> Iterator[tuple[Has, ...]]:
        if len(chosen) == len(wants):
            yield chosen
            return
        want = wants[len(chosen)]
        for has in options(want, boxes):
            before = list(zip(wants, chosen, strict=False))
            if want.group and any(other.group and there[0] == has[0] for other, there in before):
                continue
            if want.together and any(other.together and there[0] != has[0] for other, there in before):
                continue
            amounts = takes(want, has)
            if all(free[key] >= units for key, units in amounts.items() if units):
                free.subtract(amounts)
                yield from choose((*chosen, has))
                free.update(amounts)

    return choose(())


def possible(wants: Sequence[Want], boxes: Sequence[Box]) -> bool:
    return next(ways(wants, boxes), None) is not None


def read(placement: Placement, want: Want) -> Has:
    """What a server was given, from what placement says of its groups."""
    host = placement.host or ""
    names = {group: uuids[0].removeprefix(f"{host}_") for group, uuids in placement.parts.items()}
    assert all(len(uuids) == 1 for uuids in placement.parts.values())
    cells = tuple(int(names[f"_numa{i}"].removeprefix("numa")) for i in range(len(want.cells)))
    device = int(names["_pci"].removeprefix("pci")) if want.device is not None else None
    expected: dict[str, dict[str, int]] = {f"{host}_numa{cell}": want.amounts(i) for i, cell in enumerate(cells)}
    expected |= {f"{host}_pci{device}": {"PGPU": 1}} if device is not None else {}
    assert placement.allocations == expected
    return host, cells, device


def bound(wants: Sequence[Want], number: int) -> list[Want]:
    """A server and those that must be on its host."""
    return [want for i, want in enumerate(wants) if i == number or (want.together and wants[number].together)]


def check(world: World, goal: Goal) -> bool:
    """Returns whether all was placed."""
    requests = [want.request(number) for number, want in enumerate(world.wants)]
    hosts = [box.state() for box in world.boxes]
    answer = allocate(requests, hosts, {"apart": Group("apart", "anti-affinity")}, goal=goal)
    assert [p.address.key for p in answer.placements] == list(range(len(requests)))
    placed = [(want, p) for want, p in zip(world.wants, answer.placements, strict=True) if p.host is not None]
    check_held([want for want, _ in placed], [read(p, want) for want, p in placed], world.boxes)
    alone = [possible(bound(world.wants, n), world.boxes) for n in range(len(requests))]
    able = [want for want, is_able in zip(world.wants, alone, strict=True) if is_able]
    all_able = possible(able, world.boxes)
    for number, placement in enumerate(answer.placements):
        if placement.host is None:
            assert placement.conflict is not None
            assert alone[number] == (placement.conflict.beside is Beside.BATCH)
            claims = ("no valid host: ", "no arrangement found within ") if alone[number] else ("no valid host: ",)
            assert placement.cause.startswith(claims)
            assert not (alone[number] and all_able)
        check_clash(placement, world)
    return len(placed) == len(requests)


def check_swaps(world: World, goal: Goal) -> None:
    """Nobody who was placed could make way for two who were not, or for one and who must be with it."""
    answer = allocate(
        [want.request(number) for number, want in enumerate(world.wants)],
        [box.state() for box in world.boxes],
        {"apart": Group("apart", "anti-affinity")},
        goal=goal,
    )
    is_placed = {number: p.host is not None for number, p in enumerate(answer.placements)}
    pair = tuple(number for number, want in enumerate(world.wants) if want.together)
    units = [pair] * bool(pair) + [(number,) for number in is_placed if number not in pair]
    there, left = ([u for u in units if is_placed[u[0]] is placed] for placed in (True, False))
    for others in (*combinations(left, 1), *combinations(left, 2)):
        for out in (None, *there):
            if sum(map(len, others)) > len(out or ()):
                kept = [number for unit in (*there, *others) if unit != out for number in unit]
                assert not possible([world.wants[number] for number in kept], world.boxes)


def check_held(wants: Sequence[Want], given: Sequence[Has], boxes: Sequence[Box]) -> None:
    """What was given is right for each and no more than there is, and the rules between servers hold."""
    free = room(boxes)
    for want, has in zip(wants, given, strict=True):
        assert has in set(options(want, boxes))
        free.subtract(takes(want, has))
    assert all(units >= 0 or not any(takes(w, h)[key] for w, h in zip(wants, given, strict=True))
               for key, units in free.items())  # fmt: skip
    apart = [has[0] for want, has in zip(wants, given, strict=True) if want.group]
    assert len(set(apart)) == len(apart)
    assert len({has[0] for want, has in zip(wants, given, strict=True) if want.together}) < 2


def check_clash(placement: Placement, world: World) -> None:
    """Those that are said to conflict cannot be placed together, and all but any one of them can."""
    if placement.clash is None:
        return
    units = [bound(world.wants, int(str(address.key))) for address in placement.clash.addresses]
    assert not possible([want for unit in units for want in unit], world.boxes)
    if placement.clash.irreducible:
        for left_out in range(len(units)):
            assert possible([w for i, unit in enumerate(units) if i != left_out for w in unit], world.boxes)


@settings(max_examples=400, deadline=None)
@given(worlds(), st.sampled_from([Strategy.SPREAD, Strategy.PACK]))
def test_servers_get_parts_that_are_there_and_all_are_placed_where_they_can_be(world: World, way: Strategy) -> None:
    check(world, Goal(way))


@settings(max_examples=150, deadline=None)
@given(worlds(), st.sampled_from([Strategy.SPREAD, Strategy.PACK]))
def test_no_server_that_was_placed_could_make_way_for_two(world: World, way: Strategy) -> None:
    check_swaps(world, Goal(way))


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_the_solver_gives_no_part_twice_and_places_all_that_can_be(world: World) -> None:
    check(world, Goal(Strategy.OPTIMAL))
