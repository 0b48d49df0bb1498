"""What one evaluation of an expression may make, and how long it may take."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2.utils import Namespace

MAX_TEXT: Final = 2**20
MAX_RANGE: Final = 10_000
MAX_SPENT: Final = 2**24  # characters and items made in one evaluation
MAX_SECONDS: Final = 2.0
MAX_TOTAL_SECONDS: Final = 30.0  # of one load
MAX_BITS: Final = 128
MAX_ARGUMENT: Final = 1000  # characters, of what some methods of text look for in time of both lengths
_HALF: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class LimitReached(Exception):
    """An evaluation made too much, took too long, or asked for an operation that is not offered."""


def whole(text: str) -> str:
    """The text. Raises: LimitReached for half characters; those that stand for a byte of the environment may be."""
    half = _HALF.search(text)
    if half is not None:
        raise LimitReached(f"U+{ord(half[0]):04X} is half of a character, which no file can hold")
    return text


class Budget:
    """What one evaluation may still spend, and the time that all of them together may take."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = MAX_SPENT
        self._began = clock()
        self._taken = 0.0

    def start(self) -> None:
        """Begins an evaluation. Raises: LimitReached when those before it took all the time there is."""
        self._left = MAX_SPENT
        self._began = self._clock()
        if self._taken > MAX_TOTAL_SECONDS:
            raise LimitReached(f"all expressions together took longer than {MAX_TOTAL_SECONDS:g} seconds")

    def stop(self) -> None:
        """Ends an evaluation."""
        self._taken += self._clock() - self._began

    def spend(self, amount: int = 1) -> None:
        """Counts ``amount`` characters or items about to be made. Raises: LimitReached."""
        if amount > MAX_TEXT:
            raise LimitReached(f"a value of {amount} characters or items is over the limit of {MAX_TEXT}")
        self._left -= amount + 1
        if self._left < 0:
            raise LimitReached(f"more than {MAX_SPENT} characters and items were made")
        if self._clock() > self._began + MAX_SECONDS:
            raise LimitReached(f"it took longer than {MAX_SECONDS:g} seconds")


def weigh(value: Any) -> int:
    """Characters and items of a value with all that is in it. Raises: LimitReached over MAX_SPENT."""
    total, rest = 0, [value]
    while rest:
        item = rest.pop()
        if isinstance(item, Namespace):
            raise LimitReached("a namespace cannot stand in a value")
        if isinstance(item, str | list | tuple | Mapping):
            total += len(item)
        if total > MAX_SPENT:
            raise LimitReached(f"a value of more than {MAX_SPENT} characters and items, repeated ones counted")
        if isinstance(item, list | tuple):
            rest.extend(item)
        elif isinstance(item, Mapping):
            rest.extend(item)
            rest.extend(item.values())
    return total


class Notes(Namespace):
    """``namespace()``: what templates remember over loops; it holds values, and none that are too large."""

    def __init__(self, **values: Any) -> None:
        for value in values.values():
            weigh(value)
        super().__init__(**values)

    def __setitem__(self, name: str, value: Any) -> None:
        weigh(value)
        super().__setitem__(name, value)


def check_power(left: Any, right: Any) -> None:
    """Raises: LimitReached when ``left ** right`` is too large."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_BITS:
        raise LimitReached("the power is too large")


def bounded_range(*arguments: int) -> range:
    """``range()`` of at most MAX_RANGE numbers. Raises: LimitReached."""
    result = range(*arguments)
    try:
        count = len(result)
    except OverflowError:
        count = MAX_RANGE + 1
    if count > MAX_RANGE:
        raise LimitReached(f"a range has more than {MAX_RANGE} numbers")
    return result
