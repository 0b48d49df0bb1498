"""Scheduler hints, from the files to the plan, against brute force."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.providers.memory.provider import forget

HOSTS = ("hv1", "hv2", "hv3")
UNIT = 512  # MiB


@dataclass(frozen=True)
class World:
    """Room of each host and size of each server, in units; whom each server is to be with, and apart from; the hosts
    that its query names, any for none."""

    room: tuple[int, ...]
    sizes: tuple[int, ...]
    same: tuple[tuple[int, ...], ...]
    different: tuple[tuple[int, ...], ...]
    asked: tuple[tuple[int, ...], ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(2, 5))
    return World(
        tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=3))),
        tuple(draw(st.integers(1, 3)) for _ in range(count)),
        tuple(_some(draw, range(number)) for number in range(count)),  # what comes before: no circles
        tuple(_some(draw, [n for n in range(count) if n != number]) for number in range(count)),
        tuple(_some(draw, range(len(HOSTS))) for _ in range(count)),
    )


def _some(draw: st.DrawFn, choices: Sequence[int]) -> tuple[int, ...]:
    if not choices or draw(st.integers(0, 2)):
        return ()
    return tuple(sorted(draw(st.sets(st.sampled_from(choices), min_size=1, max_size=2))))


def legal(world: World, where: tuple[int, ...]) -> bool:
    used = [0] * len(world.room)
    for number, host in enumerate(where):
        used[host] += world.sizes[number]
        if world.same[number] and all(where[other] != host for other in world.same[number]):
            return False
        if world.asked[number] and host not in world.asked[number]:
            return False
        if any(where[other] == host for other in world.different[number]):
            return False
    return all(amount <= room for amount, room in zip(used, world.room, strict=True))


def files(world: World, folder: Path) -> None:
    image = {"source": "https://images.example/base.img", "checksum": f"sha256:{'0' * 64}"}
    hosts = {
        name: {"libvirt": f"memory:hints-{name}?memory_mib={room * UNIT}&vcpus=99"}
        for name, room in zip(HOSTS, world.room, strict=False)
    }
    filters = {"enabled_filters": ["SameHostFilter", "DifferentHostFilter", "JsonFilter"]}
    fleet = {"fleet": "f", "defaults": {"reserved": {}}, "hosts": hosts, "scheduler": filters}
    servers = {}
    for number, size in enumerate(world.sizes):
        hints: dict[str, list[str]] = {
            name: [f"server.s{other}" for other in named]
            for name, named in (("same_host", world.same[number]), ("different_host", world.different[number]))
            if named
        }
        if world.asked[number]:
            hints["query"] = ["in", "$host", *(HOSTS[host] for host in world.asked[number])]
        servers[f"s{number}"] = {"flavor": f"f{size}", "image": "base", "scheduler_hints": hints}
    flavors = {f"f{size}": {"vcpus": 1, "ram": size * UNIT} for size in (1, 2, 3)}
    stack = {"stack": "s", "fleet": "fleet.yaml", "images": {"base": image}, "flavors": flavors, "servers": servers}
    (folder / "fleet.yaml").write_text(json.dumps(fleet))
    (folder / "stack.yaml").write_text(json.dumps(stack))


def placed(folder: Path) -> Mapping[str, str] | None:
    """The host of each server, None when some found none."""
    try:
        plan = session.plan(session.Options(stack=folder / "stack.yaml")).plan
    except Faults as faults:
        assert {fault.code for fault in faults.diagnostics} == {"no-valid-host"}
        assert all(len(fault.notes) >= 2 for fault in faults.diagnostics)
        return None
    finally:
        for name in HOSTS:
            forget(f"memory:hints-{name}")
    return {p.address.name: p.host for p in plan.placements if p.host is not None}


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(worlds())
def test_hints_hold_and_a_way_is_found_when_there_is_one(tmp_path: Path, world: World) -> None:
    files(world, tmp_path)
    where = placed(tmp_path)
    ways = product(range(len(world.room)), repeat=len(world.sizes))
    if where is None:
        assert not any(legal(world, way) for way in ways)
    else:
        assert legal(world, tuple(HOSTS.index(where[f"s{number}"]) for number in range(len(world.sizes))))
