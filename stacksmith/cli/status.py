"""Exit statuses."""

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacksmith.planner.plan import Plan


class Status(IntEnum):
    """What a command ends with; ``apply`` also 128 + the number of a signal."""

    OK = 0
    ERROR = 1
    CHANGES = 2  # plan --detailed-exitcode
    STALE = 5
    LOCKED = 6
    REFUSED = 7
    INTERRUPTED = 130


class DriftStatus(IntEnum):
    """What ``drift`` ends with."""

    IN_SYNC = 0
    ERROR = 1
    DRIFT = 2
    PENDING = 3
    UNREAD = 4


def drift_status(plan: "Plan", is_whole: bool = True) -> DriftStatus:
    """The most telling of: drift that was seen, hosts that were not read, changes that were not applied.

    A plan that is not whole lacks changes that cannot be planned.
    """
    if plan.deviations:
        return DriftStatus.DRIFT
    if plan.unreachable or plan.unknown:
        return DriftStatus.UNREAD
    return DriftStatus.PENDING if plan.steps or not is_whole else DriftStatus.IN_SYNC
