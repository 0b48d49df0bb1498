"""Disks without ``device_name`` that a plan takes from servers that stay: they go by their places in the list."""

import re
from collections.abc import Iterator
from typing import Any

from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.model.realised import Server
from stacksmith.model.stack import Stack
from stacksmith.planner.plan import Operation, Plan, Step

_HINT = (
    "these are the disks that go, whichever entries were taken out; give new disks a device_name, and to keep one of"
    " these declare it under volumes by its name and map that"
)


def unnamed_that_go(stack: Stack, plan: Plan) -> list[Diagnostic]:
    """A warning for each server that loses volumes which were made for it without ``device_name``."""
    replaced = {s.address: s.before for s in plan.steps if s.replaces and s.operation is Operation.DELETE}
    return [
        warning
        for step in plan.steps
        if isinstance(step.wanted, Server) and (step.operation is Operation.UPDATE or step.replaces)
        for warning in _warning(stack, step, step.before or replaced.get(step.address))
    ]


def _warning(stack: Stack, step: Step, before: Any) -> Iterator[Diagnostic]:
    resource = stack.resources.get(step.address)
    going = [f"{disk['device']} ({disk['ref']})" for disk in _going(step, before)]
    if resource is None or not going:
        return
    verb = "goes" if len(going) == 1 else "go"
    yield Diagnostic(
        Severity.WARNING,
        "unnamed-disk",
        f"{step.address}: {', '.join(going)} {verb}: disks without device_name are known by their place in the list",
        resource.where(("block_device_mapping",)),
        hint=_HINT,
        address=step.address,
    )


def _going(step: Step, before: Any) -> list[dict[str, Any]]:
    assert isinstance(step.wanted, Server)
    stay = {disk.ref for disk in step.wanted.disks}
    name = re.compile(rf"volume\.{re.escape(step.address.label)}-disk\d+")
    disks = before["disks"] if before else ()
    return [disk for disk in disks if disk["ref"] not in stay and name.fullmatch(disk["ref"] or "")]
