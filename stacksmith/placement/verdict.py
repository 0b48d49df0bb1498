"""What placement answers: the host, and why each host was or was not chosen (rule 10)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stacksmith.address import Address


@dataclass(frozen=True, slots=True)
class Verdict:
    """One host's answer to one server. ``reason`` has the numbers: ``MEMORY_MB 3,072 short (used 61,440 of 64,512)``.

    ``score`` orders the hosts that fit, higher is better; None for those that do not. Where ``settled`` is not set, a
    limit on the work was reached: no way was found to fit it there, and none was excluded.
    """

    host: str
    fits: bool
    reason: str
    score: float | None = None
    settled: bool = True


class Beside(StrEnum):
    """What a server does not fit beside: not even empty hosts take it, or not those that run what they run now, or
    only the rest of its batch is in the way.
    """

    NOTHING = "nothing"
    RUNNING = "what runs"
    BATCH = "the batch"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One thing that a server asks of its host.

    ``rule``: trait, forbidden trait, availability zone, aggregate, filter, pin, beside, affinity, anti-affinity, amount
    or parts. ``subject`` is the trait, zone, filter, group or class, ``about`` what else tells it from its like.
    """

    rule: str
    subject: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """A constraint of a conflict in words, ``has trait CUSTOM_SSD``, and the hosts that meet it by itself, by name."""

    constraint: Constraint
    words: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Constraints that no usable host meets together; any host that is enabled and reachable is usable.

    Without any of them some usable host meets the rest; no smaller set conflicts if ``smallest`` is set, which only
    a limit on the work unsets. With no usable host there are no terms.
    """

    beside: Beside
    usable: int
    terms: tuple[Term, ...]
    smallest: bool = True


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would make a host meet a constraint, or the server do without it, in words that name the host."""

    constraint: Constraint
    words: str


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Remedies after which the host takes the server beside all else that is placed; no fewer of them are enough there.

    ``like`` more hosts need remedies for the same constraints, none of them less.
    """

    host: str
    remedies: tuple[Remedy, ...]
    like: int = 0


@dataclass(frozen=True, slots=True)
class Clash:
    """Servers of a batch that cannot all be placed, for these constraints, whatever the arrangement.

    An address stands for all that must go to one host with it.
    All but any one of them can, and no constraint can be left out, if ``irreducible`` is set, which only a limit on
    the work unsets. With ``smallest`` it is shown that no fewer servers, with the one it is told of, conflict, and
    these over no fewer constraints.
    """

    addresses: tuple[Address, ...]
    constraints: tuple[Constraint, ...]
    irreducible: bool = True
    smallest: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a server goes. ``host`` is None when nowhere: then ``cause`` says why and ``hint`` what would help.

    ``kept`` is set for one that already runs and stays. ``parts``: the providers below the host that each group of
    its request got, by group, and ``allocations`` what it takes of them, by uuid and class. Of one that found no host,
    ``conflict`` is the smallest set of its constraints that no host meets, ``relaxations`` are what would make it fit,
    the smallest first, and ``clash`` is who of its batch cannot be placed together, as far as that is known.
    """

    address: Address
    host: str | None
    verdicts: tuple[Verdict, ...]
    kept: bool = False
    cause: str = ""
    hint: str | None = None
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allocations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    conflict: Conflict | None = None
    relaxations: tuple[Relaxation, ...] = ()
    clash: Clash | None = None


@dataclass(frozen=True, slots=True)
class Optimum:
    """How good a joint placement is: what it costs, and what every arrangement costs at least.

    opened: empty hosts that get something. ``missed``: members of soft groups that are not where they should be.
    ``stopped_after``: the time limit in seconds, where that ended the solve before it proved the optimum.
    """

    opened: int
    opened_at_least: int
    missed: int = 0
    missed_at_least: int = 0
    stopped_after: float | None = None

    @property
    def proven(self) -> bool:
        """True when no arrangement is better."""
        return (self.opened, self.missed) == (self.opened_at_least, self.missed_at_least)
