"""Tasks that a BMC lists, and what is known of them."""

from collections.abc import Mapping
from typing import cast

import pytest

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone
from stacksmith.providers.redfish import task
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
