"""Finds a provider for every slot at one anchor, lazily: dead ends are seen early and never entered twice."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from stacksmith.placement.tree.fit import Slot
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.matching import all_served
from stacksmith.placement.tree.request import CandidateRequest, GroupPolicy

# What a provider that some slots have chosen is for the slots still open: a frozen description.
_Place = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Bond:
    """One ``same_subtree``: its slots, and for each of them the providers that have an option in their subtree."""

    slots: tuple[int, ...]
    below: dict[int, frozenset[str]]


class Search:
    """All ways to fill the slots of one anchor; each slot's provider in the order of the slots.

    Slots with few options should come first. A slot takes its options in their order, so equal input gives equal
    answers in equal order. Dead states are remembered with equal siblings taken for one another.
    """

    def __init__(self, forest: Forest, request: CandidateRequest, slots: Sequence[Slot]) -> None:
        slots = _narrowed(forest, request.same_subtree, slots)
        self._forest, self._slots = forest, slots
        self._options = [frozenset(slot.options) for slot in slots]
        self._classes = sorted({name for slot in slots for name, _ in slot.amounts})
        self._isolate = request.group_policy is GroupPolicy.ISOLATE
        self._bonds = [self._bond(names) for names in request.same_subtree]
        required = request.groups[""].required if "" in request.groups else ()
        self._cover = {u: self._covered(u, required) for s in slots if not s.group for u in s.options}
        self._wanted = (1 << len(required)) - 1
        self._coverable = self._later_cover()
        self._chosen: list[str] = []
        self._pending: dict[str, Counter[str]] = {}
        self._dead: set[_Place] = set()
        self._kinds: dict[str, _Place] = {}

    def ways(self) -> Iterator[tuple[str, ...]]:
        """Yields the providers' uuids, one per slot."""
        if all(self._options) and self._covers() and self._bound() and not self._crowded():
            yield from self._walk()

    def _walk(self) -> Generator[tuple[str, ...], None, bool]:
        """Fills the slots after the chosen ones; returns whether there was a way."""
        depth = len(self._chosen)
        if depth == len(self._slots):
            yield tuple(self._chosen)
            return True
        if self._dead and self._state() in self._dead:
            return False
        found = False
        for option in self._slots[depth].options:
            if not self._has_room(depth, option):
                continue
            self._put(depth, option, 1)
            if self._covers() and self._bound():
                found = (yield from self._walk()) or found
            self._put(depth, option, -1)
        if not found:
            self._dead.add(self._state())
        return found

    def _put(self, depth: int, uuid: str, sign: int) -> None:
        """Chooses a provider for the next slot, or takes the last choice back with a sign of -1."""
        if sign > 0:
            self._chosen.append(uuid)
        else:
            self._chosen.pop()
        pending = self._pending.setdefault(uuid, Counter())
        for name, amount in self._slots[depth].amounts:
            pending[name] += sign * amount

    def _has_room(self, depth: int, uuid: str) -> bool:
        """True when a provider can give a slot too, beside what it gives chosen ones (``_exceeds_capacity``)."""
        slot = self._slots[depth]
        if self._isolate and slot.group:
            taken = zip(self._slots, self._chosen, strict=False)
            if any(other.group and chosen == uuid for other, chosen in taken):
                return False
        pending = self._pending.get(uuid)
        if not pending:
            return True
        return all(pending[name] + amount <= self._room(uuid, name) for name, amount in slot.amounts)

    def _crowded(self) -> bool:
        """True when there are too few providers, or too little room on them, to give every slot one of its own."""
        granular = [slot.options for slot in self._slots if slot.group]
        if self._isolate and not all_served(granular, dict.fromkeys((u for o in granular for u in o), 1)):
            return True
        return len(self._slots) > 1 and any(self._short(name) for name in self._classes)

    def _short(self, name: str) -> bool:
        """True when the slots that ask for a class are too many for its providers, were all as modest as the least."""
        asking = [(slot.options, amount) for slot in self._slots for other, amount in slot.amounts if other == name]
        if len(asking) < 2:
            return False
        least = min(amount for _, amount in asking)
        times = {uuid: self._room(uuid, name) // least for options, _ in asking for uuid in options}
        return not all_served([options for options, _ in asking], times)

    def _room(self, uuid: str, name: str) -> int:
        """Units of a class that one candidate can take of a provider; none once a ledger has lost the inventory."""
        inventory = self._forest.providers[uuid].inventories.get(name)
        if inventory is None:
            return 0
        return int(max(0, min(inventory.max_unit, inventory.capacity - self._forest.use(uuid, name))))

    # Required traits of the unsuffixed group: its providers cover them together.

    def _covered(self, uuid: str, required: Sequence[frozenset[str]]) -> int:
        traits = self._forest.providers[uuid].traits
        return sum(1 << bit for bit, names in enumerate(required) if names & traits)

    def _later_cover(self) -> list[int]:
        """For each depth, what the slots from there on can cover at best."""
        found = [0]
        for slot in reversed(self._slots):
            here = found[-1]
            for uuid in slot.options if not slot.group else ():
                here |= self._cover[uuid]
            found.append(here)
        return found[::-1]

    def _covers(self) -> bool:
        if not self._wanted:
            return True
        have = self._coverable[len(self._chosen)]
        for slot, uuid in zip(self._slots, self._chosen, strict=False):
            if not slot.group:
                have |= self._cover[uuid]
        return have & self._wanted == self._wanted

    # same_subtree: one of the chosen is above, or is, all the others.

    def _bond(self, names: frozenset[str]) -> _Bond:
        members = tuple(i for i, slot in enumerate(self._slots) if slot.group in names)
        chain = self._forest.chain
        return _Bond(members, {i: frozenset(a for u in self._slots[i].options for a in chain(u)) for i in members})

    def _bound(self) -> bool:
        return all(self._bond_holds(bond) for bond in self._bonds)

    def _bond_holds(self, bond: _Bond) -> bool:
        """True when some provider can still be the one on top: chosen, or an option of an open slot."""
        depth = len(self._chosen)
        chosen = [self._chosen[i] for i in bond.slots if i < depth]
        still_open = [i for i in bond.slots if i >= depth]
        for top in self._tops(bond, chosen):
            if all(top in bond.below[i] for i in still_open) and (
                top in chosen or any(top in self._options[i] for i in still_open)
            ):
                return True
        return not bond.slots

    def _tops(self, bond: _Bond, chosen: Sequence[str]) -> Iterator[str]:
        """Providers above or equal to all chosen ones; all that could be on top while none is chosen."""
        if not chosen:
            for i in bond.slots:
                yield from self._slots[i].options
            return
        others = [set(self._forest.chain(uuid)) for uuid in chosen[1:]]
        for uuid in self._forest.chain(chosen[0]):
            if all(uuid in chain for chain in others):
                yield uuid

    # States, with equal siblings taken for one another.

    def _state(self) -> _Place:
        """Equal for states of which both or neither can be completed."""
        roles: dict[str, int] = {}
        for depth, uuid in enumerate(self._chosen):
            roles[uuid] = roles.get(uuid, 0) | self._role(depth)
        places = Counter((self._kind(uuid), role, self._given(uuid)) for uuid, role in roles.items())
        return len(self._chosen), frozenset(places.items())

    def _given(self, uuid: str) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(item for item in self._pending[uuid].items() if item[1]))

    def _role(self, depth: int) -> int:
        """Bits for what it means to the open slots that a slot has chosen a provider."""
        role = 1 if self._slots[depth].group else 2
        return role + sum(4 << bit for bit, bond in enumerate(self._bonds) if depth in bond.slots)

    def _kind(self, uuid: str) -> _Place:
        """Equal for providers that can stand for each other: equal leaves under one parent."""
        if uuid not in self._kinds:
            self._kinds[uuid] = self._describe(uuid) if self._forest.is_leaf(uuid) else (uuid,)
        return self._kinds[uuid]

    def _describe(self, uuid: str) -> _Place:
        rooms = tuple(self._room(uuid, name) for name in self._classes)
        options = tuple(uuid in options for options in self._options)
        return self._forest.providers[uuid].parent, rooms, options, self._cover.get(uuid, 0)


def _narrowed(forest: Forest, same_subtree: Sequence[frozenset[str]], slots: Sequence[Slot]) -> Sequence[Slot]:
    """The slots without the options that no ``same_subtree`` could hold with, until there are no such ones.

    What is left tells at once that there are too few providers, where trying would go through all their orders.
    """
    while True:
        narrower = slots
        for names in same_subtree:
            tops = _tops_of(forest, [slot.options for slot in narrower if slot.group in names])
            narrower = [_under(forest, slot, tops) if slot.group in names else slot for slot in narrower]
        if list(narrower) == list(slots):
            return slots
        slots = narrower


def _tops_of(forest: Forest, options: Sequence[Sequence[str]]) -> frozenset[str]:
    """The options that have one of each of these lists below them, or are it."""
    above = [{top for uuid in some for top in forest.chain(uuid)} for some in options]
    return frozenset(uuid for some in options for uuid in some if all(uuid in each for each in above))


def _under(forest: Forest, slot: Slot, tops: frozenset[str]) -> Slot:
    return replace(slot, options=tuple(u for u in slot.options if not tops.isdisjoint(forest.chain(u))))
