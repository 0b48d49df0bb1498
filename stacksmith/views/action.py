"""What happens to each resource of a plan: a replacement's two steps are one action."""

from enum import StrEnum

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.change import Change, Impact
from stacksmith.model.types import JSON
from stacksmith.planner.plan import Operation, Plan, Step


class Action(StrEnum):
    """What a reader of a plan is told."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    MIGRATE = "migrate"
    FORGET = "forget"


_ACTIONS = {
    Operation.CREATE: Action.CREATE,
    Operation.UPDATE: Action.UPDATE,
    Operation.DELETE: Action.DELETE,
    Operation.MIGRATE: Action.MIGRATE,
    Operation.FORGET: Action.FORGET,
}


@dataclass(frozen=True, slots=True)
class ResourceAction:
    """One resource and what happens to it. ``step`` makes, changes or removes it; ``removal`` is the first half of a
    replacement, None otherwise. ``impact`` is the worst of the two."""

    action: Action
    step: Step
    impact: Impact
    removal: Step | None = None

    @property
    def address(self) -> Address:
        """The resource."""
        return self.step.address

    @property
    def changes(self) -> tuple[Change, ...]:
        """The fields that differ, whichever half of a replacement carries them."""
        return self.step.changes or (self.removal.changes if self.removal else ())

    @property
    def before(self) -> JSON:
        """Data of the object as found, None when there is none."""
        return self.step.before if self.removal is None or self.step.before is not None else self.removal.before


def resource_actions(plan: Plan) -> list[ResourceAction]:
    """Every resource that has a step, in order of address."""
    created = {step.address for step in plan.steps if step.replaces and step.operation is Operation.CREATE}
    removals = {
        step.address: step
        for step in plan.steps
        if step.replaces and step.operation is Operation.DELETE and step.address in created
    }
    actions = []
    for step in plan.steps:
        if removals.get(step.address) is step:
            continue
        removal = removals.get(step.address) if step.operation is Operation.CREATE else None
        if removal is not None:
            actions.append(ResourceAction(Action.REPLACE, step, max(step.impact, removal.impact), removal))
        else:
            actions.append(ResourceAction(_ACTIONS[step.operation], step, step.impact))
    return sorted(actions, key=lambda action: action.address.order)
