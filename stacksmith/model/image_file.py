"""The files of images: where they are and which bytes they must have."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from stacksmith.address import Address
from stacksmith.model.fileaccess import FileFault, Folder
from stacksmith.model.findings import Findings
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.stack import ImageFileSource, Where
from stacksmith.model.validate import found

LOST: Final = f"sha256:{'0' * 64}"  # the checksum of a file that is missing and has none
MISSING: Final = "file-missing"


def image_files(
    name: str, spec: ImageSpec, where: Where, folder: Folder, findings: Findings
) -> dict[str, ImageFileSource] | None:
    """The files of an image by role, with the faults reported; None when there are others than files that are missing.
    Local files without a checksum are hashed."""
    files: dict[str, ImageFileSource] = {}
    sound = True
    for role, source, checksum, path in _declared(spec):
        try:
            files[role] = _source(source, checksum, spec.format if role == "disk" else "raw", folder)
        except FileFault as fault:
            address = Address("image", name)
            findings.error(fault.code, f"cannot use {address}: {fault}", where(path), fault.hint, address=address)
            if fault.code == MISSING:
                form = spec.format if role == "disk" else "raw"
                files[role] = ImageFileSource(checksum or LOST, str(folder.path / source), form)
            else:
                sound = False
    return files if sound else None


def _declared(spec: ImageSpec) -> Iterator[tuple[str, str, str | None, tuple[str, ...]]]:
    if spec.source is not None:
        yield "disk", spec.source, spec.checksum, ("source",)
    for role, file in (("kernel", spec.kernel), ("ramdisk", spec.ramdisk)):
        if file is not None:
            yield role, file.source, file.checksum, (role, "source")


def _source(source: str, checksum: str | None, form: str, folder: Folder) -> ImageFileSource:
    if "://" not in source:
        path = folder.check(source)
        return ImageFileSource(checksum or folder.sha256(source), str(path), form)
    try:
        parts = urlsplit(source)
        host = parts.hostname
    except ValueError as fault:
        raise FileFault("bad-source", f"{found(source)} is not a URL: {fault}") from None
    if parts.scheme not in ("http", "https") or not host:
        hint = "use a path inside the folder, or an http(s) URL"
        raise FileFault("bad-source", f"{found(source)} is neither a path nor an http(s) URL", hint)
    if checksum is None:
        hint = "add checksum: sha256:… (or sha512:…), as published beside the image"
        raise FileFault("missing-checksum", f"{found(source)} has no checksum", hint)
    return ImageFileSource(checksum, source, form)
