"""What to read on the hosts: the stack's marks, and the names of what carries none, wanted or recorded."""

from collections.abc import Iterable

from stacksmith.address import Address, identity
from stacksmith.model.naming import image_file_name, volume_name
from stacksmith.model.realised import Image, ImageFile, from_data
from stacksmith.model.record import Record
from stacksmith.model.stack import Stack
from stacksmith.planner.build import volumes_of
from stacksmith.planner.step import superseded
from stacksmith.providers.base import Scope


def scope_of(stack: Stack, records: Iterable[Record]) -> Scope:
    """The names of the stack's volumes and image files; also of those that left the stack, for the plan to remove."""
    names: dict[str, Address] = {}
    volumes = {a: spec.format for a, (spec, _, _) in volumes_of(stack).items()}
    images = {
        Address("image", name): tuple(ImageFile(role, f.checksum, f.format) for role, f in sorted(files.items()))
        for name, files in stack.image_files.items()
    }
    for record in records:
        if record.address.kind == "volume":
            volumes.setdefault(record.address, (record.applied or {}).get("format", "qcow2"))
        elif record.address.kind == "image" and record.applied:
            _add_image(images, record)
    for address, extension in volumes.items():
        made = identity(stack.fleet.fleet, stack.name, address)
        names[volume_name(stack.name, address, made, extension)] = address
    for address, image in images.items():
        names |= {image_file_name(f.checksum, f.role): address for f in image}
    return Scope(stack.fleet.fleet, stack.name, names, images)


def _add_image(images: dict[Address, tuple[ImageFile, ...]], record: Record) -> None:
    applied = from_data("image", record.applied)
    assert isinstance(applied, Image)
    address = record.address.block
    wanted = {f.checksum for f in images.get(address, ())}
    before = tuple(f for f in applied.files if f.checksum not in wanted)
    if address not in images:
        images[address] = applied.files
    elif before:
        images[superseded(address, before[0].checksum)] = before
