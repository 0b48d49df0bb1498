"""Claims: what consumers shall hold from now on, and why they cannot."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stacksmith.placement.tree.fit import unit_refusals
from stacksmith.placement.tree.provider import Allocations, Consumer, Provider, consumer_faults, is_count
from stacksmith.placement.tree.reason import (
    BadAmount,
    ClaimedTwice,
    ConsumerChanged,
    NoInventory,
    NoProvider,
    OverCapacity,
    Reason,
)

# Units by provider uuid, then by resource class.
Used = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Claim:
    """All that a consumer shall hold, in place of what it holds; nothing gives it up.

    ``generation``: the consumer's as the claimant knows it; None when it should not be there yet.
    ``name`` is what people call it.
    """

    consumer: str
    allocations: Allocations
    generation: int | None = None
    name: str = ""


def claim_faults(
    providers: Mapping[str, Provider], claims: Sequence[Claim], consumers: Mapping[str, Consumer], used: Used
) -> Iterator[Reason]:
    """Why these claims cannot be granted together (``PUT /allocations/{uuid}``, ``POST /allocations``).

    ``providers`` by uuid; ``consumers`` by uuid, at least those of the claims that hold something; ``used``: units that
    all consumers hold, by provider and class, at least of the providers that are claimed.
    """
    times = Counter(claim.consumer for claim in claims)
    yield from (ClaimedTwice(consumer) for consumer, count in times.items() if count > 1)
    for claim in claims:
        yield from consumer_faults(claim.consumer, claim.generation or 0)
        known = consumers.get(claim.consumer)
        found = None if known is None else known.generation
        if found != claim.generation:
            yield ConsumerChanged(claim.consumer, claim.generation, found)
    for claim in claims:
        for uuid, name, amount in _items(claim.allocations):
            yield from _amount_faults(providers, uuid, name, amount)
    yield from _capacity_faults(providers, claims, consumers, used)


def _items(allocations: Allocations) -> Iterator[tuple[str, str, int]]:
    for uuid, amounts in allocations.items():
        for name, amount in amounts.items():
            yield uuid, name, amount


def _amount_faults(providers: Mapping[str, Provider], uuid: str, name: str, amount: int) -> Iterator[Reason]:
    """What is wrong with one amount by itself; an unchanged one is asked again, as in Placement."""
    provider = providers.get(uuid)
    if provider is None:
        yield NoProvider(uuid)
    elif name not in provider.inventories:
        yield NoInventory(provider.name, name)
    elif not is_count(amount, 1):
        yield BadAmount(provider.name, name, amount)
    else:
        yield from unit_refusals(provider, name, amount)


def _capacity_faults(
    providers: Mapping[str, Provider], claims: Sequence[Claim], consumers: Mapping[str, Consumer], used: Used
) -> Iterator[Reason]:
    """Where the claims together take too much. More than there is may stay, as long as it does not grow."""
    asked: Counter[tuple[str, str]] = Counter()
    given: Counter[tuple[str, str]] = Counter()
    for claim in claims:
        asked.update({(uuid, name): n for uuid, name, n in _items(claim.allocations) if is_count(n, 1)})
        if claim.consumer in consumers:
            given.update({(u, name): amount for u, name, amount in _items(consumers[claim.consumer].allocations)})
    for (uuid, name), amount in asked.items():
        provider = providers.get(uuid)
        inventory = provider.inventories.get(name) if provider is not None else None
        if provider is None or inventory is None:
            continue
        before = used.get(uuid, {}).get(name, 0)
        others = before - given[uuid, name]
        if others + amount > inventory.capacity and others + amount > before:
            yield OverCapacity(provider.name, name, amount, others, inventory)
