"""Updates of a node's firmware."""

from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.redfish.connection import Connection


def update(connection: Connection, name: str, url: str, version: str, deadline: Deadline) -> None:
    raise Refused("to be written")
