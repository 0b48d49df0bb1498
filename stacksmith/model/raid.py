"""When a RAID volume is the one that is wanted: controllers cut sizes to their stripes."""

from collections.abc import Sequence
from typing import Final

from stacksmith.model.realised import RaidVolume

TOLERANCE: Final = 0.01  # of the size
LEAST_BYTES: Final = 128 * 1024**2  # that sizes may always differ by


def fits(wanted: RaidVolume, found: RaidVolume) -> bool:
    """Whether ``found`` is ``wanted``; drives and size count when they were given."""
    return (
        (wanted.name, wanted.level) == (found.name, found.level)
        and (not wanted.drives or set(wanted.drives) == set(found.drives))
        and _is_near(wanted.size_bytes, found.size_bytes)
    )


def as_applied(applied: Sequence[RaidVolume], found: Sequence[RaidVolume]) -> tuple[RaidVolume, ...]:
    """The found volumes, those that are still the applied ones as they were applied, and in that order."""
    kept = [each for each in applied if any(fits(each, there) for there in found)]
    return (*kept, *(there for there in found if not any(fits(each, there) for each in kept)))


def _is_near(wanted: int | None, found: int | None) -> bool:
    if wanted is None or found is None:
        return True
    return abs(wanted - found) <= max(LEAST_BYTES, wanted * TOLERANCE)
