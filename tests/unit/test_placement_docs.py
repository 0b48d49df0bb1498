"""The examples of docs/placement.md do what the page says, and every public name is on it or in a docstring."""

import doctest
import re
from pathlib import Path

import stacksmith.placement

PAGE = Path(__file__).parents[2] / "docs" / "placement.md"


def test_examples_of_the_placement_page_run_as_shown() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert (failed, tried > 15) == (0, True)


def test_every_public_name_is_named_on_the_placement_page() -> None:
    page = PAGE.read_text()
    missing = [name for name in stacksmith.placement.__all__ if not re.search(rf"`{name}\b", page)]
    assert not missing


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in stacksmith.placement.__all__:
        found = getattr(stacksmith.placement, name)
        assert isinstance(found, int) or found.__doc__, name


def test_package_tells_its_users_that_it_is_typed() -> None:
    assert (Path(__file__).parents[2] / "stacksmith" / "py.typed").is_file()
