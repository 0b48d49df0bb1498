"""``stacksmith placement``."""

from enum import StrEnum
from typing import Annotated

import typer

from stacksmith.cli.call import Call, takes_stack
from stacksmith.cli.status import Status

app = typer.Typer(help="Say why servers are where they are.", no_args_is_help=True, rich_markup_mode=None)


class Format(StrEnum):
    """How verdicts are written."""

    TEXT = "text"
    JSON = "json"


def explain(
    call: Call,
    address: Annotated[str | None, typer.Argument(help="Server; without, every server", show_default=False)] = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
) -> int:
    """Show every host's verdict on a server, also on one that stays where it is.

    Of more than 200 servers that stay, name one to see its table.
    """
    from stacksmith.engine import session
    from stacksmith.planner.staying import staying
    from stacksmith.views.json_text import json_text
    from stacksmith.views.notice import optimum_words
    from stacksmith.views.placement_text import placements, placements_text
    from stacksmith.views.plan_json import placement_data

    options = call.options()
    planned = session.plan(options)
    wanted = None if address is None else {a for a in planned.stack.resources if str(a) == address}
    stays = staying(planned.stack, planned.snapshot, session.claims(options), wanted)
    known = placements(planned.plan, planned.snapshot, stays)
    chosen = [each for each in known if address is None or str(each.address) == address]
    if address is not None and not chosen:
        call.screen.say(f"Error: cannot explain {address}: the stack has no such server\n")
        return Status.ERROR
    if format is Format.JSON:
        call.screen.answer(json_text([placement_data(each) for each in chosen]))
    else:
        call.screen.answer(placements_text(chosen, call.screen.paint))
        if planned.plan.optimum is not None:
            call.screen.answer(f"\n{optimum_words(planned.plan.optimum)}\n")
    return Status.OK


app.command("explain")(takes_stack(explain))
