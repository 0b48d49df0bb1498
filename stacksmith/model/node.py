"""Bare-metal nodes of a fleet: where their BMCs are, and who may ask them."""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from stacksmith.model.deploy import NodeDeploySpec
from stacksmith.model.spec import GiB, Spec

ALL_DISKS: Final = "*"
WIPE_SECONDS: Final = 86_400.0  # so long every byte of disks may take: a wipe that is silent ends long before
UserName = Annotated[str, Field(min_length=1)]
Trait = Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]{0,254}$")]


def is_disk_name(text: str) -> bool:
    """Whether a text may be the serial number, WWN or name of a disk; an empty one, as of a variable, is none."""
    return re.fullmatch(r"(/dev/)?[A-Za-z0-9][A-Za-z0-9!._:-]*", text) is not None


class SecretRef(Spec):
    """Where a secret is: one of the two. The secret itself is never written to a fleet file."""

    env: str | None = Field(None, min_length=1, description="Name of an environment variable")
    file: str | None = Field(
        None, min_length=1, description="Path of a file, from the fleet file; its end of line goes"
    )

    @model_validator(mode="after")
    def _one(self) -> "SecretRef":
        if (self.env is None) == (self.file is None):
            raise ValueError("exactly one of env and file must be given")
        return self


class LostRef(SecretRef):
    """A reference that leads nowhere, and why: told to whoever needs what it should lead to."""

    cause: str
    hint: str


class RootDeviceHints(Spec):
    """Which disk a node's image is written to: the smallest of those that all hints fit, as in Ironic."""

    name: str | None = Field(None, description="Device name, as /dev/sda")
    serial: str | None = Field(None, description="Serial number")
    wwn: str | None = Field(None, description="World Wide Name")
    model: str | None = Field(None, description="Model, or a part of it")
    vendor: str | None = Field(None, description="Vendor, or a part of it")
    hctl: str | None = Field(None, description="SCSI address, as 0:0:0:0")
    rotational: bool | None = Field(None, description="true for a hard disk, false for a solid one")
    min_size: GiB | None = Field(None, gt=0, description="Smallest size in GiB")


class Node(Spec):
    """A bare-metal machine, reached through its BMC."""

    redfish: str = Field(description="The BMC's address, as https://bmc1.example")
    system: str | None = Field(
        None, pattern="^/redfish/v1/Systems/[^/]+$", description="Path of the system; default: the only one there is"
    )
    username: UserName | SecretRef = Field(description="User of the BMC, or where the name is")
    password: SecretRef = Field(description="Where the password is: never the password itself")
    auth: Literal["basic", "session", "auto"] = Field(
        "basic",
        description="How to sign in: basic, one session for each run, or auto: a session where basic is refused",
    )
    verify: bool = Field(True, description="Check the BMC's certificate")
    ca: str | None = Field(None, min_length=1, description="File of the authority that signed it, from the fleet file")
    resource_class: str = Field(
        "CUSTOM_BAREMETAL", pattern="^CUSTOM_[A-Z0-9_]{1,248}$", description="What a flavor asks for: one such node"
    )
    traits: list[Trait] = Field(default_factory=list, description="Traits flavors may require, as CUSTOM_NVME")
    availability_zone: str | None = Field(None, description="Zone the node is in; servers may ask for it")
    root_device: RootDeviceHints = Field(default_factory=RootDeviceHints, description="Which disk gets the image")
    deploy: NodeDeploySpec | None = Field(None, description="What differs from the deploy section of the fleet")
    state: Literal["enabled", "disabled", "failed"] = Field(
        "enabled", description="All but enabled take no new server; a failed node is not connected to"
    )
    connections: int = Field(2, ge=1, le=8, description="Requests made to the BMC at the same time")
    connect_timeout_seconds: float = Field(10.0, gt=0, description="Time limit to connect to the BMC")
    read_timeout_seconds: float = Field(60.0, gt=0, description="Time limit of each answer; slow BMCs need minutes")
    power_timeout_seconds: float = Field(300.0, gt=0, description="Time limit of a change of power")
    deploy_timeout_seconds: float = Field(
        3600.0,
        gt=0,
        description="Time limit to write an image to the node and to boot it, or to clean it: of whole disks a day at "
        "least",
    )

    @property
    def timeout_seconds(self) -> float:
        """Time limit to read what can drift."""
        return self.connect_timeout_seconds + 2 * self.read_timeout_seconds

    def wipe_seconds(self, *, whole: bool) -> float:
        """Time limit to wipe disks; of ``whole`` ones each part is told, so that it is silence that ends them."""
        return max(self.deploy_timeout_seconds, WIPE_SECONDS) if whole else self.deploy_timeout_seconds
