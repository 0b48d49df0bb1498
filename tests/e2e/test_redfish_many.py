"""Hundreds of nodes: no more requests, connections and threads than were promised."""

import json
import re
import threading
from pathlib import Path

import pytest

from stacksmith.cli.app import run
from stacksmith.engine.node import AT_ONCE
from tests.e2e.light_parts import light_farm

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("light")]
COUNT = 150


def test_hundreds_of_nodes_cost_two_requests_each_and_few_connections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "farm"
    with light_farm(folder, COUNT) as farm:
        before = threading.active_count()
        for words, requests, latency in ((["list"], 2, 0), (["inspect"], 11, 0), (["inspect"], 2, 1)):
            for bmc in farm:  # so slow that all that may be are at once
                bmc.behave(latency=latency)
            start = (folder / "bmc.log").stat().st_size
            assert run(["--fleet", str(folder / "fleet.yaml"), "node", *words, "--format", "json"]) == 0
            nodes = json.loads(capsys.readouterr().out)["nodes"]
            assert len(nodes) == COUNT and not any(node["error"] for node in nodes)
            asked = re.findall(r'"GET /redfish', (folder / "bmc.log").read_text()[start:])
            assert len(asked) == requests * COUNT
        most = int((folder / "connections").read_text())
        assert most <= 3 * AT_ONCE, "two each, and those that the farm has yet to see closed"
        assert threading.active_count() <= before
