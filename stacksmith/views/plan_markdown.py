"""A plan as Markdown, for ``$GITHUB_STEP_SUMMARY`` and comments on pull requests."""

import re

from stacksmith.planner.plan import Plan
from stacksmith.views.action import ResourceAction, resource_actions
from stacksmith.views.plan_text import plan_text, summary

LIMIT = 65_536  # characters of a GitHub comment
ROWS = 100


def plan_markdown(plan: Plan, limit: int = LIMIT) -> str:
    """A heading, a table of what happens, and the text of the plan folded away, cut to ``limit`` characters."""
    actions = resource_actions(plan)
    parts = [f"### stacksmith: stack `{plan.stack}` on fleet `{plan.fleet}`", "", f"**{summary(plan)}**", ""]
    if plan.deviations:
        parts += [f":warning: {len(plan.deviations)} changed outside of stacksmith", ""]
    if plan.refusals:
        parts += [f":no_entry: {len(plan.refusals)} refused: this plan cannot be applied", ""]
    if plan.unreachable:
        parts += [f":warning: not read: {', '.join(f'`{host}`' for host, _ in plan.unreachable)}", ""]
    if actions:
        parts += ["| action | resource | host | impact |", "|---|---|---|---|", *map(_row, actions[:ROWS])]
        if len(actions) > ROWS:
            parts.append(f"| … | {len(actions) - ROWS} more | | |")
        parts.append("")
    head = "\n".join(parts)
    return head + _details(plan_text(plan), limit - len(head))


def _row(action: ResourceAction) -> str:
    address = str(action.address).replace("|", "\\|")
    return f"| {action.action.value} | `{address}` | {action.step.host} | {action.impact.word} |"


def _details(text: str, limit: int) -> str:
    # The fence must be longer than any run of backticks in the text, or a value could end it.
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    opening = f"<details><summary>Show the plan</summary>\n\n{fence}\n"
    closing = f"{fence}\n\n</details>\n"
    room = limit - len(opening) - len(closing)
    if len(text) > room:
        lines = text.splitlines()
        kept: list[str] = []
        left = room - 40
        for line in lines:
            left -= len(line) + 1
            if left < 0:
                break
            kept.append(line)
        text = "\n".join([*kept, f"… {len(lines) - len(kept)} more lines"]) + "\n"
    return opening + text + closing
