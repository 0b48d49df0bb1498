"""The fleet file: what there is. Written by the operator."""

from typing import Literal

from pydantic import Field

from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.spec import Spec


class VolumeType(Spec):
    """A storage pool that volumes of this type live in. Made as a dir pool at ``path`` when absent."""

    pool: str = Field("stacksmith", description="Name of the libvirt storage pool")
    path: str = Field("/var/lib/libvirt/stacksmith", description="Directory of the pool on the host")


class Host(Spec):
    """A libvirt host."""

    libvirt: str = Field(description="libvirt connection URI, or memory:// for the memory provider")
    virt_type: str = Field("auto", pattern="^(auto|kvm|qemu)$", description="auto | kvm | qemu")
    availability_zone: str | None = Field(None, description="Zone the host is in; servers may ask for it")
    aggregates: list[str] = Field(default_factory=list, description="Aggregates the host is in")
    traits: list[str] = Field(default_factory=list, description="Traits flavors may require, as CUSTOM_SSD")
    volume_types: dict[str, VolumeType] = Field(default_factory=lambda: {"local": VolumeType()})
    allocation_ratios: dict[str, float] = Field(default_factory=dict, description="By resource class")
    reserved: dict[str, int] = Field(default_factory=dict, description="By resource class, kept for the host itself")
    state: Literal["enabled", "disabled", "drain", "failed"] = Field(
        "enabled", description="All but enabled take no new servers; a failed host is not connected to"
    )
    state_reason: str | None = Field(None, max_length=255, description="Why it is not enabled, shown with the state")
    connections: int = Field(8, ge=1, le=32, description="Connections kept to the host, one thread in each")
    timeout_seconds: float = Field(30.0, gt=0, description="Time limit to open and to read the host")


class Aggregate(Spec):
    """Hosts with something in common, as Nova has them: each host names its aggregates, each aggregate its metadata."""

    availability_zone: str | None = Field(None, description="Zone of every host in it")
    metadata: dict[str, str] = Field(default_factory=dict, description="What filters and weighers look at")


class Defaults(Spec):
    """Values for hosts that do not say otherwise."""

    allocation_ratios: dict[str, float] = Field(default_factory=dict)
    reserved: dict[str, int] = Field(default_factory=lambda: {"MEMORY_MB": 512})


class Fleet(Spec):
    """A fleet file."""

    fleet: str = Field(pattern="^[a-z][a-z0-9-]{0,31}$", description="Name of the fleet: part of every identity")
    state: str | None = Field(
        None, description="sqlite:///PATH (relative to this file); default .stacksmith/<fleet>.db"
    )
    defaults: Defaults = Field(default_factory=Defaults)
    aggregates: dict[str, Aggregate] = Field(
        default_factory=dict, description="When given, hosts may name no other aggregates"
    )
    hosts: dict[str, Host] = Field(default_factory=dict)
    flavors: dict[str, FlavorSpec] = Field(default_factory=dict, description="Offered to every stack")
    images: dict[str, ImageSpec] = Field(default_factory=dict, description="Offered to every stack")
