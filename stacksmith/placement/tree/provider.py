"""What there is: resource providers in trees, and the consumers that hold some of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stacksmith.placement.host import MAX_UNIT, UNLIMITED, Inventory
from stacksmith.placement.tree.name import MAX_LENGTH, class_problem, trait_problem
from stacksmith.placement.tree.reason import (
    BadData,
    BadInventory,
    BadName,
    NoInventory,
    NoProvider,
    OwnSubtree,
    Reason,
    Refused,
    Taken,
)

MOST = 2**63 - 1  # that anything can be counted to: so sums can be told as floats

# Units by provider uuid, then by resource class.
Allocations = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Provider:
    """One resource provider: a host, a NUMA cell of it, a device, a pool.

    ``uuid`` is any text that is its own; ``parent`` is the uuid of the provider it is part of, None for a root.
    Traits and aggregates are its own only. ``generation`` grows with every write of it or of what is allocated on it.
    """

    uuid: str
    name: str
    parent: str | None = None
    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    aggregates: frozenset[str] = frozenset()
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who holds resources: a server, or a move of one. ``generation`` is 1 after its first claim.

    ``name`` is what people call it, ``owner`` the stack it is of in a state store; a ledger knows no owners.
    """

    uuid: str
    allocations: Allocations
    generation: int = 1
    name: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """Providers and consumers at one moment, checked: parents are there, names are unique, inventories can be.

    More may be allocated than there is (an inventory can shrink in use). Raises: Refused with everything that is wrong.
    """

    providers: tuple[Provider, ...] = ()
    consumers: tuple[Consumer, ...] = ()

    def __post_init__(self) -> None:
        reasons = tuple(_world_faults(self))
        if reasons:
            raise Refused(reasons)


def _world_faults(world: World) -> Iterator[Reason]:
    yield from tree_faults(world.providers)
    for provider in world.providers:
        yield from provider_faults(provider)
    by_uuid = {provider.uuid: provider for provider in world.providers}
    for uuid in _repeated(c.uuid for c in world.consumers):
        yield BadData("consumers", f"{uuid} is there twice")
    for consumer in world.consumers:
        yield from _consumer_faults(consumer, by_uuid)


def tree_faults(providers: Sequence[Provider]) -> Iterator[Reason]:
    """What is wrong with providers beside each other: uuids, names, parents."""
    by_uuid = {provider.uuid: provider for provider in providers}
    if len(by_uuid) < len(providers):
        yield from (Taken("uuid", uuid) for uuid in _repeated(p.uuid for p in providers))
    if len({provider.name for provider in providers}) < len(providers):
        yield from (Taken("name", name) for name in _repeated(p.name for p in providers))
    for provider in providers:
        yield from _parent_faults(provider, by_uuid)


def _repeated(values: Iterable[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)


def _parent_faults(provider: Provider, by_uuid: Mapping[str, Provider]) -> Iterator[Reason]:
    seen, above = {provider.uuid}, provider.parent
    while above is not None:
        if above not in by_uuid:
            if len(seen) == 1:
                yield NoProvider(above)
            return
        if above in seen:
            if above == provider.uuid:
                yield OwnSubtree(provider.name, by_uuid[provider.parent or above].name)
            return
        seen.add(above)
        above = by_uuid[above].parent


def _consumer_faults(consumer: Consumer, by_uuid: Mapping[str, Provider]) -> Iterator[Reason]:
    if not consumer.allocations:
        yield BadData(f"consumers.{consumer.uuid}", "holds nothing, so it cannot be there")
    yield from consumer_faults(consumer.uuid, consumer.generation)
    for uuid, amounts in consumer.allocations.items():
        if not amounts:
            yield BadData(f"consumers.{consumer.uuid}.{uuid}", "holds nothing, so it cannot be there")
        if uuid not in by_uuid:
            yield NoProvider(uuid)
            continue
        for name, amount in amounts.items():
            if name not in by_uuid[uuid].inventories:
                yield NoInventory(by_uuid[uuid].name, name)
            if not is_count(amount, 1):
                yield BadData(f"consumers.{consumer.uuid}.{uuid}.{name}", f"{amount!r} is not an integer of 1 or more")


def consumer_faults(uuid: str, generation: int) -> Iterator[Reason]:
    """What is wrong with a consumer by itself."""
    yield from _name_faults("consumer's uuid", uuid)
    if not is_count(generation, 0):
        yield BadData(f"consumers.{uuid}", f"generation {generation!r} is not an integer of 0 or more")


def _name_faults(kind: str, name: object) -> Iterator[Reason]:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_LENGTH:
        yield BadName(kind, name, f"1 to {MAX_LENGTH} characters")


def provider_faults(provider: Provider) -> Iterator[Reason]:
    """What is wrong with a provider by itself: names, traits, inventories."""
    yield from _name_faults("provider's uuid", provider.uuid)
    yield from _name_faults("provider's name", provider.name)
    if not is_count(provider.generation, 0):
        yield BadData(
            f"providers.{provider.name}", f"generation {provider.generation!r} is not an integer of 0 or more"
        )
    for trait in sorted(provider.traits):
        problem = trait_problem(trait)
        if problem:
            yield BadName("trait", trait, problem)
    for name in sorted(provider.inventories):
        yield from inventory_faults(provider.name, name, provider.inventories[name])


def inventory_faults(provider: str, name: str, inventory: Inventory) -> Iterator[Reason]:
    """What is wrong with one inventory of the provider of this name (Placement's ``POST_INVENTORY_SCHEMA``)."""
    problem = class_problem(name)
    if problem:
        yield BadName("resource class", name, problem)
    if inventory.total != UNLIMITED and not is_count(inventory.total, 1, MAX_UNIT):
        yield BadInventory(provider, name, f"total {inventory.total!r} is not an integer from 1 to {MAX_UNIT}")
    elif not is_count(inventory.reserved, 0, MAX_UNIT):
        yield BadInventory(provider, name, f"reserved {inventory.reserved!r} is not an integer from 0 to {MAX_UNIT}")
    elif inventory.total != UNLIMITED and inventory.reserved > inventory.total:
        yield BadInventory(provider, name, f"reserved {inventory.reserved} is more than the total {inventory.total}")
    for key in ("min_unit", "max_unit", "step_size"):
        value = getattr(inventory, key)
        if not is_count(value, 1, MAX_UNIT):
            yield BadInventory(provider, name, f"{key} {value!r} is not an integer from 1 to {MAX_UNIT}")
    ratio = inventory.allocation_ratio
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < float("inf"):
        yield BadInventory(provider, name, f"allocation_ratio {ratio!r} is not a number of 0 or more")


def is_count(value: object, least: int, most: int = MOST) -> bool:
    """True for an integer in these bounds; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
