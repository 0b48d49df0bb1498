"""``stacksmith capacity``."""

from typing import Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.fault import unknown
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import DriftStatus, Status


def command(
    call: Call,
    what: StackArgument = None,
    flavor: Annotated[
        list[str] | None, typer.Option("--flavor", help="Only this flavor; may be repeated", metavar="NAME")
    ] = None,
    json: Json = False,
) -> int:
    """Show how many more servers of each flavor the fleet takes, and what limits each host.

    Exit status: 0, 1 error, 4 some hosts could not be read.
    """
    from stacksmith.engine import session
    from stacksmith.planner.capacity import capacities
    from stacksmith.views.capacity import capacity_data, capacity_text
    from stacksmith.views.json_text import json_text

    options = call.on(what).options()
    stack, snapshot = session.survey(options, every_node=True)
    if nobodys := sorted(set(flavor or ()) - set(stack.flavors)):
        raise unknown(f"cannot count {nobodys[0]}: there is no such flavor", nobodys[0], stack.flavors, "flavors")
    chosen = dict.fromkeys(flavor or sorted(stack.flavors))
    found = capacities(stack, snapshot, chosen, session.claims(options))
    call.screen.answer(json_text(capacity_data(found)) if json else capacity_text(found, call.screen.paint))
    return DriftStatus.UNREAD if snapshot.unreachable else Status.OK
