"""Why something is refused: one type per refusal, its numbers in its fields, its words from ``str``."""

from collections.abc import Iterable
from dataclasses import fields
from typing import ClassVar

from stacksmith.frozen import dataclass
from stacksmith.placement.host import Inventory
from stacksmith.placement.wording import capacity_sum, number


@dataclass(frozen=True, slots=True)
class Reason:
    """The base of all reasons; ``str`` says it in one line: by ``words``, which name the fields of the reason."""

    words: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.words.format_map({each.name: getattr(self, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True)
class OfProvider(Reason):
    """About a provider, by its name as people know it."""

    provider: str


@dataclass(frozen=True, slots=True)
class OfClass(OfProvider):
    """About a resource class of a provider."""

    resource_class: str


@dataclass(frozen=True, slots=True)
class OfAmount(OfClass):
    """About the units of a class that are asked of a provider."""

    amount: int


class Refused(Exception):
    """Nothing was changed, for these reasons: every one that was found, in a stable order."""

    def __init__(self, reasons: Iterable[Reason]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(map(str, self.reasons)))


class GaveUp(Exception):
    """The search for candidates was cut short at some roots, a ``SearchCut`` for each: there may be more than it found.

    It is no refusal: whether these roots can meet the request is not known.
    """

    def __init__(self, reasons: Iterable[Reason]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(map(str, self.reasons)))


# What data and requests can be refused for.


@dataclass(frozen=True, slots=True)
class BadData(Reason):
    """Data that has not the shape it should have. ``where`` is its path: ``providers.hv1.traits``."""

    words = "{where}: {problem}"
    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class BadName(Reason):
    """A name that cannot be one. ``kind``: resource class, trait or group."""

    words = "{name!r} is no {kind}: {problem}"
    kind: str
    name: object
    problem: str


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


# What a claim can be refused for.


@dataclass(frozen=True, slots=True)
class NoProvider(OfProvider):
    """No provider has this uuid."""

    words = "there is no provider {provider}"


@dataclass(frozen=True, slots=True)
class NoConsumer(Reason):
    """No consumer has this uuid: it holds nothing."""

    words = "there is no consumer {consumer}"
    consumer: str


@dataclass(frozen=True, slots=True)
class NoInventory(OfClass):
    """The provider has nothing of this class."""

    words = "{provider}: no {resource_class} here"


@dataclass(frozen=True, slots=True)
class BadAmount(OfAmount):
    """An amount that is no integer of 1 or more."""

    words = "{provider}: {resource_class} {amount!r} is not an integer of 1 or more"


@dataclass(frozen=True, slots=True)
class BelowMinUnit(OfAmount):
    """Less than one allocation must be."""

    words = "{provider}: {resource_class} {amount:,} below min_unit {min_unit:,}"
    min_unit: int


@dataclass(frozen=True, slots=True)
class AboveMaxUnit(OfAmount):
    """More than one allocation may be."""

    words = "{provider}: {resource_class} {amount:,} over max_unit {max_unit:,}"
    max_unit: int


@dataclass(frozen=True, slots=True)
class OffStep(OfAmount):
    """No multiple of the step."""

    words = "{provider}: {resource_class} {amount:,} not a multiple of step_size {step_size:,}"
    step_size: int


@dataclass(frozen=True, slots=True)
class OverCapacity(OfAmount):
    """Too little is left: ``used`` by others, ``amount`` asked of ``inventory`` together."""

    used: int
    inventory: Inventory

    @property
    def short(self) -> float:
        """Units that lack."""
        return self.used + self.amount - self.inventory.capacity

    def __str__(self) -> str:
        lack = number(self.short) if self.short >= 0.001 else "less than 0.001"
        have = capacity_sum(self.inventory)
        sums = f"used {self.used:,} of {have}, {self.amount:,} asked"
        return f"{self.provider}: {self.resource_class} {lack} short ({sums})"


@dataclass(frozen=True, slots=True)
class LacksTrait(OfProvider):
    """The provider has none of these traits."""

    traits: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.provider}: trait {' or '.join(self.traits)} missing"


@dataclass(frozen=True, slots=True)
class HasForbiddenTrait(OfProvider):
    """The provider has a trait that it must not have."""

    words = "{provider}: trait {trait} forbidden"
    trait: str


@dataclass(frozen=True, slots=True)
class NotInAggregate(OfProvider):
    """The provider is in none of these aggregates."""

    aggregates: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.provider}: not in aggregate {' or '.join(self.aggregates)}"


@dataclass(frozen=True, slots=True)
class InForbiddenAggregate(OfProvider):
    """The provider is in an aggregate that it must not be in."""

    words = "{provider}: aggregate {aggregate} forbidden"
    aggregate: str


@dataclass(frozen=True, slots=True)
class NotInTree(OfProvider):
    """The provider is not in the tree that was asked for; ``root`` is that tree's, or what was asked when unknown."""

    words = "{provider}: not in the tree of {root}"
    root: str


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

    words = "{root}: every group fits by itself, but not all together: {cause}"
    root: str
    cause: str


@dataclass(frozen=True, slots=True)
class SearchCut(Reason):
    """The search at this root took the steps it may take, without a candidate since the last one."""

    words = "{root}: gave up after {steps:,} steps: whether it can meet the request is not known"
    root: str
    steps: int


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
class ProviderChanged(OfProvider):
    """Somebody else wrote this provider."""

    words = "{provider} is at generation {found}, expected at generation {expected}"
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class ClaimedTwice(Reason):
    """One transaction has two claims of one consumer."""

    words = "consumer {consumer} is claimed twice in one transaction"
    consumer: str


# What a change of providers can be refused for.


@dataclass(frozen=True, slots=True)
class ReshapedTwice(OfProvider):
    """One reshape has two inventories for one provider."""

    words = "{provider} is reshaped twice in one transaction"


@dataclass(frozen=True, slots=True)
class Taken(Reason):
    """Another provider has this uuid or name already. ``what``: uuid or name."""

    words = "there is a provider with {what} {value} already"
    what: str
    value: str


@dataclass(frozen=True, slots=True)
class BadInventory(OfClass):
    """An inventory that cannot be."""

    words = "{provider}: {resource_class}: {problem}"
    problem: str


@dataclass(frozen=True, slots=True)
class InventoryInUse(OfClass):
    """An inventory that would go has allocations."""

    words = "{provider}: {resource_class} is in use ({used:,} allocated)"
    used: int


@dataclass(frozen=True, slots=True)
class ProviderInUse(OfProvider):
    """A provider that would go has allocations of ``consumers``."""

    consumers: int

    def __str__(self) -> str:
        return f"{self.provider} is in use by {self.consumers} consumer{'s' if self.consumers > 1 else ''}"


@dataclass(frozen=True, slots=True)
class HasChildren(OfProvider):
    """A provider that would go has others under it."""

    children: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.provider} has providers under it: {', '.join(self.children)}"


@dataclass(frozen=True, slots=True)
class OwnSubtree(OfProvider):
    """A parent that is below its child, or is it."""

    words = "{parent} cannot be the parent of {provider}: it is in its own subtree"
    parent: str
