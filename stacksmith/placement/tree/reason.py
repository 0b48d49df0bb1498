"""Why something is refused: one type per refusal, its numbers in its fields, its words from ``str``."""

from collections.abc import Iterable
from dataclasses import dataclass

from stacksmith.placement.host import Inventory
from stacksmith.placement.wording import capacity_sum, number


@dataclass(frozen=True, slots=True)
class Reason:
    """The base of all reasons; ``str`` says it in one line."""


class Refused(Exception):
    """Nothing was changed, for these reasons: every one that was found, in a stable order."""

    def __init__(self, reasons: Iterable[Reason]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(map(str, self.reasons)))


# What data and requests can be refused for.


@dataclass(frozen=True, slots=True)
class BadData(Reason):
    """Data that has not the shape it should have. ``where`` is its path: ``providers.hv1.traits``."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


@dataclass(frozen=True, slots=True)
class BadName(Reason):
    """A name that cannot be one. ``kind``: resource class, trait or group."""

    kind: str
    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name!r} is no {self.kind}: {self.problem}"


@dataclass(frozen=True, slots=True)
class BadRequest(Reason):
    """A request that contradicts itself or leaves out what it must say. ``group`` is None for the whole request."""

    group: str | None
    problem: str

    def __str__(self) -> str:
        return self.problem if self.group is None else f"{group_words(self.group)}: {self.problem}"


def group_words(name: str) -> str:
    """``group _GPU``, or ``the unsuffixed group``."""
    return f"group {name}" if name else "the unsuffixed group"


# What a claim can be refused for. ``provider`` is always a name, as people know it.


@dataclass(frozen=True, slots=True)
class NoProvider(Reason):
    """No provider has this uuid."""

    provider: str

    def __str__(self) -> str:
        return f"there is no provider {self.provider}"


@dataclass(frozen=True, slots=True)
class NoConsumer(Reason):
    """No consumer has this uuid: it holds nothing."""

    consumer: str

    def __str__(self) -> str:
        return f"there is no consumer {self.consumer}"


@dataclass(frozen=True, slots=True)
class NoInventory(Reason):
    """The provider has nothing of this class."""

    provider: str
    resource_class: str

    def __str__(self) -> str:
        return f"{self.provider}: no {self.resource_class} here"


@dataclass(frozen=True, slots=True)
class BadAmount(Reason):
    """An amount that is no integer of 1 or more."""

    provider: str
    resource_class: str
    amount: int

    def __str__(self) -> str:
        return f"{self.provider}: {self.resource_class} {self.amount!r} is not an integer of 1 or more"


@dataclass(frozen=True, slots=True)
class BelowMinUnit(Reason):
    """Less than one allocation must be."""

    provider: str
    resource_class: str
    amount: int
    min_unit: int

    def __str__(self) -> str:
        return f"{self.provider}: {self.resource_class} {self.amount} below min_unit {self.min_unit}"


@dataclass(frozen=True, slots=True)
class AboveMaxUnit(Reason):
    """More than one allocation may be."""

    provider: str
    resource_class: str
    amount: int
    max_unit: int

    def __str__(self) -> str:
        return f"{self.provider}: {self.resource_class} {self.amount} over max_unit {self.max_unit}"


@dataclass(frozen=True, slots=True)
class OffStep(Reason):
    """No multiple of the step."""

    provider: str
    resource_class: str
    amount: int
    step_size: int

    def __str__(self) -> str:
        return f"{self.provider}: {self.resource_class} {self.amount} not a multiple of step_size {self.step_size}"


@dataclass(frozen=True, slots=True)
class OverCapacity(Reason):
    """Too little is left: ``used`` by others, ``amount`` asked of ``inventory`` together."""

    provider: str
    resource_class: str
    amount: int
    used: int
    inventory: Inventory

    @property
    def short(self) -> float:
        """Units that lack."""
        return self.used + self.amount - self.inventory.capacity

    def __str__(self) -> str:
        lack = number(self.short) if self.short >= 0.001 else "less than 0.001"
        have = capacity_sum(self.inventory)
        return f"{self.provider}: {self.resource_class} {lack} short (used {self.used} of {have}, {self.amount} asked)"


@dataclass(frozen=True, slots=True)
class LacksTrait(Reason):
    """The provider has none of these traits."""

    provider: str
    traits: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.provider}: trait {' or '.join(self.traits)} missing"


@dataclass(frozen=True, slots=True)
class HasForbiddenTrait(Reason):
    """The provider has a trait that it must not have."""

    provider: str
    trait: str

    def __str__(self) -> str:
        return f"{self.provider}: trait {self.trait} forbidden"


@dataclass(frozen=True, slots=True)
class NotInAggregate(Reason):
    """The provider is in none of these aggregates."""

    provider: str
    aggregates: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.provider}: not in aggregate {' or '.join(self.aggregates)}"


@dataclass(frozen=True, slots=True)
class InForbiddenAggregate(Reason):
    """The provider is in an aggregate that it must not be in."""

    provider: str
    aggregate: str

    def __str__(self) -> str:
        return f"{self.provider}: aggregate {self.aggregate} forbidden"


@dataclass(frozen=True, slots=True)
class NotInTree(Reason):
    """The provider is not in the tree that was asked for; ``root`` is that tree's, or what was asked when unknown."""

    provider: str
    root: str

    def __str__(self) -> str:
        return f"{self.provider}: not in the tree of {self.root}"


