"""Switching a node on and off, as BMCs really do it: late, refusing for a while, or saying yes and doing nothing."""

import time
from typing import Final

from stacksmith.model.node_found import Power
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish.connection import Connection
from stacksmith.providers.redfish.reading import inside, power_of

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.5, 5.0
PATIENCE_SECONDS: Final = 20.0  # a reset that was taken and shows no effect is sent again after so long
REFUSALS: Final = 3  # so often a BMC may refuse for good and still be in the wanted state a moment later


def switch(connection: Connection, system: str, kind: str, wanted: Power, deadline: Deadline) -> None:
    """Sends the reset ``kind`` until the node's power is ``wanted``; sends nothing when it is already.

    After each answer, a refusal too, the state is read: "already on" is success.

    Raises: Refused, TimedOut, Unreachable.
    """
    wait, sent_at, refused, said, power = FIRST_POLL_SECONDS, float("-inf"), 0, "", Power.UNKNOWN
    while True:
        page, fault = _read(connection, system, deadline)
        power = power_of(page) if page is not None else power
        if power is wanted:
            return
        said = said or str(fault or "")
        if power in (Power.ON, Power.OFF) and deadline.clock() - sent_at > PATIENCE_SECONDS and page is not None:
            try:
                connection.post(
                    str(inside(inside(page, "Actions"), "#ComputerSystem.Reset")["target"]),
                    {"ResetType": kind},
                    deadline,
                )
                sent_at = deadline.clock()
            except Unreachable:
                raise
            except (NotNow, Transient) as late:
                said = str(late)
            except TimedOut as late:
                said = str(late) if deadline.seconds else said or str(late)  # cut off by the deadline, it tells nothing
            except Refused as no:
                refused, said = refused + 1, str(no)
                if refused >= REFUSALS or no.path:
                    raise
        if deadline.seconds < FIRST_POLL_SECONDS:
            raise TimedOut(f"cannot switch {connection.name} {wanted}: it is {power}{f'; {said}' if said else ''}")
        time.sleep(min(wait, deadline.seconds - FIRST_POLL_SECONDS / 2))
        wait = min(wait * 1.5, LONGEST_POLL_SECONDS)


def _read(
    connection: Connection, system: str, deadline: Deadline
) -> tuple[dict[str, object] | None, ProviderError | None]:
    """The system's page; None with the reason when it cannot be had just now."""
    try:
        return dict(connection.get(system, deadline)), None
    except Unreachable:
        raise
    except (Transient, TimedOut) as fault:
        return None, fault
