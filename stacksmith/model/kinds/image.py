"""Images: files that servers start from, cached once on each host that needs them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stacksmith.model.spec import GiB, MiB, Spec

CHECKSUM = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"


class FileSpec(Spec):
    """A file: a path inside the folder of the file that names it, or an http(s) URL."""

    source: str
    checksum: str | None = Field(None, pattern=CHECKSUM, description="Required for URLs")


class ImageSpec(Spec):
    """An image: a disk, or a kernel with a ramdisk, or both."""

    source: str | None = None
    checksum: str | None = Field(None, pattern=CHECKSUM, description="sha256:… or sha512:…; required for URLs")
    format: Literal["qcow2", "raw", "iso"] = "qcow2"
    min_disk: GiB = 0
    min_ram: MiB = 0
    kernel: FileSpec | None = None
    ramdisk: FileSpec | None = None
    properties: dict[str, str] = Field(
        default_factory=dict,
        description="Nova's image properties: hw_disk_bus, hw_firmware_type, os_command_line, …",
    )

    @model_validator(mode="after")
    def _something_to_boot(self) -> Self:
        if self.source is None and self.kernel is None:
            raise ValueError("an image needs source or kernel")
        return self
