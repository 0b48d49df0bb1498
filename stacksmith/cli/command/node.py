"""``stacksmith node``."""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stacksmith.cli.call import Call, takes_stack
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.report import Form, FormOption, Into, answer
from stacksmith.cli.status import DriftStatus, Status
from stacksmith.frozen import dataclass
from stacksmith.model.types import JSON
from stacksmith.views.paint import Paint

if TYPE_CHECKING:
    from stacksmith.engine.node_drift import NodeDrift

app = typer.Typer(help="The fleet's bare-metal nodes, by their BMCs.", no_args_is_help=True, rich_markup_mode=None)

_Node = Annotated[str, typer.Argument(help="A node of the fleet", metavar="NODE")]


class Format(StrEnum):
    """How nodes are written."""

    TEXT = "text"
    JSON = "json"


class Power(StrEnum):
    """What becomes of a node's power."""

    ON = "on"
    OFF = "off"
    REBOOT = "reboot"


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


_Format = Annotated[Format, typer.Option("--format", help="Form of the answer")]


def list_nodes(call: Call, what: StackArgument = None, format: _Format = Format.TEXT, json: Json = False) -> int:
    """Show every node with its state, its server, its power, boot mode and identity.

    Exit status: 0, 1 error, 4 some nodes could not be read.
    """
    from stacksmith.engine import node, tenancy
    from stacksmith.views.json_text import json_text
    from stacksmith.views.node import nodes_data, nodes_text

    nodes = node.nodes(call.on(what).options())
    read, known = node.observe(nodes), tenancy.tenancies(nodes)
    if format is Format.TEXT and not json:
        call.screen.answer(nodes_text(nodes.fleet, read, known, call.screen.paint))
    else:
        call.screen.answer(json_text(nodes_data(nodes.fleet, read, known)))
    return DriftStatus.UNREAD if any(each.error for each in read) else Status.OK


def show(call: Call, name: _Node, what: StackArgument = None, format: _Format = Format.TEXT, json: Json = False) -> int:
    """Show a node's settings: power, boot, asset tag, light, RAID volumes, firmware and BIOS attributes."""
    from stacksmith.engine import node, tenancy
    from stacksmith.model.node_found import NodeSnapshot
    from stacksmith.views.json_text import json_text
    from stacksmith.views.node import node_data, node_text

    nodes = node.nodes(call.on(what).options())
    (found, untold), known = node.observe_whole(nodes, name), tenancy.tenancies(nodes)[name]
    if format is Format.TEXT and not json:
        call.screen.answer(node_text(NodeSnapshot(name, found), known, untold, call.screen.paint))
    else:
        call.screen.answer(json_text(node_data(nodes.fleet, NodeSnapshot(name, found), known, untold)))
    return Status.OK


def inspect(
    call: Call,
    name: Annotated[str | None, typer.Argument(help="A node of the fleet; without, every node", metavar="NODE")] = None,
    what: StackArgument = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Read everything anew, also what is kept")] = False,
    format: _Format = Format.TEXT,
    json: Json = False,
) -> int:
    """Show what nodes consist of: processors, memory, disks, network cards, firmware.

    It is kept in the cache folder, and read anew when a node's UUID, serial number or BIOS version is another one.

    Exit status: 0, 1 error, 4 some nodes could not be read.
    """
    from stacksmith.engine import node
    from stacksmith.model.node_found import NodeInspection
    from stacksmith.views.json_text import json_text
    from stacksmith.views.node import inspections_data, inspections_text

    call, name = call.apart(name, what)
    nodes = node.nodes(call.options())
    if name:
        found = [NodeInspection(name, node.inspect(nodes, name, refresh=refresh))]
    else:
        found = node.inspect_all(nodes, refresh=refresh)
    is_text = format is Format.TEXT and not json
    call.screen.answer(inspections_text(found, call.screen.paint) if is_text else json_text(inspections_data(found)))
    return DriftStatus.UNREAD if any(each.error for each in found) else Status.OK


def drift(
    call: Call, what: StackArgument = None, format: FormOption = Form.TEXT, json: Json = False, into: Into = None
) -> int:
    """Compare every node of the fleet with what the state store has of it, whatever stack it is of, or none.

    Told are servers that are not as they were applied, machines that are on though no stack has them, and deployments
    and cleanings that failed or were cut off. Nodes are only read, and no stack file is needed.

    Exit status: 0 in sync, 1 error, 2 drift, 4 some nodes could not be read.
    """
    from stacksmith.engine import node, node_drift

    began = time.monotonic()
    nodes = node.nodes(call.on(what).options())
    found = node_drift.node_drift(nodes)
    report = _Drift(nodes.fleet.fleet, found)
    answer(call, report, Form.JSON if json else format, into, time.monotonic() - began)
    if any(each.is_drift for each in found):
        return DriftStatus.DRIFT
    return DriftStatus.UNREAD if any(each.error for each in found) else Status.OK


