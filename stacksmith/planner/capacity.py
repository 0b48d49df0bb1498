"""What the fleet can still take of each flavor: the flavors and the snapshot put as placement's question."""

from collections.abc import Iterable, Mapping

from stacksmith.address import Address
from stacksmith.model.demand import demand
from stacksmith.model.found import Snapshot
from stacksmith.model.stack import Stack
from stacksmith.placement.capacity import Capacity, capacity
from stacksmith.placement.request import Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.asking import Asking
from stacksmith.planner.inventory import host_states
from stacksmith.planner.ledger import Ledger
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
    asking, pending = Asking(stack), Ledger(stack.name, stack.fleet, snapshot, consumers).pending()
    states = host_states(stack.fleet, snapshot, (), {}, pending=pending)
    return {name: capacity(_request(asking, name), states) for name in flavors}


def _request(asking: Asking, name: str) -> Request:
    """The request of a server of the flavor that says nothing more: no zone, no group, no image."""
    stack = asking.stack
    flavor, question = stack.flavors[name], asking.of_flavor(name)
    amounts = flavor_amounts(stack, name, (flavor.disk + flavor.ephemeral) * GIB + flavor.swap * MIB)
    request = Request(
        Address("server", name),
        amounts,
        required=question.required,
        forbidden=question.forbidden,
        conditions=question.conditions,
    )
    return with_parts(request, demand(flavor, stack.fleet.pci_aliases)[0] or None, {})
