"""Images whose files are not there any more: what was applied is enough to destroy a stack, or to tell its drift."""

from collections.abc import Mapping
from dataclasses import replace

from stacksmith.engine.store import opened
from stacksmith.model.image_file import LOST
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import ImageFileSource, Stack


def with_applied_images(stack: Stack, environment: Mapping[str, str]) -> Stack:
    """The stack, with the checksums that were applied for files that are not there. Raises: Faults."""
    if not any(file.checksum == LOST for files in stack.image_files.values() for file in files.values()):
        return stack
    with opened(stack, environment, read_only=True) as store:
        records = [record for record in store.records(stack.name) if record.applied]
    images = [r for r in records if r.address.kind == "image"]
    applied: dict[tuple[str | None, str], str] = {
        (r.address.name, file["role"]): file["checksum"] for r in images for file in r.applied["files"]
    }
    for record in records:
        resource = stack.resources.get(record.address)
        if resource is not None and isinstance(resource.spec, ServerSpec) and "image" in record.applied:  # on a node
            applied[resource.spec.image, "disk"] = record.applied["image"]

    def known(name: str, role: str, file: ImageFileSource) -> ImageFileSource:
        return replace(file, checksum=applied.get((name, role), LOST)) if file.checksum == LOST else file

    files = {name: {role: known(name, role, f) for role, f in each.items()} for name, each in stack.image_files.items()}
    return replace(stack, image_files=files)
