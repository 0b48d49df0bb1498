"""``--json`` answers in JSON on every command whose answer is data, and is ``--format json`` where there are forms."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from stacksmith.cli.app import program
from tests.cli.conftest import Cli


def _leaves(command: object, path: str) -> Iterator[tuple[str, list[Any]]]:
    children: dict[str, object] = getattr(command, "commands", {})
    for name, child in children.items():
        yield from _leaves(child, f"{path} {name}".strip())
    if not children:
        yield path, getattr(command, "params", [])


def test_every_command_that_knows_the_form_json_has_the_flag() -> None:
    seen = 0
    for path, params in _leaves(typer.main.get_command(program()), ""):
        options = {word: each for each in params for word in each.opts}
        forms = options["--format"].type_descriptor.annotation if "--format" in options else ()
        if "json" in list(forms):
            assert "--json" in options, path
            seen += 1
    assert seen > 8


@pytest.mark.parametrize(
    "words", [["validate"], ["drift"], ["plan"], ["hosts"], ["hosts", "--tree"], ["placement", "explain"], ["show"]]
)
def test_flag_is_the_form(words: list[str], applied: Cli) -> None:
    flag, form = applied(*words, "--json"), applied(*words, "--format", "json")
    assert (flag.status, flag.out[:1] in ("{", "[")) == (form.status, True)
    ours, theirs = json.loads(flag.out), json.loads(form.out)
    for each in (ours, theirs):
        if isinstance(each, dict):
            each.pop("timestamp", None)
    assert ours == theirs


@pytest.mark.parametrize("words", [["capacity"], ["output"], ["state", "list"], ["state", "claims"]])
def test_flag_alone_where_there_is_text_and_data(words: list[str], applied: Cli) -> None:
    assert applied(*words).out[:1] not in ("{", "[")
    assert json.loads(applied(*words, "--json").out)
