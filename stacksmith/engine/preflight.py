"""What only a node itself can say of a plan, asked while it is made: BIOS attributes, volumes and firmware."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from stacksmith.diagnostics import Diagnostic, error
from stacksmith.model.bare_metal import field_of
from stacksmith.model.realised import Machine
from stacksmith.model.stack import Stack
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Deadline, ProviderError, Session
from stacksmith.providers.bmc import Checking

AT_ONCE = 64


_SAID: Final = {
    "bios": ("bad-bios", "cannot set BIOS attribute {name} of {host}: {cause}", "stacksmith node show {host}"),
    "raid": ("bad-raid", "cannot make RAID volume {name} of {host}: {cause}", "stacksmith node inspect {host}"),
    "firmware": (
        "bad-firmware",
        "cannot bring firmware {name} of {host} to its version: {cause}",
        "name its image, firmware: {{{name}: {{version: …, image: URL}}}}, or the version that is there",
    ),
}


def node_faults(stack: Stack, made: Plan, sessions: Mapping[str, Session]) -> list[Diagnostic]:
    """BIOS attributes that their node's registry does not know, or not with that value, RAID volumes that its
    controllers cannot make, and firmware that a new server cannot be given, at their places in the stack.

    A BMC without a registry, or that does not answer, has none: the apply will tell.
    """
    steps = [step for step in made.steps if _is_asked(step)]
    if not steps:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(steps))) as pool:
        found = pool.map(lambda step: list(_faults(stack, step, sessions.get(step.host))), steps)
        return [fault for faults in found for fault in faults]


def _is_asked(step: Step) -> bool:
    if not isinstance(step.wanted, Machine):
        return False
    if step.operation is Operation.CREATE:
        return bool(step.wanted.bios or step.wanted.raid or step.wanted.firmware)
    return bool({"bios", "raid", "firmware"} & {field_of(change) for change in step.changes})


def _asked(step: Step, wanted: Machine) -> Machine:
    """What of it is asked. Firmware of a server that is there, of which no image is named, is compared: that it is not
    as pinned is drift, and the step says so."""
    if step.operation is Operation.CREATE:
        return wanted
    fields = {field_of(change) for change in step.changes}
    bios, raid = wanted.bios if "bios" in fields else {}, wanted.raid if "raid" in fields else ()
    paths = {change.path.removeprefix("firmware.") for change in step.changes}
    firmware = {name: wanted.firmware[name] for name in wanted.firmware_images if name in paths}
    return replace(wanted, firmware=firmware, bios=bios, raid=raid)


def _faults(stack: Stack, step: Step, session: Session | None) -> Iterator[Diagnostic]:
    assert isinstance(step.wanted, Machine)
    if not isinstance(session, Checking) or step.host not in stack.fleet.nodes:
        return
    seconds = stack.fleet.nodes[step.host].timeout_seconds
    try:
        faults = session.faults(_asked(step, step.wanted), Deadline(time.monotonic() + seconds, time.monotonic))
    except ProviderError:
        return
    resource = stack.resources[step.address]
    for field, name, cause in faults:
        code, message, hint = _SAID[field]
        words = {"name": name, "host": step.host, "cause": cause}
        key = [volume.name for volume in step.wanted.raid].index(name) if field == "raid" else name
        place = resource.where(("bare_metal", field, key))
        yield error(code, message.format(**words), place, hint.format(**words), address=step.address)
