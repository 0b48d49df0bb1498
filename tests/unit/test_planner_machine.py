"""Plans of bare-metal servers, on nodes that are data."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from stacksmith.address import Address, identity
from stacksmith.diagnostics import Faults, Severity
from stacksmith.engine.lost_image import with_applied_images
from stacksmith.engine.preflight import node_faults
from stacksmith.engine.store import opened
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Found, HostSnapshot, Snapshot, Unmanaged
from stacksmith.model.image_file import LOST
from stacksmith.model.load import LoadOptions, load_stack
from stacksmith.model.raid import facts
from stacksmith.model.realised import ConfigDrive, Machine, Policy, RaidVolume, from_data, to_data
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.machine import NOTE, TENANT, powers_left, writes_image
from stacksmith.planner.make import PlanOptions, make_plan
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Deadline
from stacksmith.providers.deployment import held
from stacksmith.providers.redfish.rules import RULES, RedfishRules

FLEET = """\
fleet: f
nodes:
  bm1: {redfish: "https://bmc1", username: u, password: {env: P}, resource_class: CUSTOM_GOLD, availability_zone: a}
  bm2: {redfish: "https://bmc2", username: u, password: {env: P}, resource_class: CUSTOM_GOLD, traits: [CUSTOM_NVME]}
  bm3: {redfish: "https://bmc3", username: u, password: {env: P}, resource_class: CUSTOM_SILVER}
"""
STACK = """\
stack: shop
fleet: fleet.yaml
flavors:
  gold: {vcpus: 8, ram: 16384, extra_specs: {"resources:CUSTOM_GOLD": "1", "resources:VCPU": "0"}}
  nvme: {vcpus: 8, ram: 1024, extra_specs: {"resources:CUSTOM_GOLD": "1", "trait:CUSTOM_NVME": required}}
images: {os: {source: os.img, format: raw}}
servers:
  db:
    flavor: gold
    image: os
    bare_metal: {bios: {Turbo: "On"}, asset_tag: "4711", boot_mode: uefi}
