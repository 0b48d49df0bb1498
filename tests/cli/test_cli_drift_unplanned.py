"""drift of a stack of which not everything can be planned."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stacksmith.providers.memory.world import World
from tests.cli.conftest import Cli, edit, host_of

TOO_BIG = """\
  huge:
    flavor: huge
    image: tiny
    networks: [{network: lan}]
"""


@pytest.fixture
def grown(applied: Cli, project: Path) -> Cli:
    """The applied stack with one more server, which fits nowhere."""
    stack = project / "stack.yaml"
    text = stack.read_text().replace("flavors:\n", "flavors:\n  huge: {vcpus: 1, ram: 99999999, disk: 1}\n")
    stack.write_text(text.replace("outputs:\n", f"{TOO_BIG}outputs:\n"))
    return applied


def test_drift_is_told_beside_a_server_that_fits_nowhere(grown: Cli, project: Path, live: World) -> None:
    edit(live, "server.web[0]", lambda spec: replace(spec, vcpus=2))
    result = grown("drift", "--format", "prometheus", "--into", "shop.prom")
    assert result.status == 2
    assert "~ vcpus = 1 -> 2  # drift" in result.out
    assert "cannot place server.huge" in result.err
    assert 'stacksmith_drift_resources{fleet="lab",stack="shop",kind="server"} 1' in (project / "shop.prom").read_text()


def test_drift_with_nothing_but_a_server_that_fits_nowhere_is_status_3(grown: Cli) -> None:
    assert grown("plan").status == 1
    result = grown("drift", "--json")
    assert result.status == 3
    told = json.loads(result.out)
    assert (told["drift"], told["pending"]) == ([], ["server.huge"])


def test_server_that_fits_nowhere_counts_as_a_change_not_applied(grown: Cli, project: Path) -> None:
    result = grown("drift", "--format", "prometheus", "--into", "shop.prom")
    assert "  cannot be planned: server.huge\n" in result.out
    assert "No drift, but changes to apply: 1 change not applied yet, " in result.out
    assert 'stacksmith_pending_changes{fleet="lab",stack="shop"} 1' in (project / "shop.prom").read_text()
    assert "change not applied yet: it cannot be planned" in grown("drift", "--format", "junit").out


def test_drift_tells_what_is_gone_and_fits_nowhere_any_more(applied: Cli, project: Path, live: World) -> None:
    host = host_of(live, "server.web[0]")
    live.remove(host, "server.web[0]")
    result = applied("drift", "--json", "--var", "ram=99999999")
    assert result.status == 2
    missing = [each["address"] for each in json.loads(result.out)["drift"] if each["missing"]]
    assert missing == ["server.web[0]"]


def test_drift_with_a_server_pinned_to_a_host_that_is_down_is_status_4(applied: Cli, project: Path) -> None:
    fleet, stack = project / "fleet.yaml", project / "stack.yaml"
    fleet.write_text(fleet.read_text().replace("availability_zone: rack-a", "state: failed"))
    pinned = "  pinned: {flavor: small, image: tiny, host: hv1}\n"
    stack.write_text(stack.read_text().replace("outputs:\n", f"{pinned}outputs:\n"))
    result = applied("drift")
    assert result.status == 4
    assert "Not known:" in result.out
    assert "cannot place server.pinned" in result.err
