"""Nodes that are not to be cleaned, or not so; no BMC is asked."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stacksmith.address import Address
from stacksmith.cli.app import run
from stacksmith.diagnostics import Faults
from stacksmith.engine import adoption
from stacksmith.engine.claim import give_up, hold
from stacksmith.engine.node import Nodes, nodes
from stacksmith.engine.session import Options, alone, forget, survey
from stacksmith.engine.store import opened
from stacksmith.engine.upkeep import clean, maintain, power, release
from stacksmith.model.node_found import Power
from stacksmith.model.record import Record
from stacksmith.planner.machine import TENANT
from stacksmith.state.store import Locked, NodeNote

FLEET = """\
fleet: rack
nodes:
  bm1: {redfish: "https://192.0.2.1", username: admin, password: {env: NONE}}
"""


@pytest.fixture
def rack(tmp_path: Path) -> Nodes:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return nodes(Options(fleet=tmp_path / "fleet.yaml", environment={}))


@pytest.mark.parametrize("disk", ["", " ", "*", "sda sdb", "/dev/", "sd?"])
def test_clean_of_what_is_no_disk_is_refused_and_not_taken_for_every_disk(rack: Nodes, disk: str) -> None:
    with pytest.raises(Faults, match="is no name of a disk"):
        clean(rack, "bm1", ("sda", disk), False, lambda words: None)
    assert not list(rack.folder.glob(".stacksmith/*.db"))


def test_clean_of_a_node_that_a_stack_has_claimed_is_refused(rack: Nodes) -> None:
    with opened(rack, rack.environment, read_only=False) as store:
        hold("shop", "server.db", "5d2c0a6e-0000-5000-8000-000000000001", {"bm1": {"CUSTOM_BAREMETAL": 1}}, store)
    with pytest.raises(Faults, match="cannot take bm1: stack shop has claimed it"):
        clean(rack, "bm1", (), False, lambda words: None)
    with opened(rack, rack.environment, read_only=True) as store:
        assert store.nodes() == ()


@pytest.mark.parametrize("cause", ["cannot sign in to bm1: NONE is not set", "cannot reach the BMC of bm1"])
@pytest.mark.parametrize(
    "before",
    [
        None,
        NodeNote("bm1", "maintenance", reason="new fan"),
        NodeNote("bm1", "failed", "cleaning", "cannot write sda"),
        NodeNote("bm1", "cleaning", "maintenance", "new fan"),
    ],
)
def test_clean_of_a_node_that_cannot_be_opened_or_read_leaves_it_as_it_was(
    rack: Nodes, cause: str, before: NodeNote | None
) -> None:
    if "reach" in cause:
        (rack.folder / "fleet.yaml").write_text(FLEET.replace("192.0.2.1", "127.0.0.1:9"))
        rack = nodes(Options(fleet=rack.folder / "fleet.yaml", environment={"NONE": "secret"}))
    with opened(rack, rack.environment, read_only=False) as store:
        if before is not None:
            store.note_node(before)
        there = store.nodes()
        with pytest.raises(Faults, match=cause) as refused:
            clean(rack, "bm1", (), False, lambda words: None)
        assert store.nodes() == there and len(there) == (before is not None)
    assert refused.value.diagnostics[0].hint


def test_node_in_maintenance_is_not_released(rack: Nodes) -> None:
    maintain(rack, "bm1", True, "new fan")
    with pytest.raises(Faults, match="cannot take bm1: it is maintenance: new fan") as refused:
        release(rack, "bm1")
    assert refused.value.diagnostics[0].hint == "stacksmith node maintenance bm1 off"
    with opened(rack, rack.environment, read_only=True) as store:
        assert [(note.state, note.reason) for note in store.nodes()] == [("maintenance", "new fan")]


def test_maintenance_outlives_a_cleaning_that_is_cut_off(rack: Nodes) -> None:
    with opened(rack, rack.environment, read_only=False) as store:
        store.note_node(NodeNote("bm1", "cleaning", "maintenance", "new fan"))  # by a run that was killed
        assert release(rack, "bm1") == "cleaning"
        assert [(each.state, each.stage, each.reason) for each in store.nodes()] == [("maintenance", "", "new fan")]


def off(rack: Nodes) -> None:
    power(rack, "bm1", off=True, on=False, hard=True)


def test_node_that_is_being_cleaned_is_neither_released_nor_kept_nor_switched(rack: Nodes) -> None:
    with opened(rack, rack.environment, read_only=False) as store, alone(store, "node bm1", "node clean"):
        store.note_node(NodeNote("bm1", "cleaning"))
        for act in (lambda: release(rack, "bm1"), lambda: maintain(rack, "bm1", True), lambda: off(rack)):
            with pytest.raises(Locked, match=r"node bm1: it is held by .*node clean"):
                act()
        assert [note.state for note in store.nodes()] == ["cleaning"]
    with pytest.raises(Faults, match="cannot sign in to bm1"):  # it is asked
        off(rack)
    assert release(rack, "bm1") == "cleaning"


def test_node_that_a_stack_deploys_is_not_switched_while_its_run_is_at_work(rack: Nodes) -> None:
    with opened(rack, rack.environment, read_only=False) as store:
        store.note_node(NodeNote("bm1", "deploying", "booted 1", "", "shop", "u1"))
        with alone(store, "shop", "apply"), pytest.raises(Locked):
            off(rack)
        with alone(store, "shop", "apply"), pytest.raises(Locked):
            release(rack, "bm1")
        with pytest.raises(Faults, match="cannot sign in to bm1"):
            off(rack)
    with pytest.raises(Faults, match=r"cannot take bm1: it is deploying: booted$"):
        maintain(rack, "bm1", True)


def test_release_ends_what_failed_for_another_server_than_the_one_that_is_there(rack: Nodes) -> None:
    with opened(rack, rack.environment, read_only=False) as store:
        store.put("shop", Record(Address("server", "db"), "bm1", "u1", {}))
        store.note_node(NodeNote("bm1", "failed", "booted", "its disk is not empty", "other", "u2"))
    assert release(rack, "bm1") == "failed"
    with opened(rack, rack.environment, read_only=True) as store:
        assert store.nodes() == () and len(store.records("shop")) == 1
    with pytest.raises(Faults, match=r"server\.db of stack shop is on it"):
        release(rack, "bm1")


STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 512, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers: {db: {flavor: metal, power_state: stopped}, pinned: {flavor: metal, power_state: stopped, host: bm2}}
"""


