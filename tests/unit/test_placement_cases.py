"""Every folder of tests/cases/placement: expected.txt is what placement says about it.

A case.yaml is placed as it is; a stack.yaml with its fleet.yaml is planned, on hosts that are data.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults
from stacksmith.engine import session
from stacksmith.model.query import read_query
from stacksmith.model.scheduler import FILTERS, GROUP_FILTERS, WEIGHERS, SchedulerSpec
from stacksmith.placement import (
    Allocation,
    Goal,
    Group,
    HostState,
    Inventory,
    Placement,
    Provider,
    Request,
    Strategy,
    allocate,
    load,
    load_request,
)
from stacksmith.placement.filters import Asked, conditions, queries
from stacksmith.placement.normalised import image_marks
from stacksmith.placement.request import Hint
from stacksmith.planner.layout import provider_name
from stacksmith.providers.memory.provider import forget
from stacksmith.views.notice import optimum_words

CASES = Path(__file__).parents[1] / "cases" / "placement"


def named(file: str) -> list[str]:
    return sorted(path.parent.name for path in CASES.glob(f"*/{file}"))


@pytest.mark.parametrize("name", named("case.yaml"))
def test_placement_case_explains_as_recorded(name: str, golden: Callable[[str, str], None]) -> None:
    case = yaml.safe_load((CASES / name / "case.yaml").read_text())
    golden(whole(placed(case)) + "\n", f"placement/{name}/expected.txt")


@pytest.mark.parametrize("name", named("stack.yaml"))
def test_placement_of_a_stack_explains_as_recorded(
    name: str, golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    """The way from the files to the verdicts; what the load or the plan refuses is told with its place."""
    folder = copytree(CASES / name, tmp_path / name)
    try:
        plan = session.plan(session.Options(stack=folder / "stack.yaml")).plan
        text = whole(Allocation(plan.placements, plan.optimum))
    except Faults as faults:
        text = "\n".join(line for d in faults.diagnostics for line in said(d, folder))
    finally:
        forget("memory:case")
    golden(f"{text}\n", f"placement/{name}/expected.txt")


def test_every_filter_and_weigher_has_a_case() -> None:
    """By its name, or where it has none in what is written and told, by that of its policy."""
    policies = {name: policy for policy, name in GROUP_FILTERS.items()} | {"AllHostsFilter": "hosts:"}
    texts = "\n".join(path.read_text() for path in sorted(CASES.glob("*/*")))
    assert [name for name in (*FILTERS, *WEIGHERS) if policies.get(name, name) not in texts] == []


def whole(allocation: Allocation) -> str:
    lines = [told(placement) for placement in allocation.placements]
    return "\n".join(lines + [optimum_words(each) for each in [allocation.optimum] if each is not None])


def said(fault: Diagnostic, folder: Path) -> Iterable[str]:
    where = str(fault.span).removeprefix(f"{folder}/")
    yield f"{fault.severity}[{fault.code}] {where}: {fault.message}"
    yield from (f"  hint: {hint}" for hint in [fault.hint] if hint)
    yield from (f"  - {note}" for note, _ in fault.notes)


def placed(case: Mapping[str, Any]) -> Allocation:
    scheduler = SchedulerSpec(**case.get("scheduler", {}))
    return allocate(
        [request for item in case["requests"] for request in requests(item, scheduler)],
        [host(name, data or {}) for name, data in (case["hosts"] or {}).items()],
        {name: Group(name, **data) for name, data in case.get("groups", {}).items()},
        {Address.parse(text): name for text, name in case.get("kept", {}).items()},
        Goal(scheduler if scheduler.weighers else Strategy(case.get("strategy", "spread"))),
    )


def requests(data: Mapping[str, Any], scheduler: SchedulerSpec) -> list[Request]:
    fields = dict(data)
    if "asked" in data:
        fields["marks"] = image_marks(scheduler, fields["asked"].get("properties", {}))
        asked = fields.pop("asked")
        given = Asked(**{**asked, "query": read_query(asked.get("query", []))})
        fields |= {"conditions": conditions(scheduler, given), "queries": queries(scheduler, given)}
    count, amounts, address = fields.pop("count", None), fields.pop("amounts"), Address.parse(fields.pop("address"))
    for name in ("required", "forbidden", "member_of"):
        fields[name] = frozenset(fields.get(name, ()))
    for name in ("away", "follows"):
        fields[name] = tuple(Hint(**each | {"hosts": frozenset(each["hosts"])}) for each in fields.get(name, ()))
    for name in ("with_hosts", "marks"):
        fields[name] = tuple(fields.get(name, ()))
    if "parts" in fields:
        fields["parts"] = load_request(fields["parts"])
    one = Request(address, amounts, **fields)
    return [one] if count is None else [replace(one, address=replace(address, key=i)) for i in range(count)]


def host(name: str, data: Mapping[str, Any]) -> HostState:
    fields = dict(data)
    default = {"VCPU": {"total": 8, "allocation_ratio": 4.0}, "MEMORY_MB": {"total": 16384, "reserved": 512}}
    inventories = {**default, "DISK_GB": {"total": 100}, **fields.pop("inventories", {})}
    for key in ("traits", "aggregates"):
        fields[key] = frozenset(fields.get(key, ()))
    if "devices" in fields:
        fields["parts"] = (Provider("gpu", "gpu", name, {"CUSTOM_GPU": Inventory(fields.pop("devices"))}),)
    elif "parts" in fields:
        fields["parts"] = load({"providers": {name: {}, **fields["parts"]}}).providers[1:]
    fields["metadata"] = {key: tuple(values) for key, values in fields.get("metadata", {}).items()}
    return HostState(name, {c: Inventory(**i) for c, i in inventories.items() if i}, **fields)


def told(placement: Placement) -> str:
    lines = [f"{placement.address}: {placement.host or 'nowhere'}{' (kept)' if placement.kept else ''}"]
    lines += [f"  {line}" for line in (placement.cause, f"hint: {placement.hint}") if placement.cause]
    for v in placement.verdicts:
        score = "" if v.score is None else f" [{v.score:.3f}]"
        lines.append(f"  {'+' if v.fits else '-'} {v.host}: {v.reason}{score}")
    lines += [f"  {group} is {', '.join(map(provider_name, uuids))}" for group, uuids in placement.parts.items()]
    return "\n".join(lines)
