"""``stacksmith drift``."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacksmith.cli.call import Call
from stacksmith.cli.clock import timestamp
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.screen import write_file
from stacksmith.cli.status import drift_status

if TYPE_CHECKING:
    from stacksmith.engine.session import Planned


class Format(StrEnum):
    """How drift is written."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    PROMETHEUS = "prometheus"


def command(
    call: Call,
    what: StackArgument = None,
    format: Annotated[Format, typer.Option("--format", help="Form of the answer")] = Format.TEXT,
    json: Json = False,
    into: Annotated[
        Path | None, typer.Option("--into", help="Write the answer here, and text on stdout", metavar="FILE")
    ] = None,
) -> int:
    """Compare what is there with what was applied; hosts are only read.

    Exit status: 0 in sync, 1 error, 2 drift, 3 no drift but changes not applied yet, 4 some hosts could not be read.
    """
    from stacksmith.engine import session
    from stacksmith.views.drift_text import drift_text

    began = time.monotonic()
    call, format = call.on(what), Format.JSON if json else format
    planned = session.plan(call.options())
    call.warn(planned.diagnostics)
    seconds = time.monotonic() - began
    if into is not None:
        write_file(into, _drift_as(format, planned, seconds, into))
    if into is not None or format is Format.TEXT:
        call.screen.answer(drift_text(planned.plan, call.screen.paint))
    else:
        call.screen.answer(_drift_as(format, planned, seconds, None))
    return drift_status(planned.plan)


def _drift_as(format: Format, planned: "Planned", seconds: float, before: Path | None) -> str:
    match format:
        case Format.TEXT:
            from stacksmith.views.drift_text import drift_text

            return drift_text(planned.plan)
        case Format.JSON:
            from stacksmith.views.drift_data import drift_data
            from stacksmith.views.json_text import json_text

            return json_text(drift_data(planned.plan, timestamp()))
        case Format.JUNIT:
            from stacksmith.views.junit import junit_text

            return junit_text(planned.plan, timestamp().removesuffix("Z"), seconds)
        case Format.PROMETHEUS:
            return _metrics(planned, seconds, before)


def _metrics(planned: "Planned", seconds: float, before: Path | None) -> str:
    from stacksmith.views.host import host_rows
    from stacksmith.views.prometheus import drift_metrics, last_success

    known = before.read_text(encoding="utf-8", errors="replace") if before is not None and before.is_file() else ""
    rows = host_rows(planned.stack.fleet, planned.snapshot)
    return drift_metrics(planned.plan, rows, round(time.time(), 3), seconds, last_success(known))
