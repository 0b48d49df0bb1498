"""The plan: everything an apply will do, decided once (rule 1)."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.change import Change, Impact
from stacksmith.model.found import Unmanaged
from stacksmith.model.realised import Policy, Realised
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.placement.verdict import Optimum, Placement
from stacksmith.planner.aim import Outcome
from stacksmith.planner.claim import Claims
from stacksmith.planner.offence import Offence
from stacksmith.providers.base import WaitFor

FORMAT_VERSION = "1"


class Operation(StrEnum):
    """What a step does. ``forget`` drops the record and leaves the object; ``migrate`` brings a server to a host."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    MIGRATE = "migrate"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on one object.

    id: ``<operation> <address>``, unique in the plan. ``requires`` are ids of steps that must end well first.
    ``fingerprint`` is the object's as planned, None when it was absent: the step checks it just before it acts
    (rule 9). ``replaces`` is set on the delete and the create of a replacement. ``before`` is the found spec's data.
    A migrate takes the object from ``source`` to ``host``. ``limit_seconds`` is how long it may take, where that is
    longer than usual.
    """

    id: str
    operation: Operation
    address: Address
    host: str
    uuid: str
    reason: str
    wanted: Realised | None = None
    before: JSON = None
    policy: Policy = field(default_factory=Policy)
    changes: tuple[Change, ...] = ()
    impact: Impact = Impact.NONE
    fingerprint: str | None = None
    partial: bool = False
    replaces: bool = False
    requires: tuple[str, ...] = ()
    depends_on: tuple[Address, ...] = ()  # resources this one is built on, for its record
    wait_for: WaitFor | None = None
    source: str = ""
    limit_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Deviation:
    """A live object that differs from what was applied (drift or conflict), whether or not a step mends it.

    ``missing``: the object is gone; ``problem``: it cannot be read or used.
    """

    address: Address
    host: str
    changes: tuple[Change, ...] = ()
    missing: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A resource that is in sync. ``record`` is what an apply writes of it, None when the store knows it."""

    address: Address
    host: str
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply will do, in the order it will do it.

    steps are in topological order, ties by address. ``unreachable`` are (host, error): their resources are unknown
    and no step touches them. ``refusals`` are (step id, cause): deletes of protected objects, shrunk volumes,
    conflicts: the plan can be shown but not applied. ``provider`` is the one that was asked for instead of the hosts'
    own. ``outputs`` are as they will be. ``offences`` are what servers that run break where they are: no step ends
    them, and they are in no plan file. ``outcome`` is there in the plan of a rebalance. ``journal`` is the number of
    the newest journal entry that it was made after, None when it was made without a store.
    """

    fleet: str
    stack: str
    steps: tuple[Step, ...] = ()
    unchanged: tuple[Unchanged, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    unmanaged: tuple[Unmanaged, ...] = ()
    unreachable: tuple[tuple[str, str], ...] = ()
    unknown: tuple[Address, ...] = ()
    placements: tuple[Placement, ...] = ()
    optimum: Optimum | None = None
    refusals: tuple[tuple[str, str], ...] = ()
    outputs: Mapping[str, JSON] = field(default_factory=dict)
    offences: tuple[Offence, ...] = ()
    destroy: bool = False
    stack_path: str = ""
    fleet_path: str = ""
    provider: str | None = None
    claims: Claims = field(default_factory=Claims)
    outcome: Outcome | None = None
    journal: int | None = None
    format_version: str = FORMAT_VERSION

    @property
    def impact(self) -> Impact:
        """The worst impact of all steps."""
        return max((step.impact for step in self.steps), default=Impact.NONE)

    def count(self, operation: Operation) -> int:
        """Number of steps of one operation; a replacement counts in both of its parts, as in Terraform."""
        return sum(step.operation is operation for step in self.steps)
