"""Images of which a file was edited in the stack."""

from stacksmith.model.realised import Image, from_data
from stacksmith.model.record import Record
from stacksmith.planner.step import is_superseded
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
