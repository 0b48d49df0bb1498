"""A saved plan that was edited: its checksum is no signature, so apply holds to the hosts and the files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacksmith.providers.memory.world import World
from tests.cli.conftest import STACK, Cli, Result

Data = dict[str, Any]
Tampered = Callable[[Callable[[Data], None]], Result]
OTHER = STACK.replace("stack: shop", "stack: bank").replace("10.20.0.", "10.30.0.")


def rewrite(path: Path, change: Callable[[Data], None]) -> None:
    """Edits the plan in the file, and makes its checksum right."""
    data = json.loads(path.read_text())
    change(data["plan"])
    text = json.dumps(data["plan"], separators=(",", ":"), ensure_ascii=False)
    head = {"format": data["format"], "version": data["version"], "sha256": hashlib.sha256(text.encode()).hexdigest()}
    path.write_text(f'{json.dumps(head, separators=(",", ":"))[:-1]},"plan":{text}}}\n')


@pytest.fixture
def tampered(applied: Cli, project: Path) -> Tampered:
    """Applies an edited plan that destroys the stack."""

    def apply(change: Callable[[Data], None], *options: str) -> Result:
        assert applied("plan", "--destroy", "--out", "saved.json").status == 0
        rewrite(project / "saved.json", change)
        return applied("apply", "saved.json", *options)

    return apply


def first(plan: Data, kind: str) -> Data:
    return next(step for step in plan["steps"] if step["address"]["kind"] == kind)


def test_rewritten_plan_without_an_edit_is_applied(tampered: Tampered) -> None:
    assert tampered(lambda plan: None).status == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(stack="bank"),
        lambda plan: plan.update(fleet="bank"),
        lambda plan: first(plan, "network").update(host="hv9"),
        lambda plan: first(plan, "image").update(uuid="6f0e6c5e-6d1b-5c0e-9d5b-3b9f6c1f7a52"),
        lambda plan: first(plan, "server").update(address={"kind": "server", "name": "b", "key": None, "host": None}),
    ],
)
def test_plan_that_is_not_of_the_files_is_refused_and_nothing_is_done(
    tampered: Tampered, live: World, change: Callable[[Data], None]
) -> None:
    writes = len(live.writes)
    result = tampered(change)
    assert result.status == 1 and "plan-file" in result.err
    assert live.writes[writes:] == []


def test_plan_with_the_uuid_of_another_stacks_server_never_touches_it(
    applied: Cli, project: Path, live: World, tampered: Tampered
) -> None:
    (project / "stack.yaml").write_text(OTHER)
    assert applied("apply", "--yes").status == 0
    victim = next(
        {**item, "host": host}
        for host, state in json.loads((project / "world.json").read_text())["hosts"].items()
        for item in state["server"].values()
        if item["mark"]["stack"] == "bank"
    )
    (project / "stack.yaml").write_text(STACK)

    def aim(plan: Data) -> None:
        first(plan, "server").update(uuid=victim["uuid"], host=victim["host"])

    result = tampered(aim)
    assert result.status in (1, 5) and "server.web[0]: Destruction failed" in result.err
    assert victim["uuid"] in (project / "world.json").read_text()


def test_protected_server_is_not_deleted_by_a_plan_without_its_refusal(
    cli: Cli, project: Path, tampered: Tampered, applied: Cli
) -> None:
    (project / "stack.yaml").write_text(STACK.replace("    image: tiny\n", "    image: tiny\n    protect: true\n"))
    assert cli("apply", "--yes").status == 0
    result = tampered(lambda plan: plan.update(refusals=[]))
    assert result.status == 1 and "is protected" in result.err
    assert '"server": {}' not in (project / "world.json").read_text()


def test_protected_volume_is_not_deleted_by_a_plan_without_its_refusal(cli: Cli, project: Path, applied: Cli) -> None:
    volume = "data: {size: 1, on_destroy: delete, protect: PROTECT}"
    text = STACK.replace("data: {size: 1}", volume)
    (project / "stack.yaml").write_text(text.replace("PROTECT", "false"))
    assert cli("apply", "--yes").status == 0
    assert cli("plan", "--destroy", "--out", "saved.json").status == 0
    (project / "stack.yaml").write_text(text.replace("PROTECT", "true"))
    assert cli("apply", "--yes").status == 0
    result = cli("apply", "saved.json")
    assert result.status == 1 and "is protected" in result.err


def test_delete_that_says_it_loses_nothing_is_refused(tampered: Tampered) -> None:
    def belittle(plan: Data) -> None:
        plan["destroy"] = False
        for step in plan["steps"]:
            step["impact"] = 0

    result = tampered(belittle)
    assert result.status == 1 and "the plan says none of what is replace" in result.err


@pytest.mark.parametrize(
    "change",
    [
        lambda plan, text: plan.update(stack=text),
        lambda plan, text: first(plan, "server").update(host=text),
        lambda plan, text: first(plan, "server")["address"].update(key=text),
    ],
)
@pytest.mark.parametrize("text", ["\x1b[2J", "\n::error::", "\x9b2J"])
def test_plan_with_control_characters_in_names_is_not_shown(
    applied: Cli, project: Path, change: Callable[[Data, str], None], text: str
) -> None:
    assert applied("plan", "--destroy", "--out", "saved.json").status == 0
    rewrite(project / "saved.json", lambda plan: change(plan, text))
    result = applied("show", "saved.json")
    assert result.status == 1 and "plan-file" in result.err
    assert text not in result.out + result.err


def test_plan_file_is_its_owners_alone(applied: Cli, project: Path) -> None:
    assert applied("plan", "--out", "saved.json").status == 0
    assert (project / "saved.json").stat().st_mode & 0o777 == 0o600
