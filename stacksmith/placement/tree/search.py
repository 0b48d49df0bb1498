"""Finds a provider for every slot at one anchor, lazily: dead ends are seen early and never entered twice."""

from collections import Counter
from collections.abc import Iterator, Sequence

from stacksmith.frozen import dataclass
from stacksmith.placement.tree.bond import Bonds, narrowed
from stacksmith.placement.tree.cover import Cover
from stacksmith.placement.tree.fit import Slot
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.matching import all_served
from stacksmith.placement.tree.request import CandidateRequest, GroupPolicy
from stacksmith.placement.tree.room import Amounts, Rooms
from stacksmith.placement.tree.step import Steps


@dataclass(slots=True)
class _Level:
    """The next slot's options that are still to be tried, and whether there was a way with one of those before."""

    options: Iterator[str]
    found: bool = False


class Search:
    """All ways to fill the slots of one anchor; each slot's provider in the order of the slots.

    Slots with few options should come first. A slot takes its options in their order, so equal input gives equal
    answers in equal order. Dead states are remembered, with providers that are left alike taken for one another.
    Every option that is tried is a step.
    """

    def __init__(self, forest: Forest, request: CandidateRequest, slots: Sequence[Slot], steps: Steps) -> None:
        slots = narrowed(forest, request.same_subtree, slots)
        self._forest, self._slots, self._steps = forest, slots, steps
        self._isolate = request.group_policy is GroupPolicy.ISOLATE
        self._rooms = Rooms(forest, slots)
        self._bonds = Bonds(forest, request.same_subtree, slots)
        self._cover = Cover(forest, slots, request.groups[""].required if "" in request.groups else (), steps)
        self._chosen: list[str] = []
        self._held: dict[str, Amounts] = {}
        self._given: dict[str, list[int]] = {}
        self._dead: set[tuple[object, ...]] = set()

    def ways(self) -> Iterator[tuple[str, ...]]:
        """Yields the providers' uuids, one per slot. Raises: OutOfSteps."""
        if all(slot.options for slot in self._slots) and self._is_open() and not self._is_crowded():
            yield from self._walk()

    def _walk(self) -> Iterator[tuple[str, ...]]:
        levels = [_Level(iter(self._slots[0].options))]
        while levels:
            option = next(levels[-1].options, None)
            if option is None:
                self._leave(levels)
                continue
            self._steps.take()
            if not self._has_room(option):
                continue
            self._put(option)
            if len(self._chosen) < len(self._slots) and self._is_open() and not self._is_dead():
                levels.append(_Level(iter(self._slots[len(self._chosen)].options)))
                continue
            if len(self._chosen) == len(self._slots) and self._is_open():
                levels[-1].found = True
                yield tuple(self._chosen)
            self._take_back()

    def _leave(self, levels: list[_Level]) -> None:
        """Goes back to the slot before, with what was learned."""
        level = levels.pop()
        if not level.found:
            self._dead.add(self._state())
        if levels:
            levels[-1].found = levels[-1].found or level.found
            self._take_back()

    def _put(self, uuid: str) -> None:
        """Chooses a provider for the next slot."""
        slot = len(self._chosen)
        self._chosen.append(uuid)
        self._given.setdefault(uuid, []).append(slot)
        self._held[uuid] = self._rooms.added(self._held.get(uuid, self._rooms.nothing), slot, 1)

    def _take_back(self) -> None:
        """Takes back the last choice."""
        uuid = self._chosen.pop()
        self._given[uuid].pop()
        self._held[uuid] = self._rooms.added(self._held[uuid], len(self._chosen), -1)
        if not self._given[uuid]:
            del self._given[uuid], self._held[uuid]

    def _has_room(self, uuid: str) -> bool:
        slot = len(self._chosen)
        if uuid not in self._given:
            return True  # it is an option, so it can give one slot
        if self._slots[slot].group and self._is_closed(uuid):
            return False
        return self._rooms.takes(uuid, self._held[uuid], slot)

    def _is_closed(self, uuid: str) -> bool:
        """True when a provider gives a granular group, none of which may share it."""
        return self._isolate and any(self._slots[slot].group for slot in self._given[uuid])

    def _is_open(self) -> bool:
        """True when neither the required traits nor a ``same_subtree`` forbid what is chosen."""
        cover = self._cover.possible(len(self._chosen), self._cover.missing(self._chosen))
        return cover and self._bonds.hold(self._chosen)

    # Dead ends. A search that has met none yet does not look for them: the first way is mostly near.

    def _is_dead(self) -> bool:
        """True when it is known or can be counted that the slots after the chosen ones cannot be filled."""
        if not self._dead:
            return False
        touched = {uuid: (held, self._is_closed(uuid)) for uuid, held in self._held.items()}
        if self._rooms.is_short(len(self._chosen), touched):
            return True
        return self._state() in self._dead or not self._is_served()

    def _is_served(self) -> bool:
        """True when granular groups that may not share can each have a provider of their own."""
        if not self._isolate:
            return True
        return self._all_apart([[u for u in slot.options if u not in self._given or not self._is_closed(u)]
                                for slot in self._slots[len(self._chosen):] if slot.group])  # fmt: skip

    @staticmethod
    def _all_apart(options: Sequence[Sequence[str]]) -> bool:
        return all_served(options, dict.fromkeys((uuid for some in options for uuid in some), 1))

    def _is_crowded(self) -> bool:
        """True when there are too few providers, or too little room on them, to give every slot one of its own."""
        if self._isolate and not self._is_served():
            return True
        if len(self._slots) < 2:
            return False
        return any(self._is_short(name) for name in self._rooms.classes)

    def _is_short(self, name: str) -> bool:
        """True when the slots that ask for a class are too many for its providers, were all as modest as the least."""
        asking = [(slot.options, amount) for slot in self._slots for other, amount in slot.amounts if other == name]
        if len(asking) < 2:
            return False
        least = min(amount for _, amount in asking)
        times = {uuid: self._rooms.room(uuid, name) // least for options, _ in asking for uuid in options}
        return not all_served([options for options, _ in asking], times)

    def _state(self) -> tuple[object, ...]:
        """Equal for states of which both or neither can be completed.

        Providers count by what of them can be of use to the open slots. Of those that no slot has chosen only the
        difference is told, what they would be if they were not chosen: all others are the same in every state.
        """
        depth = len(self._chosen)
        missing = self._cover.missing(self._chosen)
        places: Counter[object] = Counter()
        for uuid, slots in self._given.items():
            role = 0
            for slot in slots:
                role |= self._bonds.role(slot, depth)
            places[self._place(uuid, missing, (self._held[uuid], self._is_closed(uuid)), role)] += 1
            places[self._place(uuid, missing, (self._rooms.nothing, False), 0)] -= 1
        del places[None]
        return depth, missing, frozenset(item for item in places.items() if item[1])

    def _place(self, uuid: str, missing: int, held: tuple[Amounts, bool], role: int) -> object:
        """What a provider is for the open slots; None when it can give none of them and none of them needs it."""
        depth = len(self._chosen)
        bits, units = self._rooms.useful(uuid, depth, *held)
        if not bits and not role:
            return None
        return self._stand(uuid, depth), bits, units, self._cover.bits(uuid) & missing, role

    def _stand(self, uuid: str, depth: int) -> object:
        """Where a provider is in its tree, as far as that means something: equal leaves may be taken for each other."""
        if not self._bonds.are_open(depth):
            return None
        return ("in", self._forest.providers[uuid].parent) if self._forest.is_leaf(uuid) else uuid
