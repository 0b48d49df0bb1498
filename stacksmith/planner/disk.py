"""The disks of a server: Nova's block device mapping, merged as Nova merges it, laid out on devices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from string import ascii_lowercase

from stacksmith.address import Address, identity
from stacksmith.frozen import dataclass
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.server import BdmSpec, ServerSpec
from stacksmith.model.realised import Disk, Policy, Volume
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.types import JSON

GIB = 2**30
MIB = 2**20
_BUSES = {"virtio": "pci", "scsi": "scsi", "ide": "ide"}  # in metadata; Nova has no word for sata
_PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}


@dataclass(frozen=True, slots=True)
class ImplicitVolume:
    """A volume that a server's mapping asks for (source image or blank, destination volume)."""

    address: Address
    spec: Volume
    policy: Policy


@dataclass(frozen=True, slots=True)
class Layout:
    """The disks of one server, in boot and naming order, and the volumes made with it."""

    disks: tuple[Disk, ...]
    volumes: tuple[ImplicitVolume, ...] = ()


def layout(stack: Stack, server: Resource, kept: Mapping[str, str] | None = None) -> Layout:
    """The disks of ``server``. ``kept`` maps a volume's address to the device it already has, so that taking one
    disk out of the file does not rename the others. Order as Nova: root, ephemeral, swap, volumes."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    flavor = stack.flavors[spec.flavor]
    image = stack.images[spec.image] if spec.image else None
    bus = _default_bus(image)
    volumes: list[ImplicitVolume] = []
    disks = _root(stack, spec, flavor, image)
    disks += _mapped(stack, server, flavor, volumes)
    disks += _flavor_extras(spec, flavor)
    named = _named(sorted(disks, key=_rank), bus, kept or {})
    return Layout(tuple(_with_serial(stack, d) for d in named), tuple(volumes))


def tagged_disks(stack: Stack, server: Resource) -> list[JSON]:
    """The tagged disks as Nova's meta_data.json has them. Addresses are known only of a defined domain: none here."""
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    if not spec.block_device_mapping:
        return []
    default = _default_bus(stack.images[spec.image] if spec.image else None)
    told: list[JSON] = []
    for place, entry in enumerate(spec.block_device_mapping):
        if entry.tag is None:
            continue
        data: dict[str, JSON] = {
            "type": "disk",
            "bus": _BUSES.get(entry.disk_bus or default, "none"),
            "address": "none",
        }
        if entry.destination_type == "volume" and entry.device_type != "cdrom":
            data["serial"] = _serial(stack, _volume_of(server, entry, place))
        told.append(data | {"tags": [entry.tag]})
    return told


def _default_bus(image: ImageSpec | None) -> str:
    return (image.properties.get("hw_disk_bus") if image else None) or "virtio"


def _rank(disk: Disk) -> tuple[int, int]:
    boots_first = 0 if disk.boot_index == 0 else 1
    return (boots_first, 0 if disk.source in ("image", "blank") else 1)


def _root(stack: Stack, spec: ServerSpec, flavor: FlavorSpec, image: ImageSpec | None) -> list[Disk]:
    """The implicit root disk, which Nova adds when an image is given and no mapping is."""
    if spec.image is None or image is None or any(b.boot_index == 0 for b in spec.block_device_mapping):
        return []
    file = stack.image_files[spec.image].get("disk")
    size = flavor.disk * GIB or None
    if file is not None:
        return [Disk(device="", source="image", ref=file.checksum, size_bytes=size, boot_index=0, bus="")]
    return [Disk(device="", source="blank", size_bytes=size, boot_index=0, bus="")] if size else []


