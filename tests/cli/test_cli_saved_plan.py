"""A saved plan is checked against the files before anything is done."""

from pathlib import Path

from stacksmith.providers.memory.fault import Effect, Fault
from stacksmith.providers.memory.world import World
from tests.cli.conftest import STACK, Cli, Result


def test_saved_plan_without_its_stack_files_as_they_were_is_status_5_and_changes_nothing(
    cli: Cli, live: World, project: Path
) -> None:
    assert cli("plan", "--out", "saved.json").status == 0
    text = (project / "stack.yaml").read_text()
    (project / "stack.yaml").write_text(text.replace("flavor: small\n", "flavor: small\n    metadata: {role: web}\n"))
    result = cli("apply", "--yes", "saved.json")
    assert result.status == 5 and "stale-plan" in result.err and "server.web[0]" in result.err
    assert live.writes == []


def stale(result: Result) -> bool:
    return result.status == 5 and "stale-plan" in result.err and "cannot apply the plan: it is stale: " in result.err


def test_saved_plan_that_was_applied_is_stale_the_second_time_and_changes_nothing(cli: Cli, live: World) -> None:
    assert cli("plan", "--out", "saved.json").status == 0
    assert cli("apply", "--yes", "saved.json").status == 0
    writes, journal = len(live.writes), cli("state", "list").out
    result = cli("apply", "--yes", "saved.json")
    assert stale(result) and "it was applied already, by run " in result.err
    assert "added" not in result.out and (len(live.writes), cli("state", "list").out) == (writes, journal)


def test_saved_plan_is_stale_once_another_one_was_applied(cli: Cli, live: World) -> None:
    assert cli("plan", "--out", "saved.json").status == 0
    assert cli("apply", "--yes").status == 0
    assert cli("destroy", "--yes").status == 0
    writes = len(live.writes)
    result = cli("apply", "--yes", "saved.json")
    assert stale(result) and "delete " in result.err and "was begun since by run " in result.err
    assert len(live.writes) == writes


def test_saved_plan_of_which_a_part_failed_is_applied_to_its_end(cli: Cli, live: World) -> None:
    assert cli("plan", "--out", "saved.json").status == 0
    live.faults.append(Fault(Effect.REFUSED, "create", address="server.web[1]"))
    assert cli("apply", "--yes", "saved.json").status == 1
    live.faults.clear()
    assert cli("apply", "--yes", "saved.json").status == 0
    assert "No changes." in cli("plan").out
    assert stale(cli("apply", "--yes", "saved.json"))


def test_saved_plan_of_another_stack_of_the_store_stays_good(cli: Cli, live: World, project: Path) -> None:
    other = STACK.replace("stack: shop", "stack: bank").replace("10.20.0.", "10.30.0.")
    (project / "bank.yaml").write_text(other)
    assert cli("plan", "bank.yaml", "--out", "bank.plan").status == 0
    assert cli("apply", "--yes", "stack.yaml").status == 0
    assert cli("apply", "--yes", "bank.plan").status == 0
