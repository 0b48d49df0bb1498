"""Calls as a world logs them, and faults that a test plants in their way."""

from collections.abc import Callable
from enum import StrEnum

from stacksmith.frozen import dataclass
from stacksmith.providers.base import Gone, ProviderError, Refused, Stale, TimedOut, Transient

WRITES = frozenset({"create", "update", "delete", "migrate"})


class Crash(BaseException):
    """The process dies here: no handler of ours may stop it, what was done stays done."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a host received. ``kind`` and ``address`` are empty for open and observe.

    operation: open, observe, read, create, update, delete or migrate.
    """

    host: str
    operation: str
    kind: str = ""
    address: str = ""

    @property
    def writes(self) -> bool:
        """True for a call that may change the host."""
        return self.operation in WRITES


# Called with each call and each point it reaches: ``begin``, the names of its parts as they are done, ``end``.
Hook = Callable[[Call, str], None]


class Effect(StrEnum):
    """What a fault does."""

    TRANSIENT = "transient"
    REFUSED = "refused"
    STALE = "stale"
    GONE = "gone"
    TIMED_OUT = "timed-out"
    HANG = "hang"  # no answer until the deadline, then TimedOut
    CRASH = "crash"


_ERRORS: dict[Effect, type[ProviderError]] = {
    Effect.TRANSIENT: Transient,
    Effect.REFUSED: Refused,
    Effect.STALE: Stale,
    Effect.GONE: Gone,
    Effect.TIMED_OUT: TimedOut,
}


@dataclass(slots=True)
class Fault:
    """Strikes at calls that match: empty fields match everything, ``point`` is where in the call.

    It lets ``skip`` matches pass, then strikes ``times`` times; -1 is for ever.
    """

    effect: Effect
    operation: str = ""
    kind: str = ""
    address: str = ""
    host: str = ""
    point: str = "begin"
    skip: int = 0
    times: int = 1
    message: str = ""

    def strikes(self, call: Call, point: str) -> bool:
        """True when this call meets the fault; each match is counted."""
        if not self.times or (point != self.point and self.point):
            return False
        pairs = (
            (self.operation, call.operation),
            (self.kind, call.kind),
            (self.address, call.address),
            (self.host, call.host),
        )
        if any(mine and mine != theirs for mine, theirs in pairs):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= self.times > 0
        return True

    def error(self) -> BaseException:
        """The exception of an effect that is one."""
        if self.effect is Effect.CRASH:
            return Crash(self.message or "planted crash")
        return _ERRORS[self.effect](self.message or f"planted fault: {self.effect}")
