"""Versions of hypervisors, and what an image may ask of them (Nova's img_hv_requested_version)."""

import operator
import re
from collections.abc import Callable
from typing import Final

Version = tuple[int, int, int]

_COMPARE: Final[dict[str, Callable[[Version, Version], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
_TERM: Final = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*([0-9]{1,6}(?:\.[0-9]{1,6}){0,2})\s*")


def version_of(number: int) -> Version:
    """The version in libvirt's number, ``major * 1,000,000 + minor * 1,000 + release``."""
    return (number // 1_000_000, number // 1000 % 1000, number % 1000)


def satisfies(version: Version, wanted: str) -> bool:
    """Whether a version meets all of ``>=6.0,<9``. Raises: ValueError for a text of another form."""
    return all(_COMPARE[name](version, other) for name, other in version_terms(wanted))


def version_terms(text: str) -> list[tuple[str, Version]]:
    """``>=6.0,<9`` as comparisons. Raises: ValueError for a text of another form."""
    found = []
    for part in text.split(","):
        term = _TERM.fullmatch(part)
        if term is None:
            raise ValueError(f"expected comparisons as '>=6.0,<9', found {text!r}")
        major, minor, release = (*map(int, term[2].split(".")), 0, 0)[:3]
        found.append((term[1], (major, minor, release)))
    return found
