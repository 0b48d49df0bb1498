"""Blocks that need each other in a circle."""

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from stacksmith.address import Address
from stacksmith.model.check.block_device import volume_address
from stacksmith.model.document import DataPath
from stacksmith.model.findings import Findings
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack


def check_cycles(stack: Stack, findings: Findings) -> None:
    """Reports a circle of each knot of blocks, with the place of each of its links. Only depends_on can close one:
    without it there is nothing to look for."""
    if not any(resource.depends_on for resource in stack.resources.values()):
        return
    graph = {address: _needs(resource) for address, resource in stack.resources.items()}
    small = _through_blocks(graph, stack)
    try:
        TopologicalSorter(small).prepare()
    except CycleError:
        for circle in _circles(small):
            _report([address for address in circle if address in stack.resources], graph, stack, findings)


def _circles(graph: Mapping[Address, Iterable[Address]]) -> Iterator[list[Address]]:
    """A shortest circle through the first address of each knot, in which all need each other."""
    import networkx

    entry = Address("", "")  # what needs what the first does, without being on its circle
    drawn = networkx.DiGraph([(needer, needed) for needer, needs in graph.items() for needed in sorted(needs)])
    knots = list(networkx.strongly_connected_components(drawn))
    for first, knot in sorted((min(knot), knot) for knot in knots):
        needs = [needed for needed in drawn[first] if needed in knot]
        if needs:
            drawn.add_edges_from((entry, needed) for needed in needs)
            yield [first, *networkx.shortest_path(drawn, entry, first)[1:-1]]
            drawn.remove_node(entry)


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
    chain = [*chain, chain[0]]
    links = []
    for needer, needed in pairwise(chain):
        path = graph[needer].get(needed, ())
        links.append((f"{needer} needs {needed}", stack.resources[needer].where(path)))
    message = f"cannot order the stack: {' needs '.join(map(str, chain))}"
    findings.error("cycle", message, links[0][1], "take one of these links out", chain[0], tuple(links))
