"""What an apply may not do: steps that are worse than was allowed, conflicts, protected objects."""

from stacksmith.frozen import dataclass
from stacksmith.model.change import Impact, Status
from stacksmith.planner.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class Barred:
    """A step that keeps the plan from being applied. ``hint`` is what to type, empty when nothing typed helps."""

    step: str
    cause: str
    hint: str = ""


class NotAllowed(Exception):
    """The plan does what was not allowed; nothing of it was done."""

    def __init__(self, barred: tuple[Barred, ...]) -> None:
        super().__init__("; ".join(f"{b.step}: {b.cause}" for b in barred))
        self.barred = barred


def barred(plan: Plan, allowed: Impact, overwrite_drift: bool) -> tuple[Barred, ...]:
    """Everything that keeps the plan from being applied, in the order of its steps, then what has no step."""
    refusals = dict(plan.refusals)
    found = [b for step in plan.steps if (b := _barred(step, refusals, allowed, overwrite_drift)) is not None]
    known = {step.id for step in plan.steps}
    return (*found, *(Barred(name, cause) for name, cause in plan.refusals if name not in known))


def _barred(step: Step, refusals: dict[str, str], allowed: Impact, overwrite_drift: bool) -> Barred | None:
    if step.id in refusals:
        return Barred(step.id, refusals[step.id])
    if step.impact > allowed:
        return Barred(step.id, f"its impact is {step.impact.word}", f"--allow {step.impact.word}")
    conflicts = [change.path for change in step.changes if change.status is Status.CONFLICT]
    if conflicts and not overwrite_drift:
        cause = f"{', '.join(conflicts)} changed both in the stack and outside of stacksmith"
        return Barred(step.id, cause, "--overwrite-drift")
    return None
