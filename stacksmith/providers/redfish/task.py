"""What a BMC does later: followed to its end, by whatever it shows of it (DSP0266, asynchronous operations)."""

import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.providers.base import Deadline, Gone, Refused, TimedOut, Transient
from stacksmith.providers.bmc import Unreachable
from stacksmith.providers.redfish import reading
from stacksmith.providers.redfish.connection import Answer, Connection
from stacksmith.providers.redfish.fault import messages
from stacksmith.providers.redfish.tree import Tree

TASKS: Final = "/redfish/v1/TaskService/Tasks"
DONE: Final = frozenset({"Completed"})
FAILED: Final = frozenset({"Exception", "Killed", "Cancelled", "Interrupted", "Failed", "CompletedWithErrors"})
WAITING: Final = frozenset({"Pending", "Scheduled"})  # for a boot, or just for its turn
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.2, 5.0
FRESH_SECONDS: Final = 10.0  # so long a task that nobody knows may be too young to be known
QUEUE_SECONDS: Final = 20.0  # a task that still waits after so long waits for a boot


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended, or that it waits for a boot; the ids of its messages, and their texts."""

    is_waiting: bool = False
    identifiers: tuple[str, ...] = ()
    words: str = ""


def follow(connection: Connection, path: str, deadline: Deadline, *, may_wait: bool = False) -> Outcome:
    """The end of the task at ``path``: the first time that it is said to be done, whatever is said later.

    A task that is not known, or not any more, counts as done: what it was for is read back. ``may_wait``: one that
    waits for a boot is left alone.

    Raises: Refused when it failed; TimedOut; Unreachable.
    """
    wait, began, is_known, waiting_since = FIRST_POLL_SECONDS, deadline.clock(), False, None
    while True:
        try:
            answer = _looked(connection, path, deadline)
        except Gone:
            if is_known or deadline.clock() - began > FRESH_SECONDS:
                return Outcome()
            answer = None
        if answer is not None:
            state, is_known = _state(answer), True
            if state in FAILED:
                raise Refused(f"a task of {connection.name} has ended as {state}: {_outcome(answer).words}")
            if state in DONE:
                return _outcome(answer)
            waiting_since = (waiting_since or deadline.clock()) if state in WAITING else None
        if may_wait and waiting_since is not None and deadline.clock() - waiting_since > QUEUE_SECONDS:
            return Outcome(is_waiting=True)
        if deadline.seconds < wait:
            raise TimedOut(f"a task of {connection.name} takes too long: {path}")
        time.sleep(wait)
        wait = min(wait * 1.5, LONGEST_POLL_SECONDS)


def is_working(tree: Tree, deadline: Deadline) -> bool:
    """Whether the BMC has any task that has not ended; none when it does not list them."""
    return running(tree, listed(tree, deadline) or (), deadline, waiting=frozenset()) is not None


def waits(tree: Tree, identifiers: Collection[str], deadline: Deadline) -> bool:
    """Whether a task that the BMC lists waits for a boot: it says so itself, or ended with one of these messages. True
    where it lists none ever: it does not tell that none waits."""
    known = listed(tree, deadline)
    for path in sorted(known or ()):
        with suppress(Gone):
            answer = tree.connection.look(path, deadline)
            if _state(answer) in WAITING or set(_outcome(answer).identifiers) & set(identifiers):
                return True
    return known is None


def listed(tree: Tree, deadline: Deadline) -> set[str] | None:
    """The paths of the tasks that the BMC lists; None when it lists none ever."""
    try:
        return set(reading.links(tree.get(TASKS, deadline)))
    except Gone:
        return None


def running(tree: Tree, paths: Iterable[str], deadline: Deadline, waiting: frozenset[str] = WAITING) -> str | None:
    """One of these tasks that has neither ended nor waits; one that is not known any more does not run."""
    for path in sorted(paths):
        with suppress(Gone):
            if _state(tree.connection.look(path, deadline)) not in DONE | FAILED | waiting:
                return path
    return None


def has_failed(tree: Tree, path: str, deadline: Deadline) -> bool:
    """Whether the task ended badly; one that is not known any more did not."""
    with suppress(Gone):
        return _state(tree.connection.look(path, deadline)) in FAILED
    return False


def _looked(connection: Connection, path: str, deadline: Deadline) -> Answer | None:
    """What is shown of the task; None when it cannot be had just now."""
    try:
        return connection.look(path, deadline)
    except Unreachable:
        raise
    except (Transient, TimedOut):
        return None


def _state(answer: Answer) -> str:
    """The state; a monitor that has ended shows what the write would have answered, in place of a task."""
    told = answer.page.get("TaskState") or answer.page.get("JobState")
    return str(told or ("Running" if answer.status == 202 else "Completed"))


def _outcome(answer: Answer) -> Outcome:
    identifiers, words = messages(answer.page.get("Messages"))
    return Outcome(False, tuple(identifiers), words or "without a reason")
