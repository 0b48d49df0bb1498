"""``stacksmith output``."""

from typing import Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.fault import unknown
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import Status


def command(
    call: Call,
    name: Annotated[
        str | None, typer.Argument(help="Only this output's value", metavar="NAME", show_default=False)
    ] = None,
    what: StackArgument = None,
    json: Json = False,
) -> int:
    """Show the stack's outputs; one output alone is written as it is, for scripts."""
    from stacksmith.engine import session
    from stacksmith.views.json_text import json_text
    from stacksmith.views.output import output_raw, outputs_data, outputs_text

    call, name = call.apart(name, what)
    outputs = session.outputs(call.options())
    if name is None:
        call.screen.answer(json_text(outputs_data(outputs)) if json else outputs_text(outputs))
    elif name in outputs:
        call.screen.answer(json_text(outputs[name]) if json else output_raw(outputs[name]))
    else:
        raise unknown(f"cannot show output {name!r}: the stack has none of this name", name, outputs, "outputs")
    return Status.OK
