"""``stacksmith plan``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.clock import timestamp
from stacksmith.cli.option import Exclude, Json, Replace, StackArgument, Target
from stacksmith.cli.screen import clear_file, write_file
from stacksmith.cli.status import Status

if TYPE_CHECKING:
    from stacksmith.planner.plan import Plan
    from stacksmith.views.paint import Paint


class Format(StrEnum):
    """How a plan is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    GITLAB = "gitlab"


def command(
    call: Call,
    what: StackArgument = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan here, for apply", metavar="FILE")] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 0 for no changes, 2 for changes, 1 for an error")
    ] = False,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    json: Json = False,
    json_into: Annotated[
        Path | None, typer.Option("--json-into", help="Also write the plan here, as JSON", metavar="FILE")
    ] = None,
    targets: Target = None,
    excludes: Exclude = None,
    replaces: Replace = None,
    destroy: Annotated[bool, typer.Option("--destroy", help="Plan to destroy all of the stack")] = False,
) -> int:
    """Show what apply would do; hosts are only read."""
    from stacksmith.engine import session
    from stacksmith.planner.planfile import write_plan

    clear_file(json_into)
    call = call.on(what)
    options = call.options(
        targets=tuple(targets or ()), excludes=tuple(excludes or ()), replaces=tuple(replaces or ()), destroy=destroy
    )
    planned = session.plan(options)
    call.warn(planned.diagnostics)
    plan = planned.plan
    call.screen.answer(plan_as(Format.JSON if json else format, plan, call.screen.paint))
    if json_into is not None:
        from stacksmith.views.paint import PLAIN

        write_file(json_into, plan_as(Format.JSON, plan, PLAIN))
    if out is not None:
        write_plan(plan, out)
        call.screen.say(f"\nSaved the plan. To do exactly this: stacksmith apply {out}{_again(call)}\n")
    return _detailed(plan) if detailed_exitcode else Status.OK


def _detailed(plan: "Plan") -> Status:
    from stacksmith.views.plan_text import changes

    if changes(plan):
        return Status.CHANGES
    # "No changes" is not known to be true of a host that was not read.
    return Status.ERROR if plan.unreachable or plan.unknown else Status.OK


def _again(call: Call) -> str:
    """The options that apply needs again: values of variables are in no plan file, as they may be secrets."""
    common = call.common
    options = [f"--provider {common.provider}"] if common.provider else []
    options += [f"--var {text.partition('=')[0]}=…" for text in common.var or ()]
    options += [f"--var-file {path}" for path in common.var_file or ()]
    options += ["--allow-commands"] if common.allow_commands else []
    return "".join(f" {option}" for option in options)


def plan_as(format: Format, plan: "Plan", paint: "Paint") -> str:
    """The plan in one of its forms."""
    from stacksmith.views.json_text import json_text

    match format:
        case Format.TEXT:
            from stacksmith.views.plan_text import plan_text

            return plan_text(plan, paint)
        case Format.JSON:
            from stacksmith.views.plan_json import plan_data

            return json_text(plan_data(plan, timestamp()))
        case Format.MARKDOWN:
            from stacksmith.views.plan_markdown import plan_markdown

            return plan_markdown(plan)
        case Format.GITLAB:
            from stacksmith.views.gitlab import gitlab_data

            return json_text(gitlab_data(plan))
