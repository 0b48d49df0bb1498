"""What the pages show can be typed: blocks of YAML have keys and values that exist, commands have their options."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from stacksmith.cli.app import program
from stacksmith.model.load import LoadOptions, load_stack

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
STACK = {
    "stack",
    "variables",
    "flavors",
    "images",
    "keypairs",
    "networks",
    "server_groups",
    "volumes",
    "servers",
    "outputs",
}
FLEET = {
    "fleet",
    "state",
    "defaults",
    "aggregates",
    "scheduler",
    "hosts",
    "shared_storages",
    "pci_aliases",
    "nodes",
    "deploy",
}
SHAPE = {
    "duplicate-key",
    "unknown-key",
    "missing-key",
    "wrong-type",
    "wrong-value",
    "out-of-range",
    "bad-name",
    "template-syntax",
    "unsupported-extra-spec",
    "unknown-extra-spec",
    "bad-scheduler",
    "bad-block-device",
}


def blocks(page: Path) -> list[dict[str, object]]:
    """The YAML blocks of a page that are of a stack or fleet file; others are of other programs."""
    found = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S))
    return [each for each in found if isinstance(each, dict) and set(each) <= STACK | FLEET]


def test_pages_have_blocks_to_look_at() -> None:
    assert sum(len(blocks(page)) for page in PAGES) >= 12
    assert sum(len(commands(page)) for page in PAGES) >= 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_of_a_page_has_keys_and_values_that_exist(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page)):
        folder = tmp_path / str(number)
        folder.mkdir()
        is_both = "stack" in block
        fleet = {key: value for key, value in block.items() if key in FLEET and not (is_both and key == "fleet")}
        if not set(fleet) & {"hosts", "nodes"}:
            fleet["hosts"] = {"hv1": {"libvirt": "qemu:///system"}}
        stack = {key: value for key, value in block.items() if key not in fleet}
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "here", **fleet}))
        (folder / "stack.yaml").write_text(json.dumps({"stack": "here", **stack, "fleet": "fleet.yaml"}))
        found = load_stack(folder / "stack.yaml", LoadOptions()).diagnostics
        assert [each.message for each in found if each.code in SHAPE] == [], block


def commands(page: Path) -> list[list[str]]:
    """The words after ``stacksmith`` of each command line of a page, in blocks and in the text."""
    text = page.read_text()
    fences = re.findall(r"```\w*\n(.*?)```", text, re.S)
    lines = [line for fence in fences for line in fence.splitlines()]
    lines += re.findall(r"`(stacksmith [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    found = (re.match(r"\s*(?:[-$#] )?(?:/\S*/)?stacksmith ([a-z].*)", line) for line in lines)
    return [shlex.split(each[1].replace("'", ""), comments=True) for each in found if each]


@pytest.fixture(scope="module")
def whole() -> Any:
    return get_command(program())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist_with_their_options(page: Path, whole: Any) -> None:
    for line in commands(page):
        command, words = whole, line
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command, words = command.commands[words[0]], words[1:]
        known = {"-h", "--help"}.union(*(each.opts + each.secondary_opts for each in command.params))
        assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, line
