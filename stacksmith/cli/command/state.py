"""``stacksmith state``."""

from typing import Annotated

import typer

from stacksmith.address import Address
from stacksmith.cli.call import Call, takes_stack
from stacksmith.cli.fault import unknown
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import Status

app = typer.Typer(help="Look at what was recorded, and mend it.", no_args_is_help=True, rich_markup_mode=None)

_Address = Annotated[str, typer.Argument(help="Address of a resource, as server.web[0]", metavar="ADDRESS")]


def listed(call: Call, what: StackArgument = None, json: Json = False) -> int:
    """List the records of the stack."""
    from stacksmith.engine import session
    from stacksmith.views.json_text import json_text
    from stacksmith.views.resource import record_data, records_text

    records = session.records(call.on(what).options())
    answer = json_text([record_data(each) for each in records]) if json else records_text(records, call.screen.paint)
    call.screen.answer(answer)
    return Status.OK


def show(call: Call, address: _Address, what: StackArgument = None, json: Json = False) -> int:
    """Show one record."""
    from stacksmith.engine import session
    from stacksmith.views.json_text import json_text
    from stacksmith.views.resource import record_data
    from stacksmith.views.yaml_text import yaml_text

    wanted = _parsed(address)
    records = session.records(call.on(what).options())
    record = next((each for each in records if each.address == wanted), None)
    if record is None:
        raise unknown(f"cannot show {wanted}: it is not recorded", wanted, [r.address for r in records], "records")
    data = record_data(record)
    call.screen.answer(json_text(data) if json else yaml_text(data))
    return Status.OK


def remove(call: Call, address: _Address, what: StackArgument = None) -> int:
    """Drop one record; the object on the host is left alone."""
    from stacksmith.engine import session

    wanted = _parsed(address)
    options = call.on(what).options()
    if not session.forget(options, wanted):
        recorded = [each.address for each in session.records(options)]
        raise unknown(f"cannot remove {wanted}: it is not recorded", wanted, recorded, "records")
    call.screen.answer(f"Removed {wanted} from the state; the object was left alone.\n")
    return Status.OK


def rebuild(call: Call, what: StackArgument = None) -> int:
    """Write the records anew from what the hosts hold."""
    from stacksmith.engine import session
    from stacksmith.views import notice
    from stacksmith.views.words import counted

    rebuilt = session.rebuild(call.on(what).options())
    for text in notice.unread(rebuilt.unread, call.screen.error_paint):
        call.screen.say(f"{text}\n")
    if rebuilt.unread:
        call.screen.say("  What is recorded of them is as it was: rebuild again when they can be read.\n")
    call.screen.answer(f"Rebuilt the state: {counted(len(rebuilt.records), 'record')}.\n")
    return Status.ERROR if rebuilt.unread else Status.OK


def claims(call: Call, what: StackArgument = None, json: Json = False) -> int:
    """List what the stacks of the store have claimed of the hosts."""
    from stacksmith.engine import session
    from stacksmith.views.claim import claims_data, claims_text
    from stacksmith.views.json_text import json_text

    consumers = session.claims(call.on(what).options())
    call.screen.answer(json_text(claims_data(consumers)) if json else claims_text(consumers, call.screen.paint))
    return Status.OK


def release(
    call: Call,
    owner: Annotated[str, typer.Argument(help="Name of a stack, also of one that is gone", metavar="NAME")],
    address: Annotated[
        str | None, typer.Argument(help="One of its resources; without, all", metavar="ADDRESS", show_default=False)
    ] = None,
    what: StackArgument = None,
) -> int:
    """Drop the claims of a stack; what runs on the hosts still counts."""
    from stacksmith.engine import session
    from stacksmith.views.words import counted

    call, address = call.apart(address, what)
    number = session.release(call.options(), owner, None if address is None else str(_parsed(address)))
    if not number:
        call.screen.say(f"Error: cannot release {' '.join(filter(None, (owner, address)))}: it has no claims\n")
        return Status.ERROR
    call.screen.answer(f"Released {counted(number, 'claim')} of stack {owner}.\n")
    return Status.OK


def _parsed(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from fault


app.command("list")(takes_stack(listed))
app.command("show")(takes_stack(show))
app.command("rm")(takes_stack(remove))
app.command("claims")(takes_stack(claims))
app.command("release")(takes_stack(release))
app.command("rebuild")(takes_stack(rebuild))
