"""What a guest is told of its interfaces: OpenStack's network_data.json, or cloud-init's network config. Pure."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from stacksmith.address import address_of
from stacksmith.frozen import dataclass
from stacksmith.model.kinds.network import NetworkSpec, SubnetSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import Nic
from stacksmith.model.stack import Stack
from stacksmith.model.types import JSON


@dataclass(frozen=True, slots=True)
class Static:
    """An address that the guest sets itself. ``gateway`` is where its default route leads, None without one."""

    interface: IPv4Interface | IPv6Interface
    gateway: str | None
    resolver: str


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: of each family that its network has, how it gets an address.

    ``ways`` are Static, or OpenStack's words ``ipv4_dhcp``, ``ipv6_dhcp`` and ``ipv6_slaac``.
    """

    mac: str
    network: str
    mtu: int | None
    ways: tuple[Static | str, ...]


def links(stack: Stack, spec: ServerSpec, nics: Iterable[Nic]) -> tuple[Link, ...]:
    """The interfaces of a server, in order."""
    made = []
    for nic, declared in zip(nics, spec.networks, strict=True):
        network = stack.resources[address_of("network", declared.network)].spec
        assert isinstance(network, NetworkSpec)
        made.append(Link(nic.mac, declared.network, network.mtu, tuple(_ways(network, declared.fixed_ip))))
    return tuple(made)


def _ways(network: NetworkSpec, fixed_ip: str | None) -> Iterator[Static | str]:
    """One way for each family: a static address where nobody hands out the fixed one, else what the network serves."""
    if network.mode == "bridge" and not network.subnets:
        yield "ipv4_dhcp"  # nothing is known of it: a LAN has DHCP
    for version in (4, 6):
        subnets = [subnet for subnet in network.subnets if _net(subnet).version == version]
        own = [s for s in subnets if ip_address(fixed_ip) in _net(s)] if fixed_ip else []
        if fixed_ip and own and not _reserves(network, own[0]):
            yield _static(network, own[0], fixed_ip)
        elif served := [s for s in subnets if s.enable_dhcp]:
            yield _dynamic(version, served)


def _net(subnet: SubnetSpec) -> IPv4Network | IPv6Network:
    return _parsed(subnet.cidr)


# Every server of a network asks again.
_parsed = lru_cache(1024)(ip_network)


def _reserves(network: NetworkSpec, subnet: SubnetSpec) -> bool:
    """Whether the network's DHCP hands out fixed addresses: ours does by MAC, which DHCPv6 does not know."""
    return subnet.enable_dhcp and network.mode != "bridge" and _net(subnet).version == 4


def _static(network: NetworkSpec, subnet: SubnetSpec, fixed_ip: str) -> Static:
    net = _net(subnet)
    gateway = subnet.gateway_ip or str(net[1])
    # Nothing lies beyond an isolated network: a default route there would take what is meant for another interface.
    return Static(ip_interface(f"{fixed_ip}/{net.prefixlen}"), None if network.mode == "isolated" else gateway, gateway)


def _dynamic(version: int, served: Iterable[SubnetSpec]) -> str:
    if version == 4:
        return "ipv4_dhcp"
    return "ipv6_dhcp" if any(s.allocation_pools for s in served) else "ipv6_slaac"


def network_data(guest: Iterable[Link]) -> JSON:
    """network_data.json. DNS is told twice: cloud-init 22.4 reads only the services of the top level.

    Source: Nova's ``doc/api_schemas/network_data.json`` and ``virt/netutils.py``.
    """
    made: list[JSON] = []
    networks: list[JSON] = []
    services: list[JSON] = []
    for place, link in enumerate(guest):
        name = f"nic{place}"
        made.append({"id": name, "type": "phy", "ethernet_mac_address": link.mac, "mtu": link.mtu})
        for way in link.ways:
            entry: dict[str, JSON] = {"id": f"network{len(networks)}", "link": name, "network_id": link.network}
            entry |= _static_entry(way) if isinstance(way, Static) else {"type": way}
            services += [s for s in entry.get("services", ()) if s not in services]
            networks.append(entry)
    return {"links": made, "networks": networks, "services": services}


def _static_entry(way: Static) -> dict[str, JSON]:
    routes: list[JSON] = []
    if way.gateway:
        nowhere = "0.0.0.0" if way.interface.version == 4 else "::"
        routes.append({"network": nowhere, "netmask": nowhere, "gateway": way.gateway})
    return {
        "type": f"ipv{way.interface.version}",
        "ip_address": str(way.interface.ip),
        "netmask": str(way.interface.netmask),
        "routes": routes,
        "services": [{"type": "dns", "address": way.resolver}],
    }


def network_config(guest: Iterable[Link]) -> JSON:
    """cloud-init's network configuration, version 2.

    Source: https://docs.cloud-init.io/en/latest/reference/network-config-format-v2.html
    """
    ethernets: dict[str, JSON] = {}
    for place, link in enumerate(guest):
        config: dict[str, JSON] = {"match": {"macaddress": link.mac}}
        if link.mtu is not None:
            config["mtu"] = link.mtu
        for way in link.ways:
            config |= _static_config(way) if isinstance(way, Static) else _DYNAMIC[way]
        ethernets[f"nic{place}"] = config
    return {"version": 2, "ethernets": ethernets}


_DYNAMIC: dict[str, dict[str, JSON]] = {
    "ipv4_dhcp": {"dhcp4": True},
    "ipv6_dhcp": {"dhcp6": True},
    "ipv6_slaac": {"accept-ra": True},
}


def _static_config(way: Static) -> dict[str, JSON]:
    config: dict[str, JSON] = {
        "addresses": [str(way.interface)],
        "nameservers": {"addresses": [way.resolver]},
    }
    # cloud-init 22.4 does not understand "default", and reads "::/0" as "::/64".
    if way.gateway and way.interface.version == 6:
        config["gateway6"] = way.gateway
    elif way.gateway:
        config["routes"] = [{"to": "0.0.0.0/0", "via": way.gateway}]
    return config
