"""RAID volumes of a node's controllers."""

from collections.abc import Sequence

from stacksmith.model.realised import RaidVolume
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.redfish.connection import Connection


def set_raid(connection: Connection, system: str, volumes: Sequence[RaidVolume], deadline: Deadline) -> None:
    raise Refused("to be written")
