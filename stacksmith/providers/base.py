"""What a provider is. Offline: rules that need no host. Online: a session per host, a driver per kind.

Drivers do not retry, print, log, or sleep unbounded, and know no source places: they raise the errors below and the
engine adds address, retry and deadline. Every call ends by its deadline, a hung daemon included.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol, runtime_checkable

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.change import Change, Impact
from stacksmith.model.fleet import Host
from stacksmith.model.found import Found, HostSnapshot, Mark
from stacksmith.model.realised import ImageFile, Policy, Realised


class ProviderError(Exception):
    """A fault of one operation. ``path`` is the attribute it is about, when there is one."""

    def __init__(self, message: str, path: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.path, self.hint = path, hint


class Transient(ProviderError):
    """May pass by itself: connection lost, too many requests. The engine tries again for a while."""


class Busy(Transient):
    """The host is at work on something that ends by itself, such as a copy of a large file. The engine tries again for
    as long as the step has."""


class Unserved(Transient):
    """Nobody serves what is asked for: the connection is refused, or nobody knows the name. It is mostly mistyped, so
    the engine tries a few times only."""


class Refused(ProviderError):
    """The host will not do it: wrong value, no space, name taken. Trying again changes nothing."""


class Stale(ProviderError):
    """The object is not what the plan saw."""


class Gone(ProviderError):
    """The object no longer exists."""


class TimedOut(ProviderError):
    """The deadline passed; the operation may or may not have happened."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock."""

    at: float
    clock: Callable[[], float]

    @property
    def seconds(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())


@dataclass(frozen=True, slots=True)
class Scope:
    """What to read: the marks of ``fleet``/``stack``, and objects that carry no mark, by their native names.

    ``names`` maps native names of volumes and image files (``model.naming``) to addresses; addresses of images have
    no host. ``images`` are the files that each image of the stack consists of, wanted or recorded: two images may
    share a file, which ``names`` cannot say. An image that is not in it is found by ``names`` alone.
    """

    fleet: str
    stack: str
    names: Mapping[str, Address]
    images: Mapping[Address, tuple[ImageFile, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WaitFor:
    """What a started guest is waited for: ``lease`` or ``agent`` (an address by it), or ``console`` with a text."""

    source: str
    timeout_seconds: float = 120.0
    text: str = ""


class Contents(Protocol):
    """Bytes that a create needs and that no plan or state holds."""

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        """Files by path inside the drive. Raises: Stale when the stack files no longer give ``digest``."""

    def image_file(self, checksum: str) -> Path:
        """A verified local file with these bytes, downloaded when needed. Raises: Refused, Transient."""


def _silent(detail: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Target:
    """One object to act on: its identity and what it becomes.

    ``mark`` is written on the object (``mark.applied`` is the new spec's data, without secrets); ``wanted`` is None
    for a delete: then ``mark.applied`` is the data of the object as planned. ``found`` is the object as just re-read,
    None when there is none. ``progress`` takes short words on how far a long call is (``uploading 40 of 149 MiB``).
    ``reached`` notes durably how far a long operation has come, and ``stage`` is what a killed run had noted of it.
    """

    mark: Mark
    host: str
    wanted: Realised | None
    policy: Policy
    found: Found | None = None
    changes: Sequence[Change] = ()
    allowed: Impact = Impact.LIVE
    wait_for: WaitFor | None = None
    progress: Callable[[str], None] = field(default=_silent, compare=False, repr=False)
    stage: str = ""
    reached: Callable[[str], None] = field(default=_silent, compare=False, repr=False)


class Driver(Protocol):
    """Makes, changes and removes objects of one kind on one host. Each call is safe to repeat after a crash."""

    def read(self, mark: Mark) -> Found | None:
        """The object now, or None. Cheap: one object."""

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Finds or makes: completes what a killed run left. Raises: Refused when the name is another's."""

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Applies ``target.changes``, no more; never interrupts the guest worse than ``target.allowed``."""

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Removes the object and all its leftovers; nothing to remove is success. Raises: Refused when in use."""


@runtime_checkable
class Migrating(Protocol):
    """A driver whose objects can go to another host of the same provider."""

    def migrate(self, target: Target, destination: Driver, contents: Contents, deadline: Deadline) -> Found:
        """Brings the object from this host to ``destination``'s, live when it runs, as it is, and gives it there.

        Completes what a killed run left: at its end there is one object, and nothing of it here. When it fails, the
        object is here as it was and nothing of it there. Raises: Refused, TimedOut, Transient, Gone.
        """


class Session(Protocol):
    """An open host. Its methods may be called from several threads at once."""

    host: str
    drivers: Mapping[str, Driver]

    def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
        """The whole host in bulk reads. Raises: Transient, TimedOut."""

    def close(self) -> None:
        """Gives the connections back; never blocks on a dead host."""


class ProviderRules(Protocol):
    """The offline half."""

    name: str

    def impact(self, kind: str, change: Change, found: Found) -> Change:
        """The change with ``impact`` and ``note`` set. ``Impact.REPLACE`` when it cannot be done in place."""

    def check(self, kind: str, wanted: Realised, host: Host) -> Sequence[tuple[str, str]]:
        """Faults that need no host to see, as (attribute path, cause)."""


class ProviderType(ProviderRules, Protocol):
    """The offline half, and the way to open the online one."""

    def open(self, name: str, host: Host, read_only: bool, deadline: Deadline) -> Session:
        """A session. Raises: Transient, Refused, TimedOut."""
