"""``stacksmith drift``."""

import time
from typing import TYPE_CHECKING

from stacksmith.cli.call import Call
from stacksmith.cli.option import Json, StackArgument
from stacksmith.cli.report import Form, FormOption, Into, answer
from stacksmith.cli.status import drift_status
from stacksmith.frozen import dataclass
from stacksmith.model.types import JSON
from stacksmith.views.paint import Paint

if TYPE_CHECKING:
    from stacksmith.engine.session import Planned


def command(
    call: Call, what: StackArgument = None, format: FormOption = Form.TEXT, json: Json = False, into: Into = None
) -> int:
    """Compare what is there with what was applied; hosts are only read.

    Exit status: 0 in sync, 1 error, 2 drift, 3 no drift but changes not applied yet, 4 some hosts could not be read.
    """
    from stacksmith.engine import session

    began = time.monotonic()
    call = call.on(what)
    planned = session.drift(call.options())
    call.warn(planned.diagnostics + planned.unplanned)
    answer(call, _Drift(planned), Form.JSON if json else format, into, time.monotonic() - began)
    return drift_status(planned.plan, not planned.unplanned)


@dataclass(frozen=True, slots=True)
class _Drift:
    """See cli.report.Report."""

    of: "Planned"

    def text(self, paint: Paint) -> str:
        from stacksmith.views.drift_text import drift_text

        return drift_text(self.of.plan, paint, self.of.unplanned_addresses)

    def data(self, timestamp: str) -> JSON:
        from stacksmith.views.drift_data import drift_data

        return drift_data(self.of.plan, timestamp, self.of.unplanned_addresses)

    def junit(self, timestamp: str, seconds: float) -> str:
        from stacksmith.views.junit import junit_text

        return junit_text(self.of.plan, timestamp, seconds, self.of.unplanned_addresses)

    def metrics(self, now: float, seconds: float, last_success: float | None) -> str:
        from stacksmith.views.host import host_rows
        from stacksmith.views.prometheus import drift_metrics

        rows = host_rows(self.of.stack.fleet, self.of.snapshot)
        return drift_metrics(self.of.plan, rows, now, seconds, last_success, self.of.unplanned_addresses)
