"""A host as placement sees it: what it offers, what is used, and what it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from stacksmith.model.types import JSON

if TYPE_CHECKING:
    from stacksmith.placement.tree.provider import Provider

UNLIMITED = -1
INSTANCES = "INSTANCES"  # servers of a host, as far as their number is limited
IO_OPS = "IO_OPS"  # operations in flight on a host while a plan is made, as far as something asks for their number
MAX_UNIT = 2**31 - 1
EMPTIED = "to be emptied"  # the state of a host that someone wants empty: to enable it is no way out
STATES = ("enabled", "disabled", "drain", "failed", EMPTIED)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a host offers of one resource class, in Placement's words, defaults and arithmetic.

    ``total`` is ``UNLIMITED`` where it cannot be known yet (the disk of a pool that is not made): anything fits.
    """

    total: int
    reserved: int = 0
    allocation_ratio: float = 1.0
    min_unit: int = 1
    max_unit: int = MAX_UNIT
    step_size: int = 1

    @property
    def capacity(self) -> float:
        """Units that may be used: a float, not rounded down, as in Placement's ``_capacity_check_clause``."""
        return inf if self.total == UNLIMITED else (self.total - self.reserved) * self.allocation_ratio

    def accepts(self, amount: int) -> bool:
        """True when one request may ask for this amount, whatever is free."""
        return self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0

    @property
    def problem(self) -> str:
        """Why no host can offer this, with the value; empty when one can."""
        for name in ("total", "reserved", "min_unit", "max_unit", "step_size"):
            value = getattr(self, name)
            if not isinstance(value, int):
                return f"{name} {value!r} is not an integer"
        if self.total < 0 and self.total != UNLIMITED:
            return f"total {self.total} is not 0 or more, nor UNLIMITED"
        if self.reserved < 0 or (self.reserved > self.total and self.total != UNLIMITED):
            return f"reserved {self.reserved} is not from 0 to the total, {self.total}"
        if not 0 < self.allocation_ratio < inf:
            return f"allocation_ratio {self.allocation_ratio} is not a number above 0"
        if self.step_size < 1:
            return f"step_size {self.step_size} is not 1 or more"
        if not 1 <= self.min_unit <= self.max_unit:
            return f"min_unit {self.min_unit} is not from 1 to max_unit, {self.max_unit}"
        return ""


@dataclass(frozen=True, slots=True)
class HostState:
    """One host before the batch. ``used`` and ``groups`` (members per server group) count everything that stays.

    ``state``: enabled, disabled, drain, failed or ``EMPTIED``; only an enabled host takes new requests.
    ``state_reason`` says why it is not, ``state_help`` what makes it so where the fleet file does not say that.
    ``problem`` says why a host is not reachable. ``metadata`` is what its aggregates say, the values by key;
    ``capabilities`` are nova's host state: hypervisor_type, hypervisor_version, cpu_info … ``parts`` are the providers
    below the host, whose uuid is its name, and those without a parent that it shares with others (in an aggregate of
    theirs); ``parts_used`` what is used of them, by uuid and class; ``own_disks`` those of them, by uuid, that are the
    host's own DISK_GB under another name. ``claimed`` is the part of ``used`` that does not run yet, by class and
    stack; ``parts_claimed`` that of ``parts_used``. ``host_ip`` is its address, empty where none is known;
    ``metrics`` what was measured of it. ``failed_builds``: servers that could not be made there since one was.
    """

    name: str
    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    availability_zone: str | None = None
    aggregates: frozenset[str] = frozenset()
    state: str = "enabled"
    state_reason: str = ""
    state_help: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    capabilities: Mapping[str, JSON] = field(default_factory=dict)
    reachable: bool = True
    problem: str = ""
    parts: tuple["Provider", ...] = ()
    parts_used: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    own_disks: frozenset[str] = frozenset()
    claimed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    parts_claimed: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    host_ip: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    failed_builds: int = 0