"""
DB = Address("server", "db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "os.img").write_bytes(b"image" * 100)
    return tmp_path


def stack_of(folder: Path, text: str = STACK) -> Stack:
    (folder / "stack.yaml").write_text(text)
    loaded = load_stack(folder / "stack.yaml", LoadOptions())
    assert loaded.stack is not None, loaded.diagnostics
    return loaded.stack


def plan_of(
    stack: Stack,
    *nodes: HostSnapshot,
    records: Sequence[Record] = (),
    consumers: Sequence[Consumer] = (),
    options: PlanOptions = PlanOptions(),  # noqa: B008
) -> Plan:
    names = {node.host for node in nodes}
    free = [HostSnapshot(name) for name in stack.fleet.nodes if name not in names]
    snapshot = Snapshot((), tuple(sorted((*nodes, *free), key=lambda snap: snap.host)))
    return make_plan(stack, snapshot, records, lambda host: RedfishRules(), options, consumers)


def only(plan: Plan) -> Step:
    assert len(plan.steps) == 1, [step.id for step in plan.steps]
    return plan.steps[0]


def made(stack: Stack, host: str = "bm1") -> tuple[Machine, Record]:
    """The server as the plan wants it, and its record."""
    spec = only(plan_of(stack)).wanted
    assert isinstance(spec, Machine)
    uuid = identity("f", "shop", DB)
    return spec, Record(DB, host, uuid, to_data(spec))


def found(spec: Machine, host: str = "bm1", **more: object) -> HostSnapshot:
    uuid = identity("f", "shop", DB)
    return HostSnapshot(host, found=(Found(DB, host, uuid, host, spec, "print", **more),))  # type: ignore[arg-type]


def kept(snap: HostSnapshot, stage: str = "") -> HostSnapshot:
    """The node in maintenance."""
    return replace(snap, facts={**snap.facts, NOTE: {"state": "maintenance", "stage": stage, "reason": "fan"}})


def test_machine_every_field_has_a_rule() -> None:
    assert {field.name for field in fields(Machine)} == set(RULES)


def test_machine_is_the_same_from_its_data(folder: Path) -> None:
    spec, _ = made(stack_of(folder))
    assert from_data("server", to_data(spec)) == spec


def test_plan_new_server_goes_to_the_first_free_node_of_its_class(folder: Path) -> None:
    plan = plan_of(stack_of(folder))
    step = only(plan)
    assert (step.operation, step.host, step.limit_seconds) == (Operation.CREATE, "bm1", 3600.0)
    assert {claim.allocations["bm1"]["CUSTOM_GOLD"] for claim in plan.claims.wanted} == {1}
    assert [room.provider for room in plan.claims.rooms] == ["bm1"]
    verdicts = {v.host: v.reason for v in plan.placements[0].verdicts if not v.fits}
    assert verdicts == {"bm3": "no CUSTOM_GOLD here"}


def test_plan_trait_zone_and_pin_choose_the_node(folder: Path) -> None:
    stack = stack_of(folder, STACK.replace("flavor: gold", "flavor: nvme"))
    assert only(plan_of(stack)).host == "bm2"
    stack = stack_of(folder, STACK.replace("flavor: gold", "flavor: gold\n    host: bm2"))
    assert only(plan_of(stack)).host == "bm2"
    with pytest.raises(Faults) as raised:
        plan_of(stack_of(folder, STACK.replace("flavor: gold", "flavor: nvme\n    availability_zone: a")))
    assert "bm2: no availability zone, not a" in str(raised.value.diagnostics[0].notes)


@pytest.mark.parametrize(
    ("facts", "unmanaged", "reason"),
    [
        ({NOTE: {"state": "maintenance", "stage": "", "reason": "fan"}}, (), "host is disabled: maintenance: fan"),
        ({NOTE: {"state": "failed", "stage": "booted", "reason": "no disk"}}, (), "host is disabled: failed: no disk"),
        ({}, (Unmanaged("server", "bm1", "bm1", "", detail="it is on"),), "host is disabled: it is on"),
        (
            {TENANT: ["server.x of stack b is on it", "destroy it"]},
            (),
            "host is disabled: server.x of stack b is on it; CUSTOM_GOLD 1 short",
        ),
    ],
)
def test_plan_node_that_is_not_free_is_passed_over_with_its_reason(
    folder: Path, facts: dict[str, object], unmanaged: tuple[Unmanaged, ...], reason: str
) -> None:
    plan = plan_of(stack_of(folder), HostSnapshot("bm1", facts=facts, unmanaged=unmanaged))
    assert only(plan).host == "bm2"
    assert next(v.reason for v in plan.placements[0].verdicts if v.host == "bm1").startswith(reason)


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"image": "sha256:" + "0" * 64}, True),
        ({"boot_mode": "legacy"}, True),
        ({"boot_mode": "legacy", "power_state": "stopped"}, True),
        ({"secure_boot": False, "power_state": "stopped"}, True),
        ({"asset_tag": "1"}, False),
    ],
)
def test_plan_writes_no_disk_of_a_node_in_maintenance_and_boots_none(
    folder: Path, changed: dict[str, str], refused: bool
) -> None:
    stack = stack_of(folder, STACK.replace("boot_mode: uefi", "boot_mode: uefi, secure_boot: true"))
    spec, record = made(stack)
    there = kept(found(replace(spec, **changed)))  # type: ignore[arg-type]
    plan = plan_of(stack, there, records=[record])
    cause = "bm1 is in maintenance: fan (stacksmith node maintenance bm1 off ends it)"
    assert plan.refusals == (((only(plan).id, cause),) if refused else ())


def test_plan_leaves_a_node_in_maintenance_as_somebody_switched_it(folder: Path) -> None:
    """It is no drift, and what is live is set all the same."""
    stack = stack_of(folder)
    spec, record = made(stack)
    off = kept(found(replace(spec, power_state="stopped")))
    plan = plan_of(stack, off, records=[record])
    assert (plan.steps, plan.deviations, plan.refusals) == ((), (), ())
    assert [(each.address, each.record) for each in plan.unchanged] == [(DB, None)]
    (told,) = powers_left(stack, plan, Snapshot((), (off,)))
    assert (told.code, told.severity) == ("power-left", Severity.WARNING) and told.span is not None
    cause = "bm1 is in maintenance: fan (stacksmith node maintenance bm1 off ends it)"
    assert told.message == f"server.db stays stopped: {cause}"

    renamed = kept(found(replace(spec, power_state="stopped", asset_tag="1")))
    plan = plan_of(stack, renamed, records=[record])
    assert [change.path for change in only(plan).changes] == ["asset_tag"] and not plan.refusals
    assert [change.path for each in plan.deviations for change in each.changes] == ["asset_tag"]

    gone = plan_of(stack, off, records=[record], options=PlanOptions(destroy=True))
    assert not gone.refusals and not list(powers_left(stack, gone, Snapshot((), (off,))))


def test_plan_node_that_is_not_in_maintenance_is_switched_on(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    off = found(replace(spec, power_state="stopped"))
    plan = plan_of(stack, off, records=[record])
    assert [change.path for change in only(plan).changes] == ["power_state"] and plan.deviations
    assert not list(powers_left(stack, plan, Snapshot((), (off,))))


@pytest.mark.parametrize(("applied", "wanted"), [("running", "stopped"), ("stopped", "running")])
def test_plan_power_that_the_stack_asks_anew_of_a_node_in_maintenance_is_refused(
    folder: Path, applied: str, wanted: str
) -> None:
    stack = stack_of(folder, STACK.replace("flavor: gold", f"flavor: gold\n    power_state: {wanted}"))
    spec, record = made(stack)
    before = replace(spec, power_state=applied)
    plan = plan_of(stack, kept(found(before)), records=[replace(record, applied=to_data(before))])
    assert [change.path for change in only(plan).changes] == ["power_state"]
    assert [(name, "is in maintenance: fan" in cause) for name, cause in plan.refusals] == [("update server.db", True)]


def test_plan_wipes_no_node_in_maintenance_but_its_server_can_be_destroyed(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    for policy, refused in ((Policy(), []), (Policy(wipe={"*": "signatures"}), ["delete server.db"])):
        records, options = [replace(record, policy=policy)], PlanOptions(destroy=True)
        plan = plan_of(stack, kept(found(spec)), records=records, options=options)
        assert [name for name, _ in plan.refusals] == refused


def test_plan_ends_nothing_that_a_killed_run_has_begun_on_a_node_in_maintenance(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    renamed = found(replace(spec, asset_tag="1"))
    for stage, refused in (("", []), ("settings - - restart=taken", ["update server.db"])):
        plan = plan_of(stack, kept(renamed, stage), records=[record])
        assert [name for name, _ in plan.refusals] == refused


def test_plan_replaces_no_server_of_a_node_in_maintenance(folder: Path) -> None:
    stack = stack_of(folder, STACK.replace("flavor: gold", "flavor: gold\n    host: bm1"))
    spec, record = made(stack)
    there = replace(found(spec), facts={NOTE: {"state": "maintenance", "stage": "", "reason": ""}})
    plan = plan_of(stack, there, records=[record], options=PlanOptions(replaces=("server.db",)))
    assert plan.refusals == (
        ("create server.db", "bm1 is in maintenance (stacksmith node maintenance bm1 off ends it)"),
    )


def test_plan_node_that_another_stack_claimed_is_in_use(folder: Path) -> None:
    theirs = Consumer("uuid", {"bm1": {"CUSTOM_GOLD": 1}}, 1, "server.x", "other")
    assert only(plan_of(stack_of(folder), consumers=[theirs])).host == "bm2"


def test_plan_server_as_wanted_is_left_alone(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    plan = plan_of(stack, found(replace(spec, indicator_led="lit", secure_boot=False)), records=[record])
    assert not plan.steps and not plan.deviations
    assert [each.address for each in plan.unchanged] == [DB]


def test_plan_setting_changed_by_hand_is_drift_and_needs_a_restart(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    plan = plan_of(stack, found(replace(spec, bios={"Turbo": "Off"}, asset_tag="x")), records=[record])
    changes = {change.path: change for change in only(plan).changes}
    assert {path: change.impact for path, change in changes.items()} == {
        "bios.Turbo": Impact.RESTART,
        "asset_tag": Impact.LIVE,
    }
    assert {change.status for change in changes.values()} == {Status.DRIFT}
    assert only(plan).impact is Impact.RESTART


def test_plan_setting_that_waits_for_a_boot_is_told(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    saved = replace(spec, bios={"Turbo": "Off"})
    plan = plan_of(stack, found(spec, saved=saved), records=[record])
    (change,) = only(plan).changes
    assert (change.path, change.saved_only, change.status) == ("bios.Turbo", True, Status.DRIFT)


def test_plan_node_that_is_off_needs_no_restart(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    off = replace(spec, power_state="stopped", bios={"Turbo": "Off"})
    assert only(plan_of(stack, found(off), records=[record])).impact is Impact.LIVE


def test_plan_other_image_is_data_loss_in_place(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    (folder / "os.img").write_bytes(b"another")
    step = only(plan_of(stack_of(folder), found(spec), records=[record]))
    assert (step.operation, step.impact) == (Operation.UPDATE, Impact.DATA_LOSS)


@pytest.mark.parametrize("power", ["running", "stopped"])
def test_plan_iso_is_data_loss_on_or_off_and_what_its_server_says_boots_it_not_again(folder: Path, power: str) -> None:
    spec, record = made(stack_of(folder))
    text = STACK.replace("format: raw", "format: iso").replace("image: os\n", f"image: os\n    power_state: {power}\n")
    iso = stack_of(folder, text)
    given = only(plan_of(iso, found(replace(spec, image=None, power_state=power)), records=[record]))
    assert {c.path: c.impact for c in given.changes}["boot_iso"] is Impact.DATA_LOSS
    spec, record = made(iso)
    said = stack_of(folder, text.replace("image: os\n", "image: os\n    metadata: {role: db}\n"))
    step = only(plan_of(said, found(spec), records=[record]))
    assert [(c.path, c.impact) for c in step.changes] == [("metadata.role", Impact.NONE)]
    older = replace(spec, config_drive=ConfigDrive("configdrive", "digest"))
    step = only(plan_of(iso, found(older), records=[replace(record, applied=to_data(older))]))
    assert [(c.path, c.impact) for c in step.changes] == [("config_drive", Impact.NONE)]


def test_plan_raid_that_nobody_declares_is_left_alone(folder: Path) -> None:
    stack = stack_of(folder, STACK.replace("bios:", "raid: [{name: r, raid_type: RAID1, drives: [a, b]}], bios:"))
    spec, record = made(stack)
    assert spec.raid
    plan = plan_of(stack_of(folder), found(spec), records=[record])
    assert not plan.steps


FULL = "its session table is full"


@pytest.mark.parametrize(
    ("pin", "unread", "code", "hint"),
    [
        ("bm1", ("bm1",), "host-unread", "plan again once bm1 can be read"),
        (None, ("bm1", "bm2", "bm3"), "host-unread", "plan again once bm1, bm2, bm3 can be read"),
        ("bm3", ("bm1",), "no-valid-host", "drop the pin to bm3"),
    ],
)
def test_plan_server_whose_nodes_were_not_read_is_told_why(
    folder: Path, pin: str | None, unread: Sequence[str], code: str, hint: str
) -> None:
    stack = stack_of(folder, STACK.replace("flavor: gold", f"flavor: gold\n    host: {pin}") if pin else STACK)
    with pytest.raises(Faults) as raised:
        plan_of(stack, *(HostSnapshot(name, FULL) for name in unread))
    (told,) = raised.value.diagnostics
    assert told.code == code and hint in str(told.hint)
    assert (told.message == f"cannot place server.db: bm1 could not be read: {FULL}") is (code == "host-unread")


RAID = STACK.replace("bios:", "raid: [{name: system, raid_type: RAID1, drives: [a, b]}], bios:")
TIB = 2**40


def test_plan_new_server_names_the_raid_volumes_that_are_lost_for_its_own(folder: Path) -> None:
    kept, lost = RaidVolume("system", "RAID1", ("b", "a"), TIB), RaidVolume("customers", "RAID5", ("c", "d", "e"), TIB)
    node = HostSnapshot("bm1", facts=facts((kept, lost)))
    step = only(plan_of(stack_of(folder, RAID), node))
    assert (step.operation, step.impact) == (Operation.CREATE, Impact.DATA_LOSS)
    change, disk = step.changes
    assert (change.path, change.wanted, change.found) == ("raid[customers]", None, to_data(lost))
    assert change.note == "RAID volume customers (RAID5, 1024.0 GiB) is deleted with what is on it"
    assert (disk.path, disk.note) == ("disk", "the root disk is written over, whatever it holds")
    assert only(plan_of(stack_of(folder), node)).impact is Impact.NONE, "without raid: they are left alone"
    only_kept = HostSnapshot("bm1", facts=facts((kept,)))
    assert only(plan_of(stack_of(folder, RAID), only_kept)).impact is Impact.NONE


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ((), {}),
        ((held("not-empty", "sda has gpt, a=b table"),), {"disk": "is written over: sda has gpt, a=b table"}),
        ((held("other-disks", "sdb1 is it"),), {"other-disks": "a config drive is removed: sdb1 is it"}),
        (
            (("abc", "taken"), held("other-disks", "sdb1 is it"), held("not-empty", "sda has x")),
            {"disk": "is written over: sda has x", "other-disks": "a config drive is removed: sdb1 is it"},
        ),
    ],
)
def test_plan_new_server_names_what_a_deployment_has_found_on_disks(
    folder: Path, entries: tuple[tuple[str, str], ...], told: dict[str, str]
) -> None:
    """Whatever failed since, and however far the last one came."""
    stage = " ".join(filter(None, ("media key life", ",".join(map("=".join, entries)))))
    node = HostSnapshot("bm1", facts={NOTE: {"state": "failed", "stage": stage, "reason": "a port: in use"}})
    half = replace(found(made(stack_of(folder))[0]).found[0], spec=None, partial=True)
    step = only(plan_of(stack_of(folder), replace(node, found=(half,))))
    assert step.operation is Operation.CREATE
    assert {change.path: change.note.removeprefix("the root disk ") for change in step.changes} == told
    assert step.impact is (Impact.DATA_LOSS if told else Impact.NONE)


@pytest.mark.parametrize("wipe", [{}, {"S64": "whole"}, {"*": "signatures"}])
def test_plan_new_server_on_a_node_that_another_leaves_tells_what_it_leaves(folder: Path, wipe: dict[str, str]) -> None:
    stack = stack_of(folder, STACK.replace("db:", "web:"))
    spec, record = made(stack_of(folder))
    record = replace(record, policy=Policy(wipe=wipe))
    plan = plan_of(stack, found(spec), records=[record])
    (create,) = [step for step in plan.steps if step.operation is Operation.CREATE]
    told = ["the root disk is written over, with what server.db has on it"]
    assert (create.host, [change.note for change in create.changes]) == ("bm1", [] if "*" in wipe else told)


def test_plan_change_of_raid_names_the_volume_that_is_lost(folder: Path) -> None:
    spec, record = made(stack_of(folder, RAID))
    there = replace(spec, raid=(RaidVolume("system", "RAID5", ("a", "b")), RaidVolume("other", "RAID0", ("c",))))
    volumes = (replace(there.raid[0], size_bytes=TIB), there.raid[1])  # no size was declared
    node = found(there, facts=facts(volumes))
    step = only(plan_of(stack_of(folder, RAID), node, records=[replace(record, applied=to_data(there))]))
    assert step.impact is Impact.DATA_LOSS
    anew = "and the root disk is written anew"
    assert {change.path: change.note for change in step.changes} == {
        "raid[system].level": f"RAID volume system (RAID5, 1024.0 GiB) is deleted with what is on it, {anew}",
        "raid[other]": f"RAID volume other (RAID0) is deleted with what is on it, {anew}",
    }


@pytest.mark.parametrize(
    ("runs", "note"),
    [
        ({}, "the root disk is written anew"),
        ({"image": None}, "what is on its drives is lost"),
        (
            {"image": None, "boot_iso": "sha256:aa"},
            "the node is started from it, and what it does to the disks is its own affair",
        ),
    ],
)
def test_plan_new_raid_volume_of_a_server_tells_what_is_lost_by_what_it_runs(
    folder: Path, runs: dict[str, str | None], note: str
) -> None:
    spec, record = made(stack_of(folder, RAID))
    there = replace(spec, raid=(), **runs)  # type: ignore[arg-type]
    step = only(plan_of(stack_of(folder, RAID), found(there), records=[replace(record, applied=to_data(there))]))
    assert {change.note for change in step.changes if change.path == "raid[system]"} == {note}


def test_setting_that_is_declared_for_the_first_time_is_a_change_and_no_drift(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    before = replace(spec, asset_tag=None, boot_mode=None, raid=())
    live = replace(spec, asset_tag="", boot_mode="bios")
    step = only(plan_of(stack, found(live), records=[replace(record, applied=to_data(before))]))
    assert {c.path: c.status for c in step.changes} == {"asset_tag": Status.CHANGE, "boot_mode": Status.CHANGE}


def test_config_drive_of_an_adopted_server_is_lost_data(folder: Path) -> None:
    spec, record = made(stack_of(folder))
    stack = stack_of(folder, STACK.replace("    image: os\n", "    image: os\n    metadata: {role: db}\n"))
    for adopted, impact in ((False, Impact.RESTART), (True, Impact.DATA_LOSS)):
        step = only(plan_of(stack, found(spec), records=[replace(record, adopted=adopted)]))
        assert (step.impact, writes_image(step)) == (impact, adopted)


def test_record_of_what_is_declared_no_more_is_written_anew_without_a_step(folder: Path) -> None:
    spec, record = made(stack_of(folder))
    stack = stack_of(folder, STACK.replace(', asset_tag: "4711"', ""))
    plan = plan_of(stack, found(spec), records=[replace(record, adopted=True)])
    (same,) = plan.unchanged
    assert plan.steps == () and same.record is not None
    assert same.record.applied == to_data(replace(spec, asset_tag=None)) and same.record.adopted
    (same,) = plan_of(stack, found(spec), records=[same.record]).unchanged
    assert same.record is None


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("flavor: gold", "flavor: silver", "which is CUSTOM_GOLD, and flavor silver asks for CUSTOM_SILVER"),
        ("image: os\n    bare", "image: os\n    host: bm2\n    bare", "and host: pins it to bm2"),
    ],
)
def test_server_that_cannot_stay_on_its_node_is_told(folder: Path, old: str, new: str, cause: str) -> None:
    spec, record = made(stack_of(folder))
    silver = 'flavors:\n  silver: {vcpus: 8, ram: 16384, extra_specs: {"resources:CUSTOM_SILVER": "1"}}\n'
    stack = stack_of(folder, STACK.replace("flavors:\n", silver).replace(old, new))
    with pytest.raises(Faults) as caught:
        plan_of(stack, found(spec), records=[record])
    (fault,) = caught.value.diagnostics
    assert fault.message == f"cannot place server.db: it is on bm1, {cause}, but no server moves to another node"
    assert fault.span is not None and "stacksmith destroy --target server.db" in str(fault.hint)


def test_config_drive_of_a_server_without_an_image_is_no_restart(folder: Path) -> None:
    rules, wanted = RedfishRules(), Change("config_drive.digest", "new", "old", "old", Status.CHANGE, Impact.NONE)
    spec, _ = made(stack_of(folder))
    for runs, impact in (
        ({}, Impact.RESTART),
        ({"image": None}, Impact.NONE),
        ({"config_drive": None}, Impact.DATA_LOSS),
    ):
        node = found(replace(spec, **runs)).found[0]  # type: ignore[arg-type]
        assert rules.impact("server", wanted, node).impact is impact


def test_plan_half_made_server_is_completed_on_its_node(folder: Path) -> None:
    stack = stack_of(folder)
    _, record = made(stack, "bm2")
    half = Found(DB, "bm2", record.uuid, "bm2", None, "half made", partial=True)
    plan = plan_of(stack, HostSnapshot("bm2", found=(half,)), records=[replace(record, complete=False)])
    assert (only(plan).operation, only(plan).host, only(plan).partial) == (Operation.CREATE, "bm2", True)


def test_plan_server_on_a_node_that_does_not_answer_is_unknown(folder: Path) -> None:
    stack = stack_of(folder)
    _, record = made(stack)
    plan = plan_of(stack, HostSnapshot("bm1", error="no connection"), records=[record])
    assert plan.unknown == (DB,) and not plan.steps


def test_plan_destroy_releases_the_node(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    step = only(plan_of(stack, found(spec), records=[record], options=PlanOptions(destroy=True)))
    assert (step.operation, step.impact) == (Operation.DELETE, Impact.REPLACE)


def test_plan_replace_is_data_loss(folder: Path) -> None:
    stack = stack_of(folder)
    spec, record = made(stack)
    plan = plan_of(stack, found(spec), records=[record], options=PlanOptions(replaces=("server.db",)))
    assert [(s.operation, s.host) for s in plan.steps] == [(Operation.DELETE, "bm1"), (Operation.CREATE, "bm1")]
    assert plan.impact is Impact.DATA_LOSS


def test_rules_power_off_is_a_restart_and_on_is_live(folder: Path) -> None:
    spec, _ = made(stack_of(folder))
    live = Found(DB, "bm1", "", "bm1", spec, "")
    off = Change("power_state", "stopped", "running", "running", Status.CHANGE)
    assert RedfishRules().impact("server", off, live).impact is Impact.RESTART
    on = replace(off, wanted="running", found="stopped")
    assert RedfishRules().impact("server", on, live).impact is Impact.LIVE


PINNED = STACK.replace("asset_tag:", 'firmware: {BIOS: {version: "2.0"}}, asset_tag:')


def test_plan_firmware_without_an_image_is_compared_and_not_updated(folder: Path) -> None:
    stack = stack_of(folder, PINNED)
    spec, record = made(stack)
    plan = plan_of(stack, found(replace(spec, firmware={"BIOS": "1.0"})), records=[record])
    assert [(c.path, c.found, c.wanted) for c in only(plan).changes] == [("firmware.BIOS", "1.0", "2.0")]
    why = "firmware BIOS is only compared: no image is named that brings it to 2.0"
    assert plan.refusals == ((only(plan).id, why),)


class Node:
    """A session of a node that has BIOS 1.0, and knows no attribute Turbo."""

    def __init__(self) -> None:
        self.asked: list[Machine] = []

    def faults(self, wanted: Machine, deadline: Deadline) -> Sequence[tuple[str, str, str]]:
        self.asked.append(wanted)
        firmware = [("firmware", name, "it has 1.0") for name in wanted.firmware]
        return [("bios", "Turbo", "there is none"), *firmware]


def test_plan_quotes_what_its_node_does_not_take(folder: Path) -> None:
    stack = stack_of(folder, PINNED)
    told = node_faults(stack, plan_of(stack), {"bm1": Node()})  # type: ignore[dict-item]
    assert [(each.code, each.message) for each in told] == [
        ("bad-bios", "cannot set BIOS attribute Turbo of bm1: there is none"),
        ("bad-firmware", "cannot bring firmware BIOS of bm1 to its version: it has 1.0"),
    ]
    assert [each.span is not None and each.span.line for each in told] == [11, 11]


def test_node_of_a_server_that_is_there_is_asked_of_what_changes_alone(folder: Path) -> None:
    raid = "raid: [{name: system, raid_type: RAID1, drives: [a, b]}]"
    stack = stack_of(folder, STACK.replace("asset_tag:", f"{raid}, asset_tag:"))
    spec, record = made(stack)
    for before, asked in (
        (replace(spec, raid=()), [replace(spec, bios={}, firmware={})]),
        (replace(spec, bios={"Turbo": "Off"}), [replace(spec, raid=(), firmware={})]),
        (replace(spec, asset_tag="x"), []),
    ):
        node = Node()
        node_faults(stack, plan_of(stack, found(before), records=[record]), {"bm1": node})  # type: ignore[dict-item]
        assert node.asked == asked


def test_disks_are_wiped_when_the_server_goes_if_its_policy_says_so(folder: Path) -> None:
    wiping = STACK.replace("boot_mode: uefi", "boot_mode: uefi, wipe: {S64H: whole, S64G: signatures}")
    spec, _ = made(stack_of(folder))
    record = Record(DB, "bm1", identity("f", "shop", DB), to_data(spec))
    step = only(plan_of(stack_of(folder, wiping), found(spec), records=[record]))
    assert (step.impact, {c.path for c in step.changes}) == (Impact.NONE, {"policy.wipe.S64G", "policy.wipe.S64H"})
    gone = wiping.partition("servers:")[0]
    kept, wiped = (
        only(plan_of(stack_of(folder, gone), found(spec), records=[replace(record, policy=policy)]))
        for policy in (Policy(), step.policy)
    )
    assert (kept.operation, kept.impact) == (Operation.DELETE, Impact.REPLACE) and "wiped" not in kept.reason
    assert (wiped.operation, wiped.impact) == (Operation.DELETE, Impact.DATA_LOSS)
    assert wiped.reason.endswith("then its disks are wiped: S64G signatures, S64H whole")
    assert (kept.limit_seconds, wiped.limit_seconds) == (0.0, 86_400.0)
    longer = FLEET.replace("password: {env: P}", "password: {env: P}, deploy_timeout_seconds: 200000", 1)
    (folder / "fleet.yaml").write_text(longer)
    slow = only(plan_of(stack_of(folder, gone), found(spec), records=[replace(record, policy=step.policy)]))
    assert slow.limit_seconds == 200_000.0


@pytest.mark.parametrize(
    ("wipe", "words"),
    [
        ('{"*": signatures, S64H: whole}', "beside '*'"),
        ('{"": whole}', "is no name of a disk"),
        ('{"sda; reboot": whole}', "is no name of a disk"),
        ("{S64H: quick}", "'signatures' or 'whole'"),
    ],
)
def test_disks_to_wipe_are_named_or_all_of_them(folder: Path, wipe: str, words: str) -> None:
    (folder / "stack.yaml").write_text(STACK.replace("boot_mode: uefi", f"wipe: {wipe}"))
    (fault,) = load_stack(folder / "stack.yaml", LoadOptions()).diagnostics
    assert words in fault.message and fault.span is not None
    at = (folder / "stack.yaml").read_text().splitlines()[fault.span.line - 1][fault.span.column - 1 :]
    assert at.startswith(("{", "quick"))


def test_image_on_a_node_whose_file_is_gone_is_what_was_applied(folder: Path) -> None:
    stack = stack_of(folder)
    applied = {"image": stack.image_files["os"]["disk"].checksum}
    with opened(stack, {}, read_only=False) as store:
        store.put("shop", Record(DB, "bm1", identity("f", "shop", DB), applied))
    (folder / "os.img").unlink()
    lost = load_stack(folder / "stack.yaml", LoadOptions(without_images=True)).stack
    assert lost is not None and lost.image_files["os"]["disk"].checksum == LOST
    assert with_applied_images(lost, {}).image_files == stack.image_files
