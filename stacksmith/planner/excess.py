"""What is used beyond its capacity: of hosts, of parts of their own, and of storages that several hosts share."""

from collections.abc import Collection, Iterator, Mapping

from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState, Inventory
from stacksmith.placement.tree.provider import Provider
from stacksmith.placement.wording import capacity_sum, claims_of, number

NOTHING = Inventory(0)  # what a host offers of a class that it does not have


@dataclass(frozen=True, slots=True)
class Excess:
    """A class of which a provider has less than is used. ``host`` is empty for a shared storage.

    ``within`` are the hosts where a server that has some of it has it, wherever among them it is. ``claims`` says what
    of ``used`` does not run yet.
    """

    provider: str
    name: str
    inventory: Inventory
    used: int
    host: str
    within: frozenset[str]
    claims: str = ""

    @property
    def units(self) -> float:
        """How many are too many."""
        return self.used - self.inventory.capacity

    @property
    def subject(self) -> str:
        """The class, and the part or storage that it is of."""
        part = self.provider.partition("/")[2] if self.host else self.provider
        return f"{self.name} of {part}" if part else self.name

    @property
    def reason(self) -> str:
        """The sum."""
        what = f"{self.host} is over its capacity: {self.subject}"
        if not self.host:
            what = f"{self.provider} is over its capacity: {self.name}"
        sum_ = f"used {self.used:,} of {capacity_sum(self.inventory)}{self.claims}"
        return f"{what} {number(self.units)} short ({sum_})"


def excesses(
    states: Mapping[str, HostState], hosts: Collection[str], shared: Mapping[str, frozenset[str]]
) -> Iterator[Excess]:
    """Those of these hosts; ``shared`` are the hosts of each shared storage, by the uuid of its provider."""
    seen: set[str] = set()
    for name in hosts:
        state, here = states[name], frozenset({name})
        for each, inventory in state.inventories.items():
            claims = claims_of(state.claimed.get(each, {}))
            yield from _beyond(Excess(name, each, inventory, state.used.get(each, 0), name, here, claims))
        for part in state.parts:
            if part.parent is None and part.uuid not in seen:
                seen.add(part.uuid)
                yield from _of_part(state, part, "", shared.get(part.uuid, here))
            elif part.parent is not None and part.uuid not in state.own_disks:
                yield from _of_part(state, part, name, here)


def _of_part(state: HostState, part: Provider, host: str, within: frozenset[str]) -> Iterator[Excess]:
    used, claimed = state.parts_used.get(part.uuid, {}), state.parts_claimed.get(part.uuid, {})
    for name, amount in used.items():
        inventory = part.inventories.get(name, NOTHING)
        yield from _beyond(Excess(part.uuid, name, inventory, amount, host, within, claims_of(claimed.get(name, {}))))


def _beyond(excess: Excess) -> Iterator[Excess]:
    if excess.units > 0:
        yield excess
