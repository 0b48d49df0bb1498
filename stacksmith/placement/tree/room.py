"""What is left of providers for the slots still open, and how much of it can be of use to them."""

from collections.abc import Mapping, Sequence
from math import gcd

from stacksmith.placement.tree.fit import Slot
from stacksmith.placement.tree.forest import Forest

# Units by class, in the order of the classes.
Amounts = tuple[int, ...]
# The largest sum of amounts, in their common unit, for which it is found out which smaller sums they make.
MOST_UNITS = 1 << 17


class Rooms:
    """The room of the providers of one anchor. ``held`` is what chosen slots take of one of them."""

    def __init__(self, forest: Forest, slots: Sequence[Slot]) -> None:
        self._forest, self._slots = forest, slots
        self.classes = sorted({name for slot in slots for name, _ in slot.amounts})
        self.nothing: Amounts = (0,) * len(self.classes)
        places = {name: i for i, name in enumerate(self.classes)}
        self._asked = [[(places[name], amount) for name, amount in slot.amounts] for slot in slots]
        self._of: dict[str, list[int]] = {}
        for i, slot in enumerate(slots):
            for uuid in slot.options:
                self._of.setdefault(uuid, []).append(i)
        self._rooms = {uuid: tuple(self._room(uuid, name) for name in self.classes) for uuid in self._of}
        self._useful: dict[tuple[str, int, Amounts, bool], tuple[int, Amounts]] = {}
        self._sums: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._spare: dict[int, list[int]] = {}

    def _room(self, uuid: str, name: str) -> int:
        """Units of a class that one candidate can take of a provider; none once a ledger has lost the inventory."""
        inventory = self._forest.providers[uuid].inventories.get(name)
        if inventory is None:
            return 0
        return int(max(0, min(inventory.max_unit, inventory.capacity - self._forest.use(uuid, name))))

    def room(self, uuid: str, name: str) -> int:
        """Units of a class that a provider has for all slots together."""
        return self._rooms[uuid][self.classes.index(name)]

    def takes(self, uuid: str, held: Amounts, slot: int) -> bool:
        """True when a provider can give a slot too, beside what it gives (``_exceeds_capacity``)."""
        room = self._rooms[uuid]
        return all(held[place] + amount <= room[place] for place, amount in self._asked[slot])

    def added(self, held: Amounts, slot: int, sign: int) -> Amounts:
        """What is held once a slot takes its amounts, or gives them back with a sign of -1."""
        found = list(held)
        for place, amount in self._asked[slot]:
            found[place] += sign * amount
        return tuple(found)

    def useful(self, uuid: str, depth: int, held: Amounts, is_closed: bool) -> tuple[int, Amounts]:
        """What of a provider can be of use: the slots from a depth on that it can give, a bit for each, and the units.

        Of each class the units are the largest sum of amounts of these slots for which there is room: providers that
        are alike in both can give the same slots together. One that ``is_closed`` gives no granular slot any more.
        """
        key = (uuid, depth, held, is_closed)
        if key not in self._useful:
            fitting = [
                slot
                for slot in self._of[uuid]
                if slot >= depth and not (is_closed and self._slots[slot].group) and self.takes(uuid, held, slot)
            ]
            bits = sum(1 << slot for slot in fitting)
            left = [room - taken for room, taken in zip(self._rooms[uuid], held, strict=True)]
            self._useful[key] = bits, tuple(self._reach(place, bits, units) for place, units in enumerate(left))
        return self._useful[key]

    def _reach(self, place: int, bits: int, units: int) -> int:
        """The largest sum of what these slots ask of a class that is no more than so many units."""
        if (place, bits) not in self._sums:
            self._sums[place, bits] = self._all_sums(place, bits)
        whole, unit, sums = self._sums[place, bits]
        if units >= whole:
            return whole
        if not sums:
            return units // unit * unit
        return ((sums & ((2 << units // unit) - 1)).bit_length() - 1) * unit

    def _all_sums(self, place: int, bits: int) -> tuple[int, int, int]:
        """The sum of all that these slots ask of a class, the unit of the amounts, and a bit for every sum of some.

        No bits when these would be too many: then any number of units counts as a sum.
        """
        slots = [slot for slot in range(bits.bit_length()) if bits >> slot & 1]
        amounts = [amount for slot in slots for other, amount in self._asked[slot] if other == place]
        whole, unit, sums = sum(amounts), gcd(*amounts), 1
        if whole and whole // unit > MOST_UNITS:
            return whole, unit, 0
        for amount in amounts:
            sums |= sums << amount // unit
        return whole, unit, sums

    def is_short(self, depth: int, touched: Mapping[str, tuple[Amounts, bool]]) -> bool:
        """True when the slots from a depth on ask for more of a class than is of use to them on all providers.

        ``touched``: what is held of providers that were chosen, and whether they are closed.
        """
        if depth not in self._spare:
            self._spare[depth] = self._spare_untouched(depth)
        spare = list(self._spare[depth])
        for uuid, (held, is_closed) in touched.items():
            now, before = self.useful(uuid, depth, held, is_closed)[1], self.useful(uuid, depth, self.nothing, False)[1]
            for place in range(len(spare)):
                spare[place] += now[place] - before[place]
        return min(spare, default=0) < 0

    def _spare_untouched(self, depth: int) -> list[int]:
        """Units of each class that are of use on all providers, were none chosen, less those that are asked for."""
        found = [0] * len(self.classes)
        for uuid in self._rooms:
            for place, units in enumerate(self.useful(uuid, depth, self.nothing, False)[1]):
                found[place] += units
        for asked in self._asked[depth:]:
            for place, amount in asked:
                found[place] -= amount
        return found
