"""``stacksmith rebalance``."""

from pathlib import Path
from typing import Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.option import StackArgument
from stacksmith.cli.status import Status


def command(
    call: Call,
    what: StackArgument = None,
    *,
    drain: Annotated[
        list[str] | None, typer.Option("--drain", help="Empty this host of the stack's servers", metavar="HOST")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan here, for apply", metavar="FILE")] = None,
) -> int:
    """Show the fewest migrations that empty hosts, or that end what breaks rules; hosts are only read.

    Without --drain: after them no server group, host pin or availability zone is violated.
    """
    from stacksmith.engine import session
    from stacksmith.planner.plan import Operation
    from stacksmith.planner.planfile import write_plan
    from stacksmith.views.plan_text import plan_text
    from stacksmith.views.words import counted

    call = call.on(what)
    planned = session.rebalance(call.options(), frozenset(drain or ()))
    call.warn(planned.diagnostics)
    call.screen.answer(plan_text(planned.plan, call.screen.paint))
    moves = planned.plan.count(Operation.MIGRATE)
    if moves:
        call.screen.answer(f"{counted(moves, 'migration')}; none can be left out.\n")
    if out is not None:
        write_plan(planned.plan, out)
        call.screen.say(f"\nSaved the plan. To do exactly this: stacksmith apply {out} --allow migrate\n")
    return Status.OK
