"""Opens the hosts of a fleet and reads them, many at once, each under its own time limit."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from stacksmith.engine.job import words
from stacksmith.engine.retry import retried
from stacksmith.model.fleet import Host
from stacksmith.model.found import HostSnapshot, Snapshot
from stacksmith.model.node import Node
from stacksmith.providers.base import Deadline, Scope, Session, Transient
from stacksmith.providers.bmc import NotNow

log = logging.getLogger(__name__)

OVERDUE_SECONDS = 1.0  # what a provider may be late with its own TimedOut
AT_ONCE = 128  # places: of a rack of 500 no more sockets are open at a time than these need

Place = Host | Node
Open = Callable[[str, Place, Deadline], Session]
BUSY_SECONDS = 20.0  # so long a BMC may say that it cannot tell just now


class Sessions:
    """Open hosts, and what they were when read: ``snapshot`` has every host, ``sessions`` those that answered."""

    def __init__(self, snapshot: Snapshot, sessions: Mapping[str, Session]) -> None:
        self.snapshot, self.sessions = snapshot, sessions

    def close(self) -> None:
        """Closes every session."""
        for session in self.sessions.values():
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def observe(
    hosts: Mapping[str, Place], open_host: Open, scope: Scope | None, clock: Callable[[], float] = time.monotonic
) -> Sessions:
    """Opens and reads every host (without a scope only opens it), each in its thread within its ``timeout_seconds``,
    which count from its turn.

    A host that fails or does not answer in time has an ``error`` in the snapshot; its thread is left behind, and
    closes its session should it ever come.
    """
    done: SimpleQueue[_Visit] = SimpleQueue()
    coming, visits, waiting = deque(sorted(hosts.items())), list[_Visit](), set[_Visit]()
    while coming or waiting:
        while coming and len(waiting) < AT_ONCE:
            visit = _Visit(*coming.popleft(), clock)
            visits.append(visit)
            waiting.add(visit)
            work = (visit, open_host, scope, done)
            threading.Thread(target=_visit, args=work, name=f"observe-{visit.name}", daemon=True).start()
        seconds = min(visit.deadline.at for visit in waiting) + OVERDUE_SECONDS - clock()
        try:
            waiting.discard(done.get(timeout=max(0.0, seconds)))
        except Empty:
            for visit in [visit for visit in waiting if visit.deadline.at + OVERDUE_SECONDS <= clock()]:
                waiting.discard(visit)
                visit.give_up()
    return Sessions(
        Snapshot(tuple(visit.read for visit in visits)),
        {visit.name: visit.session for visit in visits if visit.session is not None},
    )


class _Visit:
    """One host being read. Whoever settles it first, its thread or the caller's patience, says what it gave."""

    def __init__(self, name: str, host: Place, clock: Callable[[], float]) -> None:
        self.name, self.host = name, host
        self.deadline = Deadline(clock() + host.timeout_seconds, clock)
        self.read = HostSnapshot(name, f"no answer in {host.timeout_seconds:g} s")
        self.session: Session | None = None
        self._unsettled = threading.Lock()

    def settle(self, read: HostSnapshot, session: Session | None) -> bool:
        """Takes what it gave; False when it had been given up."""
        if not self._unsettled.acquire(blocking=False):
            return False
        self.read, self.session = read, session
        return True

    def give_up(self) -> None:
        """Leaves it as it is: no answer."""
        self._unsettled.acquire(blocking=False)


def _patiently(session: Session, scope: Scope, deadline: Deadline) -> HostSnapshot:
    """What a place is; one that is busy is asked again for a while."""
    halted = threading.Event()

    def once() -> HostSnapshot:
        try:
            return session.observe(scope, deadline)
        except Transient as fault:
            if not isinstance(fault, NotNow):
                halted.set()
            raise

    until = Deadline(min(deadline.at, deadline.clock() + BUSY_SECONDS), deadline.clock)
    return retried(once, until, halted, lambda cause, attempt, wait: None)


def _visit(visit: _Visit, open_host: Open, scope: Scope | None, done: "SimpleQueue[_Visit]") -> None:
    """On the host's thread."""
    session: Session | None = None
    try:
        session = open_host(visit.name, visit.host, visit.deadline)
        read = _patiently(session, scope, visit.deadline) if scope is not None else HostSnapshot(visit.name)
    except Exception as fault:
        log.debug("reading %s failed", visit.name, exc_info=fault)
        _, cause, hint = words(fault)
        read = HostSnapshot(visit.name, f"{cause}; {hint}" if hint else cause)
    keep = session if read.error is None else None
    if session is not None and (not visit.settle(read, keep) or keep is None):
        session.close()
    elif session is None:
        visit.settle(read, None)
    done.put(visit)
