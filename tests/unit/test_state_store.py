"""Records and journal of the store, on each database."""

import os
import signal
import threading
from pathlib import Path

import pytest
from state_parts import STACK, entry, in_child, leased, record

from stacksmith.address import Address
from stacksmith.diagnostics import Faults
from stacksmith.state import file
from stacksmith.state.store import LeaseLost, open_store
from tests.postgres import Place


def test_record_written_reads_back_equal_in_order_of_address(place: Place) -> None:
    store = place.open()
    texts = ["server.web[10]", "server.web[9]", 'server.db["eu"]', "network.lan@hv2", "network.lan@hv1"]
    for text in texts:
        store.put(STACK, record(text))
    store.put("other", record("server.x"))
    wanted = sorted((record(text) for text in texts), key=lambda one: one.address.order)
    assert list(store.records(STACK)) == wanted
    assert store.stacks() == ("other", STACK)


def test_record_put_twice_keeps_the_last(place: Place) -> None:
    store = place.open()
    store.put(STACK, record("server.web", applied={"ram_mib": 1}))
    store.put(STACK, record("server.web", applied={"ram_mib": 2}))
    assert [one.applied for one in store.records(STACK)] == [{"ram_mib": 2}]


def test_record_removed_is_gone_and_removing_nothing_is_fine(place: Place) -> None:
    store = place.open()
    store.put(STACK, record("server.web"))
    store.remove(STACK, Address.parse("server.web"))
    store.remove(STACK, Address.parse("server.web"))
    assert store.records(STACK) == ()


