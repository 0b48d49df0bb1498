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
    even: Annotated[bool, typer.Option("--even", help="Even out how much hosts are used")] = False,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", help="With --even: by how much the shares of two hosts may differ", min=0, max=1),
    ] = 0.1,
    max_moves: Annotated[
        int | None, typer.Option("--max-moves", help="No more migrations than this", min=1, metavar="N")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan here, for apply", metavar="FILE")] = None,
) -> int:
    """Show the fewest migrations that empty hosts, even out their use, or end what breaks rules; hosts are only read.

    Without --drain and --even: after them no server runs where a rule does not let it be, as plan warns of.
    """
    from stacksmith.engine import session
    from stacksmith.model.change import Impact
    from stacksmith.planner.aim import Aim
    from stacksmith.planner.planfile import write_plan
    from stacksmith.views.notice import fewest
    from stacksmith.views.plan_text import plan_text

    if drain and even:
        raise typer.BadParameter("--drain and --even are two rebalances: empty the host first")
    call = call.on(what)
    planned = session.rebalance(call.options(), Aim(frozenset(drain or ()), even, tolerance, max_moves))
    call.warn(planned.diagnostics)
    call.screen.answer(plan_text(planned.plan, call.screen.paint))
    if told := fewest(planned.plan):
        call.screen.answer(f"{told}\n")
    if out is not None:
        write_plan(planned.plan, out)
        worst = max((step.impact for step in planned.plan.steps), default=Impact.NONE)
        allow = f" --allow {worst.word}" if worst > Impact.LIVE else ""
        call.screen.say(f"\nSaved the plan. To do exactly this: stacksmith apply {out}{allow}\n")
    return Status.OK
