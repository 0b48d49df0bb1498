"""Orders the hosts that fit: nova's spread, its opposite, and alignment for what spread leaves over."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf, isinf, sqrt
from typing import Protocol

from stacksmith.frozen import dataclass
from stacksmith.placement.request import CLASSES, Strategy
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit

# One member near or far outweighs all of the free room, whose parts add up to 3 at most: Nova's documentation promises
# that a soft rule is kept where it can be, which its default multiplier of 1.0 does not.
SOFT = 4.0
DIGITS = 6


class Weigher(Protocol):
    """Orders the hosts that take a unit."""

    def scores(self, unit: Unit, sites: Sequence[Site]) -> Sequence[float]:
        """A score for each of the sites, which are all that take the unit now; higher is better."""

    def words(self, unit: Unit, sites: Sequence[Site]) -> Sequence[str]:
        """How each score comes about, in words that may be empty."""


class Steady(ABC):
    """A weigher whose score of a host does not depend on other hosts.

    ``rises``: a score may also grow while a batch is placed.
    """

    __slots__ = ()
    rises: bool

    @abstractmethod
    def score(self, unit: Unit, site: Site) -> float:
        """The score of one host, higher is better."""

    def scores(self, unit: Unit, sites: Sequence[Site]) -> list[float]:
        """The score of each."""
        return [self.score(unit, site) for site in sites]

    def words(self, unit: Unit, sites: Sequence[Site]) -> list[str]:
        """The free room that decides is told already."""
        return [""] * len(sites)


@dataclass(frozen=True, slots=True)
class Spread(Steady):
    """The sum of free VCPU, MEMORY_MB and DISK_GB, each as a share of the emptiest host (nova's default weighers).

    The shares are of the emptiest host before the batch, so that a host's score does not depend on other hosts.
    """

    most_free: Mapping[str, float]
    rises: bool = False

    def score(self, unit: Unit, site: Site) -> float:
        """Free room, 0 to 3, and the soft groups."""
        return _free(site, self.most_free) + _soft(unit, site)


@dataclass(frozen=True, slots=True)
class Pack(Steady):
    """The opposite of ``Spread``: the fullest host that fits."""

    most_free: Mapping[str, float]
    rises: bool = True

    def score(self, unit: Unit, site: Site) -> float:
        """Room in use, 0 to 3, and the soft groups."""
        return len(self.most_free) - _free(site, self.most_free) + _soft(unit, site)


@dataclass(frozen=True, slots=True)
class Alignment(Steady):
    """The cosine between what is asked and what is free: a host short of memory gets what needs little of it.

    Biggest first, it places what the other weighers leave over on hosts of unlike shapes.
    """

    most_free: Mapping[str, float]
    rises: bool = True

    def score(self, unit: Unit, site: Site) -> float:
        """The cosine, 0 to 1, and the soft groups."""
        product = asked = left = 0.0
        amounts = dict(unit.amounts)
        for name, most in self.most_free.items():
            want, free = amounts.get(name, 0) / most, min(1.0, site.free(name) / most)
            product += want * free
            asked += want * want
            left += free * free
        cosine = product / sqrt(asked * left) if asked and left else 0.0
        return round(cosine, DIGITS) + _soft(unit, site)


def make_weigher(strategy: Strategy, sites: Sequence[Site]) -> Steady:
    """The weigher of a strategy over these hosts as they are before the batch."""
    return (Spread if strategy is Strategy.SPREAD else Pack)(most_free(sites))


def most_free(sites: Sequence[Site]) -> dict[str, float]:
    """The most that any one host has free, by weighed class; classes of which none has a known amount are left out."""
    found = {name: max((f for s in sites if not isinf(f := s.free(name))), default=0.0) for name in CLASSES}
    return {name: most for name, most in found.items() if most > 0}


def _free(site: Site, most: Mapping[str, float]) -> float:
    """Rounded, so that equal hosts stay equal and the order of names decides."""
    if site.weight is not None:
        return site.weight
    used, capacity, total = site.used, site.capacity, 0.0
    for name, unit in most.items():
        room = capacity.get(name, 0.0)
        if room == inf:
            total += 1.0
        elif (left := room - used.get(name, 0)) > 0:
            total += left / unit
    site.weight = round(total, DIGITS)
    return site.weight


def _soft(unit: Unit, site: Site) -> float:
    total = 0.0
    for group, sign in unit.soft:
        total += SOFT * sign * site.members.get(group, 0)
    return total
