"""What a plan claims in the state store, and what it is checked against: data, decided with the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stacksmith.placement.host import Inventory

# Units by provider (a host by its name), then by resource class; no zeros.
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
    """A host as the plan saw it.

    ``unclaimed`` is used by what runs there without a claim, ``leaving`` is claimed by what the plan deletes.
    ``dedicated``: the CPUs that are given whole, which VCPU does not count; ``apart``: the volume types that DISK_GB
    does not count.
    """

    host: str
    inventories: Mapping[str, Inventory]
    unclaimed: Amounts = field(default_factory=dict)
    leaving: Amounts = field(default_factory=dict)
    dedicated: tuple[int, ...] = ()
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claims:
    """What an apply writes before its first step: ``there`` without asking, for it is so on the hosts whatever the
    store has; then ``wanted``, what the steps need, all of it or nothing. ``rooms`` of the hosts of the steps."""

    there: tuple[PlannedClaim, ...] = ()
    wanted: tuple[PlannedClaim, ...] = ()
    rooms: tuple[Room, ...] = ()
