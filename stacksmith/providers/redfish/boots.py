"""Boots of a node: the one restart that brings what waits for it into force, and a boot between where it takes two."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from stacksmith.model.change import Impact
from stacksmith.model.node_found import Aspects, NodeFound, Power
from stacksmith.model.realised import Machine
from stacksmith.providers.base import Deadline, ProviderError, Refused, Target, TimedOut, Transient
from stacksmith.providers.bmc import BmcSession, Tell
from stacksmith.providers.redfish.progress import BETWEEN, RESTART, TAKEN, Progress

POLL_SECONDS: Final = 2.0
FIRMWARE_SECONDS: Final = 1800.0
SETTINGS: Final = Aspects(secure_boot=True, pending=True)  # that a boot brings into force


class Boots:
    """Switches one node off and on. A run that was killed in between left a note, and the next one goes on from it."""

    def __init__(self, node: str, bmc: BmcSession, seconds: float) -> None:
        """``seconds`` are what switching may take."""
        self._node, self._bmc, self._seconds = node, bmc, seconds
        self.tell: Tell = lambda words: None

    def limit(self, deadline: Deadline) -> Deadline:
        """That of a switch which begins now."""
        return within(self._seconds, deadline)

    def restart(
        self, target: Target, progress: Progress, deadline: Deadline, device: str = "disk", *, is_on: bool = True
    ) -> None:
        """Off and on; the run that comes after one that was killed between switches it on."""
        if progress.sent(RESTART) is None:
            if is_on and target.found is not None and target.allowed < Impact.RESTART:
                raise Refused("the node would be restarted", hint="--allow restart")
            progress.send(RESTART, TAKEN if is_on else BETWEEN)
        target.progress("restarting")
        self._bmc.switch_off(False, self.limit(deadline))
        self.switch_on(machine_of(target), self.limit(deadline), device)

    def switch_on(self, wanted: Machine, limit: Deadline, device: str = "disk") -> None:
        """From the disk, where an image is on it: what a BMC was told of boots before is for one boot alone, and the
        network, say, may come first by itself."""
        if (wanted.image or device == "setup") and self._bmc.observe(limit).power_state is Power.OFF:
            with suppress(Refused):  # then it boots in its own order
                self._bmc.boot_once(device, None, limit)
        self._bmc.switch_on(limit)

    def restart_half_made(self, target: Target, progress: Progress, deadline: Deadline) -> None:
        """A killed run had switched it on before these settings were written: nobody has had this server yet."""
        target.progress("restarting")
        progress.send(RESTART, TAKEN)
        self._bmc.switch_off(False, self.limit(deadline))
        if machine_of(target).power_state is None:  # which is left as it was
            self._bmc.switch_on(self.limit(deadline))

    def end_between(self, progress: Progress, deadline: Deadline) -> None:
        """Switches off what was, and is on only for a boot between two settings; a killed run may have left it so."""
        if progress.sent(RESTART) == BETWEEN:
            self._bmc.switch_off(True, self.limit(deadline))
            progress.drop(RESTART)

    def leave_ramdisk(self, deadline: Deadline) -> None:
        """From what was to write an image, back to what is on the disk."""
        limit = self.limit(deadline)
        self._bmc.switch_off(True, limit)
        self._bmc.eject_media(limit)
        self._bmc.switch_on(limit)

    def wait_until(
        self, is_so: Callable[[NodeFound], bool], what: str, deadline: Deadline, firmware: bool = False
    ) -> None:
        """Waits until the node is found so: settings are applied while it starts, minutes after it is on, and
        ``firmware`` takes longer than that."""
        limit = within(max(self._seconds, FIRMWARE_SECONDS) if firmware else self._seconds, deadline)
        self.tell(f"waiting for {what}")
        said: ProviderError | None = None
        while True:
            try:
                if is_so(self._bmc.observe(limit, replace(SETTINGS, firmware=firmware))):
                    return
                said = None
            except Transient as fault:  # of one request; the wait has a limit of its own
                said = fault
            except TimedOut as fault:
                said = fault if limit.seconds else said or fault  # cut off by the limit, it tells nothing
            if limit.seconds < POLL_SECONDS:
                text = f"cannot wait for {what} of {self._node}: it is not in force yet"
                raise TimedOut(f"{text}: {said}" if said else text, hint=said.hint if said else None)
            time.sleep(POLL_SECONDS)


def is_up(seen: NodeFound, progress: Progress) -> bool:
    """Whether the node is on, or was before a restart that a killed run began."""
    return seen.power_state is not Power.OFF or progress.sent(RESTART) is not None


def machine_of(target: Target) -> Machine:
    """What the node is to be."""
    assert isinstance(target.wanted, Machine)
    return target.wanted


def within(seconds: float, deadline: Deadline) -> Deadline:
    """So many seconds from now, or the deadline when that is earlier."""
    return Deadline(min(deadline.clock() + seconds, deadline.at), deadline.clock)
