"""Connections to one libvirt host: a small pool, one thread in each, opened under a deadline and kept alive.

Two threads must never be in calls on one virConnect (a failing keepalive hangs all but one of them), and
virConnectOpen has no time limit: so every connection lives in a thread of its own that can be abandoned.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import field
from typing import Any, TypeVar

import libvirt

from stacksmith.frozen import dataclass
from stacksmith.providers.base import Busy, Deadline, Gone, ProviderError, Refused, TimedOut, Transient

T = TypeVar("T")

WARM_TO_READ, WARM_TO_WRITE = 2, 4  # connections opened at once: opening one takes four round trips
KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 2, 3  # a silent daemon is given up after 2 * (3 + 1) seconds

_GONE = frozenset(
    {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_DOMAIN_METADATA,
    }
)
_TRANSIENT = frozenset(
    {libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY, libvirt.VIR_ERR_AGENT_UNRESPONSIVE}
)
_PASSING = ("is starting up", 'Failed to get "write" lock')
_AT_WORK = ("asynchronous jobs running", "still being allocated", "is still in use")  # while a volume is copied
_DENIED = ("Permission denied", "Host key verification failed", "authentication failed", "does not match the hostname")
# What ssh says, and what to do about it: it is run so that it asks nothing.
_SSH_ADVICE = {
    "Host key verification failed": "connect once with ssh, and compare the host's key",
    "Permission denied (": "ssh must get in without a question: by a key without a passphrase, or one in ssh-agent",
}


@dataclass(slots=True)
class Link:
    """An open connection inside its thread. ``pools`` are handles already looked up on it, by pool name."""

    connect: Any
    pools: dict[str, Any] = field(default_factory=dict)


def _is_lost(error: libvirt.libvirtError) -> bool:
    """True when the connection itself is the fault (codes 38 and 1 of the RPC domain, and no connection at all)."""
    return error.get_error_code() == libvirt.VIR_ERR_NO_CONNECT or (
        error.get_error_domain() in {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}
        and error.get_error_code()
        in {libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_RPC}
    )


def fault(error: libvirt.libvirtError) -> ProviderError:
    """The provider error for one of libvirt, in libvirt's own words."""
    text, code = str(error.get_error_message() or error), error.get_error_code()
    if code in _GONE:
        return Gone(text)
    if any(words in text for words in _DENIED):
        return Refused(text, hint=next((advice for words, advice in _SSH_ADVICE.items() if words in text), None))
    if any(words in text for words in _AT_WORK):
        return Busy(text)
    if _is_lost(error) or code in _TRANSIENT or any(words in text for words in _PASSING):
        return Transient(text)
    return Refused(text)