def test_adopted_is_no_node_that_is_cleaned_or_failed_nor_another_than_the_server_is_pinned_to(
    rack: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rack.folder / "fleet.yaml").write_text(
        f"{FLEET}  bm2: {{redfish: 'https://192.0.2.2', username: a, password: {{env: B}}}}\n"
    )
    (rack.folder / "stack.yaml").write_text(STACK)
    there = SimpleNamespace(
        power_state=Power.OFF, boot_mode=None, bios={}, indicator_led=None, asset_tag=None, identity=("", "")
    )
    monkeypatch.setattr(adoption, "observe_one", lambda of, name: there)
    options = Options(stack=rack.folder / "stack.yaml", environment={})
    of = nodes(options)
    with pytest.raises(Faults, match=r"server\.pinned is pinned to bm2"):
        adoption.adopt(options, of, "bm1", "server.pinned")
    with opened(of, of.environment, read_only=False) as store:
        store.note_node(NodeNote("bm1", "failed", "cleaning", "no disk"))
        with pytest.raises(Faults, match="it is failed: no disk"):
            adoption.adopt(options, of, "bm1", "server.db")
        store.clear_node("bm1")
        hold("other", "server.web", "u9", {"bm1": {"CUSTOM_BAREMETAL": 1}}, store)
        with pytest.raises(Faults, match=r"it is claimed for server\.web of stack other"):
            adoption.adopt(options, of, "bm1", "server.db")
        give_up("other", store.claims("other"), store)
        with alone(store, "node bm1", "node clean"), pytest.raises(Locked):
            adoption.adopt(options, of, "bm1", "server.db")
        assert str(adoption.adopt(options, of, "bm1", "server.db")) == "server.db"
        with alone(store, "shop", "apply"), pytest.raises(Locked):
            forget(options, Address("server", "db"))
        assert len(store.records("shop")) == 1


def test_node_power_leaves_a_node_alone_that_is_cleaned(rack: Nodes) -> None:
    fleet = str(rack.folder / "fleet.yaml")
    with opened(rack, rack.environment, read_only=False) as store, alone(store, "node bm1", "node clean"):
        store.note_node(NodeNote("bm1", "cleaning"))
        assert run(["node", "power", "bm1", "off", "--hard", "--fleet", fleet]) == 6


def test_node_with_a_server_of_another_stack_is_told_to_the_planner_without_its_claim(rack: Nodes) -> None:
    (rack.folder / "fleet.yaml").write_text(FLEET.replace("192.0.2.1", "127.0.0.1:9"))
    (rack.folder / "stack.yaml").write_text(STACK.replace(", host: bm2", "").replace("stack: shop", "stack: other"))
    with opened(rack, rack.environment, read_only=False) as store:
        store.put("shop", Record(Address("server", "db"), "bm1", "u1", {}))
    _, snapshot = survey(Options(stack=rack.folder / "stack.yaml", environment={}))
    help = "take the server out of its stack, or destroy it"
    assert [snap.facts.get(TENANT) for snap in snapshot.nodes] == [["server.db of stack shop is on it", help]]


def test_node_commands_without_a_stack_name_the_fleet_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["node", "list"]) == 1
    assert "hint: name the fleet file: --fleet FILE, or a stack that has one" in capsys.readouterr().err
