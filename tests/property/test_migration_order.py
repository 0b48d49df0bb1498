"""Migrations that need each other's room: whatever order their edges allow, no host is ever over its capacity."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.report import Report
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.memory.provider import forget, world
from stacksmith.views.plan_text import plan_text

SIZES = {"small": 1, "medium": 2, "large": 3}
VCPUS = 6
HOSTS = ("hv1", "hv2", "hv3")

Where = dict[str, str]


class Shop:
    """Servers that are pinned to hosts of one world."""

    def __init__(self, folder: Path, flavors: dict[str, str], group: list[str]) -> None:
        self.folder, self.flavors, self.group = folder, flavors, group
        self.uri = f"memory:{folder.name}"
        hosts = {h: {"libvirt": f"{self.uri}?vcpus={VCPUS}&memory_mib=8192&disk_gib=40"} for h in HOSTS}
        (folder / "base.img").write_bytes(b"x" * 512)
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "hosts": hosts}))

    def options(self) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml")

    def pin(self, where: Where, grouped: bool) -> None:
        in_group = self.group if grouped else []
        servers = {
            name: {"flavor": self.flavors[name], "image": "base", "host": host}
            | ({"group": "apart"} if name in in_group else {})
            for name, host in where.items()
        }
        flavors = {name: {"vcpus": vcpus, "ram": 64, "disk": 1} for name, vcpus in SIZES.items()}
        images = {"base": {"source": "base.img", "format": "raw"}}
        stack = {"stack": "shop", "fleet": "fleet.yaml", "flavors": flavors, "images": images, "servers": servers}
        groups = {"server_groups": {"apart": {"policy": "anti-affinity"}}} if in_group else {}
        (self.folder / "stack.yaml").write_text(json.dumps(stack | groups))

    def run(self, plan: Plan) -> Report:
        return session.apply(self.options(), plan, lambda event: None, session.ApplyOptions(allowed=Impact.MIGRATE))


@contextmanager
def shop(flavors: dict[str, str], group: list[str]) -> Iterator[Shop]:
    with tempfile.TemporaryDirectory() as folder:
        made = Shop(Path(folder), flavors, group)
        try:
            yield made
        finally:
            forget(made.uri)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, str], Where, Where, list[str]]:
    """Flavors, where the servers are, where they shall be, and those that no host may have two of (then or before)."""
    names = [f"s{n}" for n in range(draw(st.integers(2, 7)))]
    flavors = {name: draw(st.sampled_from(sorted(SIZES))) for name in names}
    before, after = ({name: draw(st.sampled_from(HOSTS)) for name in names} for _ in range(2))
    group: list[str] = []
    for name in names:
        if all(before[name] != before[other] and after[name] != after[other] for other in group):
            group.append(name)
    return flavors, before, after, group if draw(st.booleans()) else []


def fits(flavors: dict[str, str], where: Where) -> bool:
    used: Counter[str] = Counter()
    for name, host in where.items():
        used[host] += SIZES[flavors[name]]
    return all(amount <= VCPUS for amount in used.values())


@given(scenes(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_no_order_that_the_edges_allow_puts_a_host_over_its_capacity(
    scene: tuple[dict[str, str], Where, Where, list[str]], random: Random
) -> None:
    flavors, before, after, group = scene
    if not fits(flavors, before) or not fits(flavors, after):
        return
    with shop(flavors, group) as made:
        made.pin(before, grouped=True)
        assert made.run(session.plan(made.options()).plan).exit_status == 0
        made.pin(after, grouped=True)
        where = before
        while where != after:  # one stops on its way, or those go first who can
            try:
                plan = session.rebalance(made.options()).plan
            except Faults as faults:
                assert faults.diagnostics[0].code in ("circular-steps", "no-valid-host")
                assert is_stuck(flavors, where, after, group)
                return
            for _ in range(5):
                walk(plan, flavors, where, group, random)
            report = made.run(plan)
            assert report.exit_status == 0, report.failed
            moves = {s.address.name: s.host for s in plan.steps if s.operation is Operation.MIGRATE}
            assert moves and (where | moves == after or is_stuck(flavors, where, after, group))
            where = where | moves
        assert {o.made_for: h for h in HOSTS for o in world(made.uri).objects(h) if o.kind == "server"} == {
            f"server.{name}": host for name, host in after.items()
        }
        assert session.plan(made.options()).plan.steps == ()
        held = {c.name: dict(c.allocations) for c in session.claims(made.options())}
        assert {name: list(hosts) for name, hosts in held.items()} == {f"server.{n}": [h] for n, h in after.items()}


def walk(plan: Plan, flavors: dict[str, str], before: Where, group: list[str], random: Random) -> None:
    """One run of the steps, several of them at work at the same time: each holds both of its hosts until it ends."""
    there = {name: {host} for name, host in before.items()}
    waiting = [step for step in plan.steps if step.operation is Operation.MIGRATE]
    working, done = list[Step](), {step.id for step in plan.steps if step not in waiting}
    while waiting or working:
        ready = [s for s in waiting if done.issuperset(s.requires)]
        if ready and (not working or random.random() < 0.6):
            step = random.choice(ready)
            waiting.remove(step)
            working.append(step)
            there[step.address.name].add(step.host)
            check(flavors, there, group)
        else:
            step = working.pop(random.randrange(len(working)))
            there[step.address.name] = {step.host}
            done.add(step.id)


def check(flavors: dict[str, str], there: dict[str, set[str]], group: list[str]) -> None:
    used = Counter(host for name, hosts in there.items() for host in hosts for _ in range(SIZES[flavors[name]]))
    assert max(used.values()) <= VCPUS, used
    members = Counter(host for name in group for host in there[name])
    assert not group or max(members.values()) <= 1, members


def is_stuck(flavors: dict[str, str], before: Where, after: Where, group: list[str]) -> bool:
    """True when no order of single moves leads there: every order is tried."""
    left = [name for name in before if before[name] != after[name]]
    if not left:
        return False
    for name in left:
        there = {other: {host} for other, host in before.items()}
        there[name].add(after[name])
        try:
            check(flavors, there, group)
        except AssertionError:
            continue
        if not is_stuck(flavors, {**before, name: after[name]}, after, group):
            return False
    return True


def test_what_waits_requires_those_whose_room_it_takes() -> None:
    flavors = {"a": "large", "b": "large", "c": "large"}
    with shop(flavors, []) as made:
        made.pin({"a": "hv1", "b": "hv1", "c": "hv2"}, grouped=False)
        assert made.run(session.plan(made.options()).plan).exit_status == 0
        made.pin({"a": "hv3", "b": "hv1", "c": "hv1"}, grouped=False)
        plan = session.rebalance(made.options()).plan
        assert [(s.id, s.requires) for s in plan.steps if s.operation is Operation.MIGRATE] == [
            ("migrate server.a", ("create image.base@hv3",)),
            ("migrate server.c", ("migrate server.a",)),
        ]


def test_who_would_take_the_room_of_one_that_must_go_first_waits() -> None:
    flavors = {"a": "large", "b": "medium", "c": "large", "d": "small", "e": "large"}
    with shop(flavors, []) as made:
        made.pin({"a": "hv1", "b": "hv2", "c": "hv2", "d": "hv3", "e": "hv1"}, grouped=False)
        assert made.run(session.plan(made.options()).plan).exit_status == 0
        after = {"a": "hv1", "b": "hv1", "c": "hv3", "d": "hv1", "e": "hv3"}
        made.pin(after, grouped=False)
        requires = {s.id: s.requires for s in session.rebalance(made.options()).plan.steps}
        assert "migrate server.d" in requires["migrate server.c"]
        assert "migrate server.e" in requires["migrate server.d"]


def test_one_of_a_circle_stops_on_a_third_host_on_its_way() -> None:
    flavors = {"a": "large", "b": "large", "c": "large", "d": "large"}
    with shop(flavors, []) as made:
        made.pin(dict(zip("abcd", ["hv1", "hv1", "hv2", "hv2"], strict=True)), grouped=False)
        assert made.run(session.plan(made.options()).plan).exit_status == 0
        made.pin(dict(zip("abcd", ["hv2", "hv1", "hv1", "hv2"], strict=True)), grouped=False)
        plan = session.rebalance(made.options()).plan
        told = [(str(s.address), s.host) for s in plan.steps if s.operation is Operation.MIGRATE]
        assert told == [("server.a", "hv3"), ("server.c", "hv1")]
        assert "Not reached: server.a stops on hv3 on its way: apply this, then rebalance again\n" in plan_text(plan)
        assert made.run(plan).exit_status == 0
        assert session.plan(made.options()).plan.steps == ()
        plan = session.rebalance(made.options()).plan
        assert [s.host for s in plan.steps if s.operation is Operation.MIGRATE] == ["hv2"]
        assert made.run(plan).exit_status == 0
        assert session.rebalance(made.options()).plan.steps == ()


def test_servers_that_exchange_their_hosts_without_room_are_refused_with_the_chain() -> None:
    flavors = {"a": "large", "b": "large", "c": "large", "d": "large", "e": "large", "f": "large"}
    with shop(flavors, []) as made:
        made.pin(dict(zip("abcdef", ["hv1", "hv1", "hv2", "hv2", "hv3", "hv3"], strict=True)), grouped=False)
        assert made.run(session.plan(made.options()).plan).exit_status == 0
        made.pin(dict(zip("abcdef", ["hv2", "hv1", "hv1", "hv2", "hv3", "hv3"], strict=True)), grouped=False)
        try:
            session.rebalance(made.options())
        except Faults as faults:
            diagnostic = faults.diagnostics[0]
        words = "server.a waits for room on hv2, server.c waits for room on hv1"
        assert diagnostic.code == "circular-steps"
        assert diagnostic.message == f"cannot order the migrations: {words}"
