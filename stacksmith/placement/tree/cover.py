"""The required traits of the unsuffixed group: the providers of its slots must have them between them."""

from collections.abc import Sequence
from operator import mul

from stacksmith.placement.tree.fit import Slot
from stacksmith.placement.tree.forest import Forest
from stacksmith.placement.tree.request import AnyOf
from stacksmith.placement.tree.step import Steps

# How many slots of each kind are open.
_Open = tuple[int, ...]


class Cover:
    """What each provider adds to the required traits, a bit for each, and what open slots can still add.

    The slots of the unsuffixed group ask for a class each, so they stand in each other's way at no provider: what they
    can cover together is a set cover of its own, answered for every set of traits that is missing and then remembered.
    Slots whose providers have the same traits are of one kind, of which only the number counts.
    """

    def __init__(self, forest: Forest, slots: Sequence[Slot], required: AnyOf, steps: Steps) -> None:
        self._slots, self._steps = slots, steps
        self._bits: dict[str, int] = {}
        for uuid in {uuid for slot in slots if not slot.group for uuid in slot.options} if required else ():
            traits = forest.providers[uuid].traits
            self._bits[uuid] = sum(1 << bit for bit, names in enumerate(required) if names & traits)
        self.wanted = (1 << len(required)) - 1
        kinds = [frozenset(map(self.bits, slot.options)) if not slot.group and required else None for slot in slots]
        distinct = list(dict.fromkeys(kind for kind in kinds if kind is not None))
        self._open = [tuple(kinds[depth:].count(kind) for kind in distinct) for depth in range(len(slots) + 1)]
        self._most = [max((each.bit_count() for each in kind), default=0) for kind in distinct]
        self._having = [
            [[each for each in kind if each >> bit & 1] for bit in range(len(required))] for kind in distinct
        ]
        self._known: dict[tuple[_Open, int], bool] = {}

    def bits(self, uuid: str) -> int:
        """The required traits that a provider has."""
        return self._bits.get(uuid, 0)

    def missing(self, chosen: Sequence[str]) -> int:
        """The required traits that none has which was chosen for the first slots."""
        have = 0
        for slot, uuid in zip(self._slots, chosen, strict=False) if self.wanted else ():
            if not slot.group:
                have |= self.bits(uuid)
        return self.wanted & ~have

    def possible(self, depth: int, missing: int) -> bool:
        """True when slots from this depth on can cover these traits, whatever the granular groups take.

        Raises: OutOfSteps.
        """
        return self._coverable(self._open[depth], missing)

    def _coverable(self, still_open: _Open, missing: int) -> bool:
        if not missing:
            return True
        if missing.bit_count() > sum(map(mul, still_open, self._most)):
            return False
        key = still_open, missing
        if key not in self._known:
            self._known[key] = self._search(still_open, missing)
        return self._known[key]

    def _search(self, still_open: _Open, missing: int) -> bool:
        """Some slot must bring the trait that the fewest can: each of those is tried for it."""
        kinds = [kind for kind, count in enumerate(still_open) if count]
        bits = [bit for bit in range(missing.bit_length()) if missing >> bit & 1]
        rarest = min(bits, key=lambda bit: sum(len(self._having[kind][bit]) for kind in kinds))
        for kind in kinds:
            fewer = (*still_open[:kind], still_open[kind] - 1, *still_open[kind + 1 :])
            for added in _largest({each & missing for each in self._having[kind][rarest]}):
                self._steps.take()
                if self._coverable(fewer, missing & ~added):
                    return True
        return False


def _largest(sets: set[int]) -> list[int]:
    """Those that are no part of another one, the largest first."""
    found: list[int] = []
    for each in sorted(sets, key=lambda each: (-each.bit_count(), each)):
        if not any(each & ~other == 0 for other in found):
            found.append(each)
    return found
