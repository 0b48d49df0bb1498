"""Networks, realised on every host that has a server on them."""

from typing import Literal

from pydantic import Field

from stacksmith.model.spec import Spec


class RangeSpec(Spec):
    """First and last address of a DHCP range."""

    start: str
    end: str


class SubnetSpec(Spec):
    """A subnet."""

    cidr: str = Field(description="As 10.20.0.0/24")
    gateway_ip: str | None = Field(None, description="Default: the first address")
    enable_dhcp: bool = True
    allocation_pools: list[RangeSpec] = Field(default_factory=list, description="Default: all that is not fixed")


class DnsSpec(Spec):
    """Names that the network's DNS answers with an address; with an IPv4 and an IPv6 one when two entries have them."""

    ip: str
    names: list[str] = Field(min_length=1)


class NetworkSpec(Spec):
    """A network. nat: guests reach out through the host; route: routed, no NAT; isolated: guests only;
    bridge: an existing bridge of the host."""

    mode: Literal["nat", "route", "isolated", "bridge"] = "nat"
    bridge: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.-]{1,15}$", description="The host's bridge, with mode bridge"
    )
    subnets: list[SubnetSpec] = Field(default_factory=list)
    dns_domain: str | None = None
    dns: list[DnsSpec] = Field(default_factory=list)
    mtu: int | None = Field(None, ge=576, le=65535)
    protect: bool = False
