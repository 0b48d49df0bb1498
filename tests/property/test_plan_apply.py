"""Random stacks on the memory provider: applied means in sync, whatever was there before."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.planner.graph import ordered
from stacksmith.planner.plan import Operation, Plan
from stacksmith.providers.memory.provider import forget, world

HOSTS = 3
_numbers = count()

flavor = st.fixed_dictionaries(
    {"vcpus": st.integers(1, 4), "ram": st.sampled_from([64, 128, 512]), "disk": st.integers(0, 2)}
)


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, object]:
    """The data of a small stack: every reference resolves, every rule of the loader holds."""
    groups = {"g": {"policy": draw(st.sampled_from(["anti-affinity", "affinity", "soft-anti-affinity"]))}}
    volumes = {f"v{n}": {"size": draw(st.integers(1, 3)), "on_destroy": draw(st.sampled_from(["keep", "delete"]))}
               for n in range(draw(st.integers(0, 2)))}  # fmt: skip
    servers: dict[str, object] = {}
    free = list(volumes)
    for n in range(draw(st.integers(0, 4))):
        server: dict[str, object] = {"flavor": draw(st.sampled_from(["s", "m"])), "image": "base"}
        server["networks"] = [{"network": "lan", **({"fixed_ip": f"10.1.0.{10 + n}"} if draw(st.booleans()) else {})}]
        server["metadata"] = draw(st.dictionaries(st.sampled_from("abc"), st.text("xyz", max_size=3), max_size=2))
        server["tags"] = draw(st.lists(st.sampled_from(["t1", "t2"]), unique=True))
        server["power_state"] = draw(st.sampled_from(["running", "stopped"]))
        server["config_drive"] = draw(st.sampled_from(["configdrive", "nocloud"]))
        if draw(st.booleans()):
            server["group"] = "g"
        if free and draw(st.booleans()):
            server["block_device_mapping"] = [
                {"boot_index": 0, "source_type": "image", "image": "base", "destination_type": "local"},
                {"source_type": "volume", "volume": free.pop(), "destination_type": "volume"},
            ]
        servers[f"n{n}"] = server
    return {
        "stack": "prop", "flavors": {"s": draw(flavor), "m": draw(flavor)},
        "images": {"base": {"source": "base.img", "format": "raw"}},
        "networks": {"lan": {"subnets": [{"cidr": "10.1.0.0/24"}]}},
        "server_groups": groups, "volumes": volumes, "servers": servers,
    }  # fmt: skip


class Place:
    """A folder with a fleet on one in-process world."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"memory:prop{next(_numbers)}"
        (folder / "base.img").write_bytes(b"x" * 512)
        hosts = {f"hv{n}": {"libvirt": f"{self.uri}?vcpus=8&memory_mib=4096&disk_gib=40"} for n in range(HOSTS)}
        fleet = {"fleet": "f", "state": "sqlite:///s.db", "hosts": hosts}
        (folder / "fleet.yaml").write_text(json.dumps(fleet))

    def write(self, stack: dict[str, object]) -> None:
        (self.folder / "stack.yaml").write_text(json.dumps({"fleet": "fleet.yaml", **stack}))

    def options(self, **more: object) -> session.Options:
        return session.Options(stack=self.folder / "stack.yaml", **more)  # type: ignore[arg-type]

    def apply(self, **more: object) -> Plan:
        options = self.options(**more)
        made = session.plan(options).plan
        report = session.apply(options, made, lambda event: None, session.ApplyOptions(allowed=Impact.DATA_LOSS))
        assert report.exit_status == 0, report.failed
        return made


@contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        made = Place(Path(folder))
        try:
            yield made
        finally:
            forget(made.uri)


def check_order(plan: Plan) -> None:
    """No step before what it needs, and none twice."""
    seen: set[str] = set()
    ids = {step.id for step in plan.steps}
    for step in plan.steps:
        assert step.id not in seen
        assert set(step.requires) & ids <= seen, f"{step.id} before what it requires"
        seen.add(step.id)


def check_capacity(at: Place) -> None:
    for name in (f"hv{n}" for n in range(HOSTS)):
        used: Counter[str] = Counter()
        for item in world(at.uri).objects(name):
            if item.kind == "server" and item.spec is not None:
                used.update(vcpus=item.spec.vcpus, ram=item.spec.ram_mib)  # type: ignore[union-attr]
        assert used["vcpus"] <= 8 and used["ram"] <= 4096 - 512


quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(stacks(), stacks())
def test_apply_makes_the_next_plan_empty_from_nothing_and_from_another_stack(
    first: dict[str, object], second: dict[str, object]
) -> None:
    with place() as at:
        for stack in (first, second):
            at.write(stack)
            try:
                made = at.apply()
            except Faults as faults:
                assert {d.code for d in faults.diagnostics} <= {"no-valid-host", "circular-steps"}
                return
            except session.NotAllowed as refusal:
                known = ("on several hosts", "cannot", " is on ", "no room")
                assert all(any(words in b.cause for words in known) for b in refusal.barred)
                return
            check_order(made)
            check_capacity(at)
            after = session.plan(at.options()).plan
            assert after.steps == () and after.deviations == ()


@quick
@given(stacks())
def test_plan_is_deterministic(stack: dict[str, object]) -> None:
    with place() as at:
        at.write(stack)
        try:
            first, second = (session.plan(at.options()).plan for _ in range(2))
        except Faults:
            return
        assert first == second
        assert ordered(reversed(first.steps)) == first.steps


@quick
@given(stacks())
def test_destroy_leaves_nothing_but_what_is_kept(stack: dict[str, object]) -> None:
    with place() as at:
        at.write(stack)
        try:
            at.apply()
        except (Faults, session.NotAllowed):
            return
        made = at.apply(destroy=True)
        check_order(made)
        kept = {n for n, v in stack["volumes"].items() if v["on_destroy"] == "keep"}  # type: ignore[union-attr]
        left = [o for n in range(HOSTS) for o in world(at.uri).objects(f"hv{n}")]
        assert {o.kind for o in left} <= {"volume"} and len(left) == len(kept)
        assert {s.operation for s in made.steps} <= {Operation.DELETE, Operation.FORGET}