@dataclass(frozen=True, slots=True)
class NotCovered(Reason):
    """Of all providers that could be used for the unsuffixed group, none has one of these traits."""

    root: str
    traits: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.root}: none of the providers that can be used has trait {' or '.join(self.traits)}"


@dataclass(frozen=True, slots=True)
class NotTogether(Reason):
    """Every group has a provider, but not all groups at once; ``cause`` is what stands between."""

    root: str
    cause: str

    def __str__(self) -> str:
        return f"{self.root}: every group fits by itself, but not all together: {self.cause}"


@dataclass(frozen=True, slots=True)
class ConsumerChanged(Reason):
    """Somebody else wrote this consumer. A generation of None is a consumer that is not there."""

    consumer: str
    expected: int | None
    found: int | None

    def __str__(self) -> str:
        expected = "to be new" if self.expected is None else f"at generation {self.expected}"
        found = "not there" if self.found is None else f"at generation {self.found}"
        return f"consumer {self.consumer} is {found}, expected {expected}"


@dataclass(frozen=True, slots=True)
class ProviderChanged(Reason):
    """Somebody else wrote this provider."""

    provider: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"{self.provider} is at generation {self.found}, expected at generation {self.expected}"


@dataclass(frozen=True, slots=True)
class ClaimedTwice(Reason):
    """One transaction has two claims of one consumer."""

    consumer: str

    def __str__(self) -> str:
        return f"consumer {self.consumer} is claimed twice in one transaction"


# What a change of providers can be refused for.


@dataclass(frozen=True, slots=True)
class ReshapedTwice(Reason):
    """One reshape has two inventories for one provider."""

    provider: str

    def __str__(self) -> str:
        return f"{self.provider} is reshaped twice in one transaction"


@dataclass(frozen=True, slots=True)
class Taken(Reason):
    """Another provider has this uuid or name already. ``what``: uuid or name."""

    what: str
    value: str

    def __str__(self) -> str:
        return f"there is a provider with {self.what} {self.value} already"


@dataclass(frozen=True, slots=True)
class BadInventory(Reason):
    """An inventory that cannot be."""

    provider: str
    resource_class: str
    problem: str

    def __str__(self) -> str:
        return f"{self.provider}: {self.resource_class}: {self.problem}"


@dataclass(frozen=True, slots=True)
class InventoryInUse(Reason):
    """An inventory that would go has allocations."""

    provider: str
    resource_class: str
    used: int

    def __str__(self) -> str:
        return f"{self.provider}: {self.resource_class} is in use ({self.used} allocated)"


@dataclass(frozen=True, slots=True)
class ProviderInUse(Reason):
    """A provider that would go has allocations of ``consumers``."""

    provider: str
    consumers: int

    def __str__(self) -> str:
        return f"{self.provider} is in use by {self.consumers} consumer{'s' if self.consumers > 1 else ''}"


@dataclass(frozen=True, slots=True)
class HasChildren(Reason):
    """A provider that would go has others under it."""

    provider: str
    children: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.provider} has providers under it: {', '.join(self.children)}"


@dataclass(frozen=True, slots=True)
class OwnSubtree(Reason):
    """A parent that is below its child, or is it."""

    provider: str
    parent: str

    def __str__(self) -> str:
        return f"{self.parent} cannot be the parent of {self.provider}: it is in its own subtree"
