"""The program: its commands, and what becomes of their errors."""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

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

_COMMANDS: Mapping[str, Callable[..., Any] | typer.Typer] = {
    "validate": validate.command,
    "plan": plan.command,
    "apply": apply.command,
    "destroy": destroy.command,
    "rebalance": rebalance.command,
    "drift": drift.command,
    "show": show.command,
    "graph": graph.command,
    "hosts": hosts.command,
    "node": node.app,
    "capacity": capacity.command,
    "placement": placement.app,
    "output": output.command,
    "state": state.app,
    "schema": schema.command,
    "lab": lab.app,
    "version": version.command,
}
_WITHOUT_STACK = frozenset({"schema", "version"})


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


def program(only: str | None = None) -> typer.Typer:
    """The program with all of its commands, or with one: to make them all takes longer than to load a stack."""
    app = typer.Typer(
        name="stacksmith",
        help="Declarative servers on libvirt and Redfish, in OpenStack's words, with no control plane.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(takes_options(_before))
    for name, command in _COMMANDS.items():
        if only not in {None, name}:
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        elif name in _WITHOUT_STACK:
            app.command(name)(command)
        else:
            app.command(name)(takes_stack(command))
    return app


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns the exit status; an error is told in words on stderr."""
    # What a plan is made of lives to the end: looking for garbage in it is most of the time of a large one.
    gc.freeze()
    gc.set_threshold(2_000_000, 20, 100)
    called = arguments[0] if arguments and arguments[0] in _COMMANDS else None
    try:
        return int(program(called)(list(arguments), prog_name="stacksmith", standalone_mode=False) or Status.OK)
    except BrokenPipeError:
        # The reader has gone; what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.ERROR
    except (Exception, KeyboardInterrupt) as fault:
        if "--debug" in arguments:
            raise
        return report(fault)
