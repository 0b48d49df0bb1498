"""Plain YAML scalars by the YAML 1.2 core schema: a MAC stays text, ``no`` stays a word."""

import re
from typing import Final

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_OLD_OCTAL: Final = re.compile(r"[-+]?0[0-7]+")
_OLD_BOOL: Final = frozenset(
    form for word in ("y", "n", "yes", "no", "on", "off") for form in (word, word.title(), word.upper())
)
_FIRST: Final = frozenset("-+.0123456789~nNtTfF")
LARGEST: Final = 2**63 - 1


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar. Raises: ValueError for numbers that are not finite or need over 64 bits."""
    if text and text[0] not in _FIRST:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        number = float(text) if len(text) <= 400 else float("inf")
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"number {shorten(text)} is too large")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a number that can be used")
    return text


def _integer(text: str) -> int:
    number = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) <= 80 else LARGEST + 1
    if not -LARGEST <= number <= LARGEST:
        raise ValueError(f"number {shorten(text)} is too large")
    return number


def old_meaning(text: str) -> str | None:
    """What YAML 1.1 made of a plain scalar that YAML 1.2 reads otherwise, as a warning's words; None: the same."""
    if text in _OLD_BOOL:
        return f"{text} is the text {text!r}, not true or false"
    if _OLD_OCTAL.fullmatch(text):
        return f"{text} is the decimal number {int(text) if len(text) <= 80 else text}"
    return None


def shorten(text: str, limit: int = 60) -> str:
    """The text, cut to ``limit`` characters for a message."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
