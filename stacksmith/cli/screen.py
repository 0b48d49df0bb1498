"""The streams of the command: stdout is the answer, stderr all else."""

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from stacksmith.frozen import dataclass
from stacksmith.views.paint import Paint, paint_for


@dataclass(frozen=True, slots=True)
class Screen:
    """Where text goes, in which colours, and what may be asked."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    paint: Paint  # of stdout
    error_paint: Paint

    def answer(self, text: str) -> None:
        """Writes what was asked for."""
        self.stdout.write(text)
        self.stdout.flush()

    def say(self, text: str) -> None:
        """Writes all else: progress, warnings, questions."""
        self.stderr.write(text)
        self.stderr.flush()

    def ask(self, question: str) -> str:
        """What was typed, without spaces around it; empty at the end of the input."""
        self.say(question)
        return self.stdin.readline().strip()


def open_screen(environment: Mapping[str, str], no_color: bool) -> Screen:
    """The screen of this process. A character that the terminal cannot show becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    return Screen(
        sys.stdin,
        sys.stdout,
        sys.stderr,
        paint_for(sys.stdout.isatty(), environment, no_color),
        paint_for(sys.stderr.isatty(), environment, no_color),
    )


def clear_file(path: Path | None) -> None:
    """Takes away what an earlier command wrote, for it says nothing of this one; where a link leads is emptied.

    A pipe or a terminal is left alone. Raises: OSError.
    """
    if path is None or not path.is_file():
        return
    if not path.is_symlink():
        with suppress(OSError):  # a file that is mounted, or in a folder that may not be written
            path.unlink()
            return
    path.write_text("", encoding="utf-8")


def write_file(path: Path, text: str) -> None:
    """Writes the file whole or not at all, readable by all that the umask lets: a reader never sees a part of it.

    What is no regular file (a pipe, a terminal) is written as it is. Raises: OSError.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(path)) from fault
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
