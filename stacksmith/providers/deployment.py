"""What a bare-metal node's disks are to become, and how far that is."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from stacksmith.frozen import dataclass
from stacksmith.model.node import RootDeviceHints

IN_THE_WAY: Final = ("not-empty", "other-disks")  # steps of a deploy that stop before what disks hold is lost
UNTOUCHED: Final = ("root-device", *IN_THE_WAY)  # steps before which nothing is written
LATER: Final = "-"  # the life of a server that is there, and is only changed
NO_DISK: Final = "no-disk"  # the step of a cleaning that names a disk which is not there: nothing was touched


class Stage(StrEnum):
    """What a deploy has behind it, in this order."""

    NOTHING = ""
    SETTINGS = "settings"  # firmware was sent, or a restart is under way, and no disk is written yet, or none is to be
    RAID = "raid"  # volumes are made, or gone, and what was on them with them
    MEDIA = "media"  # the ramdisk's ISO is in the node, which is off
    BOOTED = "booted"  # the node is on with it
    WRITTEN = "written"  # the disk is finished
    READY = "ready"  # the node is off, the media is out


LOSING: Final = ("raid", "media", "booted")  # no telling what is on the disk
RAMDISK: Final = (Stage.MEDIA, Stage.BOOTED, Stage.WRITTEN)  # what runs, if anything, is not what is on the disk


@dataclass(frozen=True, slots=True)
class Job:
    """An image to write, or with ``iso`` an ISO to boot once. ``checksum`` is that of ``image`` as it is.

    ``uuid`` is the server's: it is on the disk, with the checksum and a digest of the config drive, while the disk is
    written and once it is finished. ``overwrite`` allows a disk that holds anything else, ``clears_others`` the
    removal of config drives from other disks, which it allows too. ``boot_mode`` and
    ``secure_boot`` are what the node is set to. ``life`` tells servers apart that were made one after the other under
    one uuid: what a former one left is nothing that is finished.
    """

    node: str
    uuid: str
    image: Path | None = None
    checksum: str = ""
    format: str = "raw"
    iso: Path | None = None
    config_drive: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    root_device: RootDeviceHints = field(default_factory=RootDeviceHints)
    overwrite: bool = False
    clears_others: bool = False
    boot_mode: str | None = None
    secure_boot: bool | None = None
    life: str = LATER


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Disks to wipe, all when none is named: their signatures, or with ``whole`` every byte."""

    node: str
    uuid: str
    disks: tuple[str, ...] = ()
    whole: bool = False
    boot_mode: str | None = None


def held(step: str, detail: str) -> tuple[str, str]:
    """What a step of ``IN_THE_WAY`` has found on a disk, as an entry of the note of how far a deployment is."""
    return step, quote(detail, safe="")


def in_the_way(note: str) -> dict[str, str]:
    """What the deployments of a server have found that would be lost, by step; its last word are the note's entries."""
    entries = dict(each.split("=", 1) for each in note.rpartition(" ")[2].split(",") if "=" in each)
    return {step: unquote(entries[step]) for step in IN_THE_WAY if step in entries}
