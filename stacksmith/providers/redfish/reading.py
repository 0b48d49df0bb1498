"""Redfish pages as our dataclasses; what a BMC leaves out, or gives as null, is taken as not told."""

from collections.abc import Mapping
from typing import Any, Final

from stacksmith.model.node_found import Disk, Nic, NodeFound, Power
from stacksmith.model.types import JSON

Page = Mapping[str, JSON]
_POWER: Final = {
    "On": Power.ON,
    "Off": Power.OFF,
    "PoweringOn": Power.POWERING_ON,
    "PoweringOff": Power.POWERING_OFF,
}
_MODES: Final = {"UEFI": "uefi", "Legacy": "bios"}
_EARLY: Final = (  # of BootProgress
    "PrimaryProcessorInitializationStarted",
    "BusInitializationStarted",
    "MemoryInitializationStarted",
    "SecondaryProcessorInitializationStarted",
    "PCIResourceConfigStarted",
)
_HPE_EARLY: Final = ("PowerOff", "Reset", "InPost")  # before InPostDiscoveryComplete and FinishedPost
_LEDS: Final = {"Lit": "lit", "Blinking": "blinking", "Off": "off"}


def power_of(system: Page) -> Power:
    return _POWER.get(str(system.get("PowerState")), Power.UNKNOWN)


def is_starting(system: Page) -> bool:
    """Whether the firmware is before the discovery of controllers, where the BMC tells it."""
    post = inside(inside(system, "Oem"), "Hpe").get("PostState")
    return inside(system, "BootProgress").get("LastState") in _EARLY or post in _HPE_EARLY


def found(system: Page, bios: Page) -> NodeFound:
    """A node from the pages of its system and of its BIOS, which may be empty."""
    attributes = bios.get("Attributes")
    return NodeFound(
        power_state=power_of(system),
        boot_mode=boot_mode(system),
        asset_tag=told(system, "AssetTag"),
        indicator_led=led(system),
        bios=dict(sorted(attributes.items())) if isinstance(attributes, dict) else {},
        uuid=told(system, "UUID") or "",
        manufacturer=told(system, "Manufacturer") or "",
        model=told(system, "Model") or "",
        serial=told(system, "SerialNumber") or "",
        bios_version=told(system, "BiosVersion") or "",
    )


def boot_mode(system: Page) -> str | None:
    return _MODES.get(str(inside(system, "Boot").get("BootSourceOverrideMode")))


def secure_boot(page: Page) -> bool | None:
    """Secure boot as it is in force; where that is not told, as it is set."""
    current = {"Enabled": True, "Disabled": False}.get(str(page.get("SecureBootCurrentBoot")))
    return current if current is not None else secure_boot_set(page)


def secure_boot_set(page: Page) -> bool | None:
    """Secure boot as it is set, for the next boot where it was not so in the last."""
    enabled = page.get("SecureBootEnable")
    return enabled if isinstance(enabled, bool) else None


def disk(page: Page) -> Disk:
    return Disk(
        name=told(page, "Name") or told(page, "Id") or "",
        size_bytes=number(page.get("CapacityBytes")),
        model=told(page, "Model") or "",
        serial=told(page, "SerialNumber") or "",
        media_type=told(page, "MediaType") or "",
        protocol=told(page, "Protocol") or "",
    )


def drive_names(page: Page) -> list[str]:
    """What a drive may be called: some BMCs give all of them one name, and only the serial number tells them apart."""
    names = (told(page, "Name"), told(page, "SerialNumber"), told(page, "Id"))
    return list(dict.fromkeys(name for name in names if name))


def nic(page: Page) -> Nic:
    mac = told(page, "MACAddress") or told(page, "PermanentMACAddress") or ""
    return Nic(told(page, "Id") or "", mac.lower())


def inside(page: Page, name: str) -> Page:
    """The object ``name`` of a page; empty when there is none."""
    value = page.get(name)
    return value if isinstance(value, dict) else {}


def link(page: Page, name: str) -> str | None:
    """Where ``name`` of a page leads."""
    return told(inside(page, name), "@odata.id")


def links(page: Page, name: str = "Members") -> list[str]:
    """Where the entries of the list ``name`` lead."""
    entries = page.get(name)
    found = (
        [entry.get("@odata.id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
    return [str(each) for each in found if each]


def number(value: Any) -> int:
    """A whole number; 0 when there is none."""
    return int(value) if isinstance(value, int | float) else 0


def led(system: Page) -> str | None:
    """LocationIndicatorActive took the place of IndicatorLED in ComputerSystem 1.14."""
    active = system.get("LocationIndicatorActive")
    if isinstance(active, bool):
        return "blinking" if active else "off"
    return _LEDS.get(str(system.get("IndicatorLED")))


def told(page: Page, name: str) -> str | None:
    """The text ``name`` of a page, without spaces around it; None when there is none."""
    value = page.get(name)
    return value.strip() if isinstance(value, str) else None
