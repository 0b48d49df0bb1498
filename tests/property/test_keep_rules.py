"""Rules broken by edits of stack and fleet: rebalance ends what any few moves can end, and makes no needless one."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.provider import forget

HOSTS = ("hv1", "hv2", "hv3")
VCPUS = 8
MOST = 3  # moves that are tried by brute force
NAMES = ("s0", "s1", "s2", "s3", "s4")

Where = dict[str, str]


@dataclass(frozen=True)
class Scene:
    """Servers and hosts as they are after an edit. ``ratios`` are those of VCPU; ``near`` and ``far`` are hints."""

    where: Where
    sizes: dict[str, int]
    wants: dict[str, str]
    zones: dict[str, str]
    pins: dict[str, str]
    groups: dict[str, str]
    near: dict[str, list[str]]
    far: dict[str, list[str]]
    ssd: list[str]
    ratios: dict[str, float]
    policies: dict[str, str] = field(default_factory=lambda: {"apart": "anti-affinity", "close": "affinity"})

    def broken(self, where: Where) -> set[tuple[str, ...]]:
        """What is broken, each by whose it is: worked out from the words of the documentation alone."""
        return {*self._alone(where), *self._together(where)}

    def _alone(self, where: Where) -> Iterator[tuple[str, ...]]:
        for name, host in where.items():
            if (self.wants.get(name) == "ssd" and host not in self.ssd) or (
                self.wants.get(name) == "no_ssd" and host in self.ssd
            ):
                yield ("trait", name, host)
            if self.pins.get(name, host) != host:
                yield ("pin", name, host)
            if name in self.zones and self.zones[name] != zone(host):
                yield ("zone", name, host)
            if name in self.near and host not in {where[other] for other in self.near[name]}:
                yield ("near", name)
            for other in self.far.get(name, ()):
                if where[other] == host:
                    yield ("far", *sorted((name, other)), host)

    def _together(self, where: Where) -> Iterator[tuple[str, ...]]:
        used = Counter(host for name, host in where.items() for _ in range(self.sizes[name]))
        for host in HOSTS:
            if used[host] > VCPUS * self.ratios[host]:
                yield ("full", host)
        for group, policy in self.policies.items():
            members = Counter(where[name] for name in where if self.groups.get(name) == group)
            if policy == "affinity" and len(members) > 1:
                yield (group,)
            if policy == "anti-affinity":
                yield from ((group, host) for host, count in members.items() if count > 1)

    def is_settled(self, before: Where, where: Where) -> bool:
        """True when no server that moved is where a rule does not let it be, as placement sends none there."""
        moved = {name for name in where if where[name] != before[name]}
        return moved.isdisjoint(name for key in self.broken(where) for name in self._whose(key, where))

    def _whose(self, key: tuple[str, ...], where: Where) -> set[str]:
        if key[0] in self.policies:
            members = {name for name in where if self.groups.get(name) == key[0]}
            return {name for name in members if where[name] in key[1:] or len(key) == 1}
        return {name for name in where if name in key or (key[0] == "full" and where[name] == key[1])}

    def takes(self, where: Where, name: str, host: str) -> bool:
        """True when it may go there as things are, while it is on both hosts."""
        used = sum(self.sizes[other] for other in where if where[other] == host)
        apart = {n for n in where if self.groups.get(n) == "apart"} if self.groups.get(name) == "apart" else set()
        away = {n for n in where if name in self.far.get(n, ()) or n in self.far.get(name, ())}
        crowd = any(where[other] == host for other in (apart | away) - {name})
        return used + self.sizes[name] <= VCPUS * self.ratios[host] and not crowd

    def ways(self, where: Where, most: int) -> Iterator[Where]:
        """Where servers can be after so many moves at most, one after the other, the fewest first."""
        for count in range(1, most + 1):
            for names in combinations(where, count):
                for hosts in product(*([h for h in HOSTS if h != where[n]] for n in names)):
                    if any(self._walk(where, order) for order in permutations(zip(names, hosts, strict=True))):
                        yield where | dict(zip(names, hosts, strict=True))

    def _walk(self, where: Where, order: tuple[tuple[str, str], ...]) -> bool:
        here = dict(where)
        for name, host in order:
            if not self.takes(here, name, host):
                return False
            here[name] = host
        return True


def zone(host: str) -> str:
    return "west" if host == "hv3" else "east"


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    others = {name: [other for other in names if other != name] for name in names}
    rare = st.integers(0, 3).map(lambda n: n == 0)
    sometimes = lambda strategy: {n: draw(strategy) for n in names if draw(rare)}  # noqa: E731 - a closure of draw
    sizes = {name: draw(st.integers(1, 3)) for name in names}
    where: Where = {}
    for name in names:
        room = [h for h in HOSTS if sum(sizes[n] for n in where if where[n] == h) + sizes[name] <= VCPUS]
        where[name] = draw(st.sampled_from(room))
    near = {
        name: draw(st.lists(st.sampled_from(others[name]), min_size=1, max_size=2, unique=True)) for name in names[:1]
    }
    far = {name: [draw(st.sampled_from(others[name]))] for name in names[1:2]}
    zones, pins = sometimes(st.sampled_from(["east", "west"])), sometimes(st.sampled_from(HOSTS))
    return Scene(
        where,
        sizes,
        sometimes(st.sampled_from(["ssd", "no_ssd"])),
        zones,
        {name: host for name, host in pins.items() if zones.get(name, zone(host)) == zone(host)},
        {n: draw(st.sampled_from(["apart", "close"])) for n in names if draw(st.booleans())},
        near if draw(rare) else {},
        far if draw(rare) else {},
        draw(st.lists(st.sampled_from(HOSTS), unique=True, max_size=2)),
        {host: draw(st.sampled_from([1.0, 1.0, 0.75, 0.5])) for host in HOSTS},
    )


class Shop:
    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder, self.scene, self.options = folder, scene, session.Options(stack=folder / "stack.yaml")
        self.uri = f"memory:{folder.name}?vcpus={VCPUS}&memory_mib=16384&disk_gib=100"
        (folder / "base.img").write_bytes(b"x" * 512)

    def write(self, ruled: bool) -> None:
        """The files before the edit, which pin each server to where it is, or after it."""
        scene = self.scene
        hosts = {
            host: {"libvirt": self.uri, "availability_zone": zone(host)}
            | ({"traits": ["CUSTOM_SSD"]} if host in scene.ssd else {})
            | ({"allocation_ratios": {"VCPU": scene.ratios[host]}} if ruled else {})
            for host in HOSTS
        }
        (self.folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "hosts": hosts}))
        specs = {"ssd": {"trait:CUSTOM_SSD": "required"}, "no_ssd": {"trait:CUSTOM_SSD": "forbidden"}}
        flavors = {
            n: {"vcpus": scene.sizes[n], "ram": 64, "disk": 1, "extra_specs": specs[scene.wants[n]] if ruled else {}}
            if n in scene.wants
            else {"vcpus": scene.sizes[n], "ram": 64, "disk": 1}
            for n in scene.where
        }
        servers = {name: self._ruled(name) if ruled else {"host": host} for name, host in scene.where.items()}
        for name, spec in servers.items():
            spec |= {"flavor": name, "image": "base", "config_drive": False}
        stack = {"stack": "shop", "fleet": "fleet.yaml", "flavors": flavors, "servers": servers}
        stack["images"] = {"base": {"source": "base.img", "format": "raw"}}
        used = set(scene.groups.values()) if ruled else set()
        stack["server_groups"] = {name: {"policy": scene.policies[name]} for name in sorted(used)}
        (self.folder / "stack.yaml").write_text(json.dumps(stack))

    def _ruled(self, name: str) -> dict[str, Any]:
        scene, spec = self.scene, dict[str, Any]()
        for key, values in (("host", scene.pins), ("availability_zone", scene.zones), ("group", scene.groups)):
            if name in values:
                spec[key] = values[name]
        hints = {"same_host": scene.near, "different_host": scene.far}
        given = {key: [f"server.{n}" for n in each[name]] for key, each in hints.items() if name in each}
        return spec | ({"scheduler_hints": given} if given else {})

    def run(self, plan: Plan) -> None:
        what = session.ApplyOptions(allowed=Impact.MIGRATE)
        assert session.apply(self.options, plan, lambda event: None, what).exit_status == 0

    def where(self) -> Where:
        found = {r.address.name: r.host for r in session.records(self.options) if r.address.kind == "server"}
        return {name: found[name] for name in self.scene.where}


@given(scenes())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_few_moves_can_end_is_ended_and_no_move_is_needless(scene: Scene) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), scene)
        try:
            shop.write(ruled=False)
            shop.run(session.plan(shop.options).plan)
            assert shop.where() == scene.where
            shop.write(ruled=True)
            planned = session.plan(shop.options)
            assert bool(planned.plan.offences) == bool(scene.broken(scene.where)), planned.plan.offences
            check(shop, scene)
        finally:
            forget(shop.uri)


def check(shop: Shop, scene: Scene) -> None:
    where = dict(scene.where)
    while True:
        broken = scene.broken(where)
        try:
            plan = session.rebalance(shop.options).plan
        except Faults:
            assert broken
            break
        moves = {s.address.name: s.host for s in plan.steps if s.operation is Operation.MIGRATE}
        assert plan.outcome is not None
        after = scene.broken(where | moves)
        assert bool(plan.outcome.left) == bool(after), (plan.outcome.left, after)
        if any("on its way" in each for each in plan.outcome.left):
            shop.run(plan)
            where |= moves
            continue
        assert after <= broken and (len(after) < len(broken) or not broken), "something else is broken by it"
        for name in moves:
            fewer = {n: host for n, host in moves.items() if n != name}
            assert not scene.broken(where | fewer) <= after, f"the move of {name} is needless"
        if not after and plan.outcome.is_fewest:
            found = next((each for each in scene.ways(where, len(moves) - 1) if not scene.broken(each)), None)
            assert found is None, f"fewer moves do it: {found}"
        shop.run(plan)
        where |= moves
        assert shop.where() == where
        if not moves:
            break
    left = scene.broken(where)
    ways = (each for each in scene.ways(where, MOST) if scene.is_settled(where, each))
    better = next((each for each in ways if scene.broken(each) < left), None)
    assert better is None, f"{left} is left, and {better} breaks only {scene.broken(better or {})}"
