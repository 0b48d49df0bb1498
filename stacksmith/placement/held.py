"""What a consumer has already of providers that hosts share: it stays counted as used, and is there for it alone."""

from math import floor, inf

from stacksmith.placement.request import Request
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.provider import Allocations


def beyond(allocations: Allocations, held: Allocations) -> Allocations:
    """The units of allocations that the holder does not have yet."""
    if not held:
        return allocations
    return {
        uuid: {name: max(0, amount - held.get(uuid, {}).get(name, 0)) for name, amount in amounts.items()}
        for uuid, amounts in allocations.items()
    }


def seen_by(request: Request, forest: Forest) -> Forest:
    """The forest as the request finds it: what it holds is not used by others.

    As much as it holds fits also where more is used than there is: more than there is may stay, as long as it does not
    grow, as Placement's claims have it.
    """
    if not request.held:
        return forest
    used = dict(forest.used)
    for uuid, amounts in request.held.items():
        provider = forest.providers.get(uuid)
        for name, amount in amounts.items() if provider is not None else ():
            others = max(0, forest.use(uuid, name) - amount)
            inventory = provider.inventories.get(name) if provider is not None else None
            if inventory is not None and inventory.capacity != inf and _least(request, name) <= amount:
                others = min(others, floor(inventory.capacity) - amount)
            used[uuid] = {**used.get(uuid, {}), name: others}
    return forest.beside(used)


def _least(request: Request, name: str) -> float:
    """The least that one group asks of a class."""
    groups = request.parts.groups.values() if request.parts is not None else ()
    return min((group.resources[name] for group in groups if name in group.resources), default=inf)
