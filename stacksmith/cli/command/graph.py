"""``stacksmith graph``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.status import Status


class Format(StrEnum):
    """How a graph is written."""

    DOT = "dot"
    MERMAID = "mermaid"


def command(
    call: Call,
    what: Annotated[
        Path | None,
        typer.Argument(help="Saved plan, or stack as --stack", metavar="PLANFILE|STACK", show_default=False),
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="For Graphviz or Mermaid")] = Format.DOT,
) -> int:
    """Draw what needs what: the resources of the stack, or the steps of a saved plan."""
    from stacksmith.diagnostics import Faults
    from stacksmith.engine import session
    from stacksmith.planner.planfile import is_planfile, read_plan
    from stacksmith.views.graph import dot, mermaid, plan_graph, stack_graph

    if what is not None and is_planfile(what):
        drawn = plan_graph(read_plan(what))
    else:
        loaded = session.load(call.on(what).options())
        if loaded.stack is None:
            raise Faults(loaded.diagnostics)
        drawn = stack_graph(loaded.stack)
    call.screen.answer(dot(drawn) if format is Format.DOT else mermaid(drawn))
    return Status.OK
