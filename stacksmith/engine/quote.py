"""Source lines for faults that are found after the files were loaded."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stacksmith.diagnostics import Diagnostic, Faults
from stacksmith.model.stack import Stack
from stacksmith.source import Span

WIDTH = 500


@contextmanager
def quoting(stack: Stack) -> Iterator[None]:
    """Gives faults of the block the lines that they are about; one with a secret in it is not shown."""
    try:
        yield
    except Faults as faults:
        faults.diagnostics = tuple(quoted(faults.diagnostics, stack.secrets))
        raise


def quoted(diagnostics: Iterable[Diagnostic], secrets: frozenset[str]) -> Iterator[Diagnostic]:
    """The same with the lines that they are about."""
    for each in diagnostics:
        line = _line(each.span) if each.span is not None and each.snippet is None else None
        is_secret = line is None or any(secret in line for secret in secrets)
        yield each if is_secret else replace(each, snippet=line)


def _line(span: Span) -> str | None:
    try:
        lines = Path(span.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return lines[span.line - 1][:WIDTH] if span.line <= len(lines) else None
