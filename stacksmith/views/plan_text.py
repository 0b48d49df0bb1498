"""A plan as text, in Terraform's words."""

from collections.abc import Iterator

from stacksmith.model.change import Impact
from stacksmith.planner.plan import Operation, Plan
from stacksmith.views import block, notice, outside
from stacksmith.views.action import Action, ResourceAction, resource_actions
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import IMPACTS, counted, line, value

IN_SYNC = "No changes. Your infrastructure matches the configuration."

_SYMBOLS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.DELETE: "-",
    Action.MIGRATE: "->",
    Action.FORGET: " ",
}
_LEGEND = {
    Action.CREATE: "  {} create",
    Action.UPDATE: "  {} update in-place",
    Action.DELETE: "  {} destroy",
    Action.MIGRATE: " {} migrate to another host",
    Action.REPLACE: "{} destroy and then create replacement",
}
_HEADINGS = {
    Action.CREATE: "will be created",
    Action.UPDATE: "will be updated in-place",
    Action.REPLACE: "must be replaced",
    Action.DELETE: "will be destroyed",
    Action.MIGRATE: "will migrate",
    Action.FORGET: "will be kept (forgotten)",
}


def plan_text(plan: Plan, paint: Paint = PLAIN, allowed: Impact = Impact.LIVE) -> str:
    """The whole plan: what happened outside, what will be done and what it does to guests, what stands in its way.

    What is ``allowed`` already, or confirmed with the whole of a destroy, is not told how to allow.
    """
    actions = resource_actions(plan)
    sections = [
        outside.deviations(plan, paint),
        notice.unreachable(plan, paint),
        _actions(plan, actions, paint),
        notice.unplaced(plan, paint),
        notice.refusals(plan, paint),
        notice.unmanaged(plan, paint),
        notice.optimum(plan),
        notice.outcome(plan),
        _summary(plan, paint),
        _impact(actions, paint, Impact.DATA_LOSS if plan.destroy else allowed),
    ]
    texts = ["\n".join(lines) for section in sections if (lines := list(section))]
    return "\n\n".join(texts) + "\n"


def summary(plan: Plan) -> str:
    """``Plan: 2 to add, 1 to change, 0 to destroy.``, or that nothing is to be done."""
    if not changes(plan):
        return IN_SYNC
    count = plan.count
    forgotten = f", {count(Operation.FORGET)} to forget" if count(Operation.FORGET) else ""
    forgotten += f", {count(Operation.MIGRATE)} to migrate" if count(Operation.MIGRATE) else ""
    return (
        f"Plan: {count(Operation.CREATE)} to add, {count(Operation.UPDATE)} to change, "
        f"{count(Operation.DELETE)} to destroy{forgotten}."
    )


def changes(plan: Plan) -> bool:
    """True when an apply would do something, or was kept from it by a refusal."""
    return bool(plan.steps or plan.refusals or any(p.host is None for p in plan.placements))


def _summary(plan: Plan, paint: Paint) -> Iterator[str]:
    if changes(plan):
        yield f"{paint.bold}{summary(plan)}{paint.reset}"
    elif plan.unreachable or plan.unknown:
        yield f"{paint.bold}{paint.yellow}No changes to what could be read.{paint.reset} Some hosts could not be."
    elif plan.destroy:
        yield f"{paint.bold}{paint.green}No changes.{paint.reset} No objects need to be destroyed."
    else:
        yield f"{paint.bold}{paint.green}No changes.{paint.reset}{IN_SYNC.removeprefix('No changes.')}"


def _actions(plan: Plan, actions: list[ResourceAction], paint: Paint) -> Iterator[str]:
    if not actions:
        return
    yield f"Stack {plan.stack} on fleet {plan.fleet}. Resource actions are indicated with the following symbols:"
    used = {action.action for action in actions}
    for kind, text in _LEGEND.items():
        if kind in used:
            yield text.format(block.painted(_SYMBOLS[kind], paint))
    yield ""
    yield "stacksmith will perform the following actions:"
    placed = {placement.address: placement for placement in plan.placements if not placement.kept}
    for action in actions:
        yield ""
        yield f"  {paint.bold}# {action.address} {_HEADINGS[action.action]}{_where(action)}{paint.reset}"
        for remark in _remarks(action):
            yield f"  # ({remark})"
        placement = placed.get(action.address)
        if placement is not None and placement.verdicts and placement.host is not None:
            yield f"  # ({line(notice.placed(placement))})"
        yield from _block(action, paint)


def _where(action: ResourceAction) -> str:
    host = action.step.host
    if action.step.source:
        return f" (from {action.step.source} to {host}; {IMPACTS[action.impact]})"
    if action.removal is not None and action.removal.host != host:
        return f" (from {action.removal.host} to {host})"
    shown = action.action in (Action.CREATE, Action.UPDATE, Action.DELETE) and action.impact > Impact.NONE
    return f" (on {host}; {IMPACTS[action.impact]})" if shown else f" (on {host})" if host else ""


def _remarks(action: ResourceAction) -> Iterator[str]:
    step = action.step
    if step.reason and action.action in (Action.REPLACE, Action.DELETE, Action.MIGRATE, Action.FORGET):
        yield line(step.reason)
    if step.partial:
        yield line(step.reason) if action.action is Action.CREATE else "completes what an interrupted run left"
    if step.wait_for is not None:
        wait = step.wait_for
        what = f"the text {value('', wait.text)} on its console" if wait.text else f"its {wait.source}"
        yield f"then waits for {what}, up to {wait.timeout_seconds:g} s"


def _block(action: ResourceAction, paint: Paint) -> Iterator[str]:
    step, symbol = action.step, _SYMBOLS[action.action]
    if action.action is Action.CREATE:
        whole = block.whole("+", block.data_of(step.wanted), paint)
        yield from block.block("+", action.address, [*whole, *block.changed(action.changes, paint)], paint)
    elif action.action is Action.DELETE:
        yield from block.block("-", action.address, block.whole("-", action.before, paint), paint)
    elif action.action is Action.REPLACE and not action.changes:
        lines = block.whole("+", block.data_of(step.wanted), paint)
        yield from block.block("-/+", action.address, lines, paint)
    elif action.action in (Action.UPDATE, Action.REPLACE) or action.changes:
        replaces = action.action is Action.REPLACE
        lines = block.changed(action.changes, paint, replaces=replaces)
        rest = block.hidden(step.wanted, action.before, action.changes)
        yield from block.block(symbol if symbol != " " else "~", action.address, [*lines, *rest], paint)


def _impact(actions: list[ResourceAction], paint: Paint, allowed: Impact) -> Iterator[str]:
    heavy = sorted({action.impact for action in actions if action.impact > Impact.LIVE}, reverse=True)
    if not heavy:
        return
    for impact in heavy:
        names = [str(action.address) for action in actions if action.impact is impact]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        text = f"{impact.word}: {counted(len(names), 'resource')}: {', '.join(names[:5])}{more}"
        yield f"{paint.yellow}{text}{paint.reset}"
    if heavy[0] > allowed:
        yield f"To allow this, apply with --allow {heavy[0].word}."
