"""Diagnostics as people read them: place, message, source line with a caret, hint."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.source import Span
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import clean, counted, line

_NAMED = 10  # addresses of those alike that are shown
_WIDTH = 160  # characters of a source line that are shown


def diagnostics_text(diagnostics: Iterable[Diagnostic], paint: Paint = PLAIN) -> str:
    """Every diagnostic in the order given, a blank line between two; empty for none.

    Those of one place that differ in nothing but their address are told once, with the addresses of the others.
    """
    alike: dict[object, list[Diagnostic]] = defaultdict(list)
    for place, each in enumerate(diagnostics):
        alike[place if each.address is None else _likeness(each, str(each.address))].append(each)
    return "\n".join("\n".join(_group(first, others, paint)) + "\n" for first, *others in alike.values())


def _likeness(each: Diagnostic, address: str) -> object:
    """Equal for what says the same of several addresses."""
    message = each.message.replace(address, "")
    notes = tuple((note.replace(address, ""), span) for note, span in each.notes)
    return (each.severity, each.code, message, each.span, each.snippet, each.hint, notes)


def _group(first: Diagnostic, others: Sequence[Diagnostic], paint: Paint) -> Iterator[str]:
    yield from _diagnostic(first, paint)
    if others:
        names = [line(str(each.address)) for each in others[:_NAMED]] + ["…"] * (len(others) > _NAMED)
        yield f"  {paint.cyan}note:{paint.reset} and {len(others)} more like it: {', '.join(names)}"


def counts(diagnostics: Iterable[Diagnostic]) -> str:
    """``2 errors, 1 warning``."""
    severities = [each.severity for each in diagnostics]
    errors = severities.count(Severity.ERROR)
    warnings = severities.count(Severity.WARNING)
    parts = [counted(errors, "error")] if errors else []
    return ", ".join([*parts, counted(warnings, "warning")] if warnings else parts) or "no faults"


def _diagnostic(each: Diagnostic, paint: Paint) -> Iterator[str]:
    colour = paint.red if each.severity is Severity.ERROR else paint.yellow
    severity = f"{paint.bold}{colour}{each.severity.value}[{each.code}]{paint.reset}"
    place = f"{line(str(each.span))}: " if each.span else ""
    # The bar keeps a line of the message from being the first thing on its line: CI runners read "::" there.
    message = clean(each.message).replace("\n", "\n  | ")
    yield f"{place}{severity}{paint.bold}: {message}{paint.reset}"
    if each.span and each.snippet is not None:
        yield from _snippet(each.span, each.snippet, colour, paint)
    for note, span in each.notes:
        where = f"{line(str(span))}: " if span else ""
        yield f"  {paint.cyan}note:{paint.reset} {where}{line(note)}"
    if each.hint:
        yield f"  {paint.cyan}hint:{paint.reset} {line(each.hint)}"


def _snippet(span: Span, snippet: str, colour: str, paint: Paint) -> Iterator[str]:
    # A long line is shown from a little before the fault, so that the caret stays on the screen.
    source = clean(snippet.rstrip("\n")).replace("\t", " ")
    start = max(0, span.column - 1 - _WIDTH // 2) if len(source) > _WIDTH else 0
    shown = source[start : start + _WIDTH]
    column = min(max(span.column - 1 - start, 0), len(shown))
    length = max(1, min(span.end_column - span.column, len(shown) - column)) if span.end_column else 1
    gutter = " " * len(str(span.line))
    yield f" {paint.dim}{span.line} |{paint.reset} {shown}"
    yield f" {paint.dim}{gutter} |{paint.reset} {' ' * column}{colour}{'^' * length}{paint.reset}"
