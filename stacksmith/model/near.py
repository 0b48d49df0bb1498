"""The name that a misspelt one is nearest to."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_LONGEST: Final = 100  # characters that are compared: longer text is no misspelt name


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The choice that is most like the word, None when none is as like as ``cutoff`` (``difflib``'s ratio)."""
    near = get_close_matches(word[:_LONGEST], list(choices), n=1, cutoff=cutoff)
    return near[0] if near else None


def meant(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The same as a hint."""
    near = nearest(word, choices, cutoff)
    return f"did you mean {near!r}?" if near is not None else None
