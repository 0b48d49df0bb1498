"""A plan in a file: ``plan --out`` writes it, ``apply`` and ``show`` read it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.model.change import Change
from stacksmith.model.realised import from_data
from stacksmith.model.types import JSON
from stacksmith.planner.plan import FORMAT_VERSION, Plan

_FORMAT = "stacksmith-plan"
_START = f'{{"format":"{_FORMAT}"'.encode()


def is_planfile(path: Path) -> bool:
    """True when the file begins as a plan does, whether or not it can be read further."""
    try:
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


def write_plan(plan: Plan, path: Path) -> None:
    """Writes the plan whole or not at all, readable by its owner only; sensitive values are left out of its changes.

    Raises: Faults when the file cannot be written.
    """
    steps = tuple(replace(step, changes=_bare(step.changes)) for step in plan.steps)
    deviations = tuple(replace(each, changes=_bare(each.changes)) for each in plan.deviations)
    text = _dump(replace(plan, steps=steps, deviations=deviations, offences=()))
    head = {"format": _FORMAT, "version": FORMAT_VERSION, "sha256": _digest(text)}
    try:
        _write(path, f'{_dump(head)[:-1]},"plan":{text}}}\n')
    except OSError as fault:
        raise Faults([error("plan-file", f"cannot write the plan {path}: {fault.strerror or fault}")]) from fault


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises: Faults when it cannot be read, is damaged, or is of another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise Faults([_fault(path, "it is not a plan file")])
        if data.get("version") != FORMAT_VERSION:
            cause = f"it has format version {data.get('version')!r}, this program reads {FORMAT_VERSION!r}"
            raise Faults([_fault(path, cause)])
        if _digest(_dump(data.get("plan"))) != data.get("sha256"):
            raise Faults([_fault(path, "it is damaged: its checksum is another")])
        plan = _plan(data["plan"])
        if not all(map(str.isprintable, _names(plan))):
            raise Faults([_fault(path, "a name in it has control characters")])
        return plan
    except OSError as fault:
        raise Faults([_fault(path, fault.strerror or str(fault))]) from fault
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise Faults([_fault(path, "it is damaged")]) from fault


def _bare(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(replace(c, wanted=None, applied=None, found=None) if c.sensitive else c for c in changes)


def _plan(data: dict[str, Any]) -> Plan:
    specs = [step["wanted"] for step in data["steps"]]
    bare = {**data, "steps": [{**step, "wanted": None} for step in data["steps"]]}
    plan: Plan = _adapter().validate_python(bare)
    steps = (
        replace(step, wanted=None if spec is None else from_data(step.address.kind, spec))
        for step, spec in zip(plan.steps, specs, strict=True)
    )
    return replace(plan, steps=tuple(steps))


def _names(plan: Plan) -> Iterator[str]:
    """What views print as it is, for whoever made the plan had it checked."""
    yield from (plan.fleet, plan.stack, *plan.outputs, *(host for host, _ in plan.unreachable))
    for step in plan.steps:
        yield from (step.id, step.host, step.uuid)
    yield from (each.host for each in plan.deviations)
    yield from (each.host for each in plan.unchanged)
    for each in plan.unmanaged:
        yield from (each.host, each.kind)
    for placement in plan.placements:
        yield from (placement.host or "", *(verdict.host for verdict in placement.verdicts))
    addresses = [step.address for step in plan.steps] + [each.address for each in plan.deviations]
    addresses += [each.address for each in plan.unchanged] + [each.address for each in plan.placements]
    yield from map(str, (*addresses, *plan.unknown))


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Plan)


def _dump(data: Plan | JSON) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, default=_fields)


def _fields(value: Any) -> JSON:
    return dict(value) if isinstance(value, Mapping) else {f.name: getattr(value, f.name) for f in fields(value)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    # mkstemp makes the file for its owner only; a reader sees the old plan or the new one, never a part.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _fault(path: Path, cause: str) -> Diagnostic:
    return error("plan-file", f"cannot read the plan {path}: {cause}", hint="make it anew: stacksmith plan --out FILE")
