"""What the fleet can still take of each flavor: the flavors and the snapshot put as placement's question."""

from collections.abc import Iterable, Mapping

from stacksmith.address import Address
from stacksmith.model.bare_metal import node_class
from stacksmith.model.demand import demand
from stacksmith.model.found import Snapshot
from stacksmith.model.stack import Stack
from stacksmith.placement.capacity import Capacity, capacity
from stacksmith.placement.host import HostState
from stacksmith.placement.request import Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.asking import Asking
from stacksmith.planner.inventory import host_states
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.machine import node_states
from stacksmith.planner.schedule import flavor_amounts, with_parts

MIB, GIB = 2**20, 2**30


def capacities(
    stack: Stack, snapshot: Snapshot, flavors: Iterable[str], consumers: Iterable[Consumer] = ()
) -> Mapping[str, Capacity]:
    """What the hosts take beside all that runs there now and what other stacks have claimed, by flavor in the order
    given; ``consumers`` are the claims of all stacks.

    Disks are those of the flavor: one that is as large as its image counts as nothing. Raises: KeyError for a flavor
    that the stack has not.
    """
    asking, states = Asking(stack), states_of(stack, snapshot, consumers)
    nodes = node_states(stack, snapshot, consumers, ())
    return {
        name: capacity(_request(asking, name), nodes if node_class(stack.flavors[name], stack.fleet) else states)
        for name in flavors
    }


def states_of(stack: Stack, snapshot: Snapshot, consumers: Iterable[Consumer]) -> list[HostState]:
    """The hosts with all that runs there and all that is claimed."""
    pending = Ledger(stack.name, stack.fleet, snapshot, consumers).pending()
    return host_states(stack.fleet, snapshot, (), {}, pending=pending)


def full(capacities: Mapping[str, Capacity]) -> frozenset[str]:
    """The hosts that take no server of any of the flavors; none when there is no flavor."""
    counts: dict[str, list[int | None]] = {}
    for found in capacities.values():
        for room in found.rooms:
            counts.setdefault(room.host, []).append(room.count)
    return frozenset(host for host, numbers in counts.items() if not any(n is None or n for n in numbers))


def _request(asking: Asking, name: str) -> Request:
    """The request of a server of the flavor that says nothing more: no zone, no group, no image."""
    stack = asking.stack
    flavor, question = stack.flavors[name], asking.of_flavor(name)
    if (bare := node_class(flavor, stack.fleet)) is not None:
        return Request(Address("server", name), {bare: 1}, required=question.required, forbidden=question.forbidden)
    amounts = flavor_amounts(stack, name, (flavor.disk + flavor.ephemeral) * GIB + flavor.swap * MIB)
    request = Request(
        Address("server", name),
        amounts,
        required=question.required,
        forbidden=question.forbidden,
        conditions=question.conditions,
        queries=question.queries,
    )
    return with_parts(request, demand(flavor, stack.fleet.pci_aliases)[0] or None, {})
