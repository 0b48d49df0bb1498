"""``stacksmith show``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stacksmith.address import Address
from stacksmith.cli.call import Call
from stacksmith.cli.fault import unknown, unreadable
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import Status


class Format(StrEnum):
    """How a plan or a resource is written."""

    TEXT = "text"
    JSON = "json"


def command(
    call: Call,
    what: Annotated[
        str | None,
        typer.Argument(
            help="Saved plan, or address of a resource; without, every resource", metavar="PLANFILE|ADDRESS"
        ),
    ] = None,
    where: StackArgument = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    json: Json = False,
) -> int:
    """Show a saved plan, or a resource as it is, as applied and as wanted."""
    from stacksmith.planner.planfile import is_planfile, read_plan

    format = Format.JSON if json else format
    if what is not None and is_planfile(Path(what)):
        if where is not None:
            raise typer.BadParameter(f"{what} is a saved plan, which has its own stack: leave out {where}")
        from stacksmith.cli.command.plan import Format as PlanFormat
        from stacksmith.cli.command.plan import plan_as

        call.screen.answer(plan_as(PlanFormat(format), read_plan(Path(what)), call.screen.paint))
        return Status.OK
    call, what = call.apart(what, where)
    return _every(call, format) if what is None else _one(call, what, format)


def _every(call: Call, format: Format) -> int:
    from stacksmith.engine import session
    from stacksmith.views.inventory import inventory_data, inventory_text
    from stacksmith.views.json_text import json_text

    planned = session.plan(call.options())
    if format is Format.JSON:
        call.screen.answer(json_text(inventory_data(planned.plan, planned.snapshot)))
    else:
        call.screen.answer(inventory_text(planned.plan, planned.snapshot, call.screen.paint))
    return Status.OK


def _one(call: Call, text: str, format: Format) -> int:
    from stacksmith.engine import session
    from stacksmith.views.json_text import json_text
    from stacksmith.views.resource import resource_data
    from stacksmith.views.yaml_text import yaml_text

    try:
        address = Address.parse(text)
    except ValueError as fault:
        raise typer.BadParameter(f"{fault}; and it is no saved plan") from fault
    options = call.options()
    planned = session.plan(options)
    found = next((f for host in planned.snapshot.places for f in host.found if f.address == address), None)
    record = next((each for each in session.records(options) if each.address == address), None)
    step = next((each for each in reversed(planned.plan.steps) if each.address == address), None)
    if address in planned.plan.unknown and found is None and record is None:
        raise unreadable(f"cannot show {address}: the host that it may be on cannot be read", planned.plan.unreachable)
    if found is None and record is None and step is None:
        known = {*planned.stack.resources, *(f.address for host in planned.snapshot.places for f in host.found)}
        raise unknown(
            f"cannot show {address}: it is not in the stack, the state, or on a host", address, known, "addresses"
        )
    applied = found.mark.applied if found and found.mark else record.applied if record else None
    data = resource_data(found, applied, step)
    call.screen.answer(json_text(data) if format is Format.JSON else yaml_text(data))
    return Status.OK
