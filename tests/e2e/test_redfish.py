"""Nodes through the real provider, over HTTPS, on the lab's BMCs and all that they do wrong."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacksmith import lab
from stacksmith.cli.app import run
from stacksmith.lab.layout import RACK, layout_of
from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects
from stacksmith.providers.registry import open_bmc
from tests.e2e.bmc_parts import Bmc
from tests.e2e.light_parts import soon

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.takes(80),
    pytest.mark.xdist_group("bmc"),
    pytest.mark.root,
]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("redfish") / "lab"
    lab.up(path, hosts=1, nodes=3)
    yield path
    lab.down(path)


@pytest.fixture
def bmc(directory: Path) -> Iterator[Bmc]:
    there = Bmc(directory, lab.up(directory, hosts=1).nodes[0])
    there.make_off()
    yield there
    there.make_off()


@pytest.fixture
def call(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Call]:
    """Runs `stacksmith node …` on the lab's fleet, with other values for the first node; (status, stdout, stderr)."""
    copy = directory / "copy.yaml"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def called(*words: str, **changed: Any) -> tuple[int, str, str]:
        fleet = yaml.safe_load((directory / "fleet.yaml").read_text())
        fleet["nodes"]["bm1"] |= {"power_timeout_seconds": 30, **changed}
        fleet["nodes"]["bm1"] = {key: value for key, value in fleet["nodes"]["bm1"].items() if value is not None}
        copy.write_text(yaml.safe_dump(fleet))
        capsys.readouterr()
        status = run(["--fleet", str(copy), "node", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    yield called
    copy.unlink(missing_ok=True)


def asked(directory: Path) -> list[str]:
    """What all BMCs were asked so far, as METHOD PATH."""
    log = (layout_of(directory).home(RACK) / "log" / "bmc.log").read_text()
    return re.findall(r'"([A-Z]+ \S+) HTTP', log)


# --- reading


def test_list_reads_every_node_in_two_requests(directory: Path, bmc: Bmc, call: Call) -> None:
    bmc.reset("On")
    bmc.patch("", {"AssetTag": "R1-U1"})
    before = len(asked(directory))
    status, out, err = call("list")
    assert (status, err) == (0, "")
    assert re.search(r"^bm1 +manageable +on +CUSTOM_BAREMETAL_LAB +uefi +Lab node +LAB\w+ +R1-U1$", out, re.MULTILINE)
    assert re.search(r"^bm3 +available +off ", out, re.MULTILINE)
    paths = asked(directory)[before:]
    assert len(paths) == 6 and sum("/BIOS" in path for path in paths) == 3


def test_list_as_json_holds_the_bios_attributes(bmc: Bmc, call: Call) -> None:
    status, out, _ = call("list", "--format", "json")
    first = json.loads(out)["nodes"][0]
    assert (status, first["node"], first["error"], first["found"]["power_state"]) == (0, "bm1", None, "off")
    assert not {"raid", "firmware", "pending"} & first["found"].keys(), "which were not asked for"
    assert first["found"]["bios"] == bmc.get("/BIOS")["Attributes"]


def test_node_without_a_system_path_is_found_by_one_more_request(directory: Path, bmc: Bmc, call: Call) -> None:
    before = len(asked(directory))
    assert call("list", system=None)[0] == 0
    paths = [path.rpartition("/")[2] for path in asked(directory)[before:]]
    assert len(paths) == 7 and paths.count("Systems") == 1
    status, out, _ = call("show", "bm1", system=None)
    assert status == 0 and re.search(r"^  power_state +off$", out, re.MULTILINE) and "ProcTurboMode" in out


def test_inspect_shows_what_the_node_consists_of(bmc: Bmc, call: Call) -> None:
    status, out, _ = call("inspect", "bm1", "--format", "json")
    found = json.loads(out)["nodes"][0]["inventory"]
    assert (status, found["cpus"], found["memory_mib"]) == (0, 1, 1024)
    disks = [(disk["name"], disk["serial"], disk["size_bytes"]) for disk in found["disks"]]
    assert disks == [("sda", "disk-bm1", 4 * 1024**3)]
    assert found["nics"][0]["mac"].startswith("06:") and found["firmware"]["BIOS firmware"] == "1.0.0"


def test_inspect_takes_odd_data_for_not_told(bmc: Bmc, call: Call) -> None:
    bmc.behave("odd-data")
    status, out, _ = call("inspect", "bm1")
    assert status == 0 and re.search(r"disk sda +size not told", out) and "nic" not in out


def test_inspect_takes_six_requests_where_collections_come_whole(directory: Path, bmc: Bmc, call: Call) -> None:
    one_by_one = call("inspect", "bm1", "--format", "json")
    bmc.behave("expand")
    before = len(asked(directory))
    assert call("inspect", "bm1", "--refresh", "--format", "json") == one_by_one
    assert len(asked(directory)) - before == 6


def test_inspect_again_takes_two_requests_and_shows_the_same(
    directory: Path, tmp_path: Path, bmc: Bmc, call: Call
) -> None:
    first = call("inspect", "bm1", "--format", "json")
    bmc.patch("", {"AssetTag": "R9"})
    before = len(asked(directory))
    status, out, _ = call("inspect", "bm1", "--format", "json")
    assert len(asked(directory)) - before == 2
    old, new = (json.loads(text)["nodes"][0]["inventory"] for text in (first[1], out))
    assert (status, new["found"].pop("asset_tag")) == (0, "R9")  # settings are as they are now
    assert {**old, "found": {**old["found"], "asset_tag": None}} == {
        **new,
        "found": {**new["found"], "asset_tag": None},
    }
    (kept,) = (tmp_path / "cache" / "stacksmith" / "nodes").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert bmc.password not in kept.read_text() and "ProcTurboMode" not in kept.read_text()
    bmc.patch("", {"AssetTag": ""})


def test_inspect_of_all_tells_of_those_that_cannot_be_read(bmc: Bmc, call: Call) -> None:
    status, out, err = call("inspect", username="guest")
    assert (status, err) == (4, "")
    assert re.search(r"^bm1\n  error  cannot sign in .*\nbm2\n  manufacturer", out, re.MULTILINE)
    assert re.search(r"\nhint: bm1: check username .*\n$", out)


@pytest.mark.parametrize("profile", ["drops", "fails", "etag-weak", "etag-empty"])
def test_reading_outlasts_a_bad_line(bmc: Bmc, call: Call, profile: str) -> None:
    bmc.behave(profile)
    for _ in range(2):
        status, out, err = call("inspect", "bm1", "--refresh")
        assert (status, err) == (0, "") and "disk sda" in out


def test_reading_waits_for_a_bmc_that_is_busy_after_a_job(bmc: Bmc, call: Call) -> None:
    bmc.behave("busy-after-job")
    assert bmc.patch("/BIOS/Settings", {"Attributes": {"QuietBoot": "true"}}) == 204
    assert call("show", "bm1")[0] == 0


# --- settings


def test_settings_of_a_real_machine_are_in_force_after_its_boot(bmc: Bmc) -> None:
    fields = {"redfish": bmc.node.redfish, "system": bmc.node.system, "username": bmc.node.username}
    node = Node.model_validate({**fields, "password": {"file": "unused"}, "auth": "session"})
    everything = Aspects(secure_boot=True, pending=True)
    session = open_bmc("bm1", node, bmc.password, str(bmc.node.ca))
    try:
        for mode, secure, turbo in (
            ("bios", False, "Disabled"),
            ("uefi", True, "Disabled"),
            ("uefi", False, "Enabled"),
        ):
            session.set_bios({"ProcTurboMode": turbo}, soon())
            session.set_boot(mode, secure, soon())
            session.switch_on(soon())
            found = session.observe(soon(), everything)
            assert (found.boot_mode, found.secure_boot, found.pending) == (mode, secure, {})
            assert found.bios["ProcTurboMode"] == turbo
            session.switch_off(True, soon())
    finally:
        session.close()
    assert bmc.get("/redfish/v1/SessionService/Sessions")["Members"] == []


# --- what goes wrong


@pytest.mark.parametrize(
    ("changed", "cause", "hint"),
    [
        ({"password": {"env": "NO_SUCH"}}, "cannot sign in to bm1: NO_SUCH is not set", "export NO_SUCH="),
        ({"password": {"file": "none"}}, "cannot sign in to bm1: 'none' does not exist", "start in its folder"),
        ({"username": "guest"}, "cannot sign in to the BMC of bm1: 401 There is no valid session", "check username"),
        ({"ca": None}, "cannot trust the BMC of bm1: ", "ca: FILE"),
        ({"ca": "none.pem"}, "none.pem: there is no such file", "in ca:"),
        (
            {"redfish": "https://127.0.0.1:1"},
            "cannot reach the BMC of bm1: Connection refused",
            "at https://127.0.0.1:1,",
        ),
        ({"system": "/redfish/v1/Systems/none"}, "of bm1: 404 ", "check system: of the node"),
    ],
)
def test_node_that_cannot_be_read_says_why_and_the_others_are_read(
    bmc: Bmc, call: Call, changed: dict[str, Any], cause: str, hint: str
) -> None:
    status, out, err = call("show", "bm1", **changed)
    assert status == 1 and "error[node]: " in err and cause in err and hint in err
    status, out, err = call("list", **changed)
    assert status == 4 and cause in out and out.count("hint: bm1: ") == 1 and hint in out.rpartition("hint: bm1: ")[2]
    assert re.search(r"^bm2 +available +off ", out, re.MULTILINE)
    assert bmc.password not in out + err


def test_unknown_node_is_told_those_there_are(call: Call) -> None:
    status, _, err = call("power", "bm9", "on")
    assert status == 1 and "error[unknown-node]: cannot find node 'bm9'" in err and "nodes: bm1, bm2, bm3" in err


def test_bmc_without_a_cable_costs_its_time_limit_alone(directory: Path, bmc: Bmc, call: Call) -> None:
    lab.link(directory, RACK, up=False)
    try:
        started = time.monotonic()
        status, _, err = call("show", "bm1", connect_timeout_seconds=1, read_timeout_seconds=300)
        assert status == 1 and "cannot reach the BMC of bm1: no connection in time" in err
        assert time.monotonic() - started < 30, "the time limit of a node that has none of its own"
    finally:
        lab.link(directory, RACK, up=True)


# --- power


@pytest.mark.parametrize(
    "profile",
    [
        *("powering-states", "already-400", "on-after-off", "post", "busy-after-job", "drops", "fails", "slow"),
        *("etag-weak", "settings-uri", "odd-data"),
    ],
)
def test_power_gets_there_whatever_the_bmc_does(bmc: Bmc, call: Call, profile: str) -> None:
    bmc.behave(profile)
    assert call("power", "bm1", "on") == (0, "bm1 is on\n", "")
    assert call("power", "bm1", "on") == (0, "bm1 is on\n", "")
    assert call("power", "bm1", "reboot", "--hard") == (0, "bm1 is on\n", "")
    assert call("power", "bm1", "off", "--hard") == (0, "bm1 is off\n", "")


def test_what_is_so_already_is_not_asked_for(directory: Path, bmc: Bmc, call: Call) -> None:
    before = len(asked(directory))
    assert call("power", "bm1", "off") == (0, "bm1 is off\n", "")
    assert [each.partition(" ")[0] for each in asked(directory)[before:]] == ["GET"] * 3  # two: which machine it is


def test_guest_that_does_not_shut_down_loses_its_power(bmc: Bmc, call: Call) -> None:
    bmc.behave("graceful-ignored")
    bmc.reset("On")
    started = time.monotonic()
    assert call("power", "bm1", "off", power_timeout_seconds=24) == (0, "bm1 is off\n", "")
    assert time.monotonic() - started > 11.5


def test_power_that_does_not_come_is_given_up_with_the_last_answer(bmc: Bmc, call: Call) -> None:
    bmc.reset("On")
    bmc.reset("ForceOff")
    bmc.behave(on_after_off=3600)
    status, _, err = call("power", "bm1", "on", power_timeout_seconds=8)
    assert status == 1
    assert "cannot switch bm1 on: it is off; cannot use" in err and "409 The value On for ResetType conflicts" in err


def test_no_session_is_left_on_the_bmc(bmc: Bmc, call: Call) -> None:
    assert call("list")[0] == 0
    assert bmc.get("/redfish/v1/SessionService/Sessions")["Members"] == []
