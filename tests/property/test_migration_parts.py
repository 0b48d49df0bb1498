"""Servers with CPUs of their own migrate: in whatever order the edges allow, no CPU is ever held by two of them."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.hardware import Cell, Hardware
from stacksmith.model.realised import Server
from stacksmith.planner.aim import Aim
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.memory.provider import forget, world

HOSTS = ("hv1", "hv2", "hv3")
CELLS = (Cell(0, (0, 1, 2, 3), 2048), Cell(1, (4, 5, 6, 7), 2048))

Held = set[tuple[str, int]]  # host and CPU


@contextmanager
def shop(servers: dict[str, int]) -> Iterator["Shop"]:
    with tempfile.TemporaryDirectory() as folder:
        made = Shop(Path(folder), servers)
        try:
            yield made
        finally:
            forget(made.uri)


class Shop:
    """Servers with so many CPUs of their own, pinned to hosts of two cells each."""

    def __init__(self, folder: Path, servers: dict[str, int]) -> None:
        self.folder, self.servers, self.uri = folder, servers, f"memory:{folder.name}"
        uri = f"{self.uri}?vcpus=8&memory_mib=8192&disk_gib=40"
        hosts = {host: {"libvirt": uri, "cpu_dedicated_set": "1-3,5-7"} for host in HOSTS}
        (folder / "base.img").write_bytes(b"x" * 512)
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "hosts": hosts}))
        for host in HOSTS:
            world(uri).set_hardware(host, Hardware(CELLS))

    def options(self) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml")

    def pin(self, where: Mapping[str, str | None]) -> None:
        own = {"extra_specs": {"hw:cpu_policy": "dedicated"}}
        flavors = {f"own{n}": {"vcpus": n, "ram": 64, "disk": 1} | own for n in (1, 2, 3)}
        servers = {n: {"flavor": f"own{self.servers[n]}", "image": "base", "host": host} for n, host in where.items()}
        images = {"base": {"source": "base.img", "format": "raw"}}
        stack = {"stack": "shop", "fleet": "fleet.yaml", "flavors": flavors, "images": images, "servers": servers}
        (self.folder / "stack.yaml").write_text(json.dumps(stack))

    def run(self, plan: Plan) -> int:
        allowed = session.ApplyOptions(allowed=Impact.MIGRATE)
        return session.apply(self.options(), plan, lambda event: None, allowed).exit_status

    def held(self) -> dict[str, Held]:
        """What each server has."""
        found = ((host, each) for host in HOSTS for each in world(self.uri).objects(host) if each.kind == "server")
        return {each.made_for.removeprefix("server."): cpus(host, each.spec) for host, each in found}


def cpus(host: str, spec: object) -> Held:
    assert isinstance(spec, Server)
    return {(host, cpu) for cell in spec.numa_cells for pin in cell.pins for cpu in pin}


def check(held: Iterable[Held]) -> None:
    every = [cpu for each in held for cpu in each]
    assert len(every) == len(set(every)), every


def walk(plan: Plan, held: dict[str, Held], random: Random) -> dict[str, Held]:
    """One run of the steps, several at work at the same time: each holds CPUs of both of its hosts until it ends."""
    waiting = [step for step in plan.steps if step.operation is Operation.MIGRATE]
    working, done = list[Step](), {step.id for step in plan.steps if step not in waiting}
    there = dict(held)
    while waiting or working:
        ready = [step for step in waiting if done.issuperset(step.requires)]
        if ready and (not working or random.random() < 0.6):
            step = random.choice(ready)
            waiting.remove(step)
            working.append(step)
            there[step.address.name] = there[step.address.name] | cpus(step.host, step.wanted)
        else:
            step = working.pop(random.randrange(len(working)))
            there[step.address.name] = cpus(step.host, step.wanted)
            done.add(step.id)
        check(there.values())
    return there


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, str], dict[str, str]]:
    """CPUs of servers, where they are, and where they shall be."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 5)))]
    servers = {name: draw(st.integers(1, 3)) for name in names}
    before, after = ({name: draw(st.sampled_from(HOSTS)) for name in names} for _ in range(2))
    return servers, before, after


@given(scenes(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_no_cpu_is_ever_held_by_two_and_claims_are_what_is_held(
    scene: tuple[dict[str, int], dict[str, str], dict[str, str]], random: Random
) -> None:
    servers, before, after = scene
    with shop(servers) as made:
        made.pin(before)
        try:
            assert made.run(session.plan(made.options()).plan) == 0
            made.pin(after)
            plan = session.rebalance(made.options()).plan
        except Faults as faults:
            assert {each.code for each in faults.diagnostics} <= {"no-valid-host", "circular-steps"}
            return
        check_run(made, plan, random)


def check_run(made: Shop, plan: Plan, random: Random) -> None:
    """However its steps run, no CPU is held twice; after one run all is as planned."""
    held = made.held()
    assert all(len(held[name]) == count for name, count in made.servers.items())
    runs = [walk(plan, held, random) for _ in range(5)]
    ends = runs[0]
    assert made.run(plan) == 0
    assert made.held() == ends
    claimed = {c.name: {p for p in c.allocations if "/cpu" in p} for c in session.claims(made.options())}
    assert claimed == {f"server.{n}": {f"{host}/cpu{cpu}" for host, cpu in each} for n, each in ends.items()}
    steps = session.plan(made.options()).plan.steps
    assert not steps


@given(scenes(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_evening_out_finds_cpus_for_all_that_it_moves(
    scene: tuple[dict[str, int], dict[str, str], dict[str, str]], random: Random
) -> None:
    servers, before, _ = scene
    with shop(servers) as made:
        made.pin(before)
        try:
            assert made.run(session.plan(made.options()).plan) == 0
        except Faults as faults:
            assert {each.code for each in faults.diagnostics} == {"no-valid-host"}
            return
        made.pin(dict.fromkeys(servers))
        aim = Aim(even=True, tolerance=0.01)
        plan = session.rebalance(made.options(), aim).plan
        check_run(made, plan, random)
        assert session.rebalance(made.options(), aim).plan.steps == ()
