"""Bare-metal nodes as their BMCs tell of them."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from stacksmith.frozen import dataclass
from stacksmith.model.machine_identity import Identity, identity_of
from stacksmith.model.realised import RaidVolume
from stacksmith.model.types import JSON


class Power(StrEnum):
    """The power of a node; on the way between the two it is one of the last."""

    ON = "on"
    OFF = "off"
    POWERING_ON = "powering on"
    POWERING_OFF = "powering off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Aspects:
    """What is to be read of a node beyond its system and its BIOS; each costs requests of its own.

    ``pending``: the BIOS attributes that wait for the next boot. ``drives``: how drives are called, where ``raid`` is
    read and a drive has several names.
    """

    secure_boot: bool = False
    pending: bool = False
    firmware: bool = False
    raid: bool = False
    drives: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeFound:
    """What can drift, and what tells one machine from another. What a BMC does not say is None, or empty.

    ``secure_boot`` (in force, and as it is set for the next boot), ``pending`` (attributes that differ from those in
    force), ``firmware`` (versions by name) and ``raid`` are read only when asked for.
    """

    power_state: Power
    boot_mode: str | None = None  # uefi or bios, as Ironic calls them
    asset_tag: str | None = None
    indicator_led: str | None = None  # lit, blinking or off
    bios: Mapping[str, JSON] = field(default_factory=dict)  # attributes in force
    uuid: str = ""
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    bios_version: str = ""
    secure_boot: bool | None = None
    secure_boot_next: bool | None = None
    pending: Mapping[str, JSON] = field(default_factory=dict)
    firmware: Mapping[str, str] = field(default_factory=dict)
    raid: tuple[RaidVolume, ...] | None = ()  # None: asked for, and not shown yet

    @property
    def identity(self) -> Identity:
        """Which machine it is."""
        return identity_of(self.uuid, self.serial)


@dataclass(frozen=True, slots=True)
class Coming:
    """What waits for the next boot, of what was asked for: a boot mode, secure boot as it will be, and whether any
    firmware does."""

    boot_mode: str | None = None
    secure_boot: bool | None = None
    firmware: bool = False


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """One node of the fleet, read: either ``found``, or the reason why not, with what to type."""

    node: str
    found: NodeFound | None = None
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """A drive behind the node's controllers; a size of 0 is one that the BMC does not tell."""

    name: str
    size_bytes: int
    model: str = ""
    serial: str = ""
    media_type: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card. Those without a MAC are left out of inventories."""

    name: str
    mac: str


@dataclass(frozen=True, slots=True)
class NodeInventory:
    """What a node consists of; ``firmware`` is versions by name. A number of 0 is one that the BMC does not tell."""

    found: NodeFound
    cpus: int
    memory_mib: int
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    firmware: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeInspection:
    """One node of the fleet, inspected: either ``inventory``, or the reason why not, with what to type."""

    node: str
    inventory: NodeInventory | None = None
    error: str | None = None
    hint: str | None = None
