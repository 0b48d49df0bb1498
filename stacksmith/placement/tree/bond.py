"""``same_subtree``: one of the providers that some groups get is above, or is, all the others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stacksmith.frozen import dataclass
from stacksmith.placement.tree.fit import Slot
from stacksmith.placement.tree.forest import Forest


@dataclass(frozen=True, slots=True)
class Bond:
    """One ``same_subtree``: its slots, and for each of them the providers that have an option in their subtree."""

    slots: tuple[int, ...]
    below: dict[int, frozenset[str]]


class Bonds:
    """Every ``same_subtree`` of a request over the slots of one anchor."""

    def __init__(self, forest: Forest, same_subtree: Sequence[frozenset[str]], slots: Sequence[Slot]) -> None:
        self._forest, self._slots = forest, slots
        self._options = [frozenset(slot.options) for slot in slots]
        self._bonds = [bond for names in same_subtree if (bond := self._bond(names)).slots]

    def _bond(self, names: frozenset[str]) -> Bond:
        members = tuple(i for i, slot in enumerate(self._slots) if slot.group in names)
        chain = self._forest.chain
        return Bond(members, {i: frozenset(a for u in self._slots[i].options for a in chain(u)) for i in members})

    def are_open(self, depth: int) -> bool:
        """True when some bond has a slot from this depth on."""
        return any(bond.slots[-1] >= depth for bond in self._bonds)

    def role(self, slot: int, depth: int) -> int:
        """Bits for the bonds of a slot that have others from this depth on: whoever it has chosen is part of them."""
        return sum(1 << i for i, b in enumerate(self._bonds) if slot in b.below and b.slots[-1] >= depth)

    def hold(self, chosen: Sequence[str]) -> bool:
        """True when each can still hold once these are chosen for the first slots."""
        return all(self._holds(bond, chosen) for bond in self._bonds)

    def _holds(self, bond: Bond, all_chosen: Sequence[str]) -> bool:
        """True when some provider can still be the one on top: chosen, or an option of an open slot."""
        depth = len(all_chosen)
        chosen = [all_chosen[i] for i in bond.slots if i < depth]
        still_open = [i for i in bond.slots if i >= depth]
        for top in self._tops(bond, chosen):
            if all(top in bond.below[i] for i in still_open) and (
                top in chosen or any(top in self._options[i] for i in still_open)
            ):
                return True
        return False

    def _tops(self, bond: Bond, chosen: Sequence[str]) -> Iterator[str]:
        """Providers above or equal to all chosen ones; all that could be on top while none is chosen."""
        if not chosen:
            for i in bond.slots:
                yield from self._slots[i].options
            return
        others = [set(self._forest.chain(uuid)) for uuid in chosen[1:]]
        for uuid in self._forest.chain(chosen[0]):
            if all(uuid in chain for chain in others):
                yield uuid


def narrowed(forest: Forest, same_subtree: Sequence[frozenset[str]], slots: Sequence[Slot]) -> Sequence[Slot]:
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
