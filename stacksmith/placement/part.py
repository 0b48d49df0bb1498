"""The providers below one host while a batch is being placed: who of the batch has which of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from stacksmith.address import Address
from stacksmith.placement.held import beyond, seen_by
from stacksmith.placement.host import HostState
from stacksmith.placement.make import Used, tree_of
from stacksmith.placement.memory import State
from stacksmith.placement.request import Request
from stacksmith.placement.tree.candidate import Candidate, at_root
from stacksmith.placement.tree.explain import told, why_not
from stacksmith.placement.tree.provider import Allocations, Provider
from stacksmith.placement.tree.reason import GaveUp
from stacksmith.placement.tree.request import ResourceGroup
from stacksmith.placement.tree.step import Steps
from stacksmith.placement.unit import Unit
from stacksmith.placement.wording import claims_of

if TYPE_CHECKING:
    from stacksmith.placement.site import Common

# The search for room is cut short after so many steps, and among those already here after so many choices of parts,
# or for more of them.
MOST_STEPS = 5_000
MOST_TRIES = 2_000
MOST_TOGETHER = 64
CUT = "the search for room in its parts gave up, so whether there is some is not known"

Choices = dict[Address, Candidate]


class Parts:
    """The tree of one host. What it grants to a unit may move to other parts of the host to make room for a later one.

    Of providers that it shares with other hosts, parts without a parent, what is used is ``common`` to all of them; of
    those that are the host's own disks it is ``own``, what is used of the host itself.
    ``shares``: there are some that it shares with others, so that what it takes may change with these. ``gave_up``: a
    refusal was not proven, the search for room was cut short.
    """

    def __init__(self, host: HostState, common: "Common", own: dict[str, int]) -> None:
        self._tree = tree = tree_of(host, common.memory)
        shared = [part.uuid for part in host.parts if part.parent is None]
        used = {uuid: dict(amounts) for uuid, amounts in host.parts_used.items()}
        used |= {uuid: common.used.setdefault(uuid, used.get(uuid, {})) for uuid in shared}
        used |= dict.fromkeys(host.own_disks, own)
        self._forest = tree.forest.beside(used)
        self._common, self.shares, self._seen = common, bool(shared), common.changes
        self._is_bound = bool(host.own_disks)
        self._root, self._claimed = host.name, host.parts_claimed
        self._used: Used | None = None
        self._asking: dict[Address, Request] = {}
        self._held: dict[Address, Allocations] = {}
        self._known: dict[tuple[object, ...], Choices | None] = {}
        self._unsettled: set[tuple[object, ...]] = set()
        self.choices: Choices = {}
        self.gave_up = False
        self._tries, self._steps, self._is_cut = 0, Steps(MOST_STEPS), False

    def takes(self, unit: Unit) -> bool:
        """True when the parts have room for the unit beside all that is here."""
        return self._answer(unit) is not None

    def is_unsettled(self, unit: Unit) -> bool:
        """True when a unit was refused as things stand because the search was cut short."""
        return self._key(unit) in self._unsettled

    def add(self, unit: Unit) -> None:
        """Puts a unit here that it takes."""
        choices = self._answer(unit)
        assert choices is not None
        self._asking |= _asking(unit)
        self._change(choices)

    def remove(self, unit: Unit) -> None:
        """Takes a unit off that was put here."""
        for address in _asking(unit):
            del self._asking[address]
        self._change({address: self.choices[address] for address in self._asking})

    def offers(self, unit: Unit) -> bool:
        """True when the host has a part of each kind that the unit asks for, with room or without."""
        asked = [request.parts for request in _asking(unit).values() if request.parts is not None]
        return all(self._of_kind(group) for parts in asked for group in parts.groups.values())

    def is_choice_of_shared(self, unit: Unit) -> bool:
        """True when the unit may be given some of what is shared, or something else instead: then what it leaves others
        depends on the choice, which is made anew on this host alone."""
        asked = [request.parts for request in _asking(unit).values() if request.parts is not None]
        kinds = [self._of_kind(group) for parts in asked for group in parts.groups.values()] if self.shares else []
        return any(len(kind) > 1 and any(part.parent is None for part in kind) for kind in kinds)

    def _of_kind(self, group: ResourceGroup) -> list[Provider]:
        return [
            part
            for part in self._forest.providers.values()
            if group.resources.keys() <= part.inventories.keys()
            and all(names & part.traits for names in group.required)
            and not group.forbidden & part.traits
        ]

    def told(self, unit: Unit) -> str:
        """Where a unit that fits would be: ``NUMA_THREAD 2, NUMA_MEMORY_MB 512 on hv1_numa0``."""
        choices = self._answer(unit) or {}
        return "; ".join(told(self._forest, choices[address]) for address in sorted(_asking(unit)))

    def reasons(self, unit: Unit) -> str:
        """Why there is no room, by the first request that finds none."""
        if len(self._forest.providers) == 1:
            return "it has no parts"
        for request in _asking(unit).values():
            found = self._lacks(request)
            if found:
                told = dict.fromkeys(text.removeprefix(f"{self._root}: ") for text in found)
                cut = [CUT] if self.is_unsettled(unit) and self._asking else []
                return "; ".join((*told, *self._pending(request, tuple(told)), *cut))
        return CUT if self.is_unsettled(unit) else "its parts have no room for all that must be here together"

    def _lacks(self, request: Request) -> list[str]:
        """Why there are no parts for one request as things stand; nothing when there are."""
        assert request.parts is not None
        forest = seen_by(request, self._forest)
        try:
            first = next(at_root(forest, request.parts, self._root, Steps(MOST_STEPS)), None)
        except GaveUp as gave_up:
            return [str(gave_up)]
        return why_not(forest, request.parts, self._root) if first is None else []

    def _pending(self, request: Request, told: Sequence[str]) -> Iterator[str]:
        """What of the parts that were told is claimed and does not run yet."""
        groups = request.parts.groups.values() if request.parts is not None else ()
        classes = {name for group in groups for name in group.resources}
        for uuid, claimed in sorted(self._claimed.items()):
            part = self._forest.providers.get(uuid)
            if part is None or not any(f"{part.name}: " in text for text in told):
                continue
            for name in sorted(classes & claimed.keys()):
                yield f"{name} used on {part.name}{claims_of(claimed[name])}"

    def _answer(self, unit: Unit) -> Choices | None:
        """What everybody here would have with the unit: all as before if that works, else all anew."""
        if self._is_bound or (self._seen != self._common.changes and self.shares):
            self._forget()  # what is used was changed by others
        self._seen = self._common.changes
        key = self._key(unit)
        if key not in self._known:
            self._held |= {a: request.held for a, request in _asking(unit).items() if request.held}
            self._steps, self._tries, self._is_cut = Steps(MOST_STEPS), MOST_TRIES, False
            self._known[key] = self._remembered(list(_asking(unit).values()))
            if self._known[key] is None and self._is_cut:
                self.gave_up = True
                self._unsettled.add(key)
        return self._known[key]

    def _remembered(self, new: Sequence[Request]) -> Choices | None:
        """As ``_solve``, which is not asked for what was refused before, whoever came first then."""
        memory = self._common.memory
        memory.work += 1
        added = self._recalled(self._first, new)
        if added is not None:
            return self.choices | added
        state = self._state(new)
        if memory.is_refused(state):
            return None
        is_free = any(request.held for request in self._asking.values())  # to go to what it holds
        if not (self._is_bound or is_free) and self._is_short(new):
            memory.refuse(state, is_proven=True)
            return None
        found = self._solve(new, state in memory.cut)
        memory.work += self._steps.spent
        if found is None:
            memory.refuse(state, is_proven=not self._is_cut)
        return found

    def _is_short(self, new: Sequence[Request]) -> bool:
        """True when all providers have less of a class left than is asked, however it is dealt."""
        need: Counter[str] = Counter()
        for request in new:
            for group in request.parts.groups.values() if request.parts is not None else ():
                need.update(group.resources)
            for amounts in request.held.values():
                need.subtract(amounts)
        return any(amount > self._left(name) for name, amount in need.items())

    def _left(self, name: str) -> float:
        found = 0.0
        for uuid, provider in self._forest.providers.items():
            if (inventory := provider.inventories.get(name)) is not None:
                found += max(0.0, inventory.capacity - self._forest.use(uuid, name))
        return found

    def _state(self, new: Sequence[Request]) -> State:
        """What the answer to new requests depends on: all who ask for parts here, and what others use of them."""
        used: tuple[object, ...] = ()
        if self._tree.watched:
            self._count(self.choices, -1)
            used = tuple(tuple(sorted(self._forest.used.get(uuid, {}).items())) for uuid in self._tree.watched)
            self._count(self.choices, 1)
        return self._tree.kind, tuple(sorted(self._numbers((*self._asking.values(), *new)))), used

    def _numbers(self, asking: Sequence[Request]) -> tuple[int, ...]:
        number = self._common.memory.number
        return tuple(number(request, self._root) for request in asking)

    def _key(self, unit: Unit) -> tuple[object, ...]:
        asking = _asking(unit)
        return tuple(zip(asking, self._numbers(tuple(asking.values())), strict=True))

    def _forget(self) -> None:
        self._known.clear()
        self._unsettled.clear()

    def _solve(self, new: Sequence[Request], is_tired: bool) -> Choices | None:
        added = self._once(self._first, new)
        if added is not None:
            return self.choices | added
        if len(new) == 1 and not self.choices:
            return None
        if is_tired or len(new) + len(self._asking) > MOST_TOGETHER:
            self._is_cut = True
            return None
        before = self.choices
        self._count(before, -1)
        self._used = None
        found = self._once(self._together, [*self._asking.values(), *new])
        self._count(before, 1)
        self._used = None
        return found

    def _once(self, way: Callable[[Sequence[Request]], Choices | None], asking: Sequence[Request]) -> Choices | None:
        """What is found in a way, which is not gone again for equal requests with the same in use."""
        known = self._recalled(way, asking)
        if known is not None:
            return known
        found = way(asking)
        if found is not None:
            answer = tuple(found[request.address] for request in asking)
            self._common.memory.keep(self._question(way, asking), self._tree, answer)
        return found

    def _recalled(
        self, way: Callable[[Sequence[Request]], Choices | None], asking: Sequence[Request]
    ) -> Choices | None:
        """What was found before in a way, here or on a host of the same make."""
        known = self._common.memory.found.get(self._question(way, asking))
        if known is None:
            return None
        there, answer = known
        return {r.address: self._tree.here(candidate, there) for r, candidate in zip(asking, answer, strict=True)}

    def _question(self, way: Callable[[Sequence[Request]], Choices | None], asking: Sequence[Request]) -> object:
        tree, memory, numbers = self._tree, self._common.memory, self._numbers(asking)
        if self._used is None or tree.watched:
            self._used = tree.used(self._forest.used)
        return way.__name__, tree.make(memory.classes(numbers), memory), self._used, numbers

    def _first(self, asking: Sequence[Request]) -> Choices | None:
        """The first parts for one after the other, beside what is counted; None when one finds none."""
        found: Choices = {}
        for request in asking:
            candidate = next(self._candidates(request), None)
            if candidate is None:
                break
            found[request.address] = candidate
            self._count({request.address: candidate}, 1)
        self._count(found, -1)
        return found if len(found) == len(asking) else None

    def _together(self, asking: Sequence[Request]) -> Choices | None:
        """Parts for all of these beside what is counted, by trying every way; None when there is none."""
        if not asking:
            return {}
        for candidate in self._candidates(asking[0]):
            if not self._tries:
                self._is_cut = True
                return None
            self._tries -= 1
            chosen = {asking[0].address: candidate}
            self._count(chosen, 1)
            rest = self._together(asking[1:])
            self._count(chosen, -1)
            if rest is not None:
                return chosen | rest
        return None

    def _candidates(self, request: Request) -> Iterator[Candidate]:
        assert request.parts is not None
        try:
            yield from at_root(seen_by(request, self._forest), request.parts, self._root, self._steps)
        except GaveUp:
            self._is_cut = True

    def _count(self, choices: Choices, sign: int) -> None:
        for address, candidate in choices.items():
            self._forest.count(beyond(candidate.allocations, self._held.get(address, {})), sign)

    def _change(self, choices: Choices) -> None:
        before = self.choices
        self._count({a: each for a, each in before.items() if choices.get(a) is not each}, -1)
        self._count({a: each for a, each in choices.items() if before.get(a) is not each}, 1)
        self.choices = choices
        self._used = None
        self._common.changes += self.shares
        self._forget()


def _asking(unit: Unit) -> dict[Address, Request]:
    """The requests of a unit that ask for parts."""
    return {request.address: request for request in unit.requests if request.parts is not None}
