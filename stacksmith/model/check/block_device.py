"""Nova's rules of block_device_mapping, the ones it enforces and the ones it should.

Nova 34: nova/compute/api.py (_check_and_transform_bdm, _validate_bdm), nova/block_device.py.
"""

from collections.abc import Mapping
from typing import Final

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import class_of
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.server import BdmSpec, ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.stack import Resource, Stack

MAX_SIZE: Final = 2**31 - 1
BUS_PREFIX: Final = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}
MAX_IDE: Final = 4


@dataclass(frozen=True, slots=True)
class _Server:
    """A server with what its mapping is held against."""

    resource: Resource
    spec: ServerSpec
    flavor: FlavorSpec | None
    images: Mapping[str, ImageSpec]
    volumes: Mapping[Address, VolumeSpec]
    reporter: Reporter

    def fault(self, code: str, number: int, key: str, cause: str, hint: str | None = None) -> None:
        """A fault at a key of an entry, or at the entry when the key is not given."""
        path: DataPath = ("block_device_mapping", number, key) if key else ("block_device_mapping", number)
        self.reporter.fault(code, self.resource, path, cause, hint)


def check_block_devices(stack: Stack, reporter: Reporter) -> None:
    """Checks the mapping of every server, and that no volume is attached twice."""
    volumes = {a: r.spec for a, r in stack.resources.items() if isinstance(r.spec, VolumeSpec)}
    attached: dict[Address, tuple[Resource, int]] = {}
    for resource in stack.resources.values():
        spec = resource.spec
        if not isinstance(spec, ServerSpec) or class_of(stack, resource) is not None:
            continue
        server = _Server(resource, spec, stack.flavors.get(spec.flavor), stack.images, volumes, reporter)
        if spec.block_device_mapping:
            _check_mapping(server)
            _check_attached(server, attached)
        _check_boots(server)


def volume_address(text: str) -> Address | None:
    """The address of a volume as an entry names it: ``data``, ``data[0]``, ``data["eu"]``."""
    try:
        return Address.parse(f"volume.{text}")
    except ValueError:
        return None


def _check_mapping(server: _Server) -> None:
    for number, entry in enumerate(server.spec.block_device_mapping):
        if _check_keys(server, number, entry):
            _check_pair(server, number, entry)
            _check_image(server, number, entry)
            _check_size(server, number, entry)
    _check_boot_order(server)
    _check_locals(server)
    _check_devices(server)
    _check_implicit_names(server)


def _check_keys(server: _Server, number: int, entry: BdmSpec) -> bool:
    """Whether image, volume and neither go with their source types. Nova: Missing device UUID, Invalid device UUID."""
    before = server.reporter.findings.error_count
    for key in ("image", "volume"):
        given = getattr(entry, key) is not None
        if entry.source_type == key and not given:
            server.fault("bad-block-device", number, "source_type", f"source_type {key} needs the key {key}")
        if entry.source_type != key and given:
            cause = f"{key} is given but source_type is {entry.source_type}"
            server.fault("bad-block-device", number, key, cause)
    return server.reporter.findings.error_count == before


def _check_pair(server: _Server, number: int, entry: BdmSpec) -> None:
    """Source and destination. Nova accepts volume to local and then attaches nothing."""
    pair = (entry.source_type, entry.destination_type)
    if pair == ("volume", "local"):
        cause = "a volume cannot become a local disk; Nova would silently attach nothing"
        server.fault("bad-block-device", number, "destination_type", cause, "use destination_type: volume")
    if pair == ("image", "local") and (entry.boot_index != 0 or server.spec.image is None):
        cause = "mapping an image to local is only for the root disk: boot_index 0, with the server's image given"
        server.fault("bad-block-device", number, "destination_type", cause, "use destination_type: volume")
    if pair == ("image", "local") and server.spec.image not in (None, entry.image):
        cause = f"the root disk is of image {entry.image!r} but the server's image is {server.spec.image!r}"
        server.fault("bad-block-device", number, "image", cause)
    if entry.volume_type is not None and entry.destination_type == "local":
        cause = "a volume_type with destination_type local means nothing"
        server.fault("bad-block-device", number, "volume_type", cause)
    if entry.volume_type is not None and entry.source_type == "volume":
        cause = "the volume exists and has its own type"
        server.fault("bad-block-device", number, "volume_type", cause)
    if entry.delete_on_termination and entry.source_type == "volume":
        cause = "the volume is the stack's own, and says itself what becomes of it"
        hint = f"take it out; on_destroy: delete of volume {entry.volume} says it"
        server.fault("bad-block-device", number, "delete_on_termination", cause, hint)
    _check_format(server, number, entry)
    _check_tag(server, number, entry.tag)


