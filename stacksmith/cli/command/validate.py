"""``stacksmith validate``."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.status import Status

if TYPE_CHECKING:
    from stacksmith.diagnostics import Diagnostic


class Format(StrEnum):
    """How faults are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def command(
    call: Call,
    what: StackArgument = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    json: Json = False,
) -> int:
    """Check the stack and fleet files; no host is asked."""
    from stacksmith.diagnostics import has_errors
    from stacksmith.engine.options import load

    call, format = call.on(what), Format.JSON if json else format
    diagnostics = load(call.options()).diagnostics
    failed = has_errors(diagnostics)
    if format is Format.TEXT:
        call.warn(diagnostics)
        if not failed:
            warned = ", but there were warnings" if diagnostics else ""
            call.screen.answer(f"Success! The configuration is valid{warned}.\n")
    else:
        call.screen.answer(_written(format, diagnostics))
    return Status.ERROR if failed else Status.OK


def _written(format: Format, diagnostics: "tuple[Diagnostic, ...]") -> str:
    from stacksmith import __version__
    from stacksmith.views import diagnostic_data
    from stacksmith.views.json_text import json_text

    if format is Format.GITHUB:
        return diagnostic_data.github_annotations(diagnostics)
    if format is Format.SARIF:
        return json_text(diagnostic_data.sarif_data(diagnostics, __version__))
    return json_text(diagnostic_data.diagnostics_data(diagnostics))
