"""Keeps who holds what, in memory: every write is made whole or refused whole, with the reasons."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from stacksmith.placement.host import Inventory
from stacksmith.placement.tree.claim import Claim, claim_faults
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.provider import Consumer, Provider, World, inventory_faults, is_count, provider_faults
from stacksmith.placement.tree.reason import (
    ConsumerChanged,
    HasChildren,
    InventoryInUse,
    NoConsumer,
    NoProvider,
    OwnSubtree,
    ProviderChanged,
    ProviderInUse,
    Reason,
    Refused,
    ReshapedTwice,
    Taken,
)


@dataclass(frozen=True, slots=True)
class Reshape:
    """The inventories a provider shall have after a reshape. ``generation``: the provider's, as the caller knows it."""

    provider: str
    generation: int
    inventories: Mapping[str, Inventory]


class Ledger:
    """A world that is written to, with Placement's rules. Its methods may be called from several threads.

    A write raises ``Refused`` and changes nothing, or returns what it wrote. Every write of a provider, and every
    claim that touches it, adds 1 to the provider's generation; every claim adds 1 to its consumer's.
    """

    def __init__(self, world: World | None = None) -> None:
        world = world or World()
        self.forest = Forest.of(world)
        self._consumers = {consumer.uuid: consumer for consumer in world.consumers}
        self._turn = Lock()

    @property
    def world(self) -> World:
        """All of it, as it is now: providers in order of name, consumers of uuid."""
        with self._turn:
            return self._snapshot()

    def provider(self, uuid: str) -> Provider:
        """One provider. Raises: Refused when there is none."""
        return self._known(uuid)

    def consumer(self, uuid: str) -> Consumer | None:
        """One consumer, None when it holds nothing."""
        return self._consumers.get(uuid)

    def used(self, uuid: str) -> dict[str, int]:
        """Units allocated on a provider, by class."""
        return {name: amount for name, amount in sorted(self.forest.used.get(uuid, {}).items()) if amount}

    # Consumers.

    def claim(self, *claims: Claim, generations: Mapping[str, int] | None = None) -> tuple[Consumer, ...]:
        """Grants all claims or none; returns the consumers that hold something now, in order of the claims.

        Each replaces all that its consumer holds, an empty one removes it: so a move is two claims, of the server with
        its new place and of the move with the old one. ``generations`` by provider uuid: refused when one is another.
        Traits and aggregates are not asked again.
        """
        with self._turn:
            _refuse(self._generation_faults(generations or {}))
            _refuse(claim_faults(self.forest.providers, claims, self._consumers, self.forest.used))
            return self._grant(claims)

    def release(self, consumer: str, generation: int | None = None) -> None:
        """Removes all that a consumer holds, whatever its generation unless one is given."""
        with self._turn:
            known = self._consumers.get(consumer)
            if known is None:
                raise Refused([NoConsumer(consumer)])
            if generation not in (None, known.generation):
                raise Refused([ConsumerChanged(consumer, generation, known.generation)])
            self._grant([Claim(consumer, {}, known.generation)])

    def _grant(self, claims: Iterable[Claim]) -> tuple[Consumer, ...]:
        touched: dict[str, None] = {}
        held = []
        for claim in claims:
            old = self._consumers.pop(claim.consumer, None)
            if old is not None:
                self.forest.count(old.allocations, -1)
                touched.update(dict.fromkeys(old.allocations))
            allocations = {uuid: dict(amounts) for uuid, amounts in claim.allocations.items() if amounts}
            if allocations:
                new = Consumer(claim.consumer, allocations, (claim.generation or 0) + 1, claim.name)
                self._consumers[new.uuid] = new
                self.forest.count(allocations, 1)
                touched.update(dict.fromkeys(allocations))
                held.append(new)
        for uuid in touched:
            self._bump(self.forest.providers[uuid])
        return tuple(held)

    # Providers.

    def create(self, *providers: Provider) -> tuple[Provider, ...]:
        """Adds providers, all or none; their generations start at 0. A parent may be among them."""
        with self._turn:
            new = tuple(replace(provider, generation=0) for provider in providers)
            everything = World((*self.forest.providers.values(), *new))
            self.forest = Forest(everything.providers, self.forest.used)
            return new

    def set_inventories(self, uuid: str, generation: int, inventories: Mapping[str, Inventory]) -> Provider:
        """Replaces a provider's inventories. One in use may shrink below what is used of it, and not go."""
        with self._turn:
            provider = self._at(uuid, generation)
            _refuse([*_inventories_faults(provider.name, inventories), *self._in_use(provider, inventories)])
            return self._bump(replace(provider, inventories=dict(inventories)))

    def set_traits(self, uuid: str, generation: int, traits: Iterable[str]) -> Provider:
        """Replaces a provider's traits."""
        with self._turn:
            return self._replant(replace(self._at(uuid, generation), traits=frozenset(traits)))

    def set_aggregates(self, uuid: str, generation: int, aggregates: Iterable[str]) -> Provider:
        """Replaces a provider's aggregates."""
        with self._turn:
            return self._replant(replace(self._at(uuid, generation), aggregates=frozenset(aggregates)))

    def rename(self, uuid: str, name: str) -> Provider:
        """Gives a provider another name."""
        with self._turn:
            provider = self._known(uuid)
            _refuse(self._name_faults(uuid, name))
            return self._replant(replace(provider, name=name))

    def move(self, uuid: str, parent: str | None) -> Provider:
        """Puts a provider, with all under it, under another one; None makes it a root. Not into its own subtree."""
        with self._turn:
            provider = self._known(uuid)
            if parent is not None and uuid in self.forest.chain(self._known(parent).uuid):
                raise Refused([OwnSubtree(provider.name, self._known(parent).name)])
            return self._replant(replace(provider, parent=parent))

    def delete(self, uuid: str) -> None:
        """Removes a provider that nobody uses and that has no children."""
        with self._turn:
            provider = self._known(uuid)
            _refuse(self._delete_faults(provider))
            self.forest = Forest((p for p in self.forest.providers.values() if p.uuid != uuid), self.forest.used)

    def reshape(self, inventories: Iterable[Reshape], claims: Iterable[Claim]) -> tuple[Consumer, ...]:
        """Moves inventory between providers with the allocations on it, as one write (``POST /reshaper``).

        While the claims are checked a provider has its new inventories and those old ones that will go; afterwards
        nothing may be left on these. Returns the consumers of the claims that hold something.
        """
        with self._turn:
            trial = Ledger(self._snapshot())
            held = trial._reshape(tuple(inventories), tuple(claims))
            self.forest, self._consumers = trial.forest, trial._consumers
            return held

    def _reshape(self, shapes: Sequence[Reshape], claims: Sequence[Claim]) -> tuple[Consumer, ...]:
        providers = self.forest.providers
        times = Counter(shape.provider for shape in shapes)
        _refuse(ReshapedTwice(self._known(uuid).name) for uuid, count in times.items() if count > 1)
        for shape in shapes:
            old = self._at(shape.provider, shape.generation)
            _refuse(_inventories_faults(old.name, shape.inventories))
            providers[old.uuid] = replace(old, inventories={**old.inventories, **shape.inventories})
        _refuse(claim_faults(self.forest.providers, claims, self._consumers, self.forest.used))
        held = self._grant(claims)
        for shape in shapes:
            _refuse(self._in_use(providers[shape.provider], shape.inventories))
            final = replace(providers[shape.provider], inventories=dict(shape.inventories))
            providers[shape.provider] = replace(final, generation=shape.generation + 1)
        return held

    # What all writes need; the caller has the turn.

    def _snapshot(self) -> World:
        consumers = tuple(self._consumers[uuid] for uuid in sorted(self._consumers))
        return World(tuple(self.forest.providers.values()), consumers)

    def _known(self, uuid: str) -> Provider:
        """The provider. Raises: Refused when it is not there."""
        provider = self.forest.providers.get(uuid)
        if provider is None:
            raise Refused([NoProvider(uuid)])
        return provider

    def _at(self, uuid: str, generation: int) -> Provider:
        """The provider. Raises: Refused when it is not there, or at another generation."""
        provider = self._known(uuid)
        if not is_count(generation, 0) or generation != provider.generation:
            raise Refused([ProviderChanged(provider.name, generation, provider.generation)])
        return provider

    def _bump(self, provider: Provider) -> Provider:
        """Writes a provider whose place in the trees is as it was."""
        new = replace(provider, generation=provider.generation + 1)
        self.forest.providers[new.uuid] = new
        return new

    def _replant(self, provider: Provider) -> Provider:
        """Writes a provider that may be found otherwise now. What reads the old forest reads on undisturbed."""
        _refuse(provider_faults(provider))
        new = self._bump(provider)
        self.forest = Forest(self.forest.providers.values(), self.forest.used)
        return new

    def _generation_faults(self, generations: Mapping[str, int]) -> Iterator[Reason]:
        for uuid, expected in generations.items():
            provider = self.forest.providers.get(uuid)
            if provider is None:
                yield NoProvider(uuid)
            elif provider.generation != expected:
                yield ProviderChanged(provider.name, expected, provider.generation)

    def _name_faults(self, uuid: str, name: str) -> list[Reason]:
        taken = any(other.name == name and other.uuid != uuid for other in self.forest.providers.values())
        return [Taken("name", name)] if taken else []

    def _in_use(self, provider: Provider, inventories: Mapping[str, Inventory]) -> Iterator[Reason]:
        """The classes that a provider would lose with these inventories and that are allocated."""
        for name in sorted(set(provider.inventories) - set(inventories)):
            used = self.forest.use(provider.uuid, name)
            if used:
                yield InventoryInUse(provider.name, name, used)

    def _delete_faults(self, provider: Provider) -> Iterator[Reason]:
        users = sum(provider.uuid in consumer.allocations for consumer in self._consumers.values())
        if users:
            yield ProviderInUse(provider.name, users)
        children = [other.name for other in self.forest.providers.values() if other.parent == provider.uuid]
        if children:
            yield HasChildren(provider.name, tuple(children))


def _inventories_faults(provider: str, inventories: Mapping[str, Inventory]) -> Iterator[Reason]:
    for name in sorted(inventories):
        yield from inventory_faults(provider, name, inventories[name])


def _refuse(reasons: Iterable[Reason]) -> None:
    """Raises: Refused when there is a reason."""
    found = tuple(reasons)
    if found:
        raise Refused(found)
