"""Virtual media and the boot override of a node."""

from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.redfish.connection import Connection


def insert(connection: Connection, system: str, url: str, deadline: Deadline) -> None:
    raise Refused("to be written")


def eject(connection: Connection, system: str, deadline: Deadline) -> None:
    raise Refused("to be written")


def boot_once(connection: Connection, system: str, device: str, mode: str | None, deadline: Deadline) -> None:
    raise Refused("to be written")
