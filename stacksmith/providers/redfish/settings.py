"""Settings of a node: light, asset tag, BIOS attributes, boot mode, secure boot."""

from collections.abc import Mapping, Sequence

from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.redfish.connection import Connection


def set_indicator_led(connection: Connection, system: str, state: str, deadline: Deadline) -> None:
    raise Refused("to be written")


def set_asset_tag(connection: Connection, system: str, tag: str, deadline: Deadline) -> None:
    raise Refused("to be written")


def check_bios(
    connection: Connection, system: str, attributes: Mapping[str, JSON], deadline: Deadline
) -> Sequence[tuple[str, str]]:
    raise Refused("to be written")


def set_bios(connection: Connection, system: str, attributes: Mapping[str, JSON], deadline: Deadline) -> None:
    raise Refused("to be written")


def set_boot(
    connection: Connection, system: str, mode: str | None, secure_boot: bool | None, deadline: Deadline
) -> None:
    raise Refused("to be written")
