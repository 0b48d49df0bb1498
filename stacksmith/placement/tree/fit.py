"""Which providers can give what a group asks, and why others cannot: one provider at a time."""

from collections.abc import Iterable, Iterator

from stacksmith.frozen import dataclass
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.provider import Provider
from stacksmith.placement.tree.reason import (
    AboveMaxUnit,
    BelowMinUnit,
    HasForbiddenTrait,
    InForbiddenAggregate,
    LacksTrait,
    NoInventory,
    NotInAggregate,
    NotInTree,
    OffStep,
    OverCapacity,
    Reason,
)
from stacksmith.placement.tree.request import AnyOf, CandidateRequest, ResourceGroup


@dataclass(frozen=True, slots=True)
class Slot:
    """What one provider must give: all of a granular group, or one class of the unsuffixed group.

    ``options``: uuids of the providers that can, as things stand and whatever the other slots take.
    """

    group: str
    amounts: tuple[tuple[str, int], ...]
    options: tuple[str, ...]


def slots(forest: Forest, request: CandidateRequest, root: str) -> Iterator[Slot]:
    """The slots of a request at one anchor, those of the unsuffixed group first."""
    usable = pool(forest, root)
    for group in filter(None, [request.groups.get("")]):
        for item in group.resources.items():
            roomy = (uuid for uuid in usable if _has_room(forest, uuid, (item,)))
            fitting = (uuid for uuid in roomy if _is_empty(spread_refusals(forest, group, item, uuid, root)))
            yield Slot("", (item,), tuple(fitting))
    for name, group in request.granular:
        items = tuple(group.resources.items())
        roomy = (uuid for uuid in usable if _has_room(forest, uuid, items))
        yield Slot(name, items, tuple(uuid for uuid in roomy if _is_empty(granular_refusals(forest, group, uuid))))


def _has_room(forest: Forest, uuid: str, items: tuple[tuple[str, int], ...]) -> bool:
    """The commonest of all refusals, asked first because it is cheap."""
    inventories, used = forest.providers[uuid].inventories, forest.used.get(uuid, {})
    for name, amount in items:
        inventory = inventories.get(name)
        if inventory is None or used.get(name, 0) + amount > inventory.capacity:
            return False
    return True


def pool(forest: Forest, root: str) -> tuple[str, ...]:
    """Providers that an anchor can use: its tree's, then the sharing ones of other trees."""
    linked = forest.linked(root)
    return forest.tree(root) + linked if linked else forest.tree(root)


def root_refusals(forest: Forest, request: CandidateRequest, root: str) -> Iterator[Reason]:
    """Why a root cannot be an anchor."""
    provider = forest.providers[root]
    for trait in sorted(request.root_required - provider.traits):
        yield LacksTrait(provider.name, (trait,))
    yield from _forbidden_traits(provider, request.root_forbidden)


def granular_refusals(forest: Forest, group: ResourceGroup, uuid: str) -> Iterator[Reason]:
    """Why one provider cannot give all of a granular group: everything is asked of itself."""
    provider = forest.providers[uuid]
    if group.in_tree is not None:
        yield from _not_in_tree(forest, provider, group.in_tree, forest.root(uuid))
    for traits in group.required:
        if not traits & provider.traits:
            yield LacksTrait(provider.name, tuple(sorted(traits)))
    yield from _forbidden_traits(provider, group.forbidden)
    yield from _not_member(provider, provider, group)
    for name, amount in group.resources.items():
        yield from amount_refusals(provider, name, amount, forest.use(uuid, name))


def spread_refusals(
    forest: Forest, group: ResourceGroup, item: tuple[str, int], uuid: str, root: str
) -> Iterator[Reason]:
    """Why one provider cannot give one class of the unsuffixed group to an anchor.

    An aggregate of the root counts for the whole tree, so it allows a provider of the tree, and a forbidden one
    forbids all. Required traits are no question to one provider.
    """
    provider, top = forest.providers[uuid], forest.providers[root]
    own = forest.root(uuid) == root
    if group.in_tree is not None:
        yield from _not_in_tree(forest, provider, group.in_tree, root if own else None)
    yield from _forbidden_traits(provider, group.forbidden)
    yield from _not_member(provider, top if own else provider, group)
    for aggregate in sorted(group.forbidden_aggregates & (top.aggregates - provider.aggregates)):
        yield InForbiddenAggregate(top.name, aggregate)
    yield from amount_refusals(provider, item[0], item[1], forest.use(uuid, item[0]))


def amount_refusals(provider: Provider, resource_class: str, amount: int, used: int) -> Iterator[Reason]:
    """Why a provider, of which ``used`` is taken, cannot give an amount (``_capacity_check_clause``)."""
    inventory = provider.inventories.get(resource_class)
    if inventory is None:
        yield NoInventory(provider.name, resource_class)
        return
    if not inventory.accepts(amount):
        yield from unit_refusals(provider, resource_class, amount)
    if used + amount > inventory.capacity:
        yield OverCapacity(provider.name, resource_class, amount, used, inventory)


def unit_refusals(provider: Provider, resource_class: str, amount: int) -> Iterator[Reason]:
    """Why an inventory that is there does not give this amount at once, whatever is free."""
    inventory = provider.inventories[resource_class]
    if amount < inventory.min_unit:
        yield BelowMinUnit(provider.name, resource_class, amount, inventory.min_unit)
    if amount > inventory.max_unit:
        yield AboveMaxUnit(provider.name, resource_class, amount, inventory.max_unit)
    if amount % inventory.step_size:
        yield OffStep(provider.name, resource_class, amount, inventory.step_size)


def _forbidden_traits(provider: Provider, forbidden: frozenset[str]) -> Iterator[Reason]:
    for trait in sorted(forbidden & provider.traits):
        yield HasForbiddenTrait(provider.name, trait)


def _not_member(provider: Provider, instead: Provider, group: ResourceGroup) -> Iterator[Reason]:
    """The aggregates that a provider must be in, unless ``instead`` is in all of them, and those it must not be in."""
    if not _member(instead, group.member_of):
        for names in group.member_of:
            if not names & provider.aggregates:
                yield NotInAggregate(provider.name, tuple(sorted(names)))
    for aggregate in sorted(group.forbidden_aggregates & provider.aggregates):
        yield InForbiddenAggregate(provider.name, aggregate)


def _member(provider: Provider, member_of: AnyOf) -> bool:
    return all(names & provider.aggregates for names in member_of)


def _not_in_tree(forest: Forest, provider: Provider, wanted: str, root: str | None) -> Iterator[Reason]:
    """Nothing when ``root`` is the root of the wanted provider's tree."""
    top = forest.root(wanted) if wanted in forest.providers else None
    if top is None or top != root:
        yield NotInTree(provider.name, forest.providers[top].name if top else wanted)


def _is_empty(reasons: Iterable[Reason]) -> bool:
    return next(iter(reasons), None) is None
