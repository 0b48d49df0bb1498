"""Every folder of tests/cases/placement: case.yaml is placed, expected.txt is what placement says about it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacksmith.address import Address
from stacksmith.placement import Group, HostState, Inventory, Placement, Request, place

CASES = Path(__file__).parents[1] / "cases" / "placement"


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_placement_case_explains_as_recorded(name: str, golden: Callable[[str, str], None]) -> None:
    case = yaml.safe_load((CASES / name / "case.yaml").read_text())
    golden("\n".join(map(told, placed(case))) + "\n", f"placement/{name}/expected.txt")


def placed(case: Mapping[str, Any]) -> tuple[Placement, ...]:
    return place(
        [request for item in case["requests"] for request in requests(item)],
        [host(name, data or {}) for name, data in (case["hosts"] or {}).items()],
        {name: Group(name, **data) for name, data in case.get("groups", {}).items()},
        {Address.parse(text): name for text, name in case.get("kept", {}).items()},
        case.get("strategy", "spread"),
    )


def requests(data: Mapping[str, Any]) -> list[Request]:
    fields = dict(data)
    count, amounts, address = fields.pop("count", None), fields.pop("amounts"), Address.parse(fields.pop("address"))
    for name in ("required", "forbidden", "member_of"):
        fields[name] = frozenset(fields.get(name, ()))
    fields["with_hosts"] = tuple(fields.get("with_hosts", ()))
    one = Request(address, amounts, **fields)
    return [one] if count is None else [replace(one, address=replace(address, key=i)) for i in range(count)]


def host(name: str, data: Mapping[str, Any]) -> HostState:
    fields = dict(data)
    default = {"VCPU": {"total": 8, "allocation_ratio": 4.0}, "MEMORY_MB": {"total": 16384, "reserved": 512}}
    inventories = {**default, "DISK_GB": {"total": 100}, **fields.pop("inventories", {})}
    for key in ("traits", "aggregates"):
        fields[key] = frozenset(fields.get(key, ()))
    return HostState(name, {c: Inventory(**i) for c, i in inventories.items() if i}, **fields)


def told(placement: Placement) -> str:
    lines = [f"{placement.address}: {placement.host or 'nowhere'}{' (kept)' if placement.kept else ''}"]
    lines += [f"  {line}" for line in (placement.cause, f"hint: {placement.hint}") if placement.cause]
    for v in placement.verdicts:
        score = "" if v.score is None else f" [{v.score:.3f}]"
        lines.append(f"  {'+' if v.fits else '-'} {v.host}: {v.reason}{score}")
    return "\n".join(lines)
