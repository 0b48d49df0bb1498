"""What a run notes of a node: how far its step has come, and that it failed."""

from dataclasses import replace

import pytest

from stacksmith.address import Address
from stacksmith.engine.note import Notebook
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Found, Mark
from stacksmith.model.realised import ConfigDrive, Machine, to_data
from stacksmith.model.record import Record
from stacksmith.model.report import Outcome
from stacksmith.model.types import JSON
from stacksmith.planner.plan import Operation, Step
from stacksmith.providers.base import Contents, Deadline, Target, Transient
from stacksmith.state.process import this_process
from stacksmith.state.store import JournalEntry, LeaseLost, NodeNote, Store
from tests.postgres import Place
from tests.unit.engine_parts import STACK, Bench, step

MACHINE = Machine("db", "CUSTOM_BAREMETAL")


def notebook(store: Store, doing: Step) -> Notebook:
    """That of a step which is begun."""
    holder = this_process("r1", "apply")
    store.acquire(STACK, holder, 60)
    entry = JournalEntry("r1", STACK, doing.id, doing.operation.value, doing.address, doing.host, doing.uuid)
    store.begin(entry)
    return Notebook(store, entry, doing)


@pytest.mark.parametrize(
    ("operation", "stage", "is_begun", "expected"),
    [
        (Operation.CREATE, "", True, ("failed", "")),  # its record is there: nobody is deploying it any more
        (Operation.CREATE, "", False, None),  # nothing was made, and no record is left
        (Operation.CREATE, "booted", True, ("failed", "booted")),
        (Operation.UPDATE, "", True, None),  # a setting that was refused does not take a node from its server
        (Operation.UPDATE, "booted", True, ("failed", "booted")),
        (Operation.UPDATE, "settings - - a=taken", True, ("deploying", "settings - - a=taken")),  # it runs what it ran
        (Operation.DELETE, "", True, None),
    ],
)
def test_failed_step_notes_a_node_that_is_not_to_be_given_to_others(
    place: Place, operation: Operation, stage: str, is_begun: bool, expected: tuple[str, str] | None
) -> None:
    store = place.open()
    notes = notebook(store, step(operation, "server.db", MACHINE, host="bm1"))
    if stage:
        notes.reached(stage)
    notes.failed("no space", is_begun)
    found = [(note.state, note.stage) for note in store.nodes()]
    assert found == ([expected] if expected else [])


def test_step_that_another_run_took_over_tears_no_record(place: Place) -> None:
    store = place.open()
    whole = Record(Address("server", "db"), "bm1", "u-db", to_data(replace(MACHINE, image="sha256:a")))
    notes = notebook(store, replace(step(Operation.UPDATE, "server.db", MACHINE), host="bm1"))
    store.put(STACK, whole)  # which ends what was begun
    with pytest.raises(LeaseLost):
        notes.reached("media k -")
    assert store.records(STACK) == (whole,)


def test_server_without_an_image_has_none_to_lose(place: Place) -> None:
    store = place.open()
    whole = Record(Address("server", "db"), "bm1", "u-db", to_data(MACHINE))
    store.put(STACK, whole)
    change = Change("image", "sha256:a", None, None, Status.CHANGE, Impact.DATA_LOSS)
    doing = step(Operation.UPDATE, "server.db", replace(MACHINE, image="sha256:a"), host="bm1", changes=(change,))
    notebook(store, doing).reached("booted k -")
    (record,) = store.records(STACK)
    assert record.applied == whole.applied


def test_update_of_a_server_whose_node_is_in_maintenance_leaves_that_note(place: Place) -> None:
    store = place.open()
    store.note_node(NodeNote("bm1", "maintenance", reason="a fan"))
    notes = notebook(store, step(Operation.UPDATE, "server.db", MACHINE, host="bm1"))
    notes.reached("settings - - a=taken")
    assert [(note.state, note.reason, note.stage) for note in store.nodes()] == [
        ("maintenance", "a fan", "settings - - a=taken")
    ]
    assert notes.stage() == "settings - - a=taken", "a run that comes after a killed one knows it"
    notes.done()
    assert [replace(note, since=0.0) for note in store.nodes()] == [NodeNote("bm1", "maintenance", reason="a fan")]


LOST = {"image": None, "boot_iso": None, "config_drive": None}


@pytest.mark.parametrize(
    ("stages", "path", "impact", "torn"),
    [
        (["settings - - a=taken"], "image", Impact.DATA_LOSS, {}),
        (["raid k -"], "raid[system]", Impact.DATA_LOSS, LOST),
        (["media k -", "booted k -"], "image", Impact.DATA_LOSS, LOST),
        (
            ["media k -"],
            "config_drive.digest",
            Impact.RESTART,
            {"config_drive": {"format": "configdrive", "digest": ""}},
        ),
        (["media k -", ""], "image", Impact.DATA_LOSS, {}),  # the ramdisk found that it must not write
        (["media k - a=taken", "settings - - a=taken"], "image", Impact.DATA_LOSS, {}),
    ],
)
def test_record_tells_what_a_change_may_have_taken_from_the_disk(
    place: Place, stages: list[str], path: str, impact: Impact, torn: dict[str, JSON]
) -> None:
    store = place.open()
    applied = to_data(replace(MACHINE, image="sha256:old", config_drive=ConfigDrive("configdrive", "d1")))
    other = Record(Address("server", "other"), "bm2", "u-2", applied)
    store.put(STACK, Record(Address("server", "db"), "bm1", "u-db", applied))
    store.put(STACK, other)
    change = Change(path, "new", "old", "old", Status.CHANGE, impact)
    doing = replace(step(Operation.UPDATE, "server.db", replace(MACHINE, image="sha256:new")), host="bm1")
    notes = notebook(store, replace(doing, changes=(change,)))
    for stage in stages:
        notes.reached(stage)
    db, beside = store.records(STACK)
    assert (db.applied, beside) == ({**applied, **torn}, other)
    assert [note.stage for note in store.nodes()] == ([stages[-1]] if stages[-1] else [])


class Slow:
    """Makes a machine: comes as far as ``booted``, is cut off, and is called again."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def read(self, mark: Mark) -> Found | None:
        return None

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        self.stages.append(target.stage)
        if len(self.stages) == 1:
            target.reached("booted")
            raise Transient("cannot reach the BMC")
        return Found(target.mark.address, target.host, target.mark.uuid, target.host, MACHINE, "print")

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        return self.create(target, contents, deadline)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Nothing is there."""


def test_step_that_is_tried_again_goes_on_from_the_stage_that_it_had_reached() -> None:
    driver = Slow()
    report = Bench(drivers={"server": driver}).run(step(Operation.CREATE, "server.db", MACHINE))
    assert [result.outcome for result in report.results] == [Outcome.DONE], report.results
    assert driver.stages == ["", "booted"]
