"""What a rebalance is for, and how far its plan comes."""

from stacksmith.frozen import dataclass

TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Aim:
    """``drain`` are hosts to empty; else ``even`` asks for an even fleet; else broken rules are to be kept.

    tolerance: by how much the shares of hosts may differ, 0.1 for ten percent. ``max_moves``: no more migrations.
    """

    drain: frozenset[str] = frozenset()
    even: bool = False
    tolerance: float = TOLERANCE
    max_moves: int | None = None


@dataclass(frozen=True, slots=True)
class Evenness:
    """How much of one resource class hosts use: (host, share of its capacity), in the availability zone where they
    differ most, the most used first. ``zone`` is None for hosts in none."""

    resource_class: str
    shares: tuple[tuple[str, float], ...] = ()
    zone: str | None = None

    @property
    def spread(self) -> float:
        """By how much the most and the least used differ."""
        return self.shares[0][1] - self.shares[-1][1] if self.shares else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is so after the migrations. ``left`` says, one a line, what of the aim is not reached.

    ``is_fewest``: it is shown that fewer migrations do not do it.
    """

    is_fewest: bool = True
    left: tuple[str, ...] = ()
    before: Evenness | None = None
    after: Evenness | None = None
    tolerance: float = TOLERANCE
