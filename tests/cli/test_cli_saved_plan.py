"""A saved plan is checked against the files before anything is done."""

from pathlib import Path

from stacksmith.providers.memory.world import World
from tests.cli.conftest import Cli


def test_saved_plan_without_its_stack_files_as_they_were_is_status_5_and_changes_nothing(
    cli: Cli, live: World, project: Path
) -> None:
    assert cli("plan", "--out", "saved.json").status == 0
    text = (project / "stack.yaml").read_text()
    (project / "stack.yaml").write_text(text.replace("flavor: small\n", "flavor: small\n    metadata: {role: web}\n"))
    result = cli("apply", "--yes", "saved.json")
    assert result.status == 5 and "stale-plan" in result.err and "server.web[0]" in result.err
    assert live.writes == []