class _EventLoop:
    """libvirt's event loop, without which keepalive, console streams and close callbacks do nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = False

    def ensure(self) -> None:
        """Starts the loop once in the process; it must run before the first connection opens."""
        with self._lock:
            if self._running:
                return
            libvirt.registerErrorHandler(lambda context, error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=self._run, name="libvirt-events", daemon=True).start()
            self._running = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


_events = _EventLoop()


def unattended(uri: str) -> str:
    """The address with which ssh asks nothing, neither for a password nor about a host's key (libvirt's ``no_tty``)."""
    if "+ssh://" not in uri or "no_tty=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}no_tty=1"


def _open(uri: str, read_only: bool) -> Link:
    uri = unattended(uri)
    connect = libvirt.openReadOnly(uri) if read_only else libvirt.open(uri)
    try:
        connect.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
    return Link(connect)


class _Lane:
    """One connection and its thread; calls are made in the order they come."""

    def __init__(self, uri: str, read_only: bool) -> None:
        self._uri, self._read_only = uri, read_only
        self._jobs: queue.SimpleQueue[tuple[Callable[[Link], Any], Future[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"libvirt {uri}", daemon=True).start()

    def submit(self, work: Callable[[Link], T]) -> "Future[T]":
        future: Future[T] = Future()
        self._jobs.put((work, future))
        return future

    def stop(self) -> None:
        """Closes the connection once the thread is free; does not wait."""
        self._jobs.put(None)

    def _run(self) -> None:
        link: Link | None = None
        while (job := self._jobs.get()) is not None:
            work, future = job
            try:
                link = link or _open(self._uri, self._read_only)
                future.set_result(work(link))
            except libvirt.libvirtError as error:
                link = None if _is_lost(error) else link
                future.set_exception(fault(error))
            except BaseException as error:  # whatever it is belongs to the caller, who waits for it
                future.set_exception(error)
            del work, future, job
        if link is not None:
            _close(link)


def _close(link: Link) -> None:
    link.pools.clear()
    try:
        link.connect.close()
    except libvirt.libvirtError:
        return  # it is gone already


class ConnectionPool:
    """Up to ``size`` connections, opened when they are needed. Its methods may be called from any thread."""

    def __init__(self, uri: str, size: int, read_only: bool) -> None:
        if not uri.strip():
            # libvirt would silently open the hypervisor of this machine.
            raise Refused("cannot open a host: its libvirt URI is empty", "libvirt")
        self.uri, self.size, self.read_only = uri, size, read_only
        self._idle: list[_Lane] = []
        self._open = 0
        self._changed = threading.Condition()
        self._closed = False

    def call(self, work: Callable[[Link], T], deadline: Deadline) -> T:
        """What ``work`` returns, run in the thread of a free connection.

        Raises: TimedOut at the deadline (the call may still happen), and what ``fault`` makes of libvirt's errors.
        """
        _events.ensure()
        lane = self._borrow(deadline)
        try:
            result = lane.submit(work).result(deadline.seconds)
        except FutureTimeout:
            self._discard(lane)
            raise TimedOut(f"no answer from {self.uri} in the time limit") from None
        except BaseException:
            self._give_back(lane)
            raise
        self._give_back(lane)
        return result

    def warm(self, count: int) -> None:
        """Begins to open connections until there are ``count``; waits for none. One that cannot be opened is tried
        again by the call that gets it."""
        _events.ensure()
        with self._changed:
            missing = 0 if self._closed else min(count, self.size) - self._open
            lanes = [_Lane(self.uri, self.read_only) for _ in range(missing)]
            self._open += len(lanes)
            self._idle += lanes
            self._changed.notify(len(lanes))
        for lane in lanes:
            lane.submit(lambda link: None)

    def spread(self, works: Sequence[Callable[[Link], T]], deadline: Deadline) -> list[T]:
        """What each of ``works`` returns, in order, run side by side on as many connections as there are."""
        if len(works) == 1:
            return [self.call(works[0], deadline)]
        with ThreadPoolExecutor(min(len(works), self.size)) as threads:
            return list(threads.map(lambda work: self.call(work, deadline), works))

    @property
    def warm_count(self) -> int:
        """How many connections are open, or opening."""
        return self._open

    def close(self) -> None:
        """Closes idle connections in their own threads; busy ones close when their call ends. Never blocks."""
        with self._changed:
            self._closed = True
            lanes, self._idle = self._idle, []
            self._changed.notify_all()
        for lane in lanes:
            lane.stop()

    def _borrow(self, deadline: Deadline) -> _Lane:
        with self._changed:
            while not self._idle and self._open >= self.size and not self._closed:
                if not self._changed.wait(deadline.seconds):
                    raise TimedOut(f"all {self.size} connections to {self.uri} were busy until the time limit")
            if self._closed:
                raise Transient(f"the session of {self.uri} is closed")
            if self._idle:
                return self._idle.pop()
            self._open += 1
        return _Lane(self.uri, self.read_only)

    def _give_back(self, lane: _Lane) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(lane)
                self._changed.notify()
                return
        lane.stop()

    def _discard(self, lane: _Lane) -> None:
        lane.stop()
        with self._changed:
            self._open -= 1
            self._changed.notify()
