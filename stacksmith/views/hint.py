"""What to type for several things at once."""

from collections.abc import Iterable, Iterator

from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import few, line


def hints(told: Iterable[tuple[str, str]], paint: Paint = PLAIN) -> Iterator[str]:
    """A line for each hint, in the order in which they come, with the names of those that it is for; ``told`` are
    (name, hint), and an empty hint is none."""
    names: dict[str, list[str]] = {}
    for name, hint in told:
        if hint:
            names.setdefault(hint, []).append(name)
    for hint, those in names.items():
        yield f"{paint.cyan}hint:{paint.reset} {few(those)}: {line(hint)}"
