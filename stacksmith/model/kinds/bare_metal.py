"""What a server on a bare-metal node says of the node that it gets."""

from typing import Literal

from pydantic import Field, field_validator

from stacksmith.model.node import ALL_DISKS, is_disk_name
from stacksmith.model.spec import GiB, Spec


class RaidSpec(Spec):
    """A RAID volume. What it replaces is lost: a change of it needs ``--allow data-loss``."""

    name: str = Field(min_length=1, max_length=60)
    raid_type: Literal["RAID0", "RAID1", "RAID5", "RAID6", "RAID10"] = Field(description="As Redfish names them")
    drives: list[str] = Field(min_length=1, description="Drives by name or serial number, as node inspect shows them")
    size: GiB | None = Field(None, gt=0, description="GiB; default: all that the drives give")


class FirmwareSpec(Spec):
    """A pinned version of firmware, and where an update to it is."""

    version: str = Field(min_length=1)
    image: str | None = Field(None, pattern="^https?://", description="URL that the BMC can read; none: only compared")


class BareMetalSpec(Spec):
    """Settings of the node, compared with what its BMC tells. What is not said is left as it is."""

    boot_mode: Literal["uefi", "bios"] | None = Field(None, description="Default: hw_firmware_type of the image")
    secure_boot: bool | None = Field(None, description="Default: os:secure_boot of the flavor, or of the image")
    bios: dict[str, str | int | bool] = Field(
        default_factory=dict, description="BIOS attributes by the names that node show lists; others are left alone"
    )
    firmware: dict[str, FirmwareSpec] = Field(
        default_factory=dict, description="Versions by the names that node inspect lists: another one is drift"
    )
    raid: list[RaidSpec] = Field(default_factory=list, description="All of the node's RAID volumes, when given")
    indicator_led: Literal["lit", "blinking", "off"] | None = None
    asset_tag: str | None = Field(None, max_length=63)
    wipe: dict[str, Literal["signatures", "whole"]] = Field(
        default_factory=dict,
        description="Disks wiped when the server leaves the node, by serial number, WWN or name; `*` alone for all of "
        "them; others keep what they have",
    )

    @field_validator("raid")
    @classmethod
    def _names_once(cls, raid: list[RaidSpec]) -> list[RaidSpec]:
        if not raid:
            raise ValueError("raid names no volume: left out, it leaves those that there are alone")
        names = [volume.name for volume in raid]
        if len(set(names)) != len(names):
            raise ValueError("two RAID volumes have the same name")
        return raid

    @field_validator("wipe")
    @classmethod
    def _names_disks(cls, wipe: dict[str, str]) -> dict[str, str]:
        if ALL_DISKS in wipe and len(wipe) > 1:
            raise ValueError("wipe names disks beside '*', which is all of them")
        for disk in wipe:
            if disk != ALL_DISKS and not is_disk_name(disk):
                raise ValueError(f"wipe: {disk!r} is no name of a disk")
        return wipe