def _check_tag(server: _Server, number: int, tag: str | None) -> None:
    if tag is None:
        return
    if "," in tag or "/" in tag:
        server.fault("bad-metadata", number, "tag", "a tag has no ',' or '/'")
    if server.spec.config_drive in (False, "nocloud"):
        cause = "a disk's tag has no effect: only a config drive of format configdrive tells the guest"
        path: DataPath = ("block_device_mapping", number, "tag")
        server.reporter.warning("no-effect", server.resource, path, cause, "config_drive: true")


def _check_image(server: _Server, number: int, entry: BdmSpec) -> None:
    """The image has a disk that the entry can be made of."""
    image = server.images.get(entry.image or "")
    if image is None or image.source is not None:
        return
    cause = f"image {entry.image} has a kernel but no disk to copy"
    hint = "name an image with a source"
    if server.spec.image == entry.image and entry.boot_index == 0:
        hint += "; without this entry the server starts the kernel"
    server.fault("bad-block-device", number, "image", cause, hint)


def _check_format(server: _Server, number: int, entry: BdmSpec) -> None:
    local_blank = (entry.source_type, entry.destination_type) == ("blank", "local")
    if entry.guest_format is not None and not local_blank:
        cause = "guest_format is for blank local disks only"
        server.fault("bad-block-device", number, "guest_format", cause)
    if entry.guest_format == "swap" and (entry.boot_index or -1) >= 0:
        server.fault("bad-boot-order", number, "boot_index", "a swap disk cannot boot")
    if entry.device_type == "cdrom" and entry.disk_bus == "virtio":
        server.fault("bad-block-device", number, "disk_bus", "a cdrom has no virtio bus", "use sata, scsi or ide")


def _check_size(server: _Server, number: int, entry: BdmSpec) -> None:
    size = entry.volume_size
    if size is not None and size > MAX_SIZE:
        server.fault("bad-size", number, "volume_size", f"{size} is over {MAX_SIZE}")
    if entry.destination_type == "volume" and entry.source_type in ("image", "blank") and size is None:
        what = "an image" if entry.source_type == "image" else "a blank volume"
        cause = f"{what} with destination_type volume needs a volume_size"
        server.fault("bad-size", number, "", cause, "add volume_size: 20 (GiB)")
    if entry.source_type == "volume" and size is not None:
        cause = "an existing volume has its own size"
        server.fault("bad-size", number, "volume_size", cause, "take volume_size out")
    image = server.images.get(entry.image or "")
    if image is not None and size is not None and size < image.min_disk:
        cause = f"{size} GiB is less than min_disk {image.min_disk} GiB of image {entry.image}"
        server.fault("bad-size", number, "volume_size", cause)
    flavor = server.flavor
    if flavor is None or (entry.source_type, entry.destination_type) != ("blank", "local"):
        return
    if entry.guest_format == "swap" and ((size or flavor.swap) > flavor.swap or not flavor.swap):
        cause = f"{size or 0} MiB of swap is more than the flavor's {flavor.swap} MiB"
        server.fault("bad-size", number, "volume_size", cause, f"raise swap of flavor {server.spec.flavor}")


def _check_boot_order(server: _Server) -> None:
    """Nova: non-negative ones are exactly 0 to n-1, in any order."""
    indexes = sorted(
        (entry.boot_index, number)
        for number, entry in enumerate(server.spec.block_device_mapping)
        if entry.boot_index is not None and entry.boot_index >= 0
    )
    values = [index for index, _ in indexes]
    if values and values[0] > 0 and server.spec.image is not None:
        values = [0, *values]  # the image's own disk is the root
        indexes = [(0, indexes[0][1]), *indexes]
    for expected, (index, number) in enumerate(indexes):
        if index != expected:
            cause = f"boot_index values are {', '.join(map(str, values))}; they must be 0, 1, 2, … once each"
            server.fault("bad-boot-order", number, "boot_index", cause, "use -1 for disks that do not boot")
            return


def _check_locals(server: _Server) -> None:
    """One swap; blank local disks together no larger than the flavor's ephemeral space."""
    blanks = [
        (number, entry)
        for number, entry in enumerate(server.spec.block_device_mapping)
        if (entry.source_type, entry.destination_type) == ("blank", "local")
    ]
    swaps = [number for number, entry in blanks if entry.guest_format == "swap"]
    for number in swaps[1:]:
        server.fault("bad-block-device", number, "guest_format", "more than one swap disk is asked for")
    flavor = server.flavor
    if flavor is None:
        return
    others = [(number, entry.volume_size or flavor.ephemeral) for number, entry in blanks if number not in swaps]
    total = sum(size for _, size in others)
    if others and (total > flavor.ephemeral or not flavor.ephemeral):
        cause = f"blank local disks of {total} GiB are more than the flavor's ephemeral {flavor.ephemeral} GiB"
        hint = f"raise ephemeral of flavor {server.spec.flavor}, or use destination_type: volume"
        server.fault("bad-size", others[-1][0], "volume_size", cause, hint)


