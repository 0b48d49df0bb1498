"""What differs between two long texts or two lists that are known to differ, line by line."""

import difflib
from collections.abc import Iterator
from typing import Any

from stacksmith.model.types import JSON
from stacksmith.views.words import clean, value

SHORT = 120  # characters of both values together, as Python writes them, that still read well on one line


def lines(old: JSON, new: JSON) -> list[tuple[str, str]]:
    """(symbol, text) of each difference: ``+``, ``-``, ``~`` or a blank for the lines around them.

    Empty when the pair is best shown as ``old -> new``.
    """
    if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        return list(_text(old, new))
    if isinstance(old, list | dict) and isinstance(new, type(old)) and len(repr(old)) + len(repr(new)) > SHORT:
        return list(_tree(old, new))
    return []


def _text(old: str, new: str) -> Iterator[tuple[str, str]]:
    unified = difflib.unified_diff(old.splitlines(), new.splitlines(), n=2, lineterm="")
    for line in list(unified)[3:]:  # the two file names and the place of the first difference
        if line.startswith("@@"):
            yield " ", "…"
        else:
            yield line[0], clean(line[1:])


def _tree(old: JSON, new: JSON) -> Iterator[tuple[str, str]]:
    from deepdiff import DeepDiff

    found: list[tuple[str, str, str]] = []
    for report, items in DeepDiff(old, new, view="tree", threshold_to_diff_deeper=0).items():
        found.extend((*_difference(report, item), item.path()) for item in items)
    for symbol, text, _ in sorted(found, key=lambda entry: (entry[2], entry[0])):
        yield symbol, text


def _difference(report: str, item: Any) -> tuple[str, str]:
    path = "".join(f"[{key}]" for key in item.path(output_format="list"))
    if report.endswith("_added"):
        return "+", f"{path} = {value('', item.t2)}"
    if report.endswith("_removed"):
        return "-", f"{path} = {value('', item.t1)}"
    return "~", f"{path} = {value('', item.t1)} -> {value('', item.t2)}"
