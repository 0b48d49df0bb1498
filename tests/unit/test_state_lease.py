"""The lease of a stack."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from stacksmith.events import Event, LockWaiting
from stacksmith.state import lease
from stacksmith.state.lease import Patience, held
from stacksmith.state.process import is_dead, started, this_process
from stacksmith.state.store import Holder, Locked
from tests.postgres import Place

STACK = "shop"
ELSEWHERE = Holder("run-0", "apply", "ann", "desk", 4711, machine="another kernel", started="1")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def mine(run: str = "run-1") -> Holder:
    return this_process(run, "apply")


def test_lease_of_a_living_run_is_refused_naming_its_holder(place: Place) -> None:
    store = place.open(now=lambda: 1_000_000_000.0)
    store.acquire(STACK, ELSEWHERE, 60)
    with pytest.raises(Locked) as raised:
        store.acquire(STACK, mine(), 60)
    assert str(raised.value) == (
        "cannot lock stack shop: it is held by ann@desk (pid 4711, apply, run run-0, since 2001-09-09 01:46:40 UTC)"
    )
    assert raised.value.holder.run == "run-0"


def test_leases_of_two_stacks_do_not_meet(place: Place) -> None:
    store = place.open()
    store.acquire("other", ELSEWHERE, 60)
    store.acquire(STACK, mine(), 60)
    assert [one and one.run for one in (store.holder("other"), store.holder(STACK))] == ["run-0", "run-1"]


def test_lease_that_expired_is_taken(place: Place) -> None:
    clock = Time()
    store = place.open(now=clock)
    store.acquire(STACK, ELSEWHERE, 60)
    clock.now += 59
    with pytest.raises(Locked):
        store.acquire(STACK, mine(), 60)
    clock.now += 1
    store.acquire(STACK, mine(), 60)
    assert store.renew(STACK, "run-0", 60) is False


def test_lease_renewed_lasts_longer(place: Place) -> None:
    clock = Time()
    store = place.open(now=clock)
    store.acquire(STACK, ELSEWHERE, 60)
    clock.now += 50
    assert store.renew(STACK, "run-0", 60)
    clock.now += 50
    with pytest.raises(Locked):
        store.acquire(STACK, mine(), 60)


def test_release_gives_back_only_what_is_the_runs_own(place: Place) -> None:
    store = place.open()
    store.acquire(STACK, ELSEWHERE, 60)
    store.release(STACK, "run-1")
    assert store.holder(STACK) is not None
    store.release(STACK, "run-0")
    assert store.holder(STACK) is None


def test_lease_of_a_killed_process_of_this_machine_is_free_at_once(place: Place) -> None:
    code = (
        "import sys; from pathlib import Path; from stacksmith.state.store import open_store;"
        "from stacksmith.state.process import this_process;"
        f"store = {place.code}; store.acquire('shop', this_process('run-0', 'apply'), 3600);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        store = place.open()
        with pytest.raises(Locked):
            store.acquire(STACK, mine(), 60)
        child.send_signal(signal.SIGKILL)
        child.wait()
        store.acquire(STACK, mine(), 60)
        store.close()


def test_holder_that_cannot_be_seen_from_here_counts_as_alive() -> None:
    me = mine()
    assert not is_dead(me)
    assert is_dead(replace(me, started="1"))  # its number went to another process
    assert not is_dead(replace(me, machine="another kernel", started="1"))
    assert not is_dead(replace(me, machine="", started="1"))


def test_process_that_ended_but_was_not_reaped_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert started(pid) == ""
    os.waitpid(pid, 0)


def test_waiting_run_reports_and_takes_the_lease_when_it_is_free(place: Place) -> None:
    clock, events = Time(), list[Event]()
    store = place.open(now=clock)
    store.acquire(STACK, ELSEWHERE, 25)
    with held(store, STACK, mine(), events.append, print, Patience(60, clock, clock.sleep)):
        assert store.holder(STACK) is not None
        assert clock.now == pytest.approx(1025, abs=1)
    assert [round(event.seconds) for event in events if isinstance(event, LockWaiting)] == [0, 10, 20]
    assert str(replace(ELSEWHERE, since=1000.0)) in repr(events[0])
    assert store.holder(STACK) is None


def test_waiting_run_gives_up_after_its_time(place: Place) -> None:
    clock, events = Time(), list[Event]()
    store = place.open(now=clock)
    store.acquire(STACK, ELSEWHERE, 3600)
    with (
        pytest.raises(Locked),
        held(store, STACK, mine(), events.append, print, Patience(7.2, clock, clock.sleep)),
    ):
        raise AssertionError
    assert clock.now == pytest.approx(1007.2)


def test_run_that_does_not_wait_is_refused_without_an_event(place: Place) -> None:
    events: list[Event] = []
    store = place.open()
    store.acquire(STACK, ELSEWHERE, 60)
    with pytest.raises(Locked), held(store, STACK, mine(), events.append, print):
        raise AssertionError
    assert events == []


def test_heartbeat_keeps_a_lease_beyond_its_life(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, refused, lost, enough = Time(), list[bool](), list[str](), threading.Event()
    store = place.open(now=clock)

    class Pauses(threading.Event):
        """Time passes when the heart waits, and another run tries to take the lease at the end of each wait."""

        def wait(self, timeout: float | None = None) -> bool:
            clock.now += timeout or 0.0
            try:
                store.acquire(STACK, ELSEWHERE, 60)
                refused.append(False)
            except Locked:
                refused.append(True)
            if clock.now > 1000 + 2 * lease.SECONDS:
                enough.set()
            return enough.is_set() and super().wait(60)

    monkeypatch.setattr(lease, "Flag", Pauses)
    with held(store, STACK, mine(), print, lost.append):
        assert enough.wait(60)
    assert lost == [] and refused and all(refused)
    assert not any(thread.name == "lease" for thread in threading.enumerate())


def let_the_heart_end() -> None:
    """Waits for the thread that renews the lease to end by itself, if it has not."""
    for heart in [thread for thread in threading.enumerate() if thread.name == "lease"]:
        heart.join(60)
        assert not heart.is_alive()


def test_heartbeat_says_once_that_another_took_the_lease(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.2)
    store, lost = place.open(), list[str]()
    with held(store, STACK, mine(), print, lost.append):
        store.release(STACK, "run-1")
        store.acquire(STACK, ELSEWHERE, 60)
        let_the_heart_end()
    assert lost == ["the lease was lost: another run took it"]
    holder = store.holder(STACK)
    assert holder is not None and holder.run == "run-0"


def test_heartbeat_of_a_store_that_fails_gives_up_when_the_lease_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.3)
    store, lost = place.open(), list[str]()
    with held(store, STACK, mine(), print, lost.append):
        store.close()
        let_the_heart_end()
    assert len(lost) == 1 and "cannot write state store" in lost[0]
