"""``stacksmith lab``."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stacksmith.cli.screen import Screen, open_screen

app = typer.Typer(
    help="Private libvirt hosts on this machine, to try stacksmith with.", no_args_is_help=True, rich_markup_mode=None
)

_Directory = Annotated[Path, typer.Argument(help="The lab's directory", metavar="DIR")]
_Host = Annotated[str, typer.Argument(help="A host, as hv1", metavar="HOST")]


class Link(StrEnum):
    """A cable plugged in, or pulled."""

    UP = "up"
    DOWN = "down"


def _screen() -> Screen:
    return open_screen(os.environ, no_color=False)


@app.command("up")
def up(
    directory: _Directory,
    hosts: Annotated[int, typer.Option("--hosts", help="Number of hosts", min=1)] = 3,
    nodes: Annotated[
        int, typer.Option("--nodes", help="Number of bare-metal nodes, each with an emulated BMC", min=0)
    ] = 0,
    node_disks: Annotated[int, typer.Option("--node-disks", help="Number of disks that a new node has", min=1)] = 1,
) -> None:
    """Bring the hosts and nodes up; what runs already is left as it is."""
    from stacksmith import lab
    from stacksmith.views.lab_text import lab_text

    screen = _screen()
    there = lab.up(directory, hosts, lambda line: screen.say(line + "\n"), nodes, node_disks)
    rows = [*((host.name, host.uri) for host in there.hosts), *((node.name, node.redfish) for node in there.nodes)]
    screen.answer(lab_text(there.fleet, rows))


@app.command("down")
def down(directory: _Directory) -> None:
    """End the lab and remove all that it made."""
    from stacksmith import lab

    screen = _screen()
    lab.down(directory, lambda line: screen.say(line + "\n"))


@app.command("status")
def status(directory: _Directory) -> None:
    """Show how each host and node is."""
    from stacksmith import lab
    from stacksmith.views.table import table

    screen = _screen()
    rows = [
        (h.name, h.state.value, h.address, "up" if h.linked else "down", str(h.guests), h.uri)
        for h in lab.status(directory)
    ]
    header = ("HOST", "STATE", "ADDRESS", "LINK", "GUESTS", "URI")
    screen.answer("\n".join(table(header, rows, screen.paint)) + "\n")
    nodes = [(n.name, n.state.value, n.redfish, ",".join(n.profiles)) for n in lab.node_status(directory)]
    if nodes:
        lines = table(("NODE", "STATE", "BMC", "BEHAVES"), nodes, screen.paint)
        screen.answer("\n" + "\n".join(lines) + "\n")


@app.command("bmc")
def bmc(
    directory: _Directory,
    node: Annotated[str, typer.Argument(help="A node, as bm1", metavar="NODE")],
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles", metavar="PROFILE")] = None,
    latency: Annotated[float | None, typer.Option("--latency", help="Seconds that each answer takes", min=0.0)] = None,
) -> None:
    """Let a node's BMC behave as real ones do, by profiles that add up; with none it is well-behaved again."""
    from stacksmith import lab

    more = {} if latency is None else {"latency": latency}
    lab.behave(directory, node, profiles or [], **more)


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(
    directory: _Directory,
    host: _Host,
    command: Annotated[list[str], typer.Argument(help="Program and arguments", metavar="COMMAND")],
) -> None:
    """Run a command in a host; its exit status is this one's."""
    from stacksmith import lab

    # ``-- COMMAND`` and ``COMMAND`` are the same: the first -- is for who reads this line, not for the host.
    raise typer.Exit(lab.exec_in(directory, host, command[1:] if command[0] == "--" else command))


@app.command("crash")
def crash(directory: _Directory, host: _Host) -> None:
    """Cut a host's power."""
    from stacksmith import lab

    lab.crash(directory, host)


@app.command("boot")
def boot(directory: _Directory, host: _Host) -> None:
    """Start a host that is down, with the disks it had."""
    from stacksmith import lab

    lab.boot(directory, host)


@app.command("freeze")
def freeze(
    directory: _Directory,
    host: _Host,
    whole: Annotated[bool, typer.Option("--whole", help="The whole host, not libvirtd alone")] = False,
) -> None:
    """Stop libvirtd in its tracks: it takes connections and never answers."""
    from stacksmith import lab

    lab.freeze(directory, host, whole=whole)


@app.command("thaw")
def thaw(directory: _Directory, host: _Host) -> None:
    """End a freeze."""
    from stacksmith import lab

    lab.thaw(directory, host)


@app.command("link")
def link(
    directory: _Directory, host: _Host, state: Annotated[Link, typer.Argument(help="The cable", metavar="up|down")]
) -> None:
    """Pull a host's cable, or plug it in."""
    from stacksmith import lab

    lab.link(directory, host, up=state is Link.UP)
