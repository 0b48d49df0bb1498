"""Runs of plans on the memory provider: order, failures, retries, limits."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from engine_parts import GIB, STACK, Bench, create, delete, outcomes, requires, step, uuid_of

from stacksmith.address import Address
from stacksmith.engine import retry
from stacksmith.engine.download import Download, download
from stacksmith.events import (
    Event,
    RunEnded,
    RunStarted,
    StepDone,
    StepFailed,
    StepProgress,
    StepRetried,
    StepSkipped,
    StepStarted,
)
from stacksmith.model.change import Change, Status
from stacksmith.model.realised import Disk, Policy, Server, Volume, to_data
from stacksmith.model.record import Record
from stacksmith.model.report import Outcome
from stacksmith.planner.plan import Operation
from stacksmith.providers.base import Busy, Deadline, TimedOut, Transient, Unserved, WaitFor
from stacksmith.providers.memory.fault import Call, Crash, Effect, Fault


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.01)


# What is done.


def test_run_of_creates_makes_objects_and_records(bench: Bench) -> None:
    volume = create("volume.data", depends_on=(Address.parse("image.a@hv1"),), policy=Policy(on_destroy="keep"))
    report = bench.run(volume, requires(create("server.db"), volume))
    assert set(outcomes(report).values()) == {Outcome.DONE}
    assert (report.added, report.exit_status) == (2, 0)
    assert [call.address for call in bench.world.writes] == ["volume.data", "server.db"]
    wanted = Record(
        Address.parse("volume.data"),
        "hv1",
        uuid_of(Address.parse("volume.data")),
        to_data(Volume(GIB)),
        Policy(on_destroy="keep"),
        True,
        (Address.parse("image.a@hv1"),),
    )
    assert bench.store.records(STACK)[1] == wanted
    assert [(entry.operation, entry.outcome) for entry in bench.store.journal(STACK)] == [("create", "done")] * 2


def test_run_of_delete_removes_object_and_record(bench: Bench) -> None:
    bench.run(create("volume.data"))
    report = bench.run(delete("volume.data", **bench.seen("volume.data")))
    assert (report.destroyed, report.exit_status) == (1, 0)
    assert bench.recorded() == {}
    assert bench.world.objects("hv1") == []


def test_delete_of_an_object_that_is_gone_removes_the_record(bench: Bench) -> None:
    bench.run(create("volume.data"))
    seen = bench.seen("volume.data")
    bench.world.remove("hv1", "volume.data")
    assert bench.run(delete("volume.data", **seen)).exit_status == 0
    assert bench.recorded() == {}


def update_of_volume(bench: Bench, gib: int) -> object:
    seen = bench.seen("volume.data")
    change = Change("size_bytes", gib * GIB, GIB, GIB, Status.CHANGE)
    return step(Operation.UPDATE, "volume.data", Volume(gib * GIB), changes=(change,), **seen)


def test_run_of_update_changes_object_and_record(bench: Bench) -> None:
    bench.run(create("volume.data"))
    report = bench.run(update_of_volume(bench, 2))  # type: ignore[arg-type]
    assert (report.changed, report.exit_status) == (1, 0)
    assert bench.world.object("hv1", "volume.data").spec == Volume(2 * GIB)
    assert [record.applied["size_bytes"] for record in bench.store.records(STACK)] == [2 * GIB]


def test_run_of_forget_drops_the_record_and_needs_no_host(bench: Bench) -> None:
    bench.run(create("volume.data"))
    bench.hosts, calls = (), len(bench.world.calls)
    report = bench.run(step(Operation.FORGET, "volume.data"))
    assert (report.kept, report.exit_status) == (1, 0)
    assert (bench.recorded(), len(bench.world.calls)) == ({}, calls)


def test_replacement_deletes_then_creates_under_a_new_identity(bench: Bench) -> None:
    bench.run(create("volume.data"))
    gone = delete("volume.data", replaces=True, **bench.seen("volume.data"))
    new = uuid_of(Address.parse("volume.data"), 1)
    report = bench.run(requires(create("volume.data", uuid=new, replaces=True), gone), gone)
    assert (report.added, report.destroyed) == (1, 1)
    assert [record.uuid for record in bench.store.records(STACK)] == [new]
    assert [one.uuid for one in bench.world.objects("hv1")] == [new]


def test_empty_plan_is_done_at_once(bench: Bench) -> None:
    report = bench.run()
    assert (report.results, report.exit_status) == ((), 0)
    assert [type(event) for event in bench.events] == [RunStarted, RunEnded]


# Journal and order (rule 8).


def test_call_begins_when_its_journal_is_durable_and_what_it_requires_has_ended(bench: Bench) -> None:
    network, volume = create("network.lan@hv1"), create("volume.data")
    server = requires(create("server.db"), network, volume)
    seen: dict[str, tuple[set[str], set[str]]] = {}

    def look(call: Call, point: str) -> None:
        if call.operation == "create" and point == "begin":
            journal = bench.store.journal(STACK)
            begun = {str(one.address) for one in journal if one.ended is None}
            seen[call.address] = (begun, {str(one.address) for one in journal if one.ended is not None})

    bench.world.hooks.append(look)
    bench.run(server, volume, network, parallel=1)
    assert all(address in begun for address, (begun, _) in seen.items())
    assert seen["server.db"][1] == {"network.lan@hv1", "volume.data"}


def test_create_is_recorded_as_unfinished_while_it_runs(bench: Bench) -> None:
    seen: list[dict[str, bool]] = []
    bench.world.hooks.append(lambda call, point: seen.append(bench.recorded()) if call.writes else None)
    bench.run(create("server.db"))
    assert seen and all(recorded == {"server.db": False} for recorded in seen)
    assert bench.recorded() == {"server.db": True}


def test_step_that_requires_an_unknown_one_is_a_fault_of_the_plan(bench: Bench) -> None:
    with pytest.raises(ValueError, match=r"requires create server\.x, which the plan does not have"):
        bench.run(replace(create("server.db"), requires=("create server.x",)))


def test_limits_hold_on_each_host_and_in_all(bench: Bench) -> None:
    now: dict[str, int] = {"hv1": 0, "hv2": 0}
    most: dict[str, int] = {"hv1": 0, "hv2": 0, "all": 0}
    lock, full = threading.Lock(), {"hv1": threading.Event(), "hv2": threading.Event(), "all": threading.Event()}
    wanted = {"hv1": 3, "hv2": 3, "all": 5}

    def count(call: Call, point: str) -> None:
        if call.operation != "create" or point not in {"begin", "end"}:
            return
        with lock:
            now[call.host] += 1 if point == "begin" else -1
            most[call.host] = max(most[call.host], now[call.host])
            most["all"] = max(most["all"], sum(now.values()))
            for where, number in wanted.items():
                if most[where] >= number:
                    full[where].set()
        if point == "begin":
            for where in ("all", call.host):
                if not full[where].wait(60):
                    full[where].set()  # it never will be: the others need not wait
            time.sleep(0.01)  # were there room for more, they would come

    bench.world.hooks.append(count)
    steps = [create(f"volume.v[{n}]", host=f"hv{1 + n % 2}") for n in range(40)]
    assert bench.run(*steps, parallel=5, parallel_per_host=3).added == 40
    assert most == wanted


# Failures.


def test_failed_step_skips_what_depends_on_it_and_no_other_branch(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.REFUSED, "create", address="volume.a", message="no space", times=-1))
    a, b = create("volume.a"), create("volume.b")
    on_a, on_both = requires(create("server.a"), a), requires(create("server.c"), create("server.a"), b)
    report = bench.run(a, b, on_a, on_both, requires(create("server.b"), b))
    assert outcomes(report) == {
        "create volume.a": Outcome.FAILED,
        "create volume.b": Outcome.DONE,
        "create server.a": Outcome.SKIPPED,
        "create server.c": Outcome.SKIPPED,
        "create server.b": Outcome.DONE,
    }
    assert {result.because for result in report.skipped} == {"create volume.a"}
    assert (report.failed[0].kind, report.failed[0].cause, report.exit_status) == ("refused", "no space", 1)
    failed, ended = bench.named(StepFailed), bench.named(RunEnded)
    assert [(event.step, event.cause) for event in failed] == [("create volume.a", "no space")]  # type: ignore[union-attr]
    assert [event.because for event in bench.named(StepSkipped)] == ["create volume.a"] * 2  # type: ignore[union-attr]
    assert [(one.done, one.failed, one.skipped) for one in ended] == [(2, 1, 2)]  # type: ignore[union-attr]


def test_refused_create_that_made_nothing_leaves_no_record(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.REFUSED, "create", message="no space"))
    bench.run(create("volume.a"))
    assert bench.recorded() == {}
    assert [(one.outcome, one.cause) for one in bench.store.journal(STACK)] == [("failed", "no space")]


def test_refused_create_that_made_a_part_stays_recorded_as_unfinished(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.REFUSED, "create", point="define", message="no space"))
    bench.run(create("server.a"))
    assert bench.recorded() == {"server.a": False}
    assert bench.run(create("server.a")).exit_status == 0
    assert bench.recorded() == {"server.a": True}


@pytest.mark.parametrize(
    ("effect", "kind", "status"),
    [
        (Effect.REFUSED, "refused", 1),
        (Effect.TIMED_OUT, "timed-out", 1),
        (Effect.STALE, "stale", 5),
        (Effect.GONE, "gone", 5),
    ],
)
def test_fault_of_a_driver_is_reported_by_its_kind(bench: Bench, effect: Effect, kind: str, status: int) -> None:
    bench.world.faults.append(Fault(effect, "create", times=-1))
    report = bench.run(create("volume.a"))
    assert ([one.kind for one in report.failed], report.exit_status) == ([kind], status)
    assert len(bench.world.writes) == 1


def test_exit_status_of_stale_and_refused_together_is_one(bench: Bench) -> None:
    bench.world.faults += [Fault(Effect.STALE, "create", address="volume.a"), Fault(Effect.REFUSED, "create")]
    assert bench.run(create("volume.a"), create("volume.b")).exit_status == 1


def test_unexpected_fault_is_internal_with_its_type_and_the_others_go_on(bench: Bench) -> None:
    def fail(call: Call, point: str) -> None:
        if call.operation == "create" and call.address == "volume.a":
            raise KeyError("size")

    bench.world.hooks.append(fail)
    report = bench.run(create("volume.a"), create("volume.b"))
    (failed,) = report.failed
    assert (failed.kind, failed.cause, report.added) == ("internal", "KeyError: 'size'", 1)
    assert bench.store.open_steps(STACK) == ()


def test_step_on_a_host_that_is_not_open_fails(bench: Bench) -> None:
    (failed,) = bench.run(create("volume.a", host="hv9")).failed
    assert (failed.kind, failed.cause) == ("refused", "host hv9 is not open")


def test_step_of_a_kind_that_the_host_lacks_fails(bench: Bench) -> None:
    one = replace(create("volume.a"), address=Address.parse("share.a"))
    (failed,) = bench.run(one).failed
    assert (failed.kind, failed.cause) == ("refused", "host hv1 cannot have objects of kind share")


def test_password_in_a_cause_is_not_told_or_kept(bench: Bench) -> None:
    message = "cannot reach qemu+ssh://root:hunter2@hv1/system"
    bench.world.faults.append(Fault(Effect.REFUSED, "create", message=message))
    report = bench.run(create("volume.a"))
    kept = [one.cause for one in bench.store.journal(STACK)]
    assert [report.failed[0].cause, *kept] == ["cannot reach qemu+ssh://root:***@hv1/system"] * 2
    assert "hunter2" not in repr(bench.events)


def test_fault_that_no_handler_may_stop_ends_the_run_with_its_journal_open(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.CRASH, "create"))
    with pytest.raises(Crash):
        bench.run(create("volume.a"))
    assert [one.step for one in bench.store.open_steps(STACK)] == ["create volume.a"]


def test_fault_of_the_sink_ends_the_run_after_what_is_in_flight(bench: Bench) -> None:
    writing, release = threading.Event(), threading.Event()

    def meet(call: Call, point: str) -> None:
        if call.writes:
            writing.set()
            release.wait(60)

    def sink(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == "create volume.b":
            assert writing.wait(60)
            threading.Timer(0.1, release.set).start()
            raise BrokenPipeError

    bench.world.hooks.append(meet)
    with pytest.raises(BrokenPipeError):
        bench.run(create("volume.a"), create("volume.b"), create("volume.c"), sink=sink, grace_seconds=60)
    assert [(one.step, one.outcome) for one in bench.store.journal(STACK)] == [("create volume.a", "done")]


def void(value: object) -> None:
    """Takes a value that a lambda must not return."""


# Retries.


@pytest.mark.usefixtures("quick_retries")
def test_transient_fault_is_tried_again_and_told(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.TRANSIENT, "create", point="define", times=2, message="pool busy"))
    assert bench.run(create("server.a")).exit_status == 0
    told = [(event.cause, event.attempt) for event in bench.named(StepRetried)]  # type: ignore[union-attr]
    assert told == [("pool busy", 1), ("pool busy", 2)]
    assert len(bench.world.objects("hv1")) == 1


@pytest.mark.usefixtures("quick_retries")
def test_transient_fault_is_tried_no_longer_than_allowed(bench: Bench) -> None:
    """A try takes 5 s: the first fault is at 5 s, and the last try ends at 25 s."""
    passed = [0.0]

    def work(call: Call, point: str) -> None:
        if call.writes:
            passed[0] += 5.0

    bench.world.hooks.append(work)
    bench.world.faults.append(Fault(Effect.TRANSIENT, "create", times=-1, message="pool busy"))
    report = bench.run(create("volume.a"), clock=lambda: passed[0], retry_seconds=20)
    assert ([one.kind for one in report.failed], report.exit_status) == (["transient"], 1)
    assert (len(bench.world.writes), report.seconds) == (5, 25.0)


@pytest.mark.usefixtures("quick_retries")
def test_transient_fault_at_the_end_of_a_long_step_is_tried_again(bench: Bench) -> None:
    """How long the step had run before does not count."""
    passed = [0.0]

    def work(call: Call, point: str) -> None:
        if point == "define":
            passed[0] += 400.0

    bench.world.hooks.append(work)
    bench.world.faults.append(Fault(Effect.TRANSIENT, "create", point="define", message="it reboots"))
    report = bench.run(create("server.a"), clock=lambda: time.monotonic() + passed[0], step_timeout_seconds=3600)
    assert ([one.cause for one in report.failed], passed) == ([], [800.0])
    assert [event.cause for event in bench.named(StepRetried)] == ["it reboots"]  # type: ignore[union-attr]


@pytest.mark.usefixtures("quick_retries")
def test_host_at_work_is_waited_for_as_long_as_the_step_has(bench: Bench) -> None:
    passed = [0.0]

    def work(call: Call, point: str) -> None:
        if point == "define":
            passed[0] += 150.0
            if passed[0] < 600:
                raise Busy("a volume is copied")

    bench.world.hooks.append(work)
    report = bench.run(create("server.a"), clock=lambda: time.monotonic() + passed[0], step_timeout_seconds=3600)
    assert ([one.cause for one in report.failed], passed) == ([], [600.0])


@pytest.mark.usefixtures("quick_retries")
def test_fault_after_a_host_was_at_work_has_its_own_time() -> None:
    passed = [0.0]

    def work() -> str:
        passed[0] += 50.0
        if passed[0] <= 200.0:
            raise Busy("a volume is copied")
        if passed[0] <= 300.0:
            raise Transient("the connection is lost")
        return "done"

    until = Deadline(600.0, lambda: passed[0])
    tell: list[str] = []
    told = retry.retried(work, until, threading.Event(), lambda cause, attempt, seconds: tell.append(cause), 120.0)
    assert (told, len(tell)) == ("done", 6)


@pytest.mark.usefixtures("quick_retries")
def test_who_is_not_served_after_a_host_was_at_work_tries_a_few_times() -> None:
    faults: list[Exception] = [*[Busy("a volume is copied")] * 6, *[Unserved("refused")] * 4]

    def work() -> str:
        if faults:
            raise faults.pop(0)
        return "done"

    until = Deadline(600.0, lambda: 0.0)
    assert retry.retried(work, until, threading.Event(), lambda cause, attempt, seconds: None, 120.0) == "done"


@pytest.mark.usefixtures("quick_retries")
def test_host_at_work_is_waited_for_no_longer_than_the_step_has() -> None:
    passed = [0.0]

    def work() -> None:
        passed[0] += 150.0
        raise Busy("a volume is copied")

    until = Deadline(600.0, lambda: passed[0])
    with pytest.raises(Busy):
        retry.retried(work, until, threading.Event(), lambda cause, attempt, seconds: None, 120.0)
    assert passed == [600.0]


@pytest.mark.usefixtures("quick_retries")
def test_download_from_a_port_that_is_refused_is_tried_five_times(bench: Bench, tmp_path: Path) -> None:
    nobody = Download("http://127.0.0.1:9/x", "sha256:" + "0" * 64, tmp_path / "x", None, void)
    bench.world.hooks.append(lambda call, point: download(nobody) if point == "define" else None)
    (failed,) = bench.run(create("server.a"), retry_seconds=600).failed
    assert (failed.kind, failed.cause) == ("transient", "cannot download http://127.0.0.1:9/x: Connection refused")
    assert failed.hint == "is the server up, and the port of the URL right?"
    assert [event.attempt for event in bench.named(StepRetried)] == [1, 2, 3, 4]  # type: ignore[union-attr]


@pytest.mark.usefixtures("quick_retries")
def test_update_tried_again_after_its_object_went_is_gone(bench: Bench) -> None:
    bench.run(create("volume.data"))
    update = update_of_volume(bench, 2)
    bench.world.faults.append(Fault(Effect.TRANSIENT, "update"))
    bench.world.hooks.append(
        lambda call, point: bench.world.remove("hv1", "volume.data") if call.operation == "update" else None
    )
    (failed,) = bench.run(update).failed  # type: ignore[arg-type]
    assert failed.kind == "gone"


@pytest.mark.usefixtures("quick_retries")
def test_host_that_does_not_answer_reads_loses_its_other_steps_and_only_those(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.TRANSIENT, "read", host="hv1", times=-1, message="connection lost"))
    here = [create(f"volume.a[{n}]") for n in range(50)]
    there = create("volume.b", host="hv2")
    on_lost = requires(create("server.c", host="hv2"), here[49])
    report = bench.run(*here, there, on_lost, step(Operation.FORGET, "volume.old"), retry_seconds=0.1)
    done = {name for name, outcome in outcomes(report).items() if outcome is Outcome.DONE}
    assert done == {"create volume.b", "forget volume.old"}
    assert len(report.failed) <= 8
    assert {one.kind for one in report.failed} == {"transient"}
    assert len(report.failed) + len(report.skipped) == 51
    assert not bench.world.writes or {call.host for call in bench.world.writes} == {"hv2"}


# Calls that hang.


def test_host_that_freezes_in_a_call_loses_its_other_steps_and_is_named(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.HANG, "create", host="hv1", times=-1))
    frozen = threading.Event()

    def freeze(call: Call, point: str) -> None:
        if call.host == "hv1" and call.operation == "create":
            frozen.set()
        elif call.host == "hv1" and frozen.is_set():
            raise TimedOut("no answer from hv1 in time")

    bench.world.hooks.append(freeze)
    here = [create(f"volume.a[{n}]") for n in range(6)]
    after = requires(create("server.c", host="hv2"), here[0])
    options = {"clock": lambda: 0.0, "step_timeout_seconds": 0.3}  # only what hangs takes time
    report = bench.run(*here, create("volume.b", host="hv2"), after, parallel_per_host=2, **options)
    because = {one.step: one.because for one in report.skipped}
    assert {one.step for one in report.failed} == {"create volume.a[0]", "create volume.a[1]"}
    assert because.pop("create server.c") == "create volume.a[0]"
    assert set(because.values()) == {"host hv1 does not answer"} and len(because) == 4
    assert report.added == 1


def test_call_that_hangs_costs_its_deadline_and_not_the_run(bench: Bench) -> None:
    bench.world.faults.append(Fault(Effect.HANG, "create", address="volume.a"))
    patient = create("volume.b", wait_for=WaitFor("lease", 600))
    report = bench.run(create("volume.a"), patient, step_timeout_seconds=0.3)
    assert [(one.step, one.kind) for one in report.failed] == [("create volume.a", "timed-out")]
    assert (report.added, report.seconds < 60) == (1, True)
    assert bench.store.open_steps(STACK) == ()


def test_call_that_does_not_mind_its_deadline_is_given_up_with_its_journal_open(bench: Bench) -> None:
    """Two hours pass once the call has begun: volume.b has three."""
    release, ended, passed = threading.Event(), list[bool](), [0.0]

    def hang(call: Call, point: str) -> None:
        if call.writes and call.address == "volume.a":
            passed[0] = 7200.0
            ended.append(release.wait(60))

    bench.world.hooks.append(hang)
    a, b = create("volume.a"), create("volume.b", wait_for=WaitFor("lease", 10800))
    options = {"clock": lambda: passed[0], "step_timeout_seconds": 3600, "overdue_seconds": 3000}
    report = bench.run(a, b, requires(create("server.a"), a), parallel=2, heartbeat_seconds=0.2, **options)
    assert ended == []
    release.set()
    assert (report.failed[0].kind, [one.because for one in report.skipped]) == ("timed-out", ["create volume.a"])
    assert "it may still happen" in report.failed[0].cause
    assert report.added == 1
    assert [one.step for one in bench.store.open_steps(STACK)] == ["create volume.a"]
    assert bench.recorded() == {"volume.a": False, "volume.b": True}


@pytest.mark.parametrize(("seconds", "kinds"), [(599.0, []), (601.0, ["timed-out"])])
def test_wait_for_adds_to_the_time_of_a_step(bench: Bench, seconds: float, kinds: list[str]) -> None:
    passed = [0.0]

    def work(call: Call, point: str) -> None:
        if point == "wait":
            passed[0] = seconds

    bench.world.hooks.append(work)
    waiting = create("server.a", wait_for=WaitFor("lease", 400))
    report = bench.run(waiting, clock=lambda: passed[0], step_timeout_seconds=200)
    assert ([one.kind for one in report.failed], report.seconds) == (kinds, seconds)


def test_step_at_work_says_so_with_how_far_it_is(bench: Bench) -> None:
    told = threading.Event()
    bench.world.hooks.append(lambda call, point: void(told.wait(60)) if call.writes else None)

    def sink(event: Event) -> None:
        bench.events.append(event)
        if len(bench.named(StepProgress)) == 3:
            told.set()

    bench.run(create("volume.a"), heartbeat_seconds=0.1, sink=sink)
    assert told.is_set()
    progress = bench.named(StepProgress)
    seconds = [event.seconds for event in progress]  # type: ignore[union-attr]
    assert seconds == sorted(seconds) and seconds[0] >= 0.1


# Events.


def test_events_tell_each_step_in_order_from_the_callers_thread(bench: Bench) -> None:
    threads = set[threading.Thread]()

    def sink(event: Event) -> None:
        threads.add(threading.current_thread())
        bench.events.append(event)

    a = create("volume.a")
    bench.run(a, requires(create("server.b"), a), sink=sink)
    assert [(type(event), getattr(event, "step", "")) for event in bench.events] == [
        (RunStarted, ""),
        (StepStarted, "create volume.a"),
        (StepDone, "create volume.a"),
        (StepStarted, "create server.b"),
        (StepDone, "create server.b"),
        (RunEnded, ""),
    ]
    assert threads == {threading.current_thread()}


def test_no_thread_is_left_after_a_run(bench: Bench) -> None:
    bench.run(*(create(f"volume.v[{n}]") for n in range(20)))
    for thread in threading.enumerate():
        if thread.name.startswith("step-"):
            thread.join(60)
            assert not thread.is_alive()


def test_server_on_a_volume_is_created_with_it(bench: Bench) -> None:
    volume = create("volume.data")
    disk = Disk("vda", "volume", "volume.data", boot_index=0)
    server = create("server.db", Server(name="db", vcpus=1, ram_mib=128, disks=(disk,)))
    assert bench.run(requires(server, volume), volume).exit_status == 0
