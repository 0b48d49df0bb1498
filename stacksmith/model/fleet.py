"""The fleet file: what there is. Written by the operator."""

from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from stacksmith.model.deploy import DeploySpec
from stacksmith.model.hardware import PciDevice, cpu_list, cpu_numbers, device_class
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.node import Node
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.model.spec import Spec
from stacksmith.model.state import StateSpec

DEFAULT_TYPE = "local"


class VolumeType(Spec):
    """A storage pool that volumes of this type live in. Made as a dir pool at ``path`` when absent."""

    pool: str = Field("stacksmith", description="Name of the libvirt storage pool")
    path: str = Field("/var/lib/libvirt/stacksmith", description="Directory of the pool on the host")
    shared: str | None = Field(
        None,
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
        description="Name of the storage, where other hosts see the same one: its room is counted once for all",
    )


def _cpu_set(text: str) -> str:
    cpu_numbers(text)
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None


# Of an amount how much may be given; what of it is kept back.
Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Reserved = Annotated[int, Field(ge=0)]
HostIp = Annotated[str, AfterValidator(_address)]
Metric = Annotated[float, Field(allow_inf_nan=False)]
CpuSet = Annotated[str, AfterValidator(_cpu_set)]
_HEX = "^[0-9a-f]{4}$"
_ADDRESS = r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$"


class PciSpec(Spec):
    """PCI devices of a host that servers may have for themselves, as Nova's ``[pci]device_spec``."""

    vendor_id: str | None = Field(None, pattern=_HEX, description="Four hexadecimal digits; none is any")
    product_id: str | None = Field(None, pattern=_HEX, description="Four hexadecimal digits; none is any")
    address: str | None = Field(None, pattern=_ADDRESS, description="As 0000:81:00.1; none is any")
    resource_class: str | None = Field(
        None, pattern="^CUSTOM_[A-Z0-9_]+$", description="Default CUSTOM_PCI_<vendor>_<product>"
    )
    traits: list[str] = Field(default_factory=list, description="Traits of each of these devices")

    def offers(self, device: PciDevice) -> bool:
        """True for a device that this is about."""
        pairs = (
            (self.vendor_id, device.vendor_id),
            (self.product_id, device.product_id),
            (self.address, device.address),
        )
        return all(wanted in (None, have) for wanted, have in pairs)


class PciAlias(Spec):
    """A name under which flavors ask for devices, as Nova's ``[pci]alias``: ``pci_passthrough:alias: NAME:COUNT``."""

    vendor_id: str | None = Field(None, pattern=_HEX, description="With product_id: the class made from both")
    product_id: str | None = Field(None, pattern=_HEX)
    resource_class: str | None = Field(None, pattern="^CUSTOM_[A-Z0-9_]+$", description="In place of the two ids")
    traits: list[str] = Field(default_factory=list, description="Traits that the device must have")

    @model_validator(mode="after")
    def _has_class(self) -> Self:
        if (self.resource_class is None) == (self.vendor_id is None or self.product_id is None):
            raise ValueError("say either resource_class, or vendor_id and product_id")
        return self

    @property
    def device_class(self) -> str:
        """The resource class of its devices."""
        return self.resource_class or device_class(self.vendor_id or "", self.product_id or "")


