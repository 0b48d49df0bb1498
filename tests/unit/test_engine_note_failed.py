"""What a run notes of a node when its step fails."""

import pytest

from stacksmith.engine.note import Notebook
from stacksmith.model.realised import Machine
from stacksmith.planner.plan import Operation
from tests.postgres import Place
from tests.unit.engine_parts import STACK, step

MACHINE = Machine("db", "CUSTOM_BAREMETAL")


@pytest.mark.parametrize(
    ("operation", "stage", "is_begun", "expected"),
    [
        (Operation.CREATE, "", True, ("failed", "")),  # its record is there: nobody is deploying it any more
        (Operation.CREATE, "", False, None),  # nothing was made, and no record is left
        (Operation.CREATE, "booted", True, ("failed", "booted")),
        (Operation.UPDATE, "", True, None),  # a setting that was refused does not take a node from its server
        (Operation.UPDATE, "booted", True, ("failed", "booted")),
        (Operation.DELETE, "", True, None),
    ],
)
def test_failed_step_notes_a_node_that_is_not_to_be_given_to_others(
    place: Place, operation: Operation, stage: str, is_begun: bool, expected: tuple[str, str] | None
) -> None:
    store = place.open()
    notes = Notebook(store, STACK, step(operation, "server.db", MACHINE, host="bm1"))
    if stage:
        notes.reached(stage)
    notes.failed("no space", is_begun)
    found = [(note.state, note.stage) for note in store.nodes()]
    assert found == ([expected] if expected else [])
