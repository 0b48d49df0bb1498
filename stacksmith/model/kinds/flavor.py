"""Flavors: sizes of servers, in Nova's words and units."""

from typing import Annotated

from pydantic import Field

from stacksmith.model.spec import GiB, MiB, Spec


class FlavorSpec(Spec):
    """A flavor. Editing one resizes every server that uses it."""

    vcpus: int = Field(ge=1, le=512)
    ram: MiB = Field(ge=1, description="MiB, or text such as 8 GiB")
    disk: GiB = Field(0, ge=0, description="Root disk, GiB; 0: as large as the image")
    ephemeral: GiB = Field(0, ge=0, description="Extra empty local disk, GiB")
    swap: MiB = Field(0, ge=0, description="Swap disk, MiB")
    max_vcpus: int | None = Field(None, ge=1, description="vCPUs up to which the server can grow without a restart")
    max_ram: Annotated[MiB, Field(ge=1)] | None = Field(
        None, description="MiB up to which the server can grow without a restart"
    )
    description: str = ""
    extra_specs: dict[str, str] = Field(default_factory=dict)
