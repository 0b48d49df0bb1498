"""Diagnostics as text, JSON, SARIF and GitHub annotations."""

from collections.abc import Callable
from dataclasses import replace

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


def unplaced(name: str, place: int, line: int = 3) -> Diagnostic:
    address = Address("server", name, key=place)
    message, notes = f"cannot place {address}: no valid host", ((f"hv1: {address} is too large", None),)
    return Diagnostic(Severity.ERROR, "no-valid-host", message, Span("s.yaml", line, 1), address=address, notes=notes)


def test_equal_faults_of_one_place_are_told_once_in_text_and_each_in_json() -> None:
    faults = [unplaced("web", 0), unplaced("db", 0, line=4), *(unplaced("web", place) for place in range(1, 20))]
    named = ", ".join(f"server.web[{place}]" for place in range(1, 11))
    assert diagnostics_text(faults) == (
        "s.yaml:3:1: error[no-valid-host]: cannot place server.web[0]: no valid host\n"
        "  note: hv1: server.web[0] is too large\n"
        f"  note: and 19 more like it: {named}, …\n"
        "\n"
        "s.yaml:4:1: error[no-valid-host]: cannot place server.db[0]: no valid host\n"
        "  note: hv1: server.db[0] is too large\n"
    )
    assert json_text(diagnostics_data(faults)).count("cannot place") == 21


def test_faults_that_differ_in_a_number_are_told_apart() -> None:
    one, other = unplaced("web", 0), replace(unplaced("web", 1), notes=(("hv1: 5 short", None),))
    assert "like it" not in diagnostics_text([one, other])


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
