"""Drift of every node of a fleet: with a stack's server, with nobody's, failed, kept, out of reach."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from stacksmith.cli.app import run
from stacksmith.engine.node import nodes
from stacksmith.engine.options import Options
from stacksmith.engine.store import opened
from stacksmith.state.process import this_process
from stacksmith.state.store import NodeNote
from stacksmith.views.prometheus import last_success
from tests.e2e.light_parts import LightBmc, light_farm

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
SERVER, STRANGE, FREE, CLOSED, KEPT, BROKEN, CUT, BUSY = (f"bm{number}" for number in range(1, 9))
STACK = """\
stack: shop
fleet: farm/fleet.yaml
flavors: {metal: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {flavor: metal, bare_metal: {asset_tag: "4711", bios: {ProcTurboMode: Enabled}}}
"""


class Site:
    """The fleet of a farm, its BMCs by node, and the command."""

    def __init__(self, folder: Path, farm: list[LightBmc], capsys: pytest.CaptureFixture[str]) -> None:
        self.bmcs = {bmc.node.name: bmc for bmc in farm}
        self.folder = folder
        self._stack, self._fleet, self._capsys = folder / "stack.yaml", folder / "farm" / "fleet.yaml", capsys
        self._stack.write_text(STACK)
        fleet = yaml.safe_load(self._fleet.read_text())
        for name in (CLOSED, KEPT):
            fleet["nodes"][name]["redfish"] = "https://127.0.0.1:9"
        self._fleet.write_text(yaml.safe_dump(fleet))

    def run(self, *words: str) -> tuple[int, str]:
        status = run(list(words))
        return status, self._capsys.readouterr().out

    def on_stack(self, *words: str) -> tuple[int, str]:
        return self.run("--stack", str(self._stack), *words)

    def drift(self) -> tuple[int, dict[str, Any]]:
        status, out = self.run("--fleet", str(self._fleet), "node", "drift", "--format", "json")
        return status, json.loads(out)

    def into(self, name: str, form: str) -> tuple[int, str]:
        where = str(self.folder / name)
        return self.run("--fleet", str(self._fleet), "node", "drift", "--format", form, "--into", where)

    def text(self) -> str:
        return self.run("--fleet", str(self._fleet), "node", "drift")[1]

    def note(self, *notes: NodeNote) -> None:
        of = nodes(Options(fleet=self._fleet, environment={}))
        with opened(of, of.environment, read_only=False) as store:
            for note in notes:
                store.note_node(note)
            if any(note.stack == "busy" for note in notes):
                store.acquire("busy", this_process("run", "apply"), 3600)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[LightBmc]]]:
    folder = tmp_path_factory.mktemp("drift")
    with light_farm(folder / "farm", 8) as bmcs:
        yield folder, bmcs


@pytest.fixture
def site(farm: tuple[Path, list[LightBmc]], capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(*farm, capsys)


def test_drift_of_nodes_is_told_whoever_has_them(site: Site) -> None:
    server, strange = site.bmcs[SERVER], site.bmcs[STRANGE]
    assert server.reset("On") == 204 and server.patch("", {"AssetTag": "4711"}) in (200, 204)
    assert site.on_stack("node", "adopt", SERVER, "server.db")[0] == 0
    assert " active (adopted) " in site.on_stack("node", "list")[1]

    assert site.on_stack("node", "maintenance", KEPT, "on", "--reason", "new fan")[0] == 0
    status, found = site.drift()
    assert (status, found["complete"], found["drift"]) == (4, False, [])
    (unread,) = found["unreachable"]
    assert unread["node"] == CLOSED and "Connection refused" in unread["error"]
    assert "at https://127.0.0.1:9," in unread["hint"]
    assert found["not_compared"] == [{"node": KEPT, "reason": "in maintenance: new fan"}]
    assert found["in_sync"] == [SERVER, STRANGE, FREE, BROKEN, CUT, BUSY]

    assert strange.reset("On") == 204 and server.patch("", {"AssetTag": "by hand"}) in (200, 204)
    failed = NodeNote(BROKEN, "failed", "cleaning", "cannot write sda")
    cut = NodeNote(CUT, "deploying", "booted 123", stack="gone", uuid="u1")
    site.note(failed, cut, NodeNote(BUSY, "deploying", "booted 123", stack="busy", uuid="u2"))
    before = len(server.asked())
    status, found = site.drift()
    assert status == 2 and sorted(server.asked()[before:]) == ["GET ", "GET /BIOS", "GET /BIOS/Settings"]
    told = {each["node"]: each for each in found["drift"]}
    assert {name: each["problem"] for name, each in told.items()} == {
        SERVER: None,
        STRANGE: "it is on, and nothing says what it runs",
        BROKEN: "clean failed: cannot write sda",
        CUT: "its deployment was cut off at booted",
    }
    (change,) = told[SERVER]["changes"]
    assert (told[SERVER]["server"], change["path"], change["found"]) == ("shop/server.db", "asset_tag", "by hand")
    assert found["in_sync"] == [FREE]
    assert [each["node"] for each in found["not_compared"]] == [KEPT, BUSY]

    status, said = site.into("nodes.prom", "prometheus")
    metrics = (site.folder / "nodes.prom").read_text()
    assert status == 2 and said == site.text()
    assert f'stacksmith_node_drift{{fleet="light",node="{SERVER}",server="shop/server.db"}} 1\n' in metrics
    assert f'stacksmith_node_up{{fleet="light",node="{CLOSED}"}} 0\n' in metrics and f'node="{KEPT}"' not in metrics
    assert last_success(metrics) is None
    assert site.into("nodes.xml", "junit")[0] == 2
    suite = ElementTree.parse(site.folder / "nodes.xml").find("testsuite")
    assert suite is not None
    assert [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")] == ["8", "4", "1", "2"]
    assert suite.findtext("testcase/error") == f"hint: {unread['hint']}"

    text = site.text()
    assert (
        f'{SERVER} (shop/server.db) has changed outside of stacksmith:\n      ~ asset_tag = "4711" -> "by hand"' in text
    )
    assert f"  hint: stacksmith node clean {BROKEN}, or stacksmith node release {BROKEN}\n" in text
    assert f"\nhint: {CLOSED}: {unread['hint']}\nDrift: 4" in text
    assert text.endswith("Drift: 4 nodes to look at, 1 node not read, 2 nodes not compared, 1 in sync.\n")
