"""Colours of the terminal: a table of escape sequences, all empty when there is no colour."""

from collections.abc import Mapping

from stacksmith.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Paint:
    """ANSI escape sequences by use; every one is put before its text and ``reset`` after it."""

    bold: str = ""
    dim: str = ""
    red: str = ""
    green: str = ""
    yellow: str = ""
    cyan: str = ""
    reset: str = ""


PLAIN = Paint()
COLOURED = Paint("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[0m")


def paint_for(tty: bool, environment: Mapping[str, str], no_color: bool = False) -> Paint:
    """The colours for one stream: ``--no-color``, then NO_COLOR, then FORCE_COLOR, then whether it is a terminal.

    NO_COLOR and FORCE_COLOR count when set to anything but empty (no-color.org, force-color.org).
    """
    if no_color or environment.get("NO_COLOR"):
        return PLAIN
    if environment.get("FORCE_COLOR"):
        return COLOURED
    return COLOURED if tty and environment.get("TERM") != "dumb" else PLAIN
