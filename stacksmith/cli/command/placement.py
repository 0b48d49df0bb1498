"""``stacksmith placement``."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stacksmith.cli.call import Call, takes_stack
from stacksmith.cli.fault import unknown
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import Status

if TYPE_CHECKING:
    from stacksmith.address import Address
    from stacksmith.placement.verdict import Placement

app = typer.Typer(help="Say why servers are where they are.", no_args_is_help=True, rich_markup_mode=None)


class Format(StrEnum):
    """How verdicts are written."""

    TEXT = "text"
    JSON = "json"


def explain(
    call: Call,
    address: Annotated[
        str | None,
        typer.Argument(help="A server, or all of a count; without: all", metavar="ADDRESS", show_default=False),
    ] = None,
    what: StackArgument = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    json: Json = False,
) -> int:
    """Show every host's verdict on a server, also on one that stays where it is.

    Of more than 200 servers that stay, name one to see its table. When a server finds no host, the new ones are shown.
    """
    from stacksmith.engine import session
    from stacksmith.planner.make import Unplaced
    from stacksmith.planner.staying import staying
    from stacksmith.views.notice import optimum_words
    from stacksmith.views.placement_text import placements

    call, address = call.apart(address, what)
    format = Format.JSON if json else format
    options = call.options()
    try:
        planned = session.plan(options)
    except Unplaced as unplaced:
        chosen = [each for each in unplaced.placements if _is_asked(each.address, address)]
        if not chosen:
            raise
        _answer(call, chosen, format)
        return Status.ERROR
    wanted = None if address is None else {a for a in planned.stack.resources if _is_asked(a, address)}
    stays = staying(planned.stack, planned.snapshot, session.claims(options), wanted, planned.plan.offences)
    known = placements(planned.plan, planned.snapshot, stays)
    chosen = [each for each in known if _is_asked(each.address, address)]
    if address is not None and not chosen:
        raise unknown(
            f"cannot explain {address}: the stack has no such server", address, [p.address for p in known], "servers"
        )
    _answer(call, chosen, format)
    if format is Format.TEXT and planned.plan.optimum is not None:
        call.screen.answer(f"\n{optimum_words(planned.plan.optimum)}\n")
    return Status.OK


def _is_asked(address: "Address", wanted: str | None) -> bool:
    return wanted in (None, str(address), str(address.block))


def _answer(call: Call, chosen: "Sequence[Placement]", format: Format) -> None:
    from stacksmith.views.json_text import json_text
    from stacksmith.views.placement_text import placements_text
    from stacksmith.views.plan_json import placement_data

    if format is Format.JSON:
        call.screen.answer(json_text([placement_data(each) for each in chosen]))
    else:
        call.screen.answer(placements_text(chosen, call.screen.paint))


app.command("explain")(takes_stack(explain))