def _check_devices(server: _Server) -> None:
    """Device names: unique, of their bus, and not the config drive's."""
    taken: dict[str, int] = {}
    has_root = server.spec.image is not None and not any(e.boot_index == 0 for e in server.spec.block_device_mapping)
    ide = 0
    for number, entry in enumerate(server.spec.block_device_mapping):
        ide += entry.disk_bus == "ide"
        name = (entry.device_name or "").removeprefix("/dev/")
        if not name:
            continue
        prefix = BUS_PREFIX[entry.disk_bus] if entry.disk_bus else ""
        if not name.startswith(prefix or ("vd", "sd", "hd")):
            cause = f"{name!r} is not a name of bus {entry.disk_bus or 'virtio, scsi, sata or ide'}"
            server.fault("bad-block-device", number, "device_name", cause, f"as {prefix or 'vd'}b")
        elif name == "vda" and has_root:
            cause = "'vda' is the root device of the server's image"
            server.fault("bad-block-device", number, "device_name", cause, "use vdb or later")
        elif name in taken:
            cause = f"{name!r} is also the name of block_device_mapping[{taken[name]}]"
            server.fault("bad-block-device", number, "device_name", cause)
        taken.setdefault(name, number)
    if ide > MAX_IDE:
        path = ("block_device_mapping",)
        server.reporter.fault(
            "bad-block-device", server.resource, path, f"{ide} disks on ide; it has room for {MAX_IDE}"
        )


def _check_implicit_names(server: _Server) -> None:
    """A volume made with the server is named after it and must not have the name of a declared one."""
    for number, entry in enumerate(server.spec.block_device_mapping):
        if entry.destination_type != "volume" or entry.source_type == "volume":
            continue
        part = (entry.device_name or "").removeprefix("/dev/") or f"disk{number}"
        address = Address("volume", f"{server.resource.address.label}-{part}")
        if address in server.volumes:
            cause = f"its volume would be {address}, which the stack declares"
            server.fault("duplicate-name", number, "", cause, "rename that volume, or attach it by source_type: volume")


def _check_attached(server: _Server, attached: dict[Address, tuple[Resource, int]]) -> None:
    for number, entry in enumerate(server.spec.block_device_mapping):
        address = volume_address(entry.volume) if entry.source_type == "volume" and entry.volume else None
        if address is None or address not in server.volumes:
            continue
        if address not in attached:
            attached[address] = (server.resource, number)
            continue
        other, place = attached[address]
        path: DataPath = ("block_device_mapping", place, "volume")
        notes = ((f"{other.address} has it", other.where(path)),)
        cause = f"{address} is already attached to {other.address}"
        path = ("block_device_mapping", number, "volume")
        hint = None
        if other.address.block == server.resource.address.block and other is not server.resource:
            hint = 'give the volume the same count and write {{ … }}: "data[{{ index }}]"'
        server.reporter.fault("volume-in-use", server.resource, path, cause, hint, notes)


def _check_boots(server: _Server) -> None:
    """Something boots, and the root disk is large enough for its image."""
    spec = server.spec
    root = next((entry for entry in spec.block_device_mapping if entry.boot_index == 0), None)
    if spec.image is None and root is None:
        hint = "add image, or a block_device_mapping entry with boot_index: 0"
        server.reporter.fault("no-boot-source", server.resource, (), "it has no image and no bootable disk", hint)
    if root is not None:
        _check_bootable(server, root)
    image = server.images.get(spec.image or "")
    flavor = server.flavor
    if image is None or flavor is None:
        return
    if flavor.ram < image.min_ram:
        cause = f"flavor {spec.flavor} has {flavor.ram} MiB of RAM, image {spec.image} needs {image.min_ram}"
        server.reporter.fault("bad-size", server.resource, ("flavor",), cause)
    local_root = root is None or root.destination_type == "local"
    if local_root and flavor.disk and flavor.disk < image.min_disk:
        cause = f"flavor {spec.flavor} has a disk of {flavor.disk} GiB, image {spec.image} needs {image.min_disk}"
        server.reporter.fault("bad-size", server.resource, ("flavor",), cause)


def _check_bootable(server: _Server, root: BdmSpec) -> None:
    """Nova refuses a boot volume that no image was written to; here one may be installed over the network."""
    number = server.spec.block_device_mapping.index(root)
    volume = server.volumes.get(volume_address(root.volume or "") or server.resource.address)
    if root.source_type == "blank" or (volume is not None and volume.image is None):
        cause = "it boots first from a disk that no image was written to"
        path: DataPath = ("block_device_mapping", number, "boot_index")
        server.reporter.warning("no-boot-source", server.resource, path, cause, "give the volume an image")
