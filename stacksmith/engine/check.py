"""Whether things are still as the plan saw them (rule 9)."""

import json

from stacksmith.address import Address
from stacksmith.diagnostics import Faults, error
from stacksmith.model.bare_metal import ON_DISK
from stacksmith.model.change import Impact
from stacksmith.model.found import ABANDONED, Found
from stacksmith.model.realised import Machine, to_data
from stacksmith.model.types import JSON
from stacksmith.planner.diff import UNKNOWN, compare
from stacksmith.planner.machine import is_deployment
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Refused, Stale
from stacksmith.state.store import Store

# (operation, address, uuid) of what earlier runs began and did not end well.
Begun = frozenset[tuple[str, Address, str]]

SHARED_KINDS = frozenset({"image"})  # named by their bytes: whatever is there, another stack made the very same
SHOWN = 5
WIDTH = 60


def check_journal(plan: Plan, store: Store, is_saved: bool) -> None:
    """Passes when nothing was done to the stack since the plan. Of a saved plan it may be a part of the plan itself, by
    a run that was killed or failed; of one that waited in this process, for an answer or for the lease, it is
    another's. The caller holds the stack's lease. Raises: Faults (``stale-plan``)."""
    if plan.journal is None:
        return
    since = store.journal(plan.stack, after=plan.journal)
    own = {step.id for step in plan.steps} if is_saved else set()
    others = [entry for entry in since if entry.step not in own]
    if others:
        raise _overtaken(f"{others[-1].step} was begun since by run {others[-1].run}")
    done = {entry.step for entry in since if entry.outcome == "done"}
    if own and own <= done:
        raise _overtaken(f"it was applied already, by run {since[-1].run}")


def _overtaken(cause: str) -> Faults:
    hint = "a plan is for the state that it was made from: plan again"
    return Faults([error("stale-plan", f"cannot apply the plan: it is stale: {cause}", hint=hint)])


def check(step: Step, found: Found | None, owner: tuple[str, str], begun: Begun) -> None:
    """Passes when the step may act on ``found``, the object as just read; ``owner`` is (fleet, stack).

    What the run itself, killed before, has done since the plan is no surprise: a half made object of its create, one
    that already is as wanted, or nearer to it (a BMC may have been at work still), a half deleted one.

    Raises: Stale with the differences, Refused when it is another's.
    """
    if found is None:
        if step.fingerprint is None or step.partial or step.operation is Operation.DELETE:
            return
        raise Stale("it no longer exists", hint="plan again")
    if found.mark is not None and (found.mark.fleet, found.mark.stack) != owner:
        raise Refused(f"{found.name} belongs to {found.mark.fleet}/{found.mark.stack}")
    if step.operation is Operation.DELETE:
        _check_loss(step, found)
    if found.fingerprint != step.fingerprint and not _explained(step, found, begun):
        raise Stale(f"it changed since the plan: {surprise(step, found)}", hint="plan again")


def _check_loss(step: Step, found: Found) -> None:
    """A plan that takes more than it says was not made by this program. Raises: Refused."""
    if found.mark is not None and found.mark.policy.protect:
        raise Refused(f"{found.name} is protected", hint="apply protect: false first")
    is_begun = step.address.host is not None and found.partial  # a copy that a move did not complete
    least = Impact.DATA_LOSS if step.address.kind == "volume" and not is_begun else Impact.NONE
    if step.address.kind == "server" and not found.partial:
        least = Impact.REPLACE
    if step.impact < least:
        raise Refused(f"the plan says {step.impact.word} of what is {least.word}", hint="plan again")


def _explained(step: Step, found: Found, begun: Begun) -> bool:
    ours = (step.operation.value, step.address, step.uuid) in begun
    half = found.partial or (found.mark is not None and found.mark.applied is None)
    match step.operation:
        case Operation.CREATE:
            return step.address.kind in SHARED_KINDS or (half and ours) or _as_wanted(step, found)
        case Operation.UPDATE | Operation.MIGRATE:
            return ours and not found.partial and _is_on_the_way(step, found)
        case Operation.DELETE:
            made_by_us = (Operation.CREATE.value, step.address, step.uuid) in begun
            return ours or (half and made_by_us) or (step.address.kind in SHARED_KINDS and _is_part(step, found))
        case _:
            return False


def _is_part(step: Step, found: Found) -> bool:
    """Whether nothing is there that the plan did not see: another image of the same bytes was removed, and a file
    with it."""
    return all(change.wanted is None for change in compare(to_data(found.spec), UNKNOWN, step.before))


def _as_wanted(step: Step, found: Found) -> bool:
    return not found.partial and not _unlike(step, to_data(found.spec))


def _is_on_the_way(step: Step, found: Found) -> bool:
    """Whether nothing more differs from what is wanted than before, but for what the step itself takes while it is at
    work: on a node its power, and what is told of its disk; of a guest that it moves, that the migration paused it."""
    more = _unlike(step, to_data(found.spec)) - _unlike(step, step.before)
    takes = {"power_state"} if isinstance(step.wanted, Machine) and step.impact >= Impact.RESTART else set()
    takes |= {"power_state"} if step.operation is Operation.MIGRATE and ABANDONED in found.facts else set()
    takes |= set(ON_DISK) if is_deployment(step) else set()
    return all(path.partition(".")[0] in takes for path, _ in more)


def _unlike(step: Step, data: JSON) -> set[tuple[str, str]]:
    """What of an object is not as wanted, by path and value."""
    return {(c.path, json.dumps(c.found, sort_keys=True)) for c in compare(to_data(step.wanted), UNKNOWN, data)}


def surprise(step: Step, found: Found) -> str:
    """How the object differs from the plan's, in short words: ``ram_mib was 512, is 1024``."""
    if step.fingerprint is None:
        return f"{found.name} exists already"
    words = [_words(path, before, now) for path, before, now in _differences(step.before, to_data(found.spec))]
    if found.problem:
        words.append(found.problem)
    if not words:
        words = ["only part of it is there" if found.partial else "its saved definition differs"]
    more = len(words) - SHOWN
    return "; ".join(words[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _differences(before: JSON, now: JSON) -> list[tuple[str, JSON, JSON]]:
    """(path, before, now) of each; None, which a comparison takes for "not declared", counts on both sides here."""
    changed = [(c.path, c.wanted, c.found) for c in compare(before, UNKNOWN, now)]
    appeared = [(c.path, c.found, c.wanted) for c in compare(now, UNKNOWN, before) if c.found is None]
    seen = {path for path, _, _ in changed}
    return changed + [item for item in appeared if item[0] not in seen]


def _words(path: str, before: JSON, now: JSON) -> str:
    if now is None:
        return f"{path} was {_short(before)}, is gone"
    return f"{path} {'was not set' if before is None else f'was {_short(before)}'}, is {_short(now)}"


def _short(value: JSON) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
