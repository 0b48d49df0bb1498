"""Volumes: disks with a life of their own."""

from typing import Literal

from pydantic import Field

from stacksmith.model.spec import GiB, Spec


class VolumeSpec(Spec):
    """A volume. It is kept when it leaves the stack, or the stack is destroyed, unless on_destroy says delete."""

    size: GiB = Field(ge=1, description="GiB; may grow later, never shrink")
    volume_type: str = "local"
    image: str | None = Field(None, description="Made as a copy of this image")
    format: Literal["qcow2", "raw"] = "qcow2"
    availability_zone: str | None = None
    host: str | None = Field(None, description="Pin to this host")
    on_destroy: Literal["keep", "delete"] = "keep"
    protect: bool = False
    depends_on: list[str] = Field(default_factory=list)
