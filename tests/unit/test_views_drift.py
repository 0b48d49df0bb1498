"""Drift as text, JSON, JUnit and Prometheus metrics; hosts."""

from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from views_plans import DRIFT, PLANS, SERVER, UPDATE, WEB0

from stacksmith.address import Address
from stacksmith.engine.node_drift import NodeDrift
from stacksmith.model.change import Change, Status
from stacksmith.model.fleet import Defaults, Fleet, Host
from stacksmith.model.found import Found, HostSnapshot, Resources, Snapshot, Unmanaged
from stacksmith.planner.inventory import host_states
from stacksmith.planner.plan import Deviation
from stacksmith.views.drift_data import drift_data
from stacksmith.views.drift_text import drift_text
from stacksmith.views.host import free_of, host_rows, hosts_data, hosts_text
from stacksmith.views.json_text import json_text
from stacksmith.views.junit import junit_text, node_junit_text
from stacksmith.views.node_drift import node_drift_data, node_drift_text
from stacksmith.views.prometheus import drift_metrics, last_success, node_drift_metrics

Golden = Callable[[str, str], None]
FLEET = Fleet(
    fleet="lab",
    defaults=Defaults(allocation_ratios={"VCPU": 8.0}),
    hosts={
        "hv1": Host(libvirt="test:///default", availability_zone="rack-a", allocation_ratios={"MEMORY_MB": 1.5}),
        "hv2": Host(libvirt="test:///default", state="drain", state_reason="new disks"),
        "hv3": Host(libvirt="test:///default"),
    },
)
FOUND = Found(WEB0, "hv1", "u1", "shop-web-0", SERVER, "f1", usage=Resources(1, 512, 4))
SNAPSHOT = Snapshot(
    (
        HostSnapshot(
            "hv1",
            capacity=Resources(16, 65536, 500),
            found=(FOUND,),
            unmanaged=(
                Unmanaged("server", "hv1", "pet", "u2", usage=Resources(2, 1024, 10)),
                Unmanaged("network", "hv1", "n", "u3"),
            ),
        ),
        HostSnapshot("hv2", capacity=Resources(4, 3000, -1)),
        HostSnapshot("hv3", error="cannot connect:\n Connection refused"),
    )
)
ROWS = host_rows(FLEET, SNAPSHOT)
FREE = free_of(host_states(FLEET, SNAPSHOT, (), {}), {"hv1"})


TAG = Change("asset_tag", "4711", "4711", "by hand", Status.DRIFT)
NODES = (
    NodeDrift("bm1", "shop/server.db", Deviation(Address.parse("server.db"), "bm1", (TAG,))),
    NodeDrift("bm2", problem="it is on, and nothing says what it runs", hint="stacksmith node adopt bm2 ADDRESS"),
    NodeDrift(
        "bm3",
        "shop/server.web",
        problem="deploy failed: <verify-image>",
        hint="stacksmith apply",
        error="lost",
        error_hint="<look>",
    ),
    NodeDrift("bm4", error="cannot reach the BMC of bm4:\n Connection refused", error_hint="look at <it>"),
    NodeDrift("bm5", "shop/server.b", kept="in maintenance: new fan"),
    NodeDrift("bm6", kept="deploying, by a run that is at work", error="cannot sign in", error_hint="look at <it>"),
    NodeDrift("bm7", "shop/server.c"),
    NodeDrift("bm8"),
)


@pytest.mark.parametrize("name", ["drift", "update", "in_sync", "unread"])
def test_drift_text_is_as_accepted(name: str, golden: Golden) -> None:
    golden(drift_text(PLANS[name]), f"views/drift_{name}.txt")


def test_drift_json_is_as_accepted(golden: Golden) -> None:
    golden(json_text(drift_data(DRIFT, "2026-01-02T03:04:05Z")), "views/drift.json")


def test_junit_is_as_accepted(golden: Golden) -> None:
    golden(junit_text(DRIFT, "2026-01-02T03:04:05", 1.5), "views/drift_junit.xml")


def test_junit_counts_agree_with_its_cases() -> None:
    suite = ElementTree.fromstring(junit_text(DRIFT, "", 0)).find("testsuite")
    assert suite is not None
    counts = {
        name: len(suite.findall(f"testcase{path}"))
        for name, path in (("tests", ""), ("failures", "/failure"), ("errors", "/error"))
    }
    assert counts == {name: int(suite.attrib[name]) for name in counts}
    assert counts["failures"] == len(DRIFT.deviations)


def test_metrics_are_as_accepted(golden: Golden) -> None:
    golden(drift_metrics(DRIFT, ROWS, 1767323045.0, 1.5, 1767000000.0), "views/drift.prom")


def test_node_drift_is_as_accepted_in_every_form(golden: Golden) -> None:
    golden(node_drift_text(NODES), "views/node_drift.txt")
    golden(json_text(node_drift_data("lab", NODES, "2026-01-02T03:04:05Z")), "views/node_drift.json")
    golden(node_junit_text("lab", NODES, "2026-01-02T03:04:05", 1.5), "views/node_drift_junit.xml")
    golden(node_drift_metrics("lab", NODES, 1767323045.0, 1.5, 1767000000.0), "views/node_drift.prom")


def test_node_drift_metrics_move_the_last_success_when_every_node_that_was_asked_was_read() -> None:
    assert last_success(node_drift_metrics("lab", NODES[4:5], 2000.0, 1.5, 1000.0)) == 2000.0
    assert last_success(node_drift_metrics("lab", NODES[3:4], 2000.0, 1.5, 1000.0)) == 1000.0
    assert last_success(node_drift_metrics("lab", NODES[3:4], 2000.0, 1.5, None)) is None


def test_metrics_of_a_whole_read_move_the_last_success() -> None:
    assert last_success(drift_metrics(UPDATE, ROWS[:2], 2000.0, 1.5, 1000.0)) == 2000.0


def test_metrics_of_a_partial_read_keep_the_last_success() -> None:
    assert last_success(drift_metrics(DRIFT, ROWS, 2000.0, 1.5, 1000.0)) == 1000.0
    assert last_success(drift_metrics(DRIFT, ROWS, 2000.0, 1.5, None)) is None


@pytest.mark.parametrize("text", ["", "stacksmith_last_success_timestamp_seconds{} x\n", "garbage\x00"])
def test_last_success_of_an_unreadable_file_is_none(text: str) -> None:
    assert last_success(text) is None


def test_label_values_are_escaped() -> None:
    text = drift_metrics(replace(DRIFT, stack='a"b\\c\nd'), (), 1.0, 1.0, None)
    assert 'stack="a\\"b\\\\c\\nd"' in text


def test_hosts_table_is_as_accepted(golden: Golden) -> None:
    golden(hosts_text(ROWS, FREE), "views/hosts.txt")


def test_hosts_json_is_as_accepted(golden: Golden) -> None:
    golden(json_text(hosts_data(ROWS, FREE)), "views/hosts.json")
