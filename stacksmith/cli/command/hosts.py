"""``stacksmith hosts``."""

from enum import StrEnum
from typing import Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import DriftStatus, Status


class Format(StrEnum):
    """How hosts are written."""

    TEXT = "text"
    JSON = "json"


def command(
    call: Call,
    what: StackArgument = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    json: Json = False,
    tree: Annotated[bool, typer.Option("--tree", help="Show the parts of each host: NUMA cells and devices")] = False,
) -> int:
    """Show the hosts of the fleet, what they have and what is used.

    Exit status: 0, 1 error, 4 some hosts could not be read.
    """
    from stacksmith.engine import session
    from stacksmith.planner.capacity import capacities, full, states_of
    from stacksmith.views.host import free_of, host_rows, hosts_data, hosts_text, storages_of
    from stacksmith.views.host_tree import tree_data, tree_text
    from stacksmith.views.json_text import json_text

    options = call.on(what).options()
    stack, snapshot = session.survey(options)
    claims = session.claims(options)
    states, is_text = states_of(stack, snapshot, claims), format is Format.TEXT and not json
    if tree:
        call.screen.answer(tree_text(states, call.screen.paint) if is_text else json_text(tree_data(states)))
    else:
        counted = capacities(stack, snapshot, sorted(stack.flavors), claims)
        free = free_of(states, full(counted))
        rows, storages = host_rows(stack.fleet, snapshot), storages_of(states)
        text = hosts_text(rows, free, call.screen.paint, storages) if is_text else ""
        call.screen.answer(text or json_text(hosts_data(rows, free, storages)))
    return DriftStatus.UNREAD if snapshot.unreachable else Status.OK
