"""What only a node itself can say of a plan, asked while the plan is made: the BIOS attributes that it takes."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from stacksmith.diagnostics import Diagnostic, error
from stacksmith.model.realised import Machine
from stacksmith.model.stack import Stack
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Deadline, ProviderError, Session
from stacksmith.providers.bmc import Checking

AT_ONCE = 64


def bios_faults(stack: Stack, made: Plan, sessions: Mapping[str, Session]) -> list[Diagnostic]:
    """Attributes that their node's registry does not know, or not with that value, at their places in the stack.

    A BMC without a registry, or that does not answer, has none: the apply will tell.
    """
    steps = [step for step in made.steps if _sets_bios(step)]
    if not steps:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(steps))) as pool:
        found = pool.map(lambda step: list(_faults(stack, step, sessions.get(step.host))), steps)
        return [fault for faults in found for fault in faults]


def _sets_bios(step: Step) -> bool:
    if not isinstance(step.wanted, Machine) or not step.wanted.bios:
        return False
    return step.operation is Operation.CREATE or any(change.path.startswith("bios.") for change in step.changes)


def _faults(stack: Stack, step: Step, session: Session | None) -> Iterator[Diagnostic]:
    assert isinstance(step.wanted, Machine)
    if not isinstance(session, Checking) or step.host not in stack.fleet.nodes:
        return
    seconds = stack.fleet.nodes[step.host].timeout_seconds
    try:
        faults = session.faults(step.wanted, Deadline(time.monotonic() + seconds, time.monotonic))
    except ProviderError:
        return
    resource = stack.resources[step.address]
    for name, cause in faults:
        place = resource.where(("bare_metal", "bios", name))
        message = f"cannot set BIOS attribute {name} of {step.host}: {cause}"
        yield error("bad-bios", message, place, f"stacksmith node show {step.host}", address=step.address)
