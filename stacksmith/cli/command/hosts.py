"""``stacksmith hosts``."""

from enum import StrEnum
from typing import Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.option import StackArgument
from stacksmith.cli.status import DriftStatus, Status


class Format(StrEnum):
    """How hosts are written."""

    TEXT = "text"
    JSON = "json"


def command(
    call: Call,
    what: StackArgument = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    tree: Annotated[bool, typer.Option("--tree", help="Show the parts of each host: NUMA cells and devices")] = False,
) -> int:
    """Show the hosts of the fleet, what they have and what is used.

    Exit status: 0, 1 error, 4 some hosts could not be read.
    """
    from stacksmith.engine import session
    from stacksmith.planner.inventory import host_states
    from stacksmith.views.host import host_rows, hosts_data, hosts_text
    from stacksmith.views.host_tree import tree_data, tree_text
    from stacksmith.views.json_text import json_text

    stack, snapshot = session.survey(call.on(what).options())
    rows, is_text = host_rows(stack.fleet, snapshot), format is Format.TEXT
    if tree:
        states = host_states(stack.fleet, snapshot, (), {})
        call.screen.answer(tree_text(states, call.screen.paint) if is_text else json_text(tree_data(states)))
    else:
        call.screen.answer(hosts_text(rows, call.screen.paint) if is_text else json_text(hosts_data(rows)))
    return DriftStatus.UNREAD if snapshot.unreachable else Status.OK
