"""The program: its commands, and what becomes of their errors."""

import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from stacksmith.cli.call import takes_options, takes_stack
from stacksmith.cli.command import (
    apply,
    capacity,
    destroy,
    drift,
    graph,
    hosts,
    lab,
    node,
    output,
    placement,
    plan,
    rebalance,
    schema,
    show,
    state,
    validate,
    version,
)
from stacksmith.cli.fault import report
from stacksmith.cli.status import Status

app = typer.Typer(
    name="stacksmith",
    help="Declarative servers on libvirt and Redfish, in OpenStack's words, with no control plane.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("validate")(takes_stack(validate.command))
app.command("plan")(takes_stack(plan.command))
app.command("apply")(takes_stack(apply.command))
app.command("destroy")(takes_stack(destroy.command))
app.command("rebalance")(takes_stack(rebalance.command))
app.command("drift")(takes_stack(drift.command))
app.command("show")(takes_stack(show.command))
app.command("graph")(takes_stack(graph.command))
app.command("hosts")(takes_stack(hosts.command))
app.add_typer(node.app, name="node")
app.command("capacity")(takes_stack(capacity.command))
app.add_typer(placement.app, name="placement")
app.command("output")(takes_stack(output.command))
app.add_typer(state.app, name="state")
app.command("schema")(schema.command)
app.add_typer(lab.app, name="lab")
app.command("version")(version.command)


def _version(wanted: bool) -> None:
    if wanted:
        version.command()
        raise typer.Exit


def _before(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Declarative servers on libvirt and Redfish, in OpenStack's words, with no control plane."""


app.callback()(takes_options(_before))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns the exit status; an error is told in words on stderr."""
    # What a plan is made of lives to the end: looking for garbage in it is most of the time of a large one.
    gc.freeze()
    gc.set_threshold(2_000_000, 20, 100)
    try:
        return int(app(list(arguments), prog_name="stacksmith", standalone_mode=False) or Status.OK)
    except BrokenPipeError:
        # The reader has gone; what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.ERROR
    except (Exception, KeyboardInterrupt) as fault:
        if "--debug" in arguments:
            raise
        return report(fault)
