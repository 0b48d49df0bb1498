"""The packages that stacksmith asks for: each is used, and each has its line of why."""

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
NAMES = [
    re.split(r"[\[>=<]", each)[0] for each in (*PROJECT["dependencies"], *(one for extra in EXTRAS for one in extra))
]


def imported() -> set[str]:
    """The distributions of which a module of stacksmith imports something."""
    modules = set()
    for path in (ROOT / "stacksmith").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    installed = packages_distributions()
    return {name.lower().replace("_", "-") for module in modules for name in installed.get(module, ())}


def test_dependencies_are_imported() -> None:
    assert set(NAMES) - imported() == set()


@pytest.mark.parametrize("name", NAMES)
def test_dependency_has_its_line_of_why(name: str) -> None:
    assert re.search(rf"^\| {name} ", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