def test_begin_of_create_writes_entry_and_unfinished_record_together(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web"), record("server.web", complete=False))
    assert [(one.step, one.outcome) for one in store.open_steps(STACK)] == [("create server.web", None)]
    assert [one.complete for one in store.records(STACK)] == [False]


def test_record_has_what_an_update_is_to_bring_until_one_ends_well(place: Place) -> None:
    store, update = leased(place.open()), entry("server.web", operation="update")
    store.put(STACK, record("server.other"))
    store.put(STACK, record("server.web"))
    for outcome, left in (("failed", {"size_bytes": 2}), ("done", None)):
        store.begin(update, wanted={"size_bytes": 2})
        assert [one.begun for one in store.records(STACK)] == [None, {"size_bytes": 2}]
        store.end(update, outcome, record("server.web") if outcome == "done" else None)
        assert [one.begun for one in store.records(STACK)] == [None, left]
        update = entry("server.web", "run-2", operation="update")
        leased(store, "run-2")


def test_begin_of_an_update_of_what_has_no_record_writes_none(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web", operation="update"), wanted={"size_bytes": 2})
    assert store.records(STACK) == ()


def test_end_closes_the_entry_and_writes_the_record(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web"), record("server.web", complete=False))
    store.end(entry("server.web"), "done", record("server.web"))
    assert store.open_steps(STACK) == ()
    assert [one.complete for one in store.records(STACK)] == [True]
    (written,) = store.journal(STACK)
    assert (written.outcome, written.cause) == ("done", "")
    assert written.ended is not None and written.began <= written.ended


def test_record_that_is_made_whole_closes_what_a_killed_run_had_begun(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web"), record("server.web", complete=False))
    store.begin(entry("server.db"), record("server.db", complete=False))
    store.put(STACK, record("server.web"))
    assert [str(each.address) for each in store.open_steps(STACK)] == ["server.db"]
    assert [each.outcome for each in store.journal(STACK)] == ["superseded", None]


def test_end_of_failure_keeps_its_cause(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web", operation="update"))
    store.end(entry("server.web", operation="update"), "failed", cause="no space")
    assert [(one.outcome, one.cause) for one in store.journal(STACK, "run-1")] == [("failed", "no space")]
    assert store.journal(STACK, "run-0") == ()


def test_begin_without_the_lease_writes_nothing(place: Place) -> None:
    store = place.open()
    with pytest.raises(LeaseLost):
        store.begin(entry("server.web"), record("server.web"))
    leased(store, "run-2")
    with pytest.raises(LeaseLost):
        store.begin(entry("server.web", "run-1"), record("server.web"))
    assert (store.journal(STACK), store.records(STACK)) == ((), ())


def test_end_after_another_run_took_the_step_over_leaves_its_record_alone(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web", "run-1"))
    leased(store, "run-2")
    store.begin(entry("server.web", "run-2"))
    with pytest.raises(LeaseLost):
        store.end(entry("server.web", "run-1"), "done", record("server.web"))
    assert store.records(STACK) == ()
    assert [(one.run, one.outcome) for one in store.journal(STACK)] == [("run-1", "superseded"), ("run-2", None)]


def test_old_journal_entries_go_when_a_lease_is_taken(place: Place) -> None:
    now = 1_000_000_000.0
    store = place.open(now=lambda: now)
    leased(store, "run-1")
    store.begin(entry("server.web"))
    store.end(entry("server.web"), "done")
    store.begin(entry("server.db"))
    now += 100 * 86400
    leased(store, "run-2")
    assert [one.step for one in store.journal(STACK)] == ["create server.db"]


def test_write_survives_a_kill_right_after_it(place: Place) -> None:

    def work() -> None:
        store = leased(place.open())
        store.begin(entry("server.web"), record("server.web", complete=False))
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WTERMSIG(in_child(work)) == signal.SIGKILL
    store = place.open()
    assert [one.step for one in store.open_steps(STACK)] == ["create server.web"]
    assert [one.complete for one in store.records(STACK)] == [False]


def test_writes_from_many_threads_are_all_there(place: Place) -> None:
    store = leased(place.open())
    faults: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(20):
                text = f"server.t{thread}[{number}]"
                store.begin(entry(text), record(text, complete=False))
                assert any(str(one.address) == text for one in store.records(STACK))
                store.end(entry(text), "done", record(text))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert all(one.complete for one in store.records(STACK))
    assert len(store.records(STACK)) == len(store.journal(STACK)) == 240


def test_two_processes_write_one_store_without_loss(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "BUSY_SECONDS", 300.0)
    store = place.open()

    def work() -> None:
        mine = place.open()
        for number in range(100):
            mine.put(STACK, record(f"server.child[{number}]"))

    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    for number in range(100):
        store.put(STACK, record(f"server.parent[{number}]"))
    assert os.waitpid(pid, 0)[1] == 0
    assert len(store.records(STACK)) == 200


def test_fault_of_a_write_leaves_the_store_usable(place: Place) -> None:
    store = leased(place.open())
    store.begin(entry("server.web"))
    with pytest.raises(Faults):  # a step begins once in a run
        store.begin(entry("server.web"), record("server.web"))
    assert store.records(STACK) == ()
    store.put(STACK, record("server.db"))
    assert [str(one.address) for one in store.records(STACK)] == ["server.db"]


@pytest.mark.parametrize("url", ["sqlite:///state.db", "sqlite:///deep/er/state.db"])
def test_url_is_relative_to_its_base(tmp_path: Path, url: str) -> None:
    open_store(url, tmp_path).close()
    assert (tmp_path / url.removeprefix("sqlite:///")).exists()


def test_url_with_four_slashes_is_absolute(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/state.db", Path("/nowhere")).close()
    assert (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("postgresql://me:secret@db/state", "literal-secret", "its URL holds a password"),
        ("postgresql://me@db/state?password=secret", "literal-secret", "its URL holds a password"),
        ("mysql://me:secret@db/state", "state-url", "'mysql'"),
        ("state.db", "state-url", "'state.db'"),
        ("sqlite://state.db", "state-url", "'sqlite'"),
        ("sqlite:///", "state-url", "'sqlite'"),
    ],
)
def test_url_of_no_known_store_is_refused_without_its_password(tmp_path: Path, url: str, code: str, words: str) -> None:
    with pytest.raises(Faults) as raised:
        open_store(url, tmp_path)
    (fault,) = raised.value.diagnostics
    assert (fault.code, words in fault.message, "secret" in fault.message) == (code, True, False)
