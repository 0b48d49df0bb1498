"""Tasks that a BMC lists, and what is known of them."""

from collections.abc import Mapping
from typing import cast

import pytest

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, TimedOut, Transient
from stacksmith.providers.redfish import firmware, raid, task
from stacksmith.providers.redfish.connection import Answer
from stacksmith.providers.redfish.tree import Tree

NEVER = Deadline(1e9, lambda: 0.0)


class Bmc:
    """Lists tasks by name; of one whose state is empty it does not know any more when it is looked at."""

    def __init__(self, **states: str) -> None:
        self._states = states
        self.connection = self

    def get(self, path: str, deadline: Deadline) -> Mapping[str, JSON]:
        if not self._states:
            raise Gone("there is no task service")
        return {"Members": [{"@odata.id": name} for name in self._states]}

    def look(self, path: str, deadline: Deadline) -> Answer:
        if not self._states[path]:
            raise Gone(path)
        return Answer(200, {"TaskState": self._states[path]}, {})


def tree(**states: str) -> Tree:
    return cast(Tree, Bmc(**states))


@pytest.mark.parametrize(
    ("states", "is_working", "waits", "failed"),
    [
        ({}, False, True, []),  # no tasks are kept here: nothing tells that none waits
        ({"gone": "", "done": "Completed"}, False, False, []),
        ({"gone": "", "run": "Running"}, True, False, []),
        ({"gone": "", "waits": "Pending"}, True, True, []),
        ({"bad": "Exception", "gone": "", "killed": "Killed"}, False, False, ["bad", "killed"]),
    ],
)
def test_task_that_is_listed_and_gone_neither_runs_nor_waits_nor_failed(
    states: dict[str, str], is_working: bool, waits: bool, failed: list[str]
) -> None:
    there = tree(**states)
    assert task.is_working(there, NEVER) is is_working
    assert task.waits(there, (), NEVER) is waits
    assert [name for name in states if task.has_failed(there, name, NEVER)] == failed
    assert task.listed(there, NEVER) == (set(states) or None)


class Late:
    """A clock, and answers of a BMC that take their time by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.deadline = Deadline(100.0, lambda: self.now)

    def takes(self, seconds: float, limit: Deadline) -> None:
        if seconds > limit.seconds:
            self.now += limit.seconds
            raise TimedOut("no answer")
        self.now += seconds


def test_change_whose_task_ends_between_two_looks_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = Late(), list[str]()

    def is_working(tree: Tree, deadline: Deadline) -> bool:
        made.append("volume")  # its last act
        return False

    def is_so() -> bool:
        clock.takes(2.0, clock.deadline)
        return bool(made)

    monkeypatch.setattr(task, "is_working", is_working)
    raid._await(tree(), is_so, TimedOut("the answer is lost"), "cannot make it", clock.deadline)
    assert made == ["volume"]


def test_change_is_seen_where_the_list_of_tasks_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Late()

    def fail(tree: Tree, deadline: Deadline) -> bool:
        raise Transient("503")

    def is_so() -> bool:
        clock.takes(1.0, clock.deadline)
        return clock.now > 30

    monkeypatch.setattr(task, "is_working", fail)
    monkeypatch.setattr(raid, "POLL_SECONDS", 0.0)
    raid._await(tree(), is_so, TimedOut("the answer is lost"), "cannot make it", clock.deadline)
    assert 30 < clock.now < 40


def test_task_of_an_update_whose_answer_was_lost_is_found_in_a_list_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Late()

    def listed(tree: Tree, deadline: Deadline) -> set[str]:
        clock.takes(firmware.LOST_SECONDS + 3, deadline)
        return {"old", "new"}

    monkeypatch.setattr(task, "listed", listed)
    assert firmware._begun(tree(), {"old"}, clock.deadline) == "new"
