"""One field's change and what it does to the guest."""

from enum import IntEnum, StrEnum
from typing import Any

from stacksmith.frozen import dataclass


class Impact(IntEnum):
    """What a change does to the guest, mildest first (rule 5). Worse ones need ``--allow``."""

    NONE = 0
    LIVE = 1
    RESTART = 2
    MIGRATE = 3
    REBUILD = 4
    REPLACE = 5
    DATA_LOSS = 6

    @property
    def word(self) -> str:
        """The word of the command line and the plan: ``data-loss``."""
        return self.name.lower().replace("_", "-")


class Status(StrEnum):
    """Where a difference came from, by comparing wanted, applied and found (rule 4)."""

    CHANGE = "change"  # applied = found, wanted differs: the file was edited
    DRIFT = "drift"  # applied = wanted, found differs: the live object was edited
    CONFLICT = "conflict"  # all three differ: apply needs --overwrite-drift


@dataclass(frozen=True, slots=True)
class Change:
    """A difference at ``path`` (``ram_mib``, ``disks[vdb].size_bytes``); values are JSON data, None is absence.

    ``saved_only`` is set when the running guest already differs from the saved definition at this path only:
    the value takes effect at the next restart.
    """

    path: str
    wanted: Any
    applied: Any
    found: Any
    status: Status
    impact: Impact = Impact.LIVE
    note: str = ""
    saved_only: bool = False
    sensitive: bool = False
