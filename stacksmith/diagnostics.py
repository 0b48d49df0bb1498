"""Faults and warnings: collected, not thrown, each with a stable code, a place and a hint."""

from collections.abc import Iterable
from enum import StrEnum

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.source import Span


class Severity(StrEnum):
    """How bad: an error stops the command, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault. ``message`` is ``cannot <verb> <what>: <cause with the value>``; ``code`` has a page in the docs.

    ``snippet`` is the source line at ``span``; ``notes`` are further lines, each with an optional place
    (the links of a cycle, the first of two duplicates).
    """

    severity: Severity
    code: str
    message: str
    span: Span | None = None
    snippet: str | None = None
    hint: str | None = None
    address: Address | None = None
    notes: tuple[tuple[str, Span | None], ...] = ()


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """True when one of them stops the command."""
    return any(d.severity is Severity.ERROR for d in diagnostics)


class Faults(Exception):
    """Carries diagnostics to ``main`` where nothing can go on without the value they belong to."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(d.message for d in self.diagnostics))


def error(
    code: str, message: str, span: Span | None = None, hint: str | None = None, address: Address | None = None
) -> Diagnostic:
    """An error diagnostic."""
    return Diagnostic(Severity.ERROR, code, message, span, hint=hint, address=address)
