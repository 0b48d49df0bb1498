"""Fleets of any make evened out: rules hold, what is told is so, and the second time there is nothing to do."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.planner.aim import Aim
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.provider import forget

HOSTS = ("hv1", "hv2", "hv3", "hv4")
FLAVORS = {"tiny": (1, 512), "wide": (4, 256), "deep": (1, 3072), "large": (3, 2048)}
VCPUS, RAM = 12, 12288
GROUPS = {"apart": {"policy": "anti-affinity"}, "near": {"policy": "affinity"}}

Stack = dict[str, Any]


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Stack, dict[str, str]]:
    """A stack, and where its servers are: within room and rules."""
    servers: dict[str, Any] = {}
    where: dict[str, str] = {}
    used = {host: (0, 0) for host in HOSTS}
    for place in range(draw(st.integers(1, 12))):
        flavor, host = draw(st.sampled_from(sorted(FLAVORS))), draw(st.sampled_from(HOSTS))
        after = tuple(a + b for a, b in zip(used[host], FLAVORS[flavor], strict=True))
        if after[0] > VCPUS or after[1] > RAM - 512:
            continue
        used[host] = (after[0], after[1])
        name, spec = f"s{place}", {"flavor": flavor, "image": "base"}
        where[name] = host
        if draw(st.integers(0, 5)) == 0:
            spec["host"] = host
        group = draw(st.sampled_from(["apart", "near", None]))
        there = {where[n] for n, s in servers.items() if s.get("group") == group}
        if group is not None and (host not in there if group == "apart" else there <= {host}):
            spec["group"] = group
        servers[name] = spec
    flavors = {name: {"vcpus": vcpus, "ram": ram, "disk": 1} for name, (vcpus, ram) in FLAVORS.items()}
    images, groups = {"base": {"source": "base.img", "format": "raw"}}, GROUPS
    stack = {"stack": "shop", "fleet": "fleet.yaml", "flavors": flavors, "images": images, "servers": servers}
    return stack | {"server_groups": groups}, where


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder, self.options = folder, session.Options(stack=folder / "stack.yaml")
        self.uri = f"memory:{folder.name}?vcpus={VCPUS}&memory_mib={RAM}&disk_gib=40"
        zones = dict.fromkeys(HOSTS[:3], "east") | {"hv4": "west"}
        hosts = {h: {"libvirt": self.uri, "availability_zone": zone} for h, zone in zones.items()}
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "hosts": hosts}))
        (folder / "base.img").write_bytes(b"x" * 512)

    def run(self, plan: Plan) -> None:
        what = session.ApplyOptions(allowed=Impact.MIGRATE)
        assert session.apply(self.options, plan, lambda event: None, what).exit_status == 0

    def apply(self, stack: Stack) -> None:
        (self.folder / "stack.yaml").write_text(json.dumps(stack))
        self.run(session.plan(self.options).plan)

    def where(self) -> dict[str, str]:
        return {r.address.name: r.host for r in session.records(self.options) if r.address.kind == "server"}


MORE_AFTER_ONE: Stack = {
    "stack": "shop",
    "fleet": "fleet.yaml",
    "flavors": {n: {"vcpus": vcpus, "ram": ram, "disk": 1} for n, (vcpus, ram) in FLAVORS.items()},
    "images": {"base": {"source": "base.img", "format": "raw"}},
    "servers": {
        "s0": {"flavor": "large", "image": "base"},
        "s1": {"flavor": "deep", "image": "base"},
        "s2": {"flavor": "tiny", "image": "base", "host": "hv2"},
        "s3": {"flavor": "deep", "image": "base", "host": "hv1"},
    },
    "server_groups": GROUPS,
}


# After the first moves two servers exchange their hosts, for which there is no room together with these.
TWICE: Stack = {
    "stack": "shop",
    "fleet": "fleet.yaml",
    "flavors": {n: {"vcpus": vcpus, "ram": ram, "disk": 1} for n, (vcpus, ram) in FLAVORS.items()},
    "images": {"base": {"source": "base.img", "format": "raw"}},
    "servers": {
        "s0": {"flavor": "large", "image": "base", "host": "hv4", "group": "apart"},
        "s1": {"flavor": "deep", "image": "base", "host": "hv1", "group": "near"},
        "s2": {"flavor": "large", "image": "base"},
        "s3": {"flavor": "wide", "image": "base", "group": "apart"},
        "s4": {"flavor": "tiny", "image": "base", "host": "hv1"},
        "s5": {"flavor": "large", "image": "base", "host": "hv4"},
        "s7": {"flavor": "deep", "image": "base", "host": "hv2"},
        "s8": {"flavor": "deep", "image": "base", "group": "apart"},
    },
    "server_groups": GROUPS,
}
PLACES = {"s0": "hv4", "s1": "hv1", "s2": "hv1", "s3": "hv1", "s4": "hv1", "s5": "hv4", "s7": "hv2", "s8": "hv3"}


@example((TWICE, PLACES), 0.0, None)
@example((MORE_AFTER_ONE, {"s0": "hv3", "s1": "hv1", "s2": "hv2", "s3": "hv1"}), 0.0, 1)
@given(stacks(), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([None, None, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_evening_out(made: tuple[Stack, dict[str, str]], tolerance: float, most: int | None) -> None:
    stack, where = made
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        try:
            pinned = {name: {**spec, "host": where[name]} for name, spec in stack["servers"].items()}
            shop.apply(stack | {"servers": pinned})
            shop.apply(stack)
            assert shop.where() == where
            check(shop, stack, tolerance, most)
        finally:
            forget(shop.uri)


def check(shop: Shop, stack: Stack, tolerance: float, most: int | None) -> None:
    plan = session.rebalance(shop.options, Aim(even=True, tolerance=tolerance, max_moves=most)).plan
    told = plan.outcome
    assert told is not None and told.before is not None and told.after is not None
    moves = plan.count(Operation.MIGRATE)
    assert most is None or moves <= most
    assert told.before.spread >= told.after.spread
    before = shop.where()
    shop.run(plan)
    after = shop.where()
    assert {n for n in before if before[n] != after[n]} == {
        s.address.name for s in plan.steps if s.operation is Operation.MIGRATE
    }
    assert all((before[n] == "hv4") == (after[n] == "hv4") for n in before), "a server left its zone"
    assert all(spec.get("host", after[n]) == after[n] for n, spec in stack["servers"].items())
    grouped = {
        group: Counter(after[n] for n, s in stack["servers"].items() if s.get("group") == group) for group in GROUPS
    }
    assert max(grouped["apart"].values(), default=0) <= 1
    assert len(grouped["near"]) <= 1
    assert session.plan(shop.options).plan.steps == ()
    again = session.rebalance(shop.options, Aim(even=True, tolerance=tolerance, max_moves=most)).plan
    assert again.outcome is not None and again.outcome.before == told.after
    assert most is not None or (again.steps == ()) != ("then rebalance again" in " ".join(told.left))
