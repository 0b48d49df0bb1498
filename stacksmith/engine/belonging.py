"""Whether a plan may have been made from these files: a saved one comes from outside, where it can be edited."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from stacksmith.address import identity
from stacksmith.diagnostics import Diagnostic, error
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.planner.ledger import CLAIMED_KINDS
from stacksmith.planner.plan import Operation, Plan, Step

GENERATIONS = 10  # how often a resource is looked for as replaced
UNMARKED = frozenset({"volume", "image"})  # only their names tell whose they are


def strange(stack: Stack, planned: Plan, records: Sequence[Record]) -> list[Diagnostic]:
    """What no plan of this stack has; nothing of such a plan is done."""
    mine, theirs = (stack.fleet.fleet, stack.name), (planned.fleet, planned.stack)
    if mine != theirs:
        cause = f"it is of stack {'/'.join(theirs)}, the files are of {'/'.join(mine)}"
        return [error("plan-file", f"cannot apply the plan: {cause}", hint="name its own files: --stack, --fleet")]
    claimed = {claim.uuid for claim in planned.claims.wanted}
    protected = {r.address for r in records if r.policy.protect and r.address.kind in UNMARKED}
    return [
        error("plan-file", f"cannot apply the plan: {step.id}: {cause}", hint="plan again", address=step.address)
        for step in planned.steps
        for cause in (*_strange(stack, step), *_unclaimed(step, claimed))
        if cause
    ] + [
        error("plan-file", f"cannot apply the plan: {step.id}: it is protected", address=step.address)
        for step in planned.steps
        if step.operation is Operation.DELETE and step.address in protected
    ]


def _strange(stack: Stack, step: Step) -> Iterator[str]:
    if step.operation is Operation.FORGET:
        return
    if step.host not in stack.fleet.hosts and step.host not in stack.fleet.nodes:
        yield f"the fleet has no host {step.host!r}"
    if (step.operation is Operation.MIGRATE) != (step.source in stack.fleet.hosts):
        yield f"it comes from {step.source!r}"
    if step.id != f"{step.operation} {step.address}":
        yield f"its address is {step.address}"
    # A marked object that leaves is checked by its mark, and may have been given another identity by hand.
    if step.operation is not Operation.DELETE or step.address.kind in UNMARKED:
        # A copy of a volume that a move left is named with its host, which is no part of the volume's identity.
        address = replace(step.address, host=None) if step.address.kind == "volume" else step.address
        ids = (identity(stack.fleet.fleet, stack.name, address, n) for n in range(GENERATIONS))
        if step.uuid not in ids:
            yield f"{step.uuid!r} is not its identity"


def _unclaimed(step: Step, claimed: Container[str]) -> Iterator[str]:
    """A server or volume without a claim would take room that may be another stack's."""
    if step.operation is Operation.CREATE and step.address.kind in CLAIMED_KINDS and step.uuid not in claimed:
        yield "no room is claimed for it"