@dataclass(frozen=True, slots=True)
class _Drift:
    """See cli.report.Report."""

    fleet: str
    found: "Sequence[NodeDrift]"

    def text(self, paint: Paint) -> str:
        from stacksmith.views.node_drift import node_drift_text

        return node_drift_text(self.found, paint)

    def data(self, timestamp: str) -> JSON:
        from stacksmith.views.node_drift import node_drift_data

        return node_drift_data(self.fleet, self.found, timestamp)

    def junit(self, timestamp: str, seconds: float) -> str:
        from stacksmith.views.junit import node_junit_text

        return node_junit_text(self.fleet, self.found, timestamp, seconds)

    def metrics(self, now: float, seconds: float, last_success: float | None) -> str:
        from stacksmith.views.prometheus import node_drift_metrics

        return node_drift_metrics(self.fleet, self.found, now, seconds, last_success)


def power(
    call: Call,
    name: _Node,
    state: Annotated[Power, typer.Argument(help="What to do", metavar="on|off|reboot")],
    what: StackArgument = None,
    hard: Annotated[bool, typer.Option("--hard", help="Cut the power, without asking the guest first")] = False,
) -> int:
    """Switch a node on or off and wait until it is so; what is so already is left alone.

    Off asks the guest to shut down, and cuts the power when half of the node's power_timeout_seconds have passed. A
    node that a run deploys or cleans is left alone.
    """
    from stacksmith.engine import node, upkeep

    of = node.nodes(call.on(what).options())
    upkeep.power(of, name, off=state is not Power.ON, on=state is not Power.OFF, hard=hard)
    call.screen.answer(f"{name} is {'off' if state is Power.OFF else 'on'}\n")
    return Status.OK


def maintenance(
    call: Call,
    name: _Node,
    state: Annotated[Switch, typer.Argument(help="Whether it is in maintenance", metavar="on|off")],
    what: StackArgument = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, shown with the state")] = "",
) -> int:
    """Keep a node from getting new servers, or give it back; a server that it has stays, and so does its power."""
    from stacksmith.engine import node, upkeep

    upkeep.maintain(node.nodes(call.on(what).options()), name, state is Switch.ON, reason)
    call.screen.answer(f"{name} is {'in maintenance' if state is Switch.ON else 'out of maintenance'}\n")
    return Status.OK


def adopt(
    call: Call,
    name: _Node,
    address: Annotated[str, typer.Argument(help="A bare-metal server of the stack", metavar="ADDRESS")],
    what: StackArgument = None,
) -> int:
    """Take what runs on a node for a server of the stack, as if it had been deployed. The machine is left alone."""
    from stacksmith.engine import adoption, node

    options = call.on(what).options()
    adopted = adoption.adopt(options, node.nodes(options), name, address)
    call.screen.answer(f"{name} is {adopted} now; nothing of it was touched. stacksmith plan shows what differs.\n")
    return Status.OK


def release(call: Call, name: _Node, what: StackArgument = None) -> int:
    """Give a node back whose deployment failed or was given up. The machine is left alone.

    The server that was being made is forgotten: the next apply makes it anew, here or elsewhere.
    """
    from stacksmith.engine import node, upkeep

    was = upkeep.release(node.nodes(call.on(what).options()), name)
    call.screen.answer(f"{name} is released (it was: {was}); nothing of it was touched.\n")
    return Status.OK


def clean(
    call: Call,
    name: _Node,
    what: StackArgument = None,
    disk: Annotated[
        list[str] | None,
        typer.Option("--disk", help="Only this disk, by serial, WWN or name; may be repeated", metavar="DISK"),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Every byte, not the partition tables and signatures")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking")] = False,
) -> int:
    """Wipe the disks of a node that has no server. What is on them is lost; the node is off afterwards."""
    from stacksmith.cli.carry_out import confirmed
    from stacksmith.engine import node, upkeep

    wiped = f"disk {', '.join(disk)}" if disk else "every disk"
    question = f"Wipe {wiped} of {name}? What is on it is lost. Only 'yes' is accepted: "
    if not yes and not confirmed(call, question, f"clean {name}"):
        return Status.ERROR
    nodes = node.nodes(call.on(what).options())
    try:
        upkeep.clean(nodes, name, tuple(disk or ()), whole, lambda words: call.screen.say(f"{name}: {words}\n"))
    except KeyboardInterrupt:
        again = f"clean it again, or stacksmith node power {name} off and stacksmith node release {name}"
        call.screen.say(f"{name}: its ISO is taken out, and what it is at may go on: {again}\n")
        raise
    call.screen.answer(f"{wiped} of {name} is wiped; it is off\n")
    return Status.OK


app.command("list")(takes_stack(list_nodes))
app.command("show")(takes_stack(show))
app.command("inspect")(takes_stack(inspect))
app.command("drift")(takes_stack(drift))
app.command("power")(takes_stack(power))
app.command("maintenance")(takes_stack(maintenance))
app.command("adopt")(takes_stack(adopt))
app.command("release")(takes_stack(release))
app.command("clean")(takes_stack(clean))
