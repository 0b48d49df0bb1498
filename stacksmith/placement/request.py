"""What is asked of placement: room for one server or volume, and the rules of its server group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from stacksmith.address import Address
from stacksmith.model.scheduler import WEIGHERS, SchedulerSpec
from stacksmith.placement.refusal import Condition

if TYPE_CHECKING:
    from stacksmith.placement.refusal import Momentary
    from stacksmith.placement.tree.provider import Allocations
    from stacksmith.placement.tree.request import CandidateRequest

# Placement's classes that are weighed, in the order they are told; others come after, by name.
CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
NO_ZONE = ""  # the availability zone of hosts that are in none


class Strategy(StrEnum):
    """Which hosts are filled first, the emptiest or the fullest; ``optimal`` opens the fewest empty hosts for all."""

    SPREAD = "spread"
    PACK = "pack"
    OPTIMAL = "optimal"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a batch is placed for: a strategy, which may be given as text, or the weighers of a fleet.

    ``time_limit_seconds`` is how long the solver of ``optimal`` may take. Raises: ValueError for an unknown strategy or
    weigher, and a time that is no number above 0.
    """

    strategy: Strategy | SchedulerSpec = Strategy.SPREAD
    time_limit_seconds: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.strategy, SchedulerSpec):
            unknown = [name for name in self.strategy.weight_classes or () if name not in WEIGHERS]
            if unknown:
                raise ValueError(f"cannot place: there is no weigher {', '.join(unknown)}")
        else:
            object.__setattr__(self, "strategy", Strategy(self.strategy))
        seconds = self.time_limit_seconds
        if not isinstance(seconds, int | float) or not seconds > 0:
            raise ValueError(f"cannot place: time_limit_seconds {seconds!r} is not a number above 0")


class Policy(StrEnum):
    """Policies of server groups. The soft ones only prefer."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


@dataclass(frozen=True, slots=True)
class Group:
    """A server group. ``policy`` is a value of ``Policy``; ``max_server_per_host`` counts for anti-affinity only."""

    name: str
    policy: str
    max_server_per_host: int = 1


@dataclass(frozen=True, slots=True)
class Hint:
    """Servers that a request must be with, or must not: those that bear ``mark``, and those on ``hosts``.

    An empty mark is borne by nobody. ``words`` name the servers.
    """

    mark: str
    words: str
    hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Request:
    """Room for one server or volume. ``amounts`` are units by resource class; 0 is the same as absent.

    required, forbidden: traits of the host. ``availability_zone`` is that of the host, ``NO_ZONE`` one in no zone, None
    any. ``host`` is a pin, ``member_of`` are aggregates of which the host must be in one. ``with_hosts``: the host must
    be one of these, because ``beside`` (words) is there; empty means any.
    Requests with the same ``together`` go to one host, as do those of an affinity group. ``conditions`` are what
    nova's filters ask, ``marks`` what is counted of it on its host, as is membership in its group. ``away``: the host
    must have none of these servers; ``follows``: one of each of these. ``parts`` is asked of the providers below the
    host, beside the amounts, ``queries`` of the host at the moment of placing. ``held`` is what it has already of
    providers that hosts share, by uuid and class: it is counted as used all the time, and as much of it takes no room.
    """

    address: Address
    amounts: Mapping[str, int]
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    availability_zone: str | None = None
    host: str | None = None
    group: str | None = None
    with_hosts: tuple[str, ...] = ()
    beside: str = "its volume"
    together: str | None = None
    member_of: frozenset[str] = frozenset()
    conditions: tuple[Condition, ...] = ()
    marks: tuple[str, ...] = ()
    parts: "CandidateRequest | None" = None
    away: tuple[Hint, ...] = ()
    follows: tuple[Hint, ...] = ()
    queries: tuple["Momentary", ...] = ()
    held: "Allocations" = field(default_factory=dict)
