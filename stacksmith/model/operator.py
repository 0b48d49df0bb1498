"""The operators of nova's extra specs (nova.scheduler.filters.extra_specs_ops)."""

import operator
from collections.abc import Callable
from typing import Final

OR: Final = "<or>"
_NUMBERS: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": operator.ge,  # Nova's own surprise: "=" is at least
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
    "<in>": operator.contains,
}
ALL_IN: Final = "<all-in>"
OPERATORS: Final = (*_NUMBERS, *_TEXTS, ALL_IN, OR)


def matches(value: str, requirement: str) -> bool:
    """Whether a host's value meets a requirement such as ``>= 4``, ``<or> a <or> b``, or plainly equals it.

    Words after the operand are passed over, as in Nova. Raises: ValueError for a value or operand that is no number
    where one is compared.
    """
    name, *words = requirement.split() or [""]
    if name not in OPERATORS:
        return value == requirement
    if not words:
        return False
    if name == OR:
        return value in words[::2]  # every other word is <or> again
    if name == ALL_IN:
        return all(word in value for word in words)
    if name in _TEXTS:
        return _TEXTS[name](value, words[0])
    return _NUMBERS[name](float(value), float(words[0]))


def fault(requirement: str) -> str:
    """Why no value could ever be compared with the requirement; empty when one can."""
    name, *words = requirement.split() or [""]
    if name not in OPERATORS:
        return ""
    if not words:
        return f"nothing follows {name}"
    if name in _NUMBERS:
        try:
            float(words[0])
        except ValueError:
            return f"{name} compares numbers, {words[0]!r} is none"
    return ""
