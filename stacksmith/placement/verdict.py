"""What placement answers: the host, and why each host was or was not chosen (rule 10)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stacksmith.address import Address


@dataclass(frozen=True, slots=True)
class Verdict:
    """One host's answer to one server. ``reason`` has the numbers: ``MEMORY_MB 3072 short (used 61440 of 64512)``.

    ``score`` orders the hosts that fit, higher is better; None for those that do not.
    """

    host: str
    fits: bool
    reason: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a server goes. ``host`` is None when nowhere: then ``cause`` says why and ``hint`` what would help.

    ``kept`` is set for one that already runs and stays. ``parts``: the providers below the host that each group of
    its request got, by group, and ``allocations`` what it takes of them, by uuid and class.
    """

    address: Address
    host: str | None
    verdicts: tuple[Verdict, ...]
    kept: bool = False
    cause: str = ""
    hint: str | None = None
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allocations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


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
