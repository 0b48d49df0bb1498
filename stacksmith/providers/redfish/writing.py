"""A change of a page: sent once, and read back, whatever the BMC answered."""

import time
from collections.abc import Callable
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish.fault import Failed
from stacksmith.providers.redfish.tree import Tree

POLL_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 5.0  # so long a change may take to be seen
LOST_SECONDS: Final = 2.0  # and one whose answer was lost on the way
BUSY_SECONDS: Final = 20.0  # so long a BMC may not be able to tell (iDRAC after each job)
LONG_SECONDS: Final = 300.0  # time limit of the answer to a change that BMCs take minutes for


class Ignored(Refused):
    """The BMC took a change, and it did not come about."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the page at ``path``, and the question whether it is so; ``what`` is the words for it."""

    path: str
    body: JSON
    what: str
    is_so: Callable[[], bool]
    read_seconds: float = 0.0


def write(tree: Tree, change: Change, deadline: Deadline) -> None:
    """Makes a change that is not so yet.

    Raises: NotNow and Refused when the BMC refused and it is not so all the same; Ignored; Transient and TimedOut when
    it was not to be seen whether it is so; Unreachable.
    """
    fault: ProviderError | None = None
    try:
        tree.connection.patch(change.path, change.body, deadline, change.read_seconds)
    except Unreachable:
        raise
    except ProviderError as answer:
        fault = answer
    unread = _unlike(tree, change, fault, deadline)
    if unread is None:
        return
    if isinstance(fault, Gone):
        raise Refused(str(fault))
    raise fault or unread


def _unlike(tree: Tree, change: Change, fault: ProviderError | None, deadline: Deadline) -> ProviderError | None:
    """Why it cannot be said to be so; None once it is."""
    is_final = isinstance(fault, Refused | NotNow | Gone | Failed)  # not carried out: it is so now, or never
    patience = SETTLE_SECONDS if fault is None or isinstance(fault, TimedOut) else LOST_SECONDS
    began = deadline.clock()
    while True:
        unread: ProviderError | None = None
        try:
            if change.is_so():
                return None
        except Unreachable:
            raise
        except (Transient, TimedOut) as why:
            unread = why
        waited = deadline.clock() - began
        if unread is None and (is_final or waited >= patience):
            return Ignored(f"cannot set {change.what} of {tree.name}: its BMC took the change, and nothing came of it")
        if waited >= BUSY_SECONDS or deadline.seconds < POLL_SECONDS:
            return unread or TimedOut(f"cannot set {change.what} of {tree.name}: it is not so yet")
        time.sleep(POLL_SECONDS)
