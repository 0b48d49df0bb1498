"""Switching a node on and off, against a BMC that says what a test has it say."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from stacksmith.model.node_found import Power
from stacksmith.providers.base import Deadline, TimedOut
from stacksmith.providers.bmc import NotNow
from stacksmith.providers.redfish import power


class Off:
    """A connection to a node that is off; each reset is answered by the next of these faults."""

    name = "bm1"

    def __init__(self, faults: Iterator[Exception]) -> None:
        self._faults = faults

    def get(self, path: str, deadline: Deadline) -> dict[str, object]:
        return {"PowerState": "Off", "Actions": {"#ComputerSystem.Reset": {"target": f"{path}/reset"}}}

    def post(self, path: str, body: object, deadline: Deadline) -> None:
        raise next(self._faults)


def test_reset_that_the_time_limit_cut_off_does_not_hide_why_those_before_were_refused() -> None:
    faults = iter([NotNow("409 not yet"), *[TimedOut("no answer in the time that was left")] * 99])
    bmc: Any = Off(faults)
    with pytest.raises(TimedOut) as late:
        power.switch(bmc, "/s", "On", Power.ON, Deadline(time.monotonic() + 2, time.monotonic))
    assert str(late.value) == "cannot switch bm1 on: it is off; 409 not yet"
