"""Scheduler hints must name servers, be read by a filter, and lead nowhere in a circle."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from stacksmith.address import Address
from stacksmith.model.check.query import check_asking
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.findings import did_you_mean
from stacksmith.model.hint import HINTS, other_server, own_servers, targets
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.scheduler import HINT_FILTERS
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.validate import found

Node = Address | tuple[str, ...]


def check_hints(stack: Stack, instances: Mapping[Address, Sequence[Address]], reporter: Reporter) -> None:
    """Checks every server's hints. ``instances`` are the addresses of each block, faulty ones without any."""
    graph: dict[Node, set[Node]] = {}
    for resource in stack.resources.values():
        spec = resource.spec
        if not isinstance(spec, ServerSpec) or spec.scheduler_hints is None:
            continue
        check_asking(resource, stack.fleet, reporter)
        for name in HINTS:
            texts = getattr(spec.scheduler_hints, name)
            if texts:
                _check_filter(name, resource, stack, reporter)
            for number, text in enumerate(texts):
                _check_name(text, resource, (name, number), instances, stack, reporter)
        same = tuple(spec.scheduler_hints.same_host)
        if same:
            graph[resource.address] = {same}
            if same not in graph:
                graph[same] = set(targets(same, stack.fleet.fleet, instances).own)
    _check_circle(graph, stack, reporter)


def _check_filter(name: str, resource: Resource, stack: Stack, reporter: Reporter) -> None:
    wanted = HINT_FILTERS[name]
    if wanted not in stack.fleet.scheduler.enabled_filters:
        cause = f"it needs {wanted}, which the fleet's scheduler does not enable"
        path = ("scheduler_hints", name)
        reporter.fault("wrong-value", resource, path, cause, f"add {wanted} to enabled_filters")


def _check_name(  # a name has a place, and is looked for in several
    text: str,
    resource: Resource,
    place: tuple[str, int],
    instances: Mapping[Address, Sequence[Address]],
    stack: Stack,
    reporter: Reporter,
) -> None:
    path = ("scheduler_hints", *place)
    if other_server(text, stack.fleet.fleet) is not None:
        return
    own = own_servers(text, instances)
    if own is None:
        choices = [str(address) for address in instances if address.kind == "server"]
        hint = did_you_mean(text, choices, "servers")
        reporter.fault("unknown-reference", resource, path, f"there is no server {found(text)}", hint)
    elif resource.address in own:
        policy = "affinity" if place[0] == "same_host" else "anti-affinity"
        cause = f"{found(text)} is, or has among its own, the server itself"
        reporter.fault("wrong-value", resource, path, cause, f"use a server group with policy {policy}")


def _check_circle(graph: Mapping[Node, set[Node]], stack: Stack, reporter: Reporter) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        chain = list(reversed([node for node in error.args[1] if isinstance(node, Address)]))
        names = list(dict.fromkeys(chain))
        if len(names) < 2:
            return  # a server that names itself, which is told at its name
        words = ", ".join(map(str, sorted(names)))
        cause = f"{words} follow each other, so that none can be first"
        resource = stack.resources[min(names)]
        hint = "use a server group with policy affinity"
        reporter.fault("cycle", resource, ("scheduler_hints", "same_host"), cause, hint)
