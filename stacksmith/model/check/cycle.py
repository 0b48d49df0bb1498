"""Blocks that need each other in a circle."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from stacksmith.address import Address
from stacksmith.model.check.block_device import volume_address
from stacksmith.model.document import DataPath
from stacksmith.model.findings import Findings
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack


def check_cycles(stack: Stack, findings: Findings) -> None:
    """Reports one circle, with the place of each of its links. Only depends_on can close one: without it there is
    nothing to look for."""
    if not any(resource.depends_on for resource in stack.resources.values()):
        return
    graph = {address: _needs(resource) for address, resource in stack.resources.items()}
    try:
        TopologicalSorter(_through_blocks(graph, stack)).prepare()
    except CycleError as fault:
        found: list[Address] = [address for address in fault.args[1] if address in stack.resources]
        chain = found if found[0] == found[-1] and len(found) > 1 else [*found, found[0]]
        # graphlib gives each node before those that need it; people read it the other way round
        _report(list(reversed(chain)), graph, stack, findings)


def _needs(resource: Resource) -> dict[Address, DataPath]:
    """What a resource needs first, with the place that says so."""
    needs: dict[Address, DataPath] = dict.fromkeys(resource.depends_on, ("depends_on",))
    spec = resource.spec
    if isinstance(spec, ServerSpec):
        for number, entry in enumerate(spec.block_device_mapping):
            address = volume_address(entry.volume) if entry.volume else None
            if address is not None:
                needs[address] = ("block_device_mapping", number, "volume")
    return needs


def _through_blocks(graph: Mapping[Address, Mapping[Address, DataPath]], stack: Stack) -> dict[Address, set[Address]]:
    """The graph with a node for each block of many instances: a thousand on a thousand is no million of edges."""
    members: dict[Address, set[Address]] = {}
    for address in stack.resources:
        if address.key is not None:
            members.setdefault(address.block, set()).add(address)
    small: dict[Address, set[Address]] = dict(members)
    for address, needs in graph.items():
        found = set(needs)
        for block in {need.block for need in needs if need.key is not None}:
            if members[block] <= found:
                found = found - members[block] | {block}
        small[address] = found
    return small


def _report(
    chain: list[Address], graph: Mapping[Address, Mapping[Address, DataPath]], stack: Stack, findings: Findings
) -> None:
    start = min(range(len(chain) - 1), key=lambda i: chain[i].order)
    chain = chain[start:-1] + chain[:start] + [chain[start]]
    links = []
    for needer, needed in pairwise(chain):
        path = graph[needer].get(needed, ())
        links.append((f"{needer} needs {needed}", stack.resources[needer].where(path)))
    message = f"cannot order the stack: {' needs '.join(map(str, chain))}"
    findings.error("cycle", message, links[0][1], "take one of these links out", chain[0], tuple(links))
