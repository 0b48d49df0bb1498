"""The trees of hosts as structures: hosts of one make give equal answers while as much is used of them."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState
from stacksmith.placement.tree.candidate import Candidate
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.provider import Allocations, Provider

if TYPE_CHECKING:
    from stacksmith.placement.memory import Memory

# What is used of each part, by its place: units by class.
Used = tuple[tuple[int, tuple[tuple[str, int], ...]], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The providers of one host before a batch. A provider's place is its number in order of name, parts and all.

    ``kind`` is equal for hosts that take equal batches: those of one make with as much in use, of which nothing is
    shared, neither with other hosts nor with the host's own disks; of any other it is the name. ``watched`` are the
    parts that are shared so. ``makes`` are those that were asked for.
    """

    root: str
    forest: Forest
    uuids: tuple[str, ...]
    places: Mapping[str, int]
    kind: object
    watched: tuple[str, ...]
    makes: dict[frozenset[str], int] = field(default_factory=dict)

    def make(self, classes: frozenset[str], memory: "Memory") -> int:
        """The same for hosts whose trees are equal to who asks for these classes, but for names and uuids.

        The order of the names is the same too.
        """
        make = self.makes.get(classes)
        if make is None:
            looks = tuple(_looks(each, self.places, classes) for each in self.forest.providers.values())
            make = self.makes[classes] = memory.intern(("make", self.places[self.root], looks))
        return make

    def used(self, used: Allocations) -> Used:
        """What is used, as it is told of any host of the make."""
        places = self.places
        found = [
            (places[uuid], tuple(sorted(item for item in amounts.items() if item[1])))
            for uuid, amounts in used.items()
            if uuid in places
        ]
        return tuple(sorted(each for each in found if each[1]))

    def here(self, candidate: Candidate, there: "Tree") -> Candidate:
        """A candidate of another host of the make, on this one."""
        if there is self:
            return candidate
        uuids, places = self.uuids, there.places
        return Candidate(
            self.root,
            {uuids[places[uuid]]: amounts for uuid, amounts in candidate.allocations.items()},
            {name: tuple(uuids[places[uuid]] for uuid in got) for name, got in candidate.mappings.items()},
        )


def tree_of(host: HostState, memory: "Memory") -> Tree:
    """The tree of a host, as the memory knows it or numbered by it."""
    known = memory.trees.get(host.name)
    if known is None:
        known = memory.trees[host.name] = _tree(host, memory)
    return known


def _tree(host: HostState, memory: "Memory") -> Tree:
    """What the host itself offers is left out: ``amounts`` ask for that, and nothing else is counted of it."""
    shared = [part for part in host.parts if part.parent is None]
    aggregates = host.aggregates.union(*(part.aggregates for part in shared))
    forest = Forest((Provider(host.name, host.name, None, {}, host.traits, aggregates), *host.parts))
    uuids = tuple(forest.providers)
    places = {uuid: place for place, uuid in enumerate(uuids)}
    watched = tuple(sorted({part.uuid for part in shared} | host.own_disks))
    tree = Tree(host.name, forest, uuids, places, host.name, watched)
    if watched:
        return tree
    every = frozenset(name for provider in forest.providers.values() for name in provider.inventories)
    kind = memory.intern(("kind", tree.make(every, memory), tree.used(host.parts_used)))
    return replace(tree, kind=kind)


def _looks(provider: Provider, places: Mapping[str, int], classes: frozenset[str]) -> object:
    parent = provider.parent
    above = parent if parent is None else places.get(parent, parent)
    offer = tuple(sorted(item for item in provider.inventories.items() if item[0] in classes))
    return above, offer, provider.traits, provider.aggregates
