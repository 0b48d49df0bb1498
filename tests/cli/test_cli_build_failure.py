"""Hosts on which servers could not be made come last, by nova's BuildFailureWeigher."""

from pathlib import Path

import pytest

from stacksmith.providers.memory.fault import Effect, Fault
from stacksmith.providers.memory.world import World
from tests.cli.conftest import FLEET, Cli


@pytest.mark.parametrize(
    ("weighers", "then"), [("BuildFailureWeigher", "hv2"), ("NumInstancesWeigher", "hv1"), ("CrossCellWeigher", "hv1")]
)
def test_server_that_could_not_be_made_goes_to_another_host_where_the_fleet_says_so(
    cli: Cli, live: World, project: Path, weighers: str, then: str
) -> None:
    (project / "fleet.yaml").write_text(FLEET + f"scheduler: {{weight_classes: [{weighers}]}}\n")
    live.faults.append(Fault(Effect.REFUSED, operation="create", kind="server", host="hv1"))
    first = cli("apply", "--yes", "--var", "count=1")
    assert first.status == 1 and "server.web[0]: Creation failed" in first.err
    live.faults.clear()
    plan = cli("plan", "--var", "count=1")
    assert f"server.web[0] will be created (on {then})" in plan.out
    assert cli("apply", "--yes", "--var", "count=1").status == 0
    told = cli("plan", "--var", "count=2").out  # the failure counts till a server is made there
    assert ("server.web[1] will be created (on hv2)" in told) is (weighers == "BuildFailureWeigher")
