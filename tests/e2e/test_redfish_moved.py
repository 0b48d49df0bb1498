"""Nodes whose BMCs lead to other machines than servers were made on, by the command line, over HTTPS."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacksmith.cli.app import run
from tests.e2e.light_parts import LightBmc, light_farm

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers: {db: {flavor: metal, host: bm1, bare_metal: {asset_tag: shop}}}
"""
Said = Callable[..., tuple[int, str]]


def fleet(folder: Path, **nodes: LightBmc) -> None:
    told: dict[str, Any] = {
        name: {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": "password"}} for name, bmc in nodes.items()
    }
    (folder / "fleet.yaml").write_text(json.dumps({"fleet": "rack", "nodes": told}))


def test_machine_that_a_server_was_not_made_on_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def said(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        status, output = run(words), capsys.readouterr()
        return status, output.out + output.err

    with light_farm(tmp_path / "farm", 3) as (one, two, three):
        (tmp_path / "password").write_text(one.password)
        (tmp_path / "stack.yaml").write_text(STACK)
        fleet(tmp_path, bm1=one, bm2=two)
        assert said("apply", "--yes")[0] == 0
        serial, wrong = (str(bmc.get()["SerialNumber"]) for bmc in (one, two))
        before = [bmc.writes() for bmc in (one, two)]
        _exchanged(tmp_path, said, (one, two), f"bm1 is another machine (serial {wrong}) than server.db was made on")
        assert [bmc.writes() for bmc in (one, two)] == before
        fleet(tmp_path, bm2=two)
        (tmp_path / "stack.yaml").write_text(STACK.replace("host: bm1, ", ""))
        status, text = said("plan")
        assert status == 0, text
        assert "bm1: the fleet file has no such node; stacksmith state rm" in text
        assert "no step touches it: server.db" in text and "will be" not in text
        assert said("drift")[0] == 4 and said("destroy", "--yes")[0] != 0
        assert [bmc.writes() for bmc in (one, two)] == before
        fleet(tmp_path, rack1=one, bm2=two)
        (tmp_path / "stack.yaml").write_text(STACK.replace("host: bm1, ", ""))
        status, text = said("plan")
        renamed = "cannot use node rack1: its machine has server.db, which was made there under the name bm1"
        assert status == 1 and renamed in text
        assert said("state", "rm", "server.db")[0] == said("node", "adopt", "rack1", "server.db")[0] == 0
        assert said("plan", "--detailed-exitcode")[0] == 0
        assert [bmc.writes() for bmc in (one, two)] == before
        fleet(tmp_path, rack1=three, bm2=two)  # its machine was replaced
        assert f"than server.db was made on (serial {serial})" in said("plan")[1]
        assert said("state", "rm", "server.db")[0] == 0
        assert said("apply", "--yes")[0] == 0
        assert said("drift")[0] == 0


def _exchanged(folder: Path, said: Said, bmcs: tuple[LightBmc, LightBmc], cause: str) -> None:
    """The two nodes have each other's address: nothing is done to either machine."""
    fleet(folder, bm1=bmcs[1], bm2=bmcs[0])
    assert said("plan")[0] == 0 and cause in said("plan")[1]
    assert said("drift")[0] == 4
    status, text = said("node", "drift")
    assert status == 2 and cause in text and f"bm2: its machine (serial {bmcs[0].get()['SerialNumber']}) has" in text
    assert said("destroy", "--yes")[0] != 0
    assert "active (another machine)" in said("node", "list")[1]
    assert "another machine" in said("node", "power", "bm1", "off", "--hard")[1]
    for words in (("node", "clean", "bm2", "--yes"), ("node", "power", "bm2", "off", "--hard")):
        status, text = said(*words)
        assert status == 1 and "has server.db of stack shop, as node bm1" in text, words
    assert json.loads(said("node", "list", "--json")[1])["nodes"][1]["provision_state"] == "manageable"
