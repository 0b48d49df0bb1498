"""Nodes against the state store, with no BMC that answers; and how it is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.address import Address
from stacksmith.engine.node import Nodes, nodes
from stacksmith.engine.node_drift import NodeDrift, node_drift
from stacksmith.engine.options import Options
from stacksmith.engine.store import opened
from stacksmith.model.change import Change, Status
from stacksmith.model.record import Record
from stacksmith.planner.plan import Deviation
from stacksmith.state.process import this_process
from stacksmith.state.store import NodeNote, Store
from stacksmith.views.node_drift import node_drift_data, node_drift_text

NODE = '{redfish: "https://127.0.0.1:9", username: admin, password: {env: NONE}}'
UNREAD = "cannot sign in to bm1"
HALF = Record(
    Address("server", "db"), "bm1", "u1", {"name": "db", "resource_class": "CUSTOM_BAREMETAL"}, complete=False
)


@pytest.fixture
def rack(tmp_path: Path) -> Nodes:
    (tmp_path / "fleet.yaml").write_text(f"fleet: rack\nnodes: {{bm1: {NODE}}}\n")
    return nodes(Options(fleet=tmp_path / "fleet.yaml", environment={}))


def only(rack: Nodes, write: Callable[[Store], None]) -> NodeDrift:
    with opened(rack, rack.environment, read_only=False) as store:
        write(store)
    (each,) = node_drift(rack)
    return each


@pytest.mark.parametrize(
    ("note", "problem", "again"),
    [
        (
            NodeNote("bm1", "failed", "written 1", "wrong checksum", "shop", "u1"),
            "deploy failed: wrong checksum",
            "apply",
        ),
        (NodeNote("bm1", "failed", "cleaning", "no disk"), "clean failed: no disk", "node clean bm1"),
        (NodeNote("bm1", "deploying", "booted 1", "", "shop", "u1"), "its deployment was cut off at booted", "apply"),
        (NodeNote("bm1", "cleaning"), "its cleaning was cut off", "node clean bm1"),
        (NodeNote("bm1", "cleaning", "maintenance"), "its cleaning was cut off", "node clean bm1"),
    ],
)
def test_what_failed_or_was_cut_off_is_drift_though_the_bmc_is_silent(
    rack: Nodes, note: NodeNote, problem: str, again: str
) -> None:
    told = only(rack, lambda store: store.note_node(note))
    assert (told.is_drift, told.problem, told.kept) == (True, problem, "")
    assert told.hint == f"stacksmith {again}, or stacksmith node release bm1"
    assert told.error.startswith(UNREAD)


def test_half_made_server_without_a_run_is_drift(rack: Nodes) -> None:
    told = only(rack, lambda store: store.put("shop", HALF))
    assert (told.server, told.problem) == ("shop/server.db", "its deployment was cut off")


@pytest.mark.parametrize(
    ("note", "lease"),
    [
        (NodeNote("bm1", "deploying", "booted 1", "", "shop", "u1"), "shop"),
        (NodeNote("bm1", "cleaning"), "node bm1"),
    ],
)
def test_what_a_run_is_at_work_on_is_no_drift(rack: Nodes, note: NodeNote, lease: str) -> None:
    def write(store: Store) -> None:
        store.note_node(note)
        store.acquire(lease, this_process("run", "apply"), 3600)

    told = only(rack, write)
    assert (told.is_drift, told.kept) == (False, f"{note.state}, by a run that is at work")


def test_lease_that_has_run_out_is_nobodys(rack: Nodes) -> None:
    def write(store: Store) -> None:
        store.note_node(NodeNote("bm1", "cleaning"))
        store.acquire("node bm1", this_process("run", "node clean"), -1)

    assert only(rack, write).problem == "its cleaning was cut off"


def test_lease_of_a_process_that_ended_is_nobodys(rack: Nodes) -> None:
    def write(store: Store) -> None:
        store.note_node(NodeNote("bm1", "cleaning"))
        store.acquire("node bm1", replace(this_process("run", "node clean"), started="1"), 3600)

    assert only(rack, write).problem == "its cleaning was cut off"


def test_node_in_maintenance_is_not_asked(rack: Nodes) -> None:
    told = only(rack, lambda store: store.note_node(NodeNote("bm1", "maintenance", reason="fan")))
    assert told == NodeDrift("bm1", kept="in maintenance: fan")


def test_node_that_cannot_be_read_is_not_in_sync(rack: Nodes) -> None:
    told = only(rack, lambda store: None)
    assert not told.is_drift and told.error.startswith(UNREAD)
    assert (told.hint, told.error_hint) == ("", "export NONE=…")


CHANGE = Change("asset_tag", "1", "1", "x\x1b[2J", Status.DRIFT)
FOUND = (
    NodeDrift("bm1", "shop/server.db", Deviation(HALF.address, "bm1", (CHANGE,))),
    NodeDrift("bm2", problem="it is on", hint="switch it off"),
    NodeDrift("bm3", error="no answer\n::error::x", error_hint="look\n::error::y"),
    NodeDrift("bm4", kept="in maintenance"),
    NodeDrift("bm5"),
)


def test_drift_of_nodes_as_text() -> None:
    assert node_drift_text(FOUND) == (
        "bm1 (shop/server.db) has changed outside of stacksmith:\n"
        '      ~ asset_tag = "1" -> "x\\u001b[2J"  # drift\n'
        "bm2: it is on\n"
        "  hint: switch it off\n"
        "bm3: not read: no answer\\n::error::x\n"
        "bm4: not compared: in maintenance\n"
        "hint: bm3: look\\n::error::y\n"
        "Drift: 2 nodes to look at, 1 node not read, 1 node not compared, 1 in sync.\n"
    )
    assert node_drift_text(FOUND[4:]) == "No drift: 1 in sync.\n"
    assert node_drift_text(FOUND[2:3]).endswith("Not known: 1 node not read, 0 in sync.\n")


def test_drift_of_nodes_as_data() -> None:
    data = node_drift_data("rack", FOUND, "2026-01-01T00:00:00Z")
    assert isinstance(data, dict)
    assert (data["fleet"], data["complete"], data["in_sync"]) == ("rack", False, ["bm5"])
    assert [(each["node"], each["server"], each["problem"]) for each in data["drift"]] == [
        ("bm1", "shop/server.db", None),
        ("bm2", None, "it is on"),
    ]
    assert data["drift"][0]["changes"][0]["applied"] == "1"
    assert data["unreachable"] == [{"node": "bm3", "error": "no answer\n::error::x", "hint": "look\n::error::y"}]
    assert data["not_compared"] == [{"node": "bm4", "reason": "in maintenance"}]
