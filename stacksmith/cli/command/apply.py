"""``stacksmith apply``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.carry_out import Manner, carry_out, conclude, confirmed, refused, unless_overtaken
from stacksmith.cli.option import (
    Allow,
    Exclude,
    JsonInto,
    LockTimeout,
    Parallel,
    Replace,
    Target,
    Yes,
    worst_allowed,
)
from stacksmith.cli.screen import clear_file
from stacksmith.cli.status import Status

if TYPE_CHECKING:
    from stacksmith.engine.session import Options
    from stacksmith.planner.plan import Plan

_QUESTION = """
Do you want to perform these actions?
  stacksmith will perform the actions described above.
  Only 'yes' will be accepted to approve.

  Enter a value: """


def command(
    call: Call,
    what: Annotated[
        Path | None,
        typer.Argument(help="Saved plan, or stack as --stack", metavar="PLANFILE|STACK", show_default=False),
    ] = None,
    *,
    yes: Yes = False,
    allow: Allow = None,
    overwrite_drift: Annotated[
        bool, typer.Option("--overwrite-drift", help="Also apply fields that were changed here and on the host")
    ] = False,
    targets: Target = None,
    excludes: Exclude = None,
    replaces: Replace = None,
    lock_timeout: LockTimeout = 0.0,
    parallel: Parallel = 64,
    json_into: JsonInto = None,
) -> int:
    """Make the hosts as the stack says."""
    from stacksmith.planner.planfile import is_planfile

    clear_file(json_into)
    manner = Manner("apply", worst_allowed(allow), overwrite_drift, lock_timeout, parallel, json_into)
    if what is not None and is_planfile(what):
        if targets or excludes or replaces:
            raise typer.BadParameter(f"{what} is a saved plan: --target, --exclude and --replace belong to its plan")
        return _saved(call, what, manner)
    call = call.on(what)
    options = call.options(targets=tuple(targets or ()), excludes=tuple(excludes or ()), replaces=tuple(replaces or ()))
    return unless_overtaken(call, lambda: _planned(call, options, manner, yes), asks=not yes)


def _planned(call: Call, options: "Options", manner: Manner, yes: bool) -> int:
    from stacksmith.engine import session
    from stacksmith.views.plan_text import plan_text

    with session.planning(options) as planned:
        call.warn(planned.diagnostics)
        call.screen.answer(plan_text(planned.plan, call.screen.paint, manner.allowed))
        if refused(call, planned.plan, manner):
            return Status.REFUSED
        if not planned.plan.steps:
            return conclude(call, options, planned, manner)
        if not yes and not confirmed(call, _QUESTION, "apply"):
            return Status.ERROR
        return carry_out(call, options, planned.plan, manner, planned)


def _saved(call: Call, path: Path, manner: Manner) -> int:
    from stacksmith.planner.planfile import read_plan

    plan = read_plan(path)
    options = _of(call, plan)
    if plan.destroy:
        from stacksmith.model.change import Impact

        manner = replace(manner, command="destroy", allowed=Impact.DATA_LOSS)
    if refused(call, plan, manner):
        return Status.REFUSED
    return carry_out(call, options, plan, manner)


def _of(call: Call, plan: "Plan") -> "Options":
    """The options that the plan was made with; what is given now comes on top."""
    common, fleet = call.common, Path(plan.fleet_path)
    made = replace(
        common,
        stack=common.stack or Path(plan.stack_path),
        # The memory provider makes up a fleet where there is no file.
        fleet=common.fleet or (fleet if fleet.is_file() else None),
        provider=common.provider or plan.provider,
    )
    return replace(call, common=made).options(destroy=plan.destroy)
