"""The documents match the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stacksmith.lab.bmc.profile import PROFILES
from stacksmith.model.codes import CODES
from stacksmith.model.schema import json_schema

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_reference_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_reference_has_every_key_of_a_stack_file() -> None:
    tables = (ROOT / "docs" / "reference.md").read_text().partition("## Fleet file")[0]
    schema = json_schema("stack")
    keys = {key for each in [schema, *schema["$defs"].values()] for key in each.get("properties", {})}
    assert {"stack", "outputs", "for_each", "sensitive"} <= keys
    assert {key for key in keys if f"| `{key}` |" not in tables} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_page_of_the_bmc_profiles_names_them_all_and_tests_that_exist() -> None:
    text = (ROOT / "docs" / "bmc-profiles.md").read_text()
    profiles, quirks = text.split("## What stacksmith does about it")
    assert {name for name in PROFILES if f"`{name}`" not in profiles} == set()
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_redfish*.py"))
    named = set(re.findall(r"`(test_\w+)`", quirks))
    assert len(named) > 15 and {name for name in named if f"def {name}(" not in tests} == set()
    assert {number for number in range(1, 22) if f"| {number} |" not in quirks} == set()


def test_modules_named_by_the_architecture_page_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", text))
    assert len(named) > 15
    for name in named:
        assert (ROOT / "stacksmith" / name).exists() or (ROOT / name).exists(), name


def test_every_code_of_a_diagnostic_is_in_the_table() -> None:
    used = set()
    for path in (ROOT / "stacksmith").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("error", "Diagnostic")
            ):
                words = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                used.update(words[:1])
    assert len(used) > 5
    assert used <= set(CODES), used - set(CODES)
