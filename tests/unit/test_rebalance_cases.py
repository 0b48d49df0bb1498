"""Every folder of tests/cases/rebalance: expected.txt is what is said of servers that an edit puts against their rules.

A case.yaml is applied, then edited (a JSON merge patch): of that the plan's warnings, the explanations of the servers
that it is about, and the rebalance are told. ``neighbours`` are vCPUs of guests that come to hosts by themselves;
``hardware`` is what hosts are made of.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacksmith.diagnostics import Faults
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.hardware import hardware_of
from stacksmith.model.realised import Server
from stacksmith.planner.plan import Operation, Plan
from stacksmith.planner.staying import staying
from stacksmith.providers.memory.provider import forget, world
from stacksmith.views.notice import fewest
from stacksmith.views.placement_text import placements_text

CASES = Path(__file__).parents[1] / "cases" / "rebalance"
URI = "memory:rebalance-case"
CAPACITY = "?vcpus=8&memory_mib=8192&disk_gib=100"
DEFAULTS: dict[str, Any] = {
    "fleet": {"fleet": "lab"},
    "stack": {
        "stack": "shop",
        "fleet": "fleet.yaml",
        "flavors": {"small": {"vcpus": 1, "ram": 512, "disk": 1}},
        "images": {"base": {"source": "base.img", "format": "raw"}},
    },
}
SERVER = {"flavor": "small", "image": "base", "config_drive": False}


@pytest.mark.parametrize("name", sorted(path.parent.name for path in CASES.glob("*/case.yaml")))
def test_rebalance_case_says_what_is_recorded(name: str, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    case = yaml.safe_load((CASES / name / "case.yaml").read_text())
    edit = case.pop("edit")
    hardware = case.pop("hardware", {})
    options = session.Options(stack=tmp_path / "stack.yaml")
    (tmp_path / "base.img").write_bytes(b"x" * 512)
    try:
        write(tmp_path, case)
        build(hardware)
        run(options, session.plan(options).plan)
        for host, vcpus in edit.pop("neighbours", {}).items():
            guest = Server(name="other", vcpus=vcpus, ram_mib=64)
            world(URI).add_unmanaged(host, "server", "other", guest)
        build(patched(hardware, edit.pop("hardware", {})))
        write(tmp_path, patched(case, edit))
        golden("\n".join(told(options)) + "\n", f"rebalance/{name}/expected.txt")
    finally:
        forget(URI)


def write(folder: Path, case: Mapping[str, Any]) -> None:
    whole = patched(DEFAULTS, case)
    whole["fleet"]["hosts"] = {n: {"libvirt": f"{URI}{CAPACITY}", **h} for n, h in whole["fleet"]["hosts"].items()}
    whole["stack"]["servers"] = {name: SERVER | spec for name, spec in whole["stack"]["servers"].items()}
    for name in ("fleet", "stack"):
        (folder / f"{name}.yaml").write_text(json.dumps(whole[name]))


def build(hardware: Mapping[str, Any]) -> None:
    for host, parts in hardware.items():
        world(URI + CAPACITY).set_hardware(host, hardware_of(parts))


def patched(data: Any, patch: Any) -> Any:
    """RFC 7396: mappings are merged, null takes away."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(data) if isinstance(data, dict) else {}
    merged |= {key: patched(merged.get(key), value) for key, value in patch.items()}
    return {key: value for key, value in merged.items() if value is not None}


def run(options: session.Options, plan: Plan) -> None:
    what = session.ApplyOptions(allowed=Impact.MIGRATE)
    assert session.apply(options, plan, lambda event: None, what).exit_status == 0


def told(options: session.Options) -> Iterator[str]:
    planned = session.plan(options)
    assert planned.plan.steps == ()
    yield from (f"{d.severity}[{d.code}]: {d.message}" for d in planned.diagnostics)
    wanted = {address for each in planned.plan.offences for address in each.servers}
    explained = staying(planned.stack, planned.snapshot, (), wanted, planned.plan.offences)
    yield from (placements_text([each]).rstrip() for each in explained)
    try:
        plan = session.rebalance(options).plan
    except Faults as faults:
        for fault in faults.diagnostics:
            yield f"{fault.severity}[{fault.code}]: {fault.message}"
            yield from (f"  hint: {hint}" for hint in [fault.hint] if hint)
        return
    yield from (f"{s.address}: {s.source} -> {s.host}" for s in plan.steps if s.operation is Operation.MIGRATE)
    for step in (step for step in plan.steps if step.operation is Operation.UPDATE):
        paths = ", ".join(change.path for change in step.changes)
        yield f"{step.address} on {step.host} ({step.impact.name.lower()}): {paths}"
    assert plan.outcome is not None
    yield from (f"Not reached: {left}" for left in plan.outcome.left)
    yield fewest(plan) or "no migrations"
    run(options, plan)
    left = session.plan(options).plan
    assert left.steps == ()
    assert bool(left.offences) == bool(plan.outcome.left)
