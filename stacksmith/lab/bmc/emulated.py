"""What stands behind a BMC: the machine's own Redfish tree, of sushy-tools' emulator or of `light`."""

from typing import Protocol

from stacksmith.lab.bmc.message import Answer
from stacksmith.model.types import JSON


class Emulated(Protocol):
    """One machine."""

    def call(self, method: str, path: str, body: JSON = None) -> Answer:
        """What the machine answers to a request. One at a time."""

    def change(self, path: str, body: JSON, method: str = "PATCH") -> None:
        """Have the machine change something of its own accord. Raises: RuntimeError when it cannot."""

    def remove_media(self, name: str) -> None:
        """Delete the copies of ejected images."""
