"""Tries again what failed by a transient fault."""

import math
from collections.abc import Callable
from threading import Event as Flag
from typing import TYPE_CHECKING, TypeVar

from stacksmith.providers.base import Busy, Deadline, Transient, Unserved

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0
FEW_TRIES = 5  # about 8 s: a server that is just restarted comes back in that

T = TypeVar("T")
Tell = Callable[[str, int, float], None]


def retried(call: Callable[[], T], until: Deadline, halted: Flag, tell: Tell, most_seconds: float = math.inf) -> T:
    """What ``call`` returns; on ``Transient`` it is called again after 0.5, 1, 2, … 15 s, each with a jitter of up to
    0.5 s, until the next wait would pass ``until`` or ``most_seconds`` since the first fault, however long the call
    took to get there, or ``halted`` is set; on ``Unserved`` 5 times at most. ``Busy`` is no fault: it counts until
    ``until`` alone, and what comes after it counts anew. ``tell`` gets cause, attempt and wait.

    Raises: the last Transient, or at once whatever else ``call`` raises.
    """
    try:
        return call()  # the usual way costs nothing of what follows
    except Transient as fault:
        first: Transient | None = fault

    def attempt() -> T:
        nonlocal first
        if first is None:
            return call()
        fault, first = first, None
        raise fault

    return _again(attempt, until, halted, tell, most_seconds)


def _again(attempt: Callable[[], T], until: Deadline, halted: Flag, tell: Tell, most_seconds: float) -> T:
    from tenacity import Retrying, retry_if_exception_type, wait_exponential, wait_random

    since: float | None = None  # the first of the faults that came one after the other
    busy = 0  # the attempts until then

    def over(state: "RetryCallState") -> bool:
        nonlocal since, busy
        fault = state.outcome.exception() if state.outcome else None
        if isinstance(fault, Unserved) and state.attempt_number - busy >= FEW_TRIES:
            return True
        now = until.clock()
        since = None if isinstance(fault, Busy) else now if since is None else since
        busy = state.attempt_number if since is None else busy
        end = until.at if since is None else min(until.at, since + most_seconds)
        return halted.is_set() or state.upcoming_sleep >= end - now

    def before_sleep(state: "RetryCallState") -> None:
        fault = state.outcome.exception() if state.outcome else None
        tell(str(fault), state.attempt_number, state.upcoming_sleep)

    def sleep(seconds: float) -> None:
        halted.wait(seconds)

    return Retrying(
        retry=retry_if_exception_type(Transient),
        wait=wait_exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS) + wait_random(0, FIRST_WAIT_SECONDS),
        stop=over,
        before_sleep=before_sleep,
        sleep=sleep,
        reraise=True,
    )(attempt)
