"""Nodes in maintenance, or cleaned: nothing is deployed to one, and nothing ends that but who began it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Found, Mark
from stacksmith.model.realised import Machine, Policy, to_data
from stacksmith.model.record import Record
from stacksmith.model.report import Outcome
from stacksmith.planner.plan import Operation, Step
from stacksmith.providers.base import Contents, Deadline, Refused, Target
from stacksmith.state.store import NodeNote
from tests.unit.engine_parts import STACK, Bench, create, step

DB = Machine("db", "CUSTOM_GOLD", image="sha256:" + "a" * 64)
KEPT = NodeNote("hv1", "maintenance", reason="new fan")


class Rack:
    """A driver that deploys; ``tells`` are the stages it has reached before it comes to an end."""

    def __init__(self, machine: Machine | None, tells: Sequence[str] = ("booted", "written")) -> None:
        self.machine, self.tells, self.calls = machine, tells, 0

    def read(self, mark: Mark) -> Found | None:
        return self._found(mark) if self.machine is not None else None

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        return self.update(target, contents, deadline)

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        self.calls += 1
        for stage in self.tells:
            target.reached(stage)
        assert isinstance(target.wanted, Machine)
        self.machine = target.wanted
        return self._found(target.mark)

    def delete(self, target: Target, deadline: Deadline) -> None:
        self.calls += 1
        self.machine = None

    def _found(self, mark: Mark) -> Found:
        assert self.machine is not None
        return Found(mark.address, "hv1", mark.uuid, "hv1", self.machine, "print")


def changed(path: str, impact: Impact, **more: object) -> Step:
    change = Change(path, "new", "old", "old", Status.CHANGE, impact)
    wanted = replace(DB, **more)  # type: ignore[arg-type]
    parts = {"changes": (change,), "fingerprint": "print", "before": to_data(DB), "impact": impact}
    return step(Operation.UPDATE, "server.db", wanted, **parts)


def bench_with(rack: Rack) -> Bench:
    bench = Bench(drivers={"server": rack})
    bench.store.note_node(KEPT)
    return bench


def notes(bench: Bench) -> list[NodeNote]:
    return [replace(note, since=0.0) for note in bench.store.nodes()]


def of(path: str, **more: object) -> Step:
    return changed(path, Impact.DATA_LOSS, **more)


@pytest.mark.parametrize(
    "step",
    [
        create("server.db", DB),
        of("image", image="sha256:" + "b" * 64),
        of("raid[0].drives"),
        changed("power_state", Impact.LIVE, power_state="running"),
        changed("power_state", Impact.RESTART, power_state="stopped"),
        changed("bios.Turbo", Impact.RESTART, bios={"Turbo": "On"}),
    ],
    ids=["create", "image", "raid", "switched on", "switched off", "restart"],
)
def test_step_that_disturbs_a_node_that_went_into_maintenance_since_the_plan_is_refused(step: Step) -> None:
    rack = Rack(None if step.operation is Operation.CREATE else DB)
    bench = bench_with(rack)
    (result,) = bench.run(step, allowed=Impact.DATA_LOSS).results
    cause = "hv1 is in maintenance: new fan (stacksmith node maintenance hv1 off ends it)"
    assert (result.outcome, result.cause, rack.calls) == (Outcome.FAILED, cause, 0)
    assert notes(bench) == [KEPT] and bench.recorded() == {}


@pytest.mark.parametrize(
    "step",
    [
        changed("asset_tag", Impact.LIVE, asset_tag="new"),
        changed("config_drive.digest", Impact.LIVE, image=None),
        step(Operation.DELETE, "server.db", fingerprint="print", before=to_data(DB), impact=Impact.REPLACE),
    ],
    ids=["setting", "drive without an image", "delete"],
)
def test_what_writes_no_disk_is_done_in_maintenance_which_stays(step: Step) -> None:
    rack = Rack(DB, tells=())
    bench = bench_with(rack)
    (result,) = bench.run(step, allowed=Impact.DATA_LOSS).results
    assert (result.outcome, rack.calls) == (Outcome.DONE, 1)
    assert notes(bench) == [KEPT]


def test_wipe_of_a_node_that_went_into_maintenance_since_the_plan_is_refused() -> None:
    policy = Policy(wipe={"*": "signatures"})
    parts = {"fingerprint": "print", "before": to_data(DB), "policy": policy, "impact": Impact.DATA_LOSS}
    gone = step(Operation.DELETE, "server.db", **parts)
    rack = Rack(DB)
    (result,) = bench_with(rack).run(gone, allowed=Impact.DATA_LOSS).results
    assert (result.outcome, rack.calls) == (Outcome.FAILED, 0) and "in maintenance" in (result.cause or "")


def test_power_of_a_node_in_maintenance_is_not_the_drivers_and_stays_recorded() -> None:
    """What is set live beside it would switch it on else."""
    on = replace(DB, power_state="running", asset_tag="new")
    rack = Rack(DB, tells=())
    bench = bench_with(rack)
    (result,) = bench.run(changed("asset_tag", Impact.LIVE, asset_tag="new", power_state="running")).results
    (record,) = bench.store.records(STACK)
    assert (result.outcome, rack.machine) == (Outcome.DONE, replace(on, power_state=None))
    assert record.applied == to_data(on)


def test_what_a_killed_run_has_begun_on_a_node_in_maintenance_is_not_ended() -> None:
    rack = Rack(DB, tells=())
    bench, change = bench_with(rack), changed("asset_tag", Impact.LIVE, asset_tag="new")
    begun = replace(KEPT, stage="settings - - restart=taken", stack=STACK, uuid=change.uuid)
    bench.store.note_node(begun)
    (result,) = bench.run(change).results
    assert (result.outcome, rack.calls) == (Outcome.FAILED, 0) and "in maintenance" in (result.cause or "")
    assert notes(bench) == [begun]


def test_restart_that_began_before_the_maintenance_is_noted_to_its_end() -> None:
    class During(Rack):
        def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
            target.reached("settings - - restart=taken")
            bench.store.note_node(replace(bench.store.nodes()[0], state="maintenance", reason="new fan"))
            target.reached("")
            return super().update(target, contents, deadline)

    bench = Bench(drivers={"server": During(DB, tells=())})
    (result,) = bench.run(changed("bios.Turbo", Impact.RESTART, bios={"Turbo": "On"}), allowed=Impact.RESTART).results
    assert result.outcome is Outcome.DONE and notes(bench) == [KEPT]


def test_maintenance_that_begins_before_the_first_stage_is_not_written_over() -> None:
    class Late(Rack):
        def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
            bench.store.note_node(KEPT)
            return super().create(target, contents, deadline)

    bench = Bench(drivers={"server": Late(None)})
    (result,) = bench.run(create("server.db", DB)).results
    assert result.outcome is Outcome.FAILED and "in maintenance" in (result.cause or "")
    assert notes(bench) == [KEPT]


def test_deploy_to_a_node_that_is_cleaned_since_the_plan_is_refused_and_the_cleaning_stays_noted() -> None:
    rack, cleaning = Rack(None), NodeNote("hv1", "cleaning")
    bench = Bench(drivers={"server": rack})
    bench.store.note_node(cleaning)
    (result,) = bench.run(create("server.db", DB)).results
    cause = "hv1 is being cleaned (stacksmith node release hv1, when no run is at work)"
    assert (result.outcome, result.cause, rack.calls) == (Outcome.FAILED, cause, 0)
    assert notes(bench) == [cleaning] and bench.recorded() == {}


def test_cleaning_that_begins_before_the_first_stage_is_not_written_over() -> None:
    class Late(Rack):
        def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
            bench.store.note_node(NodeNote("hv1", "cleaning"))
            return super().create(target, contents, deadline)

    bench = Bench(drivers={"server": Late(None)})
    (result,) = bench.run(create("server.db", DB)).results
    assert result.outcome is Outcome.FAILED and "being cleaned" in (result.cause or "")
    assert notes(bench) == [NodeNote("hv1", "cleaning")]


def test_node_of_a_half_deployed_server_that_is_destroyed_is_nobodys_again() -> None:
    class Half(Rack):
        def delete(self, target: Target, deadline: Deadline) -> None:
            stages.append(target.stage)
            super().delete(target, deadline)

        def _found(self, mark: Mark) -> Found:
            return Found(mark.address, "hv1", mark.uuid, "hv1", None, "half made", partial=True)

    stages: list[str] = []
    gone = step(Operation.DELETE, "server.db", fingerprint="half made", partial=True)
    bench = Bench(drivers={"server": Half(DB)})
    bench.store.note_node(NodeNote("hv1", "deploying", "booted 1a2b", stack="shop", uuid=gone.uuid))
    (result,) = bench.run(gone).results
    assert (result.outcome, stages, notes(bench)) == (Outcome.DONE, ["booted 1a2b"], [])


def test_server_whose_disks_are_being_wiped_is_not_whole_any_more() -> None:
    class Stuck(Rack):
        def delete(self, target: Target, deadline: Deadline) -> None:
            raise Refused("cannot clean hv1: clean: I/O error")

    policy = Policy(wipe={"*": "signatures"})
    gone = step(
        Operation.DELETE, "server.db", fingerprint="print", before=to_data(DB), policy=policy, impact=Impact.DATA_LOSS
    )
    bench = Bench(drivers={"server": Stuck(DB)})
    bench.store.put(STACK, Record(gone.address, "hv1", gone.uuid, to_data(DB), policy))
    (result,) = bench.run(gone, allowed=Impact.DATA_LOSS).results
    (record,) = bench.store.records(STACK)
    assert (result.cause, record.complete, record.policy) == ("cannot clean hv1: clean: I/O error", False, policy)


def test_deploy_that_ends_well_leaves_no_note() -> None:
    bench = Bench(drivers={"server": Rack(None)})
    (result,) = bench.run(create("server.db", DB)).results
    assert result.outcome is Outcome.DONE and notes(bench) == []


@pytest.mark.parametrize(
    ("step", "adopted"),
    [
        (changed("asset_tag", Impact.LIVE, asset_tag="new"), True),
        (changed("config_drive.digest", Impact.RESTART), True),
        (of("config_drive.digest"), False),
        (of("image", image="sha256:" + "b" * 64), False),
        (of("raid[0].drives"), False),
    ],
    ids=["setting", "config drive", "config drive that has no place", "image", "raid"],
)
def test_server_is_adopted_until_its_image_is_written(step: Step, adopted: bool) -> None:
    bench = Bench(drivers={"server": Rack(DB)})
    bench.store.put("shop", Record(step.address, "hv1", step.uuid, to_data(DB), adopted=True))
    (result,) = bench.run(step, allowed=Impact.DATA_LOSS).results
    (record,) = bench.store.records("shop")
    assert (result.outcome, record.complete, record.adopted) == (Outcome.DONE, True, adopted)
