"""Who asks a BMC: basic authentication and sessions, through the real provider and over HTTPS."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacksmith.cli.app import run
from stacksmith.model.node_found import Aspects
from stacksmith.providers.base import Refused
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish.signin import SESSIONS
from tests.e2e.light_parts import LightBmc, soon

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
BMCS = 31
OPENED = f"POST {SESSIONS}"


def sessions(bmc: LightBmc) -> list[Any]:
    bmc.behave()
    return list(bmc.get(SESSIONS)["Members"])


def expire(bmc: LightBmc) -> None:
    """Every session so far, and none that is opened later."""
    bmc.behave("short-sessions")
    time.sleep(1.1)
    assert bmc.get(SESSIONS)["Members"] == []
    bmc.behave()


def test_one_session_serves_all_connections_and_is_deleted(bmc: LightBmc) -> None:
    with bmc.session(auth="session", connections=4) as session, ThreadPoolExecutor(8) as pool:
        everything = Aspects(secure_boot=True, pending=True, firmware=True)
        list(pool.map(lambda _: session.observe(soon(), everything), range(8)))
        assert len(sessions(bmc)) == 1
    assert sessions(bmc) == []
    assert bmc.asked().count(OPENED) == 1


def test_basic_authentication_opens_no_session(bmc: LightBmc) -> None:
    with bmc.session() as session:
        session.observe(soon())
    assert OPENED not in bmc.asked()


def test_session_ends_after_an_error_too(bmc: LightBmc) -> None:
    with pytest.raises(Refused), bmc.session(auth="session") as session:
        session.set_bios({"Warp": 9}, soon())
    assert sessions(bmc) == []


def test_session_is_deleted_over_a_bad_line(bmc: LightBmc) -> None:
    with bmc.session(auth="session") as session:
        session.observe(soon())
        bmc.behave(drop_every=2)
    assert sessions(bmc) == []


def test_session_that_expired_is_opened_once_more_for_all(bmc: LightBmc) -> None:
    with bmc.session(auth="session", connections=4) as session, ThreadPoolExecutor(4) as pool:
        session.observe(soon())
        expire(bmc)
        list(pool.map(lambda _: session.observe(soon()), range(4)))
        session.set_asset_tag("R1", soon())
    assert bmc.asked().count(OPENED) == 2
    assert sessions(bmc) == []


def test_write_of_an_expired_session_is_carried_out_once(bmc: LightBmc) -> None:
    with bmc.session(auth="session") as session:
        session.observe(soon())
        expire(bmc)
        session.set_bios({"ProcTurboMode": "Disabled"}, soon())
    assert bmc.get("/BIOS/Settings")["Attributes"]["ProcTurboMode"] == "Disabled"
    assert bmc.asked().count(OPENED) == 2


@pytest.fixture
def full(bmc: LightBmc) -> LightBmc:
    """A BMC whose only session is taken."""
    bmc.behave("few-sessions")
    assert bmc.ask("POST", SESSIONS, {"UserName": bmc.node.username, "Password": bmc.password}).status_code == 201
    return bmc


def test_full_session_table_is_a_clear_error(full: LightBmc) -> None:
    with full.session(auth="session") as session, pytest.raises(NotNow) as caught:
        session.observe(soon())
    assert "its session table is full" in str(caught.value) and "maximum number of user sessions" in str(caught.value)
    assert caught.value.hint == "end sessions at the BMC, wait until they expire, or say auth: basic"


@pytest.mark.parametrize("auth", ["basic", "auto"])
def test_full_session_table_matters_to_sessions_alone(full: LightBmc, auth: str) -> None:
    with full.session(auth=auth) as session:
        assert session.observe(soon()).uuid


def test_session_is_waited_for_by_the_command(full: LightBmc, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is full when the command starts, and another's session ends meanwhile."""
    (other,) = full.get(SESSIONS)["Members"]
    fleet = full.folder / f"{full.node.name}.yaml"
    node = {**full.fields, "auth": "session"}
    fleet.write_text(str({"fleet": "one", "nodes": {full.node.name: node}}).replace("'", '"'))
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(run, ["--fleet", str(fleet), "node", "show", full.node.name])
        time.sleep(2)
        assert not command.done()
        assert full.ask("DELETE", other["@odata.id"]).status_code == 204
        assert command.result(30) == 0
    assert "power_state" in capsys.readouterr().out
    assert sessions(full) == []


def test_auto_takes_a_session_where_basic_is_refused(bmc: LightBmc) -> None:
    bmc.behave("basic-refused")
    with bmc.session() as session, pytest.raises(Refused, match="cannot sign in to the BMC of bm"):
        session.observe(soon())
    with bmc.session(auth="auto", connections=4) as session, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: session.observe(soon()), range(4)))
        session.set_asset_tag("R1", soon())
    assert sessions(bmc) == []
    assert bmc.get()["AssetTag"] == "R1" and bmc.asked().count(OPENED) == 1


