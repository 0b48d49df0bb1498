"""What a plan claims in the state store, and what it is checked against: data, decided with the plan."""

from collections.abc import Mapping
from dataclasses import field

from stacksmith.frozen import dataclass
from stacksmith.placement.host import Inventory
from stacksmith.planner.layout import Layout

# Units by provider (its uuid, which is the name of a host), then by resource class; no zeros.
Amounts = Mapping[str, int]
Allocations = Mapping[str, Amounts]


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """All that a server or volume shall hold; nothing gives it up. ``name`` is its address."""

    uuid: str
    name: str
    allocations: Allocations = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Room:
    """A provider as the plan saw it: a host, or what is below one.

    ``unclaimed`` is used by what runs there without a claim, ``leaving`` is claimed by what the plan deletes.
    """

    provider: str
    inventories: Mapping[str, Inventory]
    unclaimed: Amounts = field(default_factory=dict)
    leaving: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claims:
    """What an apply writes before its first step: ``there`` without asking, for it is so on the hosts whatever the
    store has; then ``wanted``, what the steps need, all of it or nothing. ``rooms`` are what that is checked against,
    ``layouts`` those of the hosts of the steps."""

    there: tuple[PlannedClaim, ...] = ()
    wanted: tuple[PlannedClaim, ...] = ()
    rooms: tuple[Room, ...] = ()
    layouts: tuple[Layout, ...] = ()
