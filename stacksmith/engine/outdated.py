"""Inspections that a run makes wrong."""

from collections.abc import Sequence

from stacksmith.engine.inspection import Inspections
from stacksmith.model.bare_metal import field_of
from stacksmith.model.realised import Machine
from stacksmith.model.record import Record
from stacksmith.planner.plan import Operation, Plan, Step


def forget_updated(kept: Inspections, plan: Plan, records: Sequence[Record]) -> None:
    """Drops what is kept of nodes whose firmware the plan updates, however that ended."""
    updated = {step.address for step in plan.steps if _updates(step)}
    for record in records if updated else ():
        if record.address in updated:
            kept.forget(record.machine)


def _updates(step: Step) -> bool:
    if not isinstance(step.wanted, Machine) or not step.wanted.firmware:
        return False
    return step.operation is Operation.CREATE or any(field_of(change) == "firmware" for change in step.changes)
