"""Diagnostics as text, JSON, SARIF and GitHub annotations."""

from collections.abc import Callable

import pytest

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.source import Span
from stacksmith.views.diagnostic_data import diagnostics_data, github_annotations, sarif_data
from stacksmith.views.diagnostic_text import counts, diagnostics_text
from stacksmith.views.json_text import json_text
from stacksmith.views.paint import COLOURED

Golden = Callable[[str, str], None]
LONG = "x" * 399 + "here" + "y" * 400
FAULTS = (
    Diagnostic(
        Severity.ERROR,
        "unknown-key",
        "cannot read server.web: unknown key 'flavour'",
        Span("stack.yaml", 12, 5, 12),
        "    flavour: small",
        "did you mean 'flavor'?",
        Address("server", "web"),
    ),
    Diagnostic(
        Severity.ERROR,
        "cycle",
        "cannot order the stack: a cycle of 2",
        notes=(("server.a needs server.b", Span("stack.yaml", 3, 1)), ("a note without a place", None)),
    ),
    Diagnostic(Severity.WARNING, "yaml-1.1", "'no' is text\nand was a truth value", Span("a b,c:d.yaml", 1, 9)),
    Diagnostic(Severity.ERROR, "tab", "cannot read: tab", Span("stack.yaml", 1, 2, 99), "\tx: 1"),
    Diagnostic(
        Severity.ERROR, "long", "cannot read: too long", Span("stack.yaml", 7, 400, 404), "x" * 399 + "here" + "y" * 400
    ),
)


def test_diagnostics_text_is_as_accepted(golden: Golden) -> None:
    golden(diagnostics_text(FAULTS), "views/diagnostics.txt")


def test_diagnostics_text_in_colour_is_as_accepted(golden: Golden) -> None:
    golden(diagnostics_text(FAULTS[:1], COLOURED).replace("\x1b", "␛"), "views/diagnostics_colour.txt")


def test_caret_of_a_long_line_is_on_the_screen_below_its_fault() -> None:
    _, source, caret = diagnostics_text(FAULTS[4:]).splitlines()
    assert len(source) < 180
    assert source[caret.index("^") : caret.rindex("^") + 1] == "here"


def test_diagnostics_json_is_as_accepted(golden: Golden) -> None:
    golden(json_text(diagnostics_data(FAULTS)), "views/diagnostics.json")


def test_sarif_is_as_accepted(golden: Golden) -> None:
    golden(json_text(sarif_data(FAULTS, "1.2.3")), "views/diagnostics.sarif")


def test_github_annotations_are_as_accepted(golden: Golden) -> None:
    golden(github_annotations(FAULTS), "views/diagnostics.github")


def test_annotation_of_hostile_text_stays_one_line() -> None:
    hostile = Diagnostic(Severity.ERROR, "x", "a\n::stop-commands::b\r%0A", Span("f,line=9::x\n.yaml", 1, 1))
    (line,) = github_annotations([hostile]).splitlines()
    assert line == "::error file=f%2Cline=9%3A%3Ax%0A.yaml,line=1,col=1,title=x::a%0A::stop-commands::b%0D%250A"


@pytest.mark.parametrize(
    ("faults", "words"),
    [((), "no faults"), (FAULTS, "4 errors, 1 warning"), (FAULTS[2:3], "1 warning"), (FAULTS[:1], "1 error")],
)
def test_counts_say_how_many(faults: tuple[Diagnostic, ...], words: str) -> None:
    assert counts(faults) == words