class Host(Spec):
    """A libvirt host."""

    libvirt: str = Field(description="libvirt connection URI, or memory:// for the memory provider")
    virt_type: str = Field("auto", pattern="^(auto|kvm|qemu)$", description="auto | kvm | qemu")
    availability_zone: str | None = Field(None, description="Zone the host is in; servers may ask for it")
    aggregates: list[str] = Field(default_factory=list, description="Aggregates the host is in")
    traits: list[str] = Field(default_factory=list, description="Traits flavors may require, as CUSTOM_SSD")
    volume_types: dict[str, VolumeType] = Field(default_factory=lambda: {"local": VolumeType()})
    allocation_ratios: dict[str, Ratio] = Field(default_factory=dict, description="By resource class")
    reserved: dict[str, Reserved] = Field(
        default_factory=dict, description="By resource class, kept for the host itself"
    )
    cpu_shared_set: CpuSet | None = Field(None, description="CPUs that VCPU counts, as 0-3; default: all others")
    cpu_dedicated_set: CpuSet | None = Field(
        None, description="CPUs that PCPU counts: given whole to servers with hw:cpu_policy dedicated"
    )
    host_ip: HostIp | None = Field(
        None, description="Address of the host for build_near_host_ip; default: that in its URI, if there is one"
    )
    metrics: dict[str, Metric] = Field(
        default_factory=dict, description="What was measured of it, for MetricsFilter and MetricsWeigher"
    )
    pci: list[PciSpec] = Field(default_factory=list, description="PCI devices that servers may have for themselves")
    state: Literal["enabled", "disabled", "drain", "failed"] = Field(
        "enabled", description="All but enabled take no new servers; a failed host is not connected to"
    )
    state_reason: str | None = Field(None, max_length=255, description="Why it is not enabled, shown with the state")
    connections: int = Field(8, ge=1, le=32, description="Connections kept to the host, one thread in each")
    timeout_seconds: float = Field(30.0, gt=0, description="Time limit to open and to read the host")

    @property
    def known_ip(self) -> str:
        """Its address: the one given, or a literal one in its URI; empty where there is neither."""
        if self.host_ip is not None:
            return self.host_ip
        try:
            return _address(urlsplit(self.libvirt).hostname or "")
        except ValueError:
            return ""

    @property
    def default_volume_type(self) -> str:
        """The volume type that images, local disks and config drives are kept in."""
        return DEFAULT_TYPE if DEFAULT_TYPE in self.volume_types else next(iter(self.volume_types), DEFAULT_TYPE)

    @property
    def volume_types_apart(self) -> tuple[str, ...]:
        """The volume types whose pool is another than that of the default one."""
        default = self.volume_types.get(self.default_volume_type)
        return tuple(name for name, each in self.volume_types.items() if default and each.pool != default.pool)

    @model_validator(mode="after")
    def _shares_what_is_apart(self) -> Self:
        """A host's own disks, and images, are its own: their files are removed by what runs on it."""
        shared = [(name, each.shared) for name, each in self.volume_types.items() if each.shared]
        for name, storage in shared:
            if name not in self.volume_types_apart:
                raise ValueError(f"volume type {name} is in the pool of the host's own disks, which cannot be shared")
            if [each for _, each in shared].count(storage) > 1:
                raise ValueError(f"shared storage {storage} is that of several volume types of one host")
        return self

    @model_validator(mode="after")
    def _shares_no_dedicated_cpu(self) -> Self:
        both = set(cpu_numbers(self.cpu_shared_set or "0")) & set(cpu_numbers(self.cpu_dedicated_set or "0"))
        if self.cpu_shared_set and self.cpu_dedicated_set and both:
            raise ValueError(f"CPUs {cpu_list(both)} are in cpu_shared_set and in cpu_dedicated_set")
        return self


class Aggregate(Spec):
    """Hosts with something in common, as Nova has them: each host names its aggregates, each aggregate its metadata."""

    availability_zone: str | None = Field(None, description="Zone of every host in it")
    metadata: dict[str, str] = Field(default_factory=dict, description="What filters and weighers look at")


class Defaults(Spec):
    """Values for hosts that do not say otherwise."""

    allocation_ratios: dict[str, Ratio] = Field(default_factory=dict)
    reserved: dict[str, Reserved] = Field(default_factory=lambda: {"MEMORY_MB": 512})


class SharedStorage(Spec):
    """What is counted of a storage that several hosts see, by the name that their volume types say as ``shared``."""

    allocation_ratios: dict[Literal["DISK_GB"], Ratio] = Field(
        default_factory=dict, description="Of DISK_GB; else that of the defaults"
    )
    reserved: dict[Literal["DISK_GB"], Reserved] = Field(
        default_factory=dict, description="GiB of DISK_GB that no volume gets; else those of the defaults"
    )


class Fleet(Spec):
    """A fleet file."""

    MERGE_HINT = "repeat the keys; a whole value can be repeated by an anchor and an alias: a: &one {…}, b: *one"

    fleet: str = Field(pattern="^[a-z][a-z0-9-]{0,31}$", description="Name of the fleet: part of every identity")
    state: str | StateSpec | None = Field(
        None,
        description="sqlite:///PATH (relative to this file) or postgresql://…; default sqlite:///.stacksmith/<fleet>.db",
    )
    defaults: Defaults = Field(default_factory=Defaults)
    aggregates: dict[str, Aggregate] = Field(
        default_factory=dict, description="When given, hosts may name no other aggregates"
    )
    shared_storages: dict[str, SharedStorage] = Field(
        default_factory=dict, description="Ratio and reserved room of storages that hosts share, by their names"
    )
    scheduler: SchedulerSpec = Field(default_factory=SchedulerSpec)
    hosts: dict[str, Host] = Field(default_factory=dict)
    nodes: dict[str, Node] = Field(default_factory=dict, description="Bare-metal machines")
    deploy: DeploySpec = Field(default_factory=DeploySpec, description="How images get on the disks of nodes")
    pci_aliases: dict[str, PciAlias] = Field(default_factory=dict, description="Names that flavors ask for devices by")
    flavors: dict[str, FlavorSpec] = Field(default_factory=dict, description="Offered to every stack")
    images: dict[str, ImageSpec] = Field(default_factory=dict, description="Offered to every stack")
