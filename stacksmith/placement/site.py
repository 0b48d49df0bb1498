"""A host while a batch is being placed: what is used and who is there so far."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, TypeVar

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState
from stacksmith.placement.memory import Memory
from stacksmith.placement.unit import Unit

if TYPE_CHECKING:
    from stacksmith.placement.part import Parts

T = TypeVar("T")


@dataclass(slots=True)
class Common:
    """What is used of providers that several hosts share, by uuid and class, while a batch is being placed.

    ``changes`` counts how often units were put on one of them or taken off. ``memory`` may be that of other such sites,
    of the same hosts.
    """

    used: dict[str, dict[str, int]] = field(default_factory=dict)
    changes: int = 0
    memory: Memory = field(default_factory=Memory)


class Site:
    """One host that units are put on and taken off again.

    ``guests`` names the members of each group it knows. ``weight`` and ``raw`` are where a weigher keeps what does not
    depend on the unit, until the next change.
    """

    __slots__ = (
        "_changes",
        "_parts",
        "_shared",
        "capacity",
        "guests",
        "host",
        "index",
        "members",
        "raw",
        "used",
        "weight",
    )

    def __init__(self, index: int, host: HostState, common: Common | None = None) -> None:
        self.index = index
        self.host = host
        self.capacity = {name: inventory.capacity for name, inventory in host.inventories.items()}
        self.used = dict(host.used)
        self.members = dict(host.groups)
        self.guests: dict[str, list[Address]] = {}
        self.weight: float | None = None
        self.raw: tuple[float, ...] | None = None
        self._parts: Parts | None = None
        self._shared = common or Common()
        self._changes = 0

    @property
    def parts(self) -> "Parts":
        """The providers below the host; made, and their code imported, when first asked for."""
        if self._parts is None:
            from stacksmith.placement.part import Parts

            self._parts = Parts(self.host, self._shared, self.used)
        return self._parts

    @property
    def version(self) -> int:
        """A number that is higher after everything that may change what the host answers."""
        return self._changes if self._parts is None or self.stands_alone else self._changes + self._shared.changes

    @property
    def stands_alone(self) -> bool:
        """True when what it takes changes only with what is put on it or taken off."""
        return not self.parts.shares

    @property
    def given(self) -> Iterator[Mapping[str, Mapping[str, int]]]:
        """What units that were put here have of the providers below the host: units by uuid and class."""
        for candidate in self._parts.choices.values() if self._parts is not None else ():
            yield candidate.allocations

    def has_room(self, unit: Unit) -> bool:
        """True when every amount fits: ``used + amount <= capacity``, as in Placement; no inventory is no room.

        Its parts are asked last, and only for a unit that asks for some.
        """
        return self.has_amounts(unit) and self.has_parts(unit)

    def has_amounts(self, unit: Unit) -> bool:
        """True when every amount fits, whatever is asked of parts."""
        used, capacity = self.used, self.capacity
        for name, amount in unit.amounts:
            if name not in capacity or used.get(name, 0) + amount > capacity[name]:
                return False
        return True

    def has_parts(self, unit: Unit) -> bool:
        """True when the parts have room for what the unit asks of them, if anything."""
        return not unit.has_parts or self._beside_amounts(unit, self.parts.takes)

    def parts_lack(self, unit: Unit) -> str:
        """Why the parts have no room for the unit, in words; empty when they have."""
        if self._beside_amounts(unit, self.parts.takes):
            return ""
        return self._beside_amounts(unit, self.parts.reasons)

    def _beside_amounts(self, unit: Unit, question: Callable[[Unit], T]) -> T:
        """The answer of the parts with the unit's amounts here, which may be of the same disks."""
        if not self.host.own_disks:
            return question(unit)
        self._count(unit, 1)
        answer = question(unit)
        self._count(unit, -1)
        return answer

    def keeps_apart(self, unit: Unit) -> bool:
        """True when no anti-affinity group gets more members here than it may have."""
        return not unit.apart or all(self.members.get(r.group, 0) + r.count <= r.limit for r in unit.apart)

    def has_company(self, unit: Unit) -> bool:
        """True when one of each that the unit follows is here."""
        return not unit.follows or all(self.members.get(h.mark) or self.host.name in h.hosts for h in unit.follows)

    def answers(self, unit: Unit) -> bool:
        """True when the host as it is now meets the unit's queries."""
        return not unit.queries or all(query.passes(self.host, self.used) for query in unit.queries)

    def takes(self, unit: Unit) -> bool:
        """True when a unit that suits the host as it is finds room here now, and no group or hint forbids it."""
        return self.has_room(unit) and self.keeps_apart(unit) and self.has_company(unit) and self.answers(unit)

    def free(self, name: str) -> float:
        """Units of a class that are left, never negative; none of a class that the host lacks."""
        return max(0.0, self.capacity.get(name, 0.0) - self.used.get(name, 0))

    def add(self, unit: Unit) -> None:
        """Puts a unit here."""
        self.weight = self.raw = None
        self._changes += 1
        self._count(unit, 1)
        if unit.has_parts:
            self.parts.add(unit)
        for group, count in unit.joins:
            self.members[group] = self.members.get(group, 0) + count

    def remove(self, unit: Unit) -> None:
        """Takes a unit off that was put here."""
        self.weight = self.raw = None
        self._changes += 1
        if unit.has_parts:
            self.parts.remove(unit)
        self._count(unit, -1)
        for group, count in unit.joins:
            self.members[group] -= count

    def _count(self, unit: Unit, sign: int) -> None:
        for name, amount in unit.amounts:
            self.used[name] = self.used.get(name, 0) + sign * amount

    def introduce(self, unit: Unit) -> None:
        """Remembers the names of a unit's members, for the words of a verdict."""
        self._changes += 1
        for request in unit.requests:
            if request.group is not None:
                self.guests.setdefault(request.group, []).append(request.address)


def open_sites(hosts: Sequence[HostState], memory: Memory | None = None) -> list[Site]:
    """The sites of hosts that are already in order of name, with what was learned of them before."""
    common = Common(memory=memory or Memory())
    return [Site(index, host, common) for index, host in enumerate(hosts)]
