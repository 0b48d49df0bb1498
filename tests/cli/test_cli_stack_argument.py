"""Every command takes its stack as ``plan`` does, beside the name it may be given."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from stacksmith.cli.app import program
from tests.cli.conftest import STACK, Cli

# Commands that are about no stack.
WITHOUT = {"schema", "version"}


def _leaves(command: object, path: str) -> list[tuple[str, list[str]]]:
    children: dict[str, object] = getattr(command, "commands", {})
    if not children:
        return [(path, [p.metavar for p in getattr(command, "params", ()) if p.param_type_name == "argument"])]
    return [leaf for name, child in children.items() for leaf in _leaves(child, f"{path} {name}".strip())]


@pytest.mark.parametrize(("command", "arguments"), _leaves(typer.main.get_command(program()), ""), ids=lambda v: v)
def test_every_command_takes_its_stack_as_the_last_argument(command: str, arguments: list[str]) -> None:
    if command in WITHOUT or command.startswith("lab "):
        assert not any("STACK" in each for each in arguments)
    else:
        assert "STACK" in arguments[-1]


@pytest.fixture
def elsewhere(applied: Cli, project: Path) -> Callable[..., str]:
    """Runs a command line beside the folder ``shop``, which has the applied stack; the answer on stdout."""
    folder = project / "shop"
    folder.mkdir()
    (folder / "stack.yaml").write_text(STACK.replace("fleet.yaml", "../fleet.yaml"))
    (folder / "tiny.img").write_bytes((project / "tiny.img").read_bytes())
    (project / "stacksmith.root").touch()
    (project / "stack.yaml").unlink()

    def call(*arguments: str) -> str:
        result = applied(*arguments)
        assert result.status == 0, result.err
        return result.out

    return call


@pytest.mark.parametrize("stack", ["shop", "shop/", "./shop/stack.yaml"])
def test_stack_stands_alone_or_beside_a_name_in_either_order(stack: str, elsewhere: Callable[..., str]) -> None:
    for words, name in (
        (["output"], "first"),
        (["show"], "server.web[0]"),
        (["placement", "explain"], "server.web[1]"),
    ):
        everything, one = elsewhere(*words, stack), elsewhere(*words, name, stack)
        assert one != everything
        assert one == elsewhere(*words, stack, name) == elsewhere(*words, name, "--stack", stack)
        assert everything == elsewhere(*words, "--stack", stack)


def test_state_commands_take_the_stack_as_an_argument(elsewhere: Callable[..., str]) -> None:
    listed = elsewhere("state", "list", "shop")
    assert "server.web[0]" in listed
    assert listed == elsewhere("state", "list", "--stack", "shop")
    assert "server.web[0]" in elsewhere("state", "show", "server.web[0]", "shop")
    assert "server.web[0]" in elsewhere("state", "claims", "shop")
    assert elsewhere("state", "rm", "server.web[0]", "shop").startswith("Removed server.web[0]")
    assert elsewhere("state", "rebuild", "shop").startswith("Rebuilt the state")
    assert elsewhere("state", "list", "shop") == listed
    assert elsewhere("state", "release", "shop", "server.web[0]", "shop") == "Released 1 claim of stack shop.\n"
    assert elsewhere("state", "release", "shop", "./shop").startswith("Released ")


def test_name_of_an_output_is_no_stack_though_a_folder_is_called_so(applied: Cli, project: Path) -> None:
    (project / "first").mkdir()
    assert applied("output", "first").out == applied("output", "first", ".").out
    assert applied("output", "first").status == 0


def test_saved_plan_is_shown_and_takes_no_stack(cli: Cli, project: Path) -> None:
    assert cli("plan", "--out", "kept/../p.plan").status == 1
    assert cli("plan", "--out", "p.plan").status == 0
    assert "Plan: " in cli("show", "./p.plan").out
    refused = cli("show", "p.plan", "stack.yaml")
    assert refused.status == 1
    assert "p.plan is a saved plan, which has its own stack: leave out stack.yaml" in refused.err


@pytest.mark.parametrize("words", [["output", "nowhere/"], ["show", "nowhere/"], ["state", "list", "nowhere/"]])
def test_path_that_is_no_stack_is_named(words: list[str], cli: Cli) -> None:
    result = cli(*words)
    assert result.status == 1
    assert "cannot read nowhere" in result.err


def test_stack_is_given_once(cli: Cli) -> None:
    result = cli("output", "first", "stack.yaml", "--stack", "other.yaml")
    assert result.status == 1
    assert "give one of them" in result.err
