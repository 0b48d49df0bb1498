"""Disks without ``device_name`` that a plan takes from servers that stay: they go by their places in the list."""

import re
from collections.abc import Iterator
from string import ascii_lowercase
from typing import Any

from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.model.change import Status
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import Server
from stacksmith.model.stack import Stack
from stacksmith.planner.plan import Operation, Plan, Step

_VOLUMES = (
    "these are the disks that go, whichever entries were taken out; give new disks a device_name, and to keep one of"
    " these declare it under volumes by its name and map that"
)
_LOCAL = "these are the disks that go, whichever entries were taken out; give those that stay the device_name they have"


def unnamed_that_go(stack: Stack, plan: Plan) -> list[Diagnostic]:
    """A warning for each server that loses volumes which were made for it without ``device_name``, and for each that
    loses local disks while others without one stay, whose data the entries then have."""
    replaced = {s.address: s.before for s in plan.steps if s.replaces and s.operation is Operation.DELETE}
    return [
        warning
        for step in plan.steps
        if isinstance(step.wanted, Server) and (step.operation is Operation.UPDATE or step.replaces)
        for warning in _warning(stack, step, step.before or replaced.get(step.address))
    ]


def _warning(stack: Stack, step: Step, before: Any) -> Iterator[Diagnostic]:
    resource = stack.resources.get(step.address)
    if resource is None:
        return
    volumes = [f"{disk['device']} ({disk['ref']})" for disk in _volumes(step, before)]
    local = [f"{disk['device']} (local)" for disk in _local(step, before)] if _has_unnamed(resource.spec) else []
    for going, hint in ((volumes, _VOLUMES), (local, _LOCAL)):
        if not going:
            continue
        what = f"{', '.join(going)} {'goes' if len(going) == 1 else 'go'}"
        yield Diagnostic(
            Severity.WARNING,
            "unnamed-disk",
            f"{step.address}: {what}: disks without device_name are known by their place in the list",
            resource.where(("block_device_mapping",)),
            hint=hint,
            address=step.address,
        )


def _volumes(step: Step, before: Any) -> list[dict[str, Any]]:
    assert isinstance(step.wanted, Server)
    stay = {disk.ref for disk in step.wanted.disks}
    name = re.compile(rf"volume\.{re.escape(step.address.label)}-disk\d+")
    disks = before["disks"] if before else ()
    return [disk for disk in disks if disk["ref"] not in stay and name.fullmatch(disk["ref"] or "")]


def _local(step: Step, before: Any) -> list[dict[str, Any]]:
    """Blank local disks that go, of those that a place in the list can have named."""
    assert isinstance(step.wanted, Server)
    by_hand = {change.path for change in step.changes if change.status is not Status.CHANGE}
    stay = {disk.device for disk in step.wanted.disks}
    disks = [disk for disk in before["disks"] if f"disks[{disk['device']}]" not in by_hand] if before else []
    by_place = {disk["device"][:-1] + ascii_lowercase[place] for disk in disks for place in range(len(disks))}
    return [d for d in disks if d["source"] == "blank" and d["device"] in by_place and d["device"] not in stay]


def _has_unnamed(spec: Any) -> bool:
    """Whether a server has local disks besides its root disk that go by their places."""
    mapping = spec.block_device_mapping if isinstance(spec, ServerSpec) else ()
    return any(d.destination_type == "local" and d.boot_index != 0 and not d.device_name for d in mapping)
