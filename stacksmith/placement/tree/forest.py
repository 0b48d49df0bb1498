"""The trees of a world, made ready for questions; a ledger counts in it what it grants."""

from collections.abc import Iterable, Mapping

from stacksmith.placement.tree.name import SHARES
from stacksmith.placement.tree.provider import Allocations, Provider, World


class Forest:
    """Providers by uuid with what is used of them. Lists are in order of name, parents before children."""

    __slots__ = ("_chains", "_linked", "_parents", "_sharing", "_trees", "providers", "roots", "used")

    def __init__(self, providers: Iterable[Provider], used: dict[str, dict[str, int]] | None = None) -> None:
        self.used = {} if used is None else used
        ordered = sorted(providers, key=lambda provider: provider.name)
        self.providers = {provider.uuid: provider for provider in ordered}
        children: dict[str | None, list[str]] = {}
        for provider in ordered:
            children.setdefault(provider.parent, []).append(provider.uuid)
        self.roots = tuple(children.get(None, ()))
        self._parents = frozenset(children)
        self._chains: dict[str, tuple[str, ...]] = {}
        self._trees = {root: tuple(self._grow(root, (), children)) for root in self.roots}
        self._sharing = _sharing(ordered)
        self._linked: dict[str, tuple[str, ...]] = {}

    @classmethod
    def of(cls, world: World) -> "Forest":
        """The forest of a world, with its consumers counted."""
        forest = cls(world.providers)
        for consumer in world.consumers:
            forest.count(consumer.allocations, 1)
        return forest

    def beside(self, used: dict[str, dict[str, int]]) -> "Forest":
        """The same trees with something else in use. What is learned of the trees is learned for both."""
        forest = Forest.__new__(Forest)
        for name in self.__slots__:
            setattr(forest, name, getattr(self, name))
        forest.used = used
        return forest

    def _grow(self, top: str, above: tuple[str, ...], children: Mapping[str | None, list[str]]) -> list[str]:
        """Providers of a subtree, parents first; notes the way up of each."""
        found, waiting = [], [(top, above)]
        while waiting:
            uuid, over = waiting.pop()
            self._chains[uuid] = (uuid, *over)
            found.append(uuid)
            waiting += [(child, self._chains[uuid]) for child in reversed(children.get(uuid, ()))]
        return found

    def count(self, allocations: Allocations, sign: int) -> None:
        """Adds allocations to what is used, or takes them off with a sign of -1."""
        for uuid, amounts in allocations.items():
            used = self.used.setdefault(uuid, {})
            for name, amount in amounts.items():
                used[name] = used.get(name, 0) + sign * amount

    def use(self, uuid: str, resource_class: str) -> int:
        """Units of a class that are allocated on a provider."""
        return self.used.get(uuid, {}).get(resource_class, 0)

    def chain(self, uuid: str) -> tuple[str, ...]:
        """A provider and those above it, up to the root."""
        return self._chains[uuid]

    def root(self, uuid: str) -> str:
        """The root of a provider's tree."""
        return self._chains[uuid][-1]

    def tree(self, root: str) -> tuple[str, ...]:
        """All providers of a root's tree."""
        return self._trees[root]

    def linked(self, root: str) -> tuple[str, ...]:
        """Sharing providers of other trees that this tree can use: they share an aggregate with one of its own."""
        found = self._linked.get(root)
        if found is None:
            found = self._linked[root] = self._find_linked(root)
        return found

    def _find_linked(self, root: str) -> tuple[str, ...]:
        if not self._sharing:
            return ()
        aggregates = frozenset[str]().union(*(self.providers[uuid].aggregates for uuid in self._trees[root]))
        shared = {uuid for name in aggregates for uuid in self._sharing.get(name, ()) if self.root(uuid) != root}
        return tuple(sorted(shared, key=lambda uuid: self.providers[uuid].name))

    def users(self, uuid: str) -> tuple[str, ...]:
        """Roots whose trees can use a provider: its own and, when it is shared, those of its aggregates."""
        provider = self.providers[uuid]
        found = {self.root(uuid)}
        if SHARES in provider.traits:
            found.update(self.root(p.uuid) for p in self.providers.values() if provider.aggregates & p.aggregates)
        return tuple(sorted(found, key=lambda root: self.providers[root].name))

    def is_leaf(self, uuid: str) -> bool:
        """True when no provider is under this one."""
        return uuid not in self._parents


def _sharing(providers: Iterable[Provider]) -> dict[str, list[str]]:
    """The sharing providers of each aggregate."""
    found: dict[str, list[str]] = {}
    for provider in providers:
        if SHARES in provider.traits:
            for aggregate in provider.aggregates:
                found.setdefault(aggregate, []).append(provider.uuid)
    return found
