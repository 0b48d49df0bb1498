"""Signing in that fails before an apply or in the midst of one, by the command line on light BMCs.

What there is then: a clear error, and a next apply that does the rest.
"""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stacksmith.cli.app import run
from stacksmith.providers.redfish.signin import SESSIONS
from tests.e2e.kit import until
from tests.e2e.light_parts import LightBmc

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 8
LATE = 600  # seconds: the apply is still waiting for its settings when something happens to it
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {gold: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {flavor: gold, host: NODE, bare_metal: {asset_tag: R1, bios: {PowerCapWatts: 300}}}
"""
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def other(bmcs: Iterator[LightBmc]) -> LightBmc:
    """A second node, which is free."""
    return next(bmcs)


@pytest.fixture
def call(bmc: LightBmc, other: LightBmc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command on the stack; (status, what it said)."""
    (tmp_path / "stack.yaml").write_text(STACK.replace("NODE", bmc.node.name))

    def called(*words: str, auth: str = "session") -> tuple[int, str]:
        common = {"ca": str(bmc.node.ca), "password": {"file": str(bmc.node.password)}}
        more = {"auth": auth, "power_timeout_seconds": 25}
        nodes = {each.node.name: {**each.fields, **common, **more} for each in (bmc, other)}
        (tmp_path / "fleet.yaml").write_text(json.dumps({"fleet": "f", "nodes": nodes}))
        capsys.readouterr()
        status = run([words[0], str(tmp_path / "stack.yaml"), *words[1:]])
        said = capsys.readouterr()
        return status, said.out + said.err

    return called


def sign_in(bmc: LightBmc) -> Any:
    """What another user's wish for a session is answered."""
    return bmc.ask("POST", SESSIONS, {"UserName": bmc.node.username, "Password": bmc.password})


def end_sessions(bmc: LightBmc, but: str = "") -> None:
    """Those that there are, as if they had expired."""
    paths = [each["@odata.id"] for each in bmc.get(SESSIONS)["Members"]]
    assert [bmc.ask("DELETE", path).status_code for path in paths if path != but] == [204]


def is_starting(bmc: LightBmc) -> bool:
    """Whether the apply has switched the node on, and waits until its settings are in force."""
    asked = bmc.asked()
    resets = [number for number, each in enumerate(asked) if each.endswith("ComputerSystem.Reset")]
    return bool(resets) and "GET /BIOS/Settings" in asked[resets[0] :]


def boot(bmc: LightBmc) -> None:
    """Another boot, at which the settings are in force at once."""
    bmc.behave()
    assert [bmc.reset("ForceOff"), bmc.reset("On")] == [204, 204]


def assert_resumed(call: Call, bmc: LightBmc, auth: str) -> None:
    """The next apply makes it whole, and what was written before is not written again. The boot has ended meanwhile."""
    boot(bmc)
    status, text = call("apply", "--yes", auth=auth)
    assert status == 0, text
    assert bmc.get("/BIOS")["Attributes"]["PowerCapWatts"] == 300 and bmc.get()["AssetTag"] == "R1"
    assert bmc.writes().count("PATCH /BIOS/Settings") == 1 and bmc.writes().count("PATCH ") == 1
    assert call("plan", "--detailed-exitcode", auth=auth)[0] == 0


def test_password_that_is_refused_in_the_midst_of_an_apply_is_told_and_resumed_from(bmc: LightBmc, call: Call) -> None:
    bmc.behave("late-bios", apply_seconds=LATE)
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(call, "apply", "--yes", auth="basic")
        until(lambda: is_starting(bmc), 60, "the node is on")
        bmc.behave("basic-refused")
        status, text = applied.result()
    assert status == 1 and re.search(rf"cannot sign in to the BMC of {bmc.node.name}: 401 ", text), text
    assert "check username and password of the node in the fleet file" in text
    assert_resumed(call, bmc, "basic")


def test_session_that_expires_in_the_midst_of_an_apply_is_opened_anew(bmc: LightBmc, call: Call) -> None:
    bmc.behave("late-bios", apply_seconds=LATE)
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(call, "apply", "--yes")
        until(lambda: is_starting(bmc), 60, "the node is on")
        before = bmc.asked().count(f"POST {SESSIONS}")
        end_sessions(bmc)
        until(lambda: bmc.asked().count(f"POST {SESSIONS}") > before, 60, "another session is opened")
        boot(bmc)
        status, text = applied.result()
    assert status == 0, text
    assert_resumed(call, bmc, "session")
    assert bmc.get(SESSIONS)["Members"] == []


def test_session_table_that_fills_up_in_the_midst_of_an_apply_is_told_and_resumed_from(
    bmc: LightBmc, call: Call
) -> None:
    bmc.behave("late-bios", apply_seconds=LATE)
    taken = sign_in(bmc).json()["@odata.id"]
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(call, "apply", "--yes")
        until(lambda: is_starting(bmc), 60, "the node is on")
        bmc.behave("few-sessions")
        end_sessions(bmc, but=taken)
        status, text = applied.result()
    assert status == 1 and f"cannot wait for the settings of {bmc.node.name}: it is not in force yet" in text, text
    assert f"cannot sign in to the BMC of {bmc.node.name}: its session table is full" in text
    assert "end sessions at the BMC" in text
    end_sessions(bmc)
    assert_resumed(call, bmc, "session")


def test_full_session_table_of_the_node_of_a_new_server_is_what_the_plan_tells(bmc: LightBmc, call: Call) -> None:
    bmc.behave("few-sessions")
    assert sign_in(bmc).status_code == 201
    status, text = call("plan")
    name = bmc.node.name
    assert status == 1 and f"error[host-unread]: cannot place server.db: {name} could not be read: " in text, text
    assert f"cannot sign in to the BMC of {name}: its session table is full" in text
    assert "end sessions at the BMC" in text and f"hint: plan again once {name} can be read" in text
    assert "no-valid-host" not in text and "pin" not in text.replace(str(bmc.folder), "")