def _mapped(stack: Stack, server: Resource, flavor: FlavorSpec, volumes: list[ImplicitVolume]) -> list[Disk]:
    spec = server.spec
    assert isinstance(spec, ServerSpec)
    disks = []
    for place, entry in enumerate(spec.block_device_mapping):
        disk = Disk(
            device=(entry.device_name or "").removeprefix("/dev/"), source="blank", bus=entry.disk_bus or "",
            boot_index=entry.boot_index if (entry.boot_index or 0) >= 0 else None, device_type=entry.device_type,
        )  # fmt: skip
        if entry.destination_type == "local":
            disks.append(_local(stack, disk, entry, flavor))
        elif entry.source_type == "volume":
            disks.append(replace(disk, source="volume", ref=_volume_of(server, entry, place), size_bytes=None))
        else:
            volume = _implicit(stack, server, entry, place)
            volumes.append(volume)
            disks.append(replace(disk, source="volume", ref=str(volume.address)))
    return disks


def _local(stack: Stack, disk: Disk, entry: BdmSpec, flavor: FlavorSpec) -> Disk:
    if entry.source_type == "image":
        file = stack.image_files[entry.image or ""].get("disk")
        size = (entry.volume_size or flavor.disk) * GIB or None
        return replace(disk, source="image", ref=file.checksum if file else None, size_bytes=size)
    if entry.guest_format == "swap":
        return replace(disk, size_bytes=(entry.volume_size or flavor.swap) * MIB)
    return replace(disk, size_bytes=(entry.volume_size or flavor.ephemeral) * GIB)


def _implicit(stack: Stack, server: Resource, entry: BdmSpec, place: int) -> ImplicitVolume:
    file = stack.image_files[entry.image].get("disk") if entry.image else None
    return ImplicitVolume(
        Address.parse(_volume_of(server, entry, place)),
        Volume(
            size_bytes=(entry.volume_size or 1) * GIB,
            volume_type=entry.volume_type or "local",
            image=file.checksum if file else None,
        ),
        Policy(on_destroy="delete" if entry.delete_on_termination else "keep"),
    )


def _volume_of(server: Resource, entry: BdmSpec, place: int) -> str:
    """The address of an entry's volume: one of the stack, or that which is made with the server."""
    if entry.source_type == "volume":
        return f"volume.{entry.volume}"
    part = (entry.device_name or "").removeprefix("/dev/") or f"disk{place}"
    return str(Address("volume", f"{server.address.label}-{part}"))


def _flavor_extras(spec: ServerSpec, flavor: FlavorSpec) -> list[Disk]:
    """The flavor's ephemeral and swap disks, unless the mapping declares its own."""
    blanks = [b for b in spec.block_device_mapping if b.source_type == "blank" and b.destination_type == "local"]
    disks = []
    if flavor.ephemeral and not any(b.guest_format != "swap" for b in blanks):
        disks.append(Disk(device="", source="blank", size_bytes=flavor.ephemeral * GIB, bus=""))
    if flavor.swap and not any(b.guest_format == "swap" for b in blanks):
        disks.append(Disk(device="", source="blank", size_bytes=flavor.swap * MIB, bus=""))
    return disks


def _named(disks: Sequence[Disk], default_bus: str, kept: Mapping[str, str]) -> list[Disk]:
    devices = [d.device or kept.get(d.ref or "", "") for d in disks]
    taken = set(devices)
    named = []
    for disk, known in zip(disks, devices, strict=True):
        bus = disk.bus or default_bus
        device = known or next(d for d in _devices(bus) if d not in taken)
        taken.add(device)
        named.append(disk if disk.device == device and disk.bus else replace(disk, device=device, bus=bus))
    return named


def _devices(bus: str) -> Iterable[str]:
    """vda, vdb, … vdaa; sda is the config drive's."""
    for first in ("", *ascii_lowercase):
        for last in ascii_lowercase:
            if (device := f"{_PREFIX[bus]}{first}{last}") != "sda":
                yield device


def _with_serial(stack: Stack, disk: Disk) -> Disk:
    """A stable serial, so that guests find the disk in /dev/disk/by-id: a volume's own id, as Nova has it.

    A cdrom has none: guests go by its medium.
    """
    if disk.source == "volume" and disk.ref and disk.device_type != "cdrom":
        return replace(disk, serial=_serial(stack, disk.ref))
    return disk


def _serial(stack: Stack, volume: str) -> str:
    return identity(stack.fleet.fleet, stack.name, Address.parse(volume))[:20]
