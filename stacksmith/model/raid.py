"""RAID volumes: when one is that which is wanted, for controllers cut sizes to their stripes, and what it is called."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from stacksmith.model.change import Change
from stacksmith.model.realised import RaidVolume, to_data
from stacksmith.model.types import JSON

TOLERANCE: Final = 0.01  # of the size
VOLUMES: Final = "raid"  # of the facts of a node and of its server: the volumes that there are
GIB: Final = 2**30
LEAST_BYTES: Final = 128 * 1024**2  # that sizes may always differ by


def most_of(level: str, drives: int) -> int:
    """Of how many of so many drives a volume can have the room, at most; all of them for a level that is not known."""
    parity = {"RAID5": 1, "RAID6": 2, "RAID50": 2, "RAID60": 4}
    if level in ("RAID1", "RAID10"):
        return max(1, drives // 2)
    return max(1, drives - parity.get(level, 0))


def fits(wanted: RaidVolume, found: RaidVolume) -> bool:
    """Whether ``found`` is ``wanted``; drives and size count when they were given."""
    return (
        (wanted.name, wanted.level) == (found.name, found.level)
        and (not wanted.drives or set(wanted.drives) == set(found.drives))
        and _is_near(wanted.size_bytes, found.size_bytes)
    )


def facts(volumes: Iterable[RaidVolume]) -> dict[str, JSON]:
    """What a node has, for its facts and those of its server."""
    return {VOLUMES: to_data(tuple(volumes))}


def there(facts: Mapping[str, JSON]) -> list[RaidVolume]:
    """The volumes that facts tell of; none where they were not read."""
    data = facts.get(VOLUMES)
    return [RaidVolume(**{**each, "drives": tuple(each["drives"])}) for each in data] if isinstance(data, list) else []


def told(volume: RaidVolume) -> str:
    """The volume in words: ``system (RAID1, 447.1 GiB)``."""
    size = f", {volume.size_bytes / GIB:.1f} GiB" if volume.size_bytes else ""
    return f"{volume.name} ({volume.level}{size})"


def deleted(volume: RaidVolume) -> str:
    """What the plan says of a volume that others take the place of."""
    return f"RAID volume {told(volume)} is deleted with what is on it"


def changed(changes: Iterable[Change]) -> frozenset[str]:
    """The names of the volumes that changes are of: ``system`` of ``raid[system].level``."""
    paths = [change.path.removeprefix("raid[") for change in changes if change.path.startswith("raid[")]
    return frozenset(path.rpartition("]")[0] for path in paths)


def as_applied(applied: Sequence[RaidVolume], found: Sequence[RaidVolume]) -> tuple[RaidVolume, ...]:
    """The found volumes, those that are still the applied ones as they were applied, and in that order."""
    kept = [each for each in applied if any(fits(each, there) for there in found)]
    return (*kept, *(there for there in found if not any(fits(each, there) for each in kept)))


def _is_near(wanted: int | None, found: int | None) -> bool:
    if wanted is None or found is None:
        return True
    return abs(wanted - found) <= max(LEAST_BYTES, wanted * TOLERANCE)
