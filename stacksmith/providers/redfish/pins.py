"""Brings the firmware of a node to the versions that its server pins."""

import hashlib

from stacksmith.model.node_found import Aspects, NodeFound
from stacksmith.model.realised import Machine
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.bmc import BmcSession
from stacksmith.providers.redfish.progress import TAKEN, Progress


class Pins:
    """The updates of one node, and the versions before them."""

    def __init__(self, node: str, bmc: BmcSession) -> None:
        self._node, self._bmc = node, bmc
        self._before: dict[str, str] = {}

    def bring(self, wanted: Machine, names: set[str], progress: Progress, deadline: Deadline) -> None:
        """Brings these to their versions; nothing is sent for those that have them, or were brought there before the
        boot by a call that is made again, or by a run that was killed."""
        there = self._bmc.observe(deadline, Aspects(firmware=True)).firmware if names else {}
        for name in sorted(names):
            version, source = wanted.firmware[name], wanted.firmware_images.get(name)
            if there.get(name) == version:
                continue
            if source is None:
                hint = f"say firmware: {{{name}: {{version: {version}, image: URL}}}}, or pin {there.get(name)}"
                raise Refused(f"cannot update {name} to {version}: no image of it is named", f"firmware.{name}", hint)
            self._send(name, version, source, progress, deadline)
            self._before[name] = there.get(name, "")

    def check(self, wanted: Machine, seen: NodeFound) -> bool:
        """Passes while firmware has its version of before, or the wanted one. Raises: Refused: no wait brings it."""
        for name, before in self._before.items():
            version, shown = wanted.firmware[name], seen.firmware.get(name, "")
            if shown not in ("", before, version):
                cause = f"cannot update {name} of {self._node} to {version}: the image is of version {shown}"
                raise Refused(cause, f"firmware.{name}")
        return True

    def _send(self, name: str, version: str, source: str, progress: Progress, deadline: Deadline) -> None:
        update = hashlib.sha256(f"{name} {version} {source}".encode()).hexdigest()[:12]
        noted = progress.sent(update)
        if noted == TAKEN:  # shown after the boot alone
            return
        tasks = self._bmc.tasks(deadline)
        # A killed run did not come to send it when no task has come of it, or sent it in vain.
        is_due = noted is None or (tasks and (noted == tasks or self._bmc.has_failed(noted, deadline)))
        if is_due:
            progress.send(update, tasks)
            try:
                self._bmc.update_firmware(name, source, version, deadline)
            except Refused:
                progress.drop(update)
                raise
        progress.send(update, TAKEN)