@pytest.mark.parametrize(("auth", "tries"), [("basic", 1), ("session", 1), ("auto", 2)])
def test_wrong_password_is_one_clear_error(bmc: LightBmc, auth: str, tries: int) -> None:
    with bmc.session(auth=auth, password="guess-me") as session, pytest.raises(Refused) as caught:
        session.observe(soon())
    assert str(caught.value).startswith(f"cannot sign in to the BMC of {bmc.node.name}: 401 ")
    assert (caught.value.path, "guess-me" in str(caught.value)) == ("password", False)
    assert len(bmc.asked()) == tries and sessions(bmc) == []


def test_certificate_of_another_name_is_told_from_one_that_nobody_trusts(bmc: LightBmc) -> None:
    address = bmc.node.redfish.replace("127.0.0.1", "localhost")
    with bmc.session(redfish=address) as session, pytest.raises(Refused, match="localhost") as caught:
        session.observe(soon())
    assert caught.value.hint and "for another name" in caught.value.hint


def test_password_that_a_bmc_says_again_is_not_said_by_us(bmc: LightBmc) -> None:
    bmc.behave("says-again")
    with bmc.session(auth="session") as session, pytest.raises(Refused, match=r"it opens no sessions: .*400") as caught:
        session.observe(soon())
    assert "The value '(sensitive value)' for the property Password" in str(caught.value)
    assert bmc.password not in f"{caught.value} {caught.value.hint}"


def test_closed_connection_opens_no_new_session(bmc: LightBmc) -> None:
    with bmc.session(auth="session") as session:
        session.observe(soon())
    calls: list[Callable[[], object]] = [lambda: session.observe(soon()), lambda: session.set_asset_tag("x", soon())]
    for call in calls:
        with pytest.raises(Unreachable, match="its connection is closed"):
            call()
    assert sessions(bmc) == []


STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {flavor: metal, bare_metal: {asset_tag: "4711", bios: {ProcTurboMode: Enabled}}}
"""
ON_STACK = (
    ("node", "inspect"),
    ("--debug", "plan", "--out", "saved.plan"),
    ("apply", "--yes", "--allow", "restart", "--json-into", "events.jsonl"),
    ("drift", "--format", "json", "--into", "drift.json"),
    ("node", "drift", "--format", "json"),
    ("show", "--json"),
)


def test_token_of_a_session_is_nowhere(
    bmc: LightBmc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in what commands write or say, nor in what the libraries below them would log."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert bmc.reset("On") == 204
    node = {**bmc.fields, "auth": "session", "password": {"file": "password"}, "ca": str(bmc.node.ca)}
    (tmp_path / "password").write_text(bmc.password)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"fleet": "one", "nodes": {bmc.node.name: node}}))
    (tmp_path / "stack.yaml").write_text(STACK)
    for words in (("node", "adopt", bmc.node.name, "server.db"), *ON_STACK):
        assert run(words) == 0, words
    said = capsys.readouterr()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    places = {str(path): path.read_bytes() for path in written} | {"said": f"{said.out}{said.err}".encode()}
    places["logged"] = "\n".join(record.getMessage() for record in caplog.records).encode()
    tokens = bmc.tokens()
    assert len(tokens) > len(ON_STACK) and b"HTTP request" in places["logged"]
    assert {"saved.plan", "events.jsonl", "drift.json"} < {path.name for path in written}
    assert [name for name, data in places.items() if any(token in data for token in tokens)] == []


def test_user_name_of_the_environment_signs_in(
    bmc: LightBmc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one fleet file for two accounts: each has its own."""
    node = {**bmc.fields, "username": {"env": "BMC_USER"}, "password": {"env": "BMC_PASSWORD"}}
    node["ca"] = str(bmc.node.ca)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"fleet": "one", "nodes": {bmc.node.name: node}}))
    (tmp_path / "stack.yaml").write_text(STACK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BMC_PASSWORD", bmc.password)
    for user, statuses, told in (
        (None, (4, 4, 4), f"cannot sign in to {bmc.node.name}: BMC_USER is not set in the environment"),
        ("nobody", (4, 4, 4), f"cannot sign in to the BMC of {bmc.node.name}: 401"),
        (bmc.node.username, (0, 0, 3), ""),
    ):
        if user is not None:
            monkeypatch.setenv("BMC_USER", user)
        said = [(run(words), capsys.readouterr()) for words in (("node", "list"), ("node", "drift"), ("drift",))]
        assert tuple(status for status, _ in said) == statuses, said
        assert all(told in output.out + output.err for _, output in said), said
