"""Images of which a file was edited in the stack, and those that have a file in common."""

from collections.abc import Mapping
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.realised import Image, from_data, to_data
from stacksmith.model.record import Record
from stacksmith.planner.build import Wanted
from stacksmith.planner.plan import Step
from stacksmith.planner.step import forget, is_superseded
from stacksmith.planner.view import View


def is_edited_image(record: Record, view: View) -> bool:
    """Whether an image is on its host as it was applied, though the stack does not want all of these files any more."""
    if record.address.kind != "image" or not record.complete or not record.applied:
        return False
    applied = from_data("image", record.applied)
    there = {
        file.checksum
        for address, found in view.found.items()
        if (address == record.address or is_superseded(address))
        and found.host == record.host
        and isinstance(found.spec, Image)
        for file in found.spec.files
    }
    return isinstance(applied, Image) and {file.checksum for file in applied.files} <= there


def sparing(step: Step, record: Record | None, wanted: Mapping[Address, Wanted]) -> list[Step]:
    """The delete of an image without the files that an image which stays on the host has too: they are one file there.
    Of one that has no others the record goes alone, if there is one. A delete of another kind as it is."""
    image = from_data(step.address.kind, step.before) if step.before is not None else None
    if not isinstance(image, Image):
        return [step]
    others = {
        (file.role, file.checksum): str(other.address)
        for other in wanted.values()
        if other.host == step.host and isinstance(other.spec, Image)
        for file in other.spec.files
    }
    own = tuple(file for file in image.files if (file.role, file.checksum) not in others)
    if own == image.files:
        return [step]
    if own:
        return [replace(step, before=to_data(Image(own)))]
    stays = ", ".join(sorted({others[file.role, file.checksum] for file in image.files}))
    return [forget(step.address, step.host, record, f"its files are those of {stays}")] if record else []
