"""One open libvirt host: its connections, its storage, and what its drivers share."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TypeVar

from lxml import etree

from stacksmith.frozen import dataclass
from stacksmith.model.fleet import Host
from stacksmith.providers.base import Deadline, TimedOut
from stacksmith.providers.libvirt.absence import FRESH_SECONDS, Absence
from stacksmith.providers.libvirt.connection import ConnectionPool, Link
from stacksmith.providers.libvirt.storage import Storage, VolumeFacts

T = TypeVar("T")


@dataclass(slots=True)
class LibvirtHost:
    """A host as its drivers use it.

    ``bases`` are the facts of image files already looked up, by path;
    ``no_domain`` and ``no_network`` tell what is not there.
    """

    name: str
    declared: Host
    connections: ConnectionPool
    clock: Callable[[], float]
    storage: Storage
    bases: dict[str, VolumeFacts] = field(default_factory=dict)
    no_domain: Absence = field(init=False)
    no_network: Absence = field(init=False)
    looking: threading.Lock = field(default_factory=threading.Lock)
    _seen: Mapping[str, VolumeFacts] = field(default_factory=dict)
    _seen_until: float = 0.0
    _virt_type: str | None = None
    _capabilities: str | None = None
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _locking: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.no_domain = Absence(lambda connect: connect.listAllDomains(0), self.clock)
        self.no_network = Absence(lambda connect: connect.listAllNetworks(0), self.clock)

    def call(self, work: Callable[[Link], T], deadline: Deadline) -> T:
        """What ``work`` returns, run in the thread of a free connection. Raises: TimedOut, Transient, Refused, Gone."""
        if not deadline.seconds:
            raise TimedOut(f"the time limit passed before {self.name} was asked")
        return self.connections.call(work, deadline)

    def spread(self, works: Sequence[Callable[[Link], T]], deadline: Deadline) -> list[T]:
        """What each of ``works`` returns, in order, run side by side."""
        return self.connections.spread(works, deadline)

    def default_deadline(self) -> Deadline:
        """The time limit of one read of this host."""
        return Deadline(self.clock() + self.declared.timeout_seconds, self.clock)

    def saw(self, images: Iterable[VolumeFacts]) -> None:
        """Takes the facts of whole image files, as the host was just read."""
        self._seen, self._seen_until = {facts.path: facts for facts in images}, self.clock() + FRESH_SECONDS

    def seen(self, path: str) -> VolumeFacts | None:
        """The facts of a whole image file, if it was read just now."""
        return self._seen.get(path) if self.clock() <= self._seen_until else None

    def virt_type(self, link: Link) -> str:
        """kvm or qemu: as declared; ``auto`` takes kvm when the host says it has it (it may say so wrongly)."""
        if self.declared.virt_type != "auto":
            return self.declared.virt_type
        if self._virt_type is None:
            root = etree.fromstring(self.capabilities(link).encode())
            self._virt_type = "qemu" if root.find("guest/arch/domain[@type='kvm']") is None else "kvm"
        return self._virt_type

    def capabilities(self, link: Link) -> str:
        """The host's capabilities, as they were when first asked for."""
        if self._capabilities is None:
            self._capabilities = str(link.connect.getCapabilities())
        return self._capabilities

    @contextmanager
    def alone(self, name: str, deadline: Deadline) -> Iterator[None]:
        """Keeps other threads of this run from the same file. Raises: TimedOut."""
        with self._locking:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(timeout=deadline.seconds):
            raise TimedOut(f"another step was at work on {name} until the time limit")
        try:
            yield
        finally:
            lock.release()
