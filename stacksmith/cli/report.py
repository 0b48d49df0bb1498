"""The report of a drift, in the form that is asked for: on stdout, or in a file with text on stdout."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.clock import timestamp
from stacksmith.cli.screen import write_file
from stacksmith.model.types import JSON
from stacksmith.views.paint import PLAIN, Paint


class Form(StrEnum):
    """How drift is written."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    PROMETHEUS = "prometheus"


FormOption = Annotated[Form, typer.Option("--format", help="Form of the answer")]
Into = Annotated[Path | None, typer.Option("--into", help="Write the answer here, and text on stdout", metavar="FILE")]


class Report(Protocol):
    """What was found. ``seconds`` is how long that took; ``last_success`` is when all was last read, if it is known."""

    def text(self, paint: Paint) -> str: ...

    def data(self, timestamp: str) -> JSON: ...

    def junit(self, timestamp: str, seconds: float) -> str: ...

    def metrics(self, now: float, seconds: float, last_success: float | None) -> str: ...


def answer(call: Call, report: Report, form: Form, into: Path | None, seconds: float) -> None:
    """Gives the report."""
    if into is not None:
        write_file(into, _written(report, form, seconds, into))
    if into is not None or form is Form.TEXT:
        call.screen.answer(report.text(call.screen.paint))
    else:
        call.screen.answer(_written(report, form, seconds, None))


def _written(report: Report, form: Form, seconds: float, before: Path | None) -> str:
    match form:
        case Form.TEXT:
            return report.text(PLAIN)
        case Form.JSON:
            from stacksmith.views.json_text import json_text

            return json_text(report.data(timestamp()))
        case Form.JUNIT:
            return report.junit(timestamp().removesuffix("Z"), seconds)
        case Form.PROMETHEUS:
            return report.metrics(round(time.time(), 3), seconds, _last_success(before))


def _last_success(before: Path | None) -> float | None:
    from stacksmith.views.prometheus import last_success

    if before is None or not before.is_file():
        return None
    return last_success(before.read_text(encoding="utf-8", errors="replace"))
