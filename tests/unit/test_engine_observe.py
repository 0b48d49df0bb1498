"""Reading a fleet."""

import threading

import pytest
from engine_parts import FLEET, STACK, OtherSession, create

from stacksmith.engine import observe as module
from stacksmith.engine.observe import observe
from stacksmith.model.fleet import Host
from stacksmith.model.found import HostSnapshot
from stacksmith.providers.base import Deadline, Refused, Scope, Session, TimedOut, Transient
from stacksmith.providers.memory.provider import MemoryProvider, forget, world

SCOPE = Scope(FLEET, STACK, {})


def fleet(*names: str, timeout_seconds: float = 30.0) -> dict[str, Host]:
    return {name: Host(libvirt="memory:observe", timeout_seconds=timeout_seconds) for name in names}


def test_every_host_is_read_in_order_of_name_and_its_session_stays_open() -> None:
    provider = MemoryProvider()
    try:
        world("memory:observe").add_unmanaged("hv2", "volume", "theirs", create("volume.a").wanted)  # type: ignore[type-var,arg-type]
        with observe(
            fleet("hv3", "hv1", "hv2"), lambda name, host, deadline: provider.open(name, host, True, deadline), SCOPE
        ) as seen:
            assert [host.host for host in seen.snapshot.hosts] == ["hv1", "hv2", "hv3"]
            assert [host.error for host in seen.snapshot.hosts] == [None] * 3
            assert [one.name for one in seen.snapshot.hosts[1].unmanaged] == ["theirs"]
            assert sorted(seen.sessions) == ["hv1", "hv2", "hv3"]
    finally:
        forget("memory:observe")


def test_fleet_without_hosts_is_an_empty_snapshot() -> None:
    with observe({}, lambda name, host, deadline: pytest.fail("opened"), SCOPE) as seen:
        assert (seen.snapshot.hosts, dict(seen.sessions)) == ((), {})


def test_hosts_are_read_at_the_same_time() -> None:
    together = threading.Barrier(20, timeout=60)

    def open_host(name: str, host: Host, deadline: Deadline) -> Session:
        together.wait()
        return OtherSession(name, {}, HostSnapshot(name))

    names = [f"hv{number:02}" for number in range(20)]
    assert [host.error for host in observe(fleet(*names, timeout_seconds=120), open_host, SCOPE).snapshot.hosts] == [
        None
    ] * 20


def test_no_more_hosts_than_so_many_are_read_at_a_time_and_the_time_of_each_counts_from_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    lock, now, most = threading.Lock(), 0.0, 0
    being_read: set[str] = set()
    left: list[float] = []

    def pass_by() -> None:
        nonlocal now
        now += 20.0  # two waves take longer than the 30 s that each host has

    class Slow(OtherSession):
        def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
            nonlocal most
            with lock:
                left.append(deadline.seconds)
                being_read.add(self.host)
                most = max(most, len(being_read))
            together.wait()  # three are there before one of them ends
            with lock:
                being_read.remove(self.host)
            return HostSnapshot(self.host)

    together = threading.Barrier(3, pass_by, timeout=60)
    names = [f"hv{number:02}" for number in range(9)]
    seen = observe(fleet(*names), lambda name, host, deadline: Slow(name, {}), SCOPE, lambda: now)
    assert [host.error for host in seen.snapshot.hosts] == [None] * 9
    assert (most, now, left) == (3, 60.0, [30.0] * 9)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Transient("connection refused by qemu+ssh://root:hunter2@hv1/system"), "qemu+ssh://root:***@hv1/system"),
        (Refused("unknown scheme"), "unknown scheme"),
        (TimedOut("no answer"), "no answer"),
        (ZeroDivisionError("capacity"), "ZeroDivisionError: capacity"),
    ],
)
def test_host_that_fails_has_an_error_and_the_others_are_read(fault: Exception, words: str) -> None:
    def open_host(name: str, host: Host, deadline: Deadline) -> Session:
        if name == "hv1":
            raise fault
        return OtherSession(name, {}, HostSnapshot(name))

    seen = observe(fleet("hv1", "hv2"), open_host, SCOPE)
    (lost,) = seen.snapshot.unreachable
    assert lost.host == "hv1" and lost.error is not None and words in lost.error
    assert list(seen.sessions) == ["hv2"]


def test_session_of_a_host_that_cannot_be_read_is_closed() -> None:
    class Unreadable(OtherSession):
        def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
            raise Transient("lost")

    session = Unreadable("hv1", {})
    seen = observe(fleet("hv1"), lambda name, host, deadline: session, SCOPE)
    assert (session.closed, dict(seen.sessions), seen.snapshot.hosts[0].error) == (True, {}, "lost")


def test_host_that_hangs_costs_its_time_limit_and_its_late_session_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERDUE_SECONDS", 0.1)
    release, answers, late = threading.Event(), threading.Event(), OtherSession("hv1", {}, HostSnapshot("hv1"))

    def open_host(name: str, host: Host, deadline: Deadline) -> Session:
        if name == "hv1":
            release.wait(120)
            answers.set()
            return late
        return OtherSession(name, {}, HostSnapshot(name))

    seen = observe({**fleet("hv1", timeout_seconds=0.3), **fleet("hv2")}, open_host, SCOPE)
    assert not answers.is_set()
    assert [host.error for host in seen.snapshot.hosts] == ["no answer in 0.3 s", None]
    release.set()
    for thread in threading.enumerate():
        if thread.name == "observe-hv1":
            thread.join(60)
    assert late.closed
    assert [host.error for host in seen.snapshot.hosts] == ["no answer in 0.3 s", None]


def test_closing_closes_every_session() -> None:
    made: list[OtherSession] = []

    def open_host(name: str, host: Host, deadline: Deadline) -> Session:
        made.append(OtherSession(name, {}, HostSnapshot(name)))
        return made[-1]

    with observe(fleet("hv1", "hv2"), open_host, SCOPE):
        assert [one.closed for one in made] == [False, False]
    assert [one.closed for one in made] == [True, True]
