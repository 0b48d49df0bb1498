"""Subnets, ranges and fixed addresses."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.kinds.network import NetworkSpec, RangeSpec, SubnetSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.validate import found

MAX_DNS_NAME: Final = 253
LEAST: Final = 4  # addresses of a subnet: its own, the gateway's, a guest's, and the broadcast's
LARGEST_RANGE: Final = 65535  # of libvirt, for one range of DHCP
LEAST_MTU: Final = 1280  # RFC 8200; the kernel gives an interface with less no IPv6 address
LARGEST: Final = {4: 8, 6: 32}  # prefix lengths by version: a larger one takes in what belongs to others
_DNS_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*")

Net = IPv4Network | IPv6Network
Ip = IPv4Address | IPv6Address


@dataclass(slots=True)
class Known:
    """A network's sound subnets with their gateways, and the places of the addresses that are taken."""

    resource: Resource
    subnets: list[tuple[Net, Ip | None]] = field(default_factory=list)
    sound: bool = True
    taken: dict[Ip, tuple[Resource, DataPath]] = field(default_factory=dict)


def check_networks(stack: Stack, reporter: Reporter) -> None:
    """Checks every network, and the addresses and MACs of every server."""
    networks: dict[str, Known] = {}
    for address, resource in stack.resources.items():
        if isinstance(resource.spec, NetworkSpec):
            networks[address.name] = _network(resource, resource.spec, reporter)
    _check_overlap(networks.values(), reporter)
    macs: dict[str, tuple[Resource, DataPath]] = {}
    for resource in stack.resources.values():
        if isinstance(resource.spec, ServerSpec):
            _server(resource, resource.spec, networks, macs, reporter)


def _network(resource: Resource, spec: NetworkSpec, reporter: Reporter) -> Known:
    known = Known(resource)
    _check_mode(resource, spec, reporter)
    for number, subnet in enumerate(spec.subnets):
        net = _subnet(resource, subnet, ("subnets", number), reporter)
        if net is None:
            known.sound = False
        else:
            known.subnets.append(net)
    if known.sound and spec.mode != "bridge":
        _check_limits(resource, spec, known, reporter)
    _check_dns(resource, spec, reporter)
    if spec.dns_domain is not None:
        _check_dns_name(resource, spec.dns_domain, ("dns_domain",), reporter)
    return known


def _check_limits(resource: Resource, spec: NetworkSpec, known: Known, reporter: Reporter) -> None:
    """What libvirt and the kernel refuse when the network is defined or started."""
    served: dict[int, int] = {}
    for number, (subnet, (net, _)) in enumerate(zip(spec.subnets, known.subnets, strict=True)):
        place: DataPath = ("subnets", number, "cidr")
        if net.version == 6 and spec.mtu is not None and spec.mtu < LEAST_MTU:
            cause = f"IPv6, as of {net}, needs an MTU of {LEAST_MTU} at least, found {spec.mtu}"
            reporter.fault("bad-network", resource, ("mtu",), cause)
        if not subnet.enable_dhcp or not (subnet.allocation_pools or (net.version == 4 and net.num_addresses > 4)):
            continue
        if served.setdefault(net.version, number) != number:
            notes = (("it is served", resource.where(("subnets", served[net.version], "cidr"))),)
            cause = f"DHCP serves one IPv{net.version} subnet of a network, and another one comes before {net}"
            hint = "set enable_dhcp: false for one of them, or make it a network of its own"
            reporter.fault("bad-network", resource, place, cause, hint, notes)
        if not subnet.allocation_pools and net.num_addresses - 3 > LARGEST_RANGE:
            cause = f"a range of DHCP has {LARGEST_RANGE} addresses at most, and {net} has {net.num_addresses}"
            hint = f"say which: allocation_pools: [{{start: {net[2]}, end: {net[2] + LARGEST_RANGE - 1}}}]"
            reporter.fault("bad-network", resource, place, cause, hint)


def _check_dns(resource: Resource, spec: NetworkSpec, reporter: Reporter) -> None:
    """libvirt has one entry for an address. A name may stand for an IPv4 and an IPv6 address; twice for one version it
    is a slip: dnsmasq would give both addresses."""
    addresses: dict[Ip, int] = {}
    names: dict[tuple[str, int], DataPath] = {}
    for number, entry in enumerate(spec.dns):
        path: DataPath = ("dns", number, "ip")
        address = _ip(entry.ip)
        if address is None:
            reporter.fault("bad-address", resource, path, f"{found(entry.ip)} is not an address")
        elif addresses.setdefault(address, number) != number:
            cause, hint = f"{address} has an entry already", "write all its names into one entry: names: [db, database]"
            notes = (("its entry", resource.where(("dns", addresses[address]))),)
            reporter.fault("duplicate-name", resource, path, cause, hint, notes)
        for place, name in enumerate(entry.names):
            path = ("dns", number, "names", place)
            _check_dns_name(resource, name, path, reporter)
            known = (name.lower(), address.version if address else 0)
            if names.setdefault(known, path) != path:
                notes = (("it is given here", resource.where(names[known])),)
                cause, hint = f"{found(name)} is given already", "a name has one IPv4 and one IPv6 address: use another"
                reporter.fault("duplicate-name", resource, path, cause, hint, notes)
    if spec.dns and not spec.subnets and spec.mode != "bridge":
        cause, hint = "a network without a subnet has no DNS", "add subnets: [{cidr: 10.20.0.0/24}], or take dns out"
        reporter.fault("bad-network", resource, ("dns",), cause, hint)


def _check_dns_name(resource: Resource, name: str, path: DataPath, reporter: Reporter) -> None:
    """libvirt writes names into dnsmasq's configuration as they are: one with a line break would add to it."""
    if len(name) > MAX_DNS_NAME or not _DNS_NAME.fullmatch(name):
        cause = f"{found(name)} is not a DNS name: letters, digits, '_' and '-', with dots between"
        reporter.fault("bad-name", resource, path, cause)


def _check_mode(resource: Resource, spec: NetworkSpec, reporter: Reporter) -> None:
    if spec.mode == "bridge" and spec.bridge is None:
        reporter.fault("bad-network", resource, ("mode",), "mode bridge needs the key bridge", "add bridge: br0")
    if spec.mode != "bridge" and spec.bridge is not None:
        cause = f"a bridge is named but the mode is {spec.mode}"
        reporter.fault("bad-network", resource, ("bridge",), cause, "set mode: bridge, or take bridge out")
    if spec.mode == "bridge":
        for key in ("dns", "dns_domain"):
            if getattr(spec, key):
                cause = "an existing bridge has no DNS of ours"
                reporter.fault("bad-network", resource, (key,), cause, f"take {key} out")
    if spec.mode in ("nat", "route") and not spec.subnets:
        cause = f"mode {spec.mode} needs a subnet"
        reporter.fault("bad-network", resource, (), cause, "add subnets: [{cidr: 10.20.0.0/24}]")


def _subnet(resource: Resource, spec: SubnetSpec, path: DataPath, reporter: Reporter) -> tuple[Net, Ip | None] | None:
    try:
        net = ip_network(spec.cidr)
    except ValueError as fault:
        hint = _strict_hint(spec.cidr)
        reporter.fault("bad-address", resource, (*path, "cidr"), f"{fault}", hint)
        return None
    if net.num_addresses < LEAST:
        cause = f"{net} is too small: it needs room for a gateway and a guest"
        hint = f"the smallest subnet has the prefix length {net.max_prefixlen - 2}"
        reporter.fault("bad-address", resource, (*path, "cidr"), cause, hint)
        return None
    if net.is_loopback or net.is_multicast:
        reporter.fault("bad-address", resource, (*path, "cidr"), f"{net} is reserved")
        return None
    if net.prefixlen < LARGEST[net.version]:
        cause = f"{net} is too large: the largest subnet has the prefix length {LARGEST[net.version]}"
        reporter.fault("bad-address", resource, (*path, "cidr"), cause)
        return None
    gateway: Ip | None = net[1]
    if spec.gateway_ip is not None:
        gateway = _ip(spec.gateway_ip)
        gateway_fault = _fault_of(spec.gateway_ip, net, None)
        if gateway_fault is not None:
            reporter.fault("bad-address", resource, (*path, "gateway_ip"), gateway_fault)
            return None
    _check_pools(resource, spec, net, path, reporter)
    return net, gateway


def _check_pools(resource: Resource, spec: SubnetSpec, net: Net, path: DataPath, reporter: Reporter) -> None:
    ranges = []
    for number, pool in enumerate(spec.allocation_pools):
        place: DataPath = (*path, "allocation_pools", number)
        if _is_range(resource, pool, net, place, reporter):
            ranges.append((int(ip_address(pool.start)), int(ip_address(pool.end)), place))
    ranges.sort(key=lambda each: each[:2])
    for (_, end, first), (start, _, second) in pairwise(ranges):
        if start <= end:
            notes = (("it begins before the end of this one", resource.where(first)),)
            reporter.fault("bad-address", resource, second, "two allocation pools overlap", "make them one", notes)


def _strict_hint(cidr: str) -> str | None:
    try:
        return f"did you mean {str(ip_network(cidr, strict=False))!r}?"
    except ValueError:
        return "as 10.20.0.0/24"


def _is_range(resource: Resource, pool: RangeSpec, net: Net, path: DataPath, reporter: Reporter) -> bool:
    """True for a range inside the subnet, its end not before its start; else the fault is reported."""
    sound = True
    for key, text in (("start", pool.start), ("end", pool.end)):
        cause = _fault_of(text, net, None)
        if cause is not None:
            sound = False
            reporter.fault("bad-address", resource, (*path, key), cause)
    if sound and int(ip_address(pool.start)) > int(ip_address(pool.end)):
        cause = f"{pool.end} is before the start {pool.start}"
        reporter.fault("bad-address", resource, (*path, "end"), cause)
        return False
    if sound and (size := int(ip_address(pool.end)) - int(ip_address(pool.start)) + 1) > LARGEST_RANGE:
        cause = f"a range of DHCP has {LARGEST_RANGE} addresses at most, this one has {size}"
        reporter.fault("bad-network", resource, path, cause, "make it smaller, or write several ranges")
    return sound


def _ip(text: str) -> Ip | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _fault_of(text: str, net: Net, gateway: Ip | None) -> str | None:
    """Why an address cannot be a guest's in the subnet."""
    address = _ip(text)
    if address is None:
        return f"{found(text)} is not an address"
    if address not in net:
        return f"{text} is not in {net}"
    return _fault_in(address, net, gateway)


def _fault_in(address: Ip, net: Net, gateway: Ip | None) -> str | None:
    if address == net.network_address or (net.version == 4 and address == net.broadcast_address):
        return f"{address} is the {'network' if address == net.network_address else 'broadcast'} address of {net}"
    if address == gateway:
        return f"{address} is the gateway of {net}"
    return None


def _check_overlap(networks: Iterable[Known], reporter: Reporter) -> None:
    """Two subnets of one stack must not overlap: on one host they would share routes. Sorted, neighbours suffice."""
    entries = [
        (net, known.resource, n) for known in networks for n, (net, _) in enumerate(known.subnets) if known.sound
    ]
    entries.sort(key=lambda entry: (entry[0].version, int(entry[0].network_address), entry[0].prefixlen))
    for (first, owner, number), (second, other, place) in pairwise(entries):
        if first.version == second.version and second.network_address in first:
            notes = ((f"{owner.address} has {first}", owner.where(("subnets", number, "cidr"))),)
            cause = f"{second} overlaps {first} of {owner.address}"
            reporter.fault("bad-address", other, ("subnets", place, "cidr"), cause, notes=notes)


def _server(
    resource: Resource,
    spec: ServerSpec,
    networks: Mapping[str, Known],
    macs: dict[str, tuple[Resource, DataPath]],
    reporter: Reporter,
) -> None:
    for number, nic in enumerate(spec.networks):
        if nic.mac is not None:
            _check_mac(resource, nic.mac.lower(), ("networks", number, "mac"), macs, reporter)
        known = networks.get(nic.network)
        if nic.fixed_ip is not None and known is not None and known.sound:
            _fixed(resource, nic.fixed_ip, ("networks", number, "fixed_ip"), known, reporter)


def _check_mac(
    resource: Resource, mac: str, path: DataPath, macs: dict[str, tuple[Resource, DataPath]], reporter: Reporter
) -> None:
    if int(mac[:2], 16) & 1:
        reporter.fault("bad-address", resource, path, f"{mac} is a multicast MAC", "make its first byte even, as 52")
    first = macs.setdefault(mac, (resource, path))
    if first != (resource, path):
        notes = ((f"{first[0].address} has it", first[0].where(first[1])),)
        reporter.fault("address-in-use", resource, path, f"{mac} is also a MAC of {first[0].address}", notes=notes)


def _fixed(resource: Resource, text: str, path: DataPath, known: Known, reporter: Reporter) -> None:
    address = _ip(text)
    if not known.subnets and known.resource.spec.mode == "bridge":  # type: ignore[union-attr]
        cause = f"{known.resource.address} is an existing bridge without subnets, so its addresses are not ours to give"
        reporter.fault("bad-address", resource, path, cause)
        return
    within = [(net, gateway) for net, gateway in known.subnets if address is not None and address in net]
    if not within:
        subnets = ", ".join(str(net) for net, _ in known.subnets) or "no subnet"
        cause = f"{found(text)} is not in {subnets} of {known.resource.address}"
        reporter.fault("bad-address", resource, path, cause if address else f"{found(text)} is not an address")
        return
    assert address is not None
    cause_of = _fault_in(address, *within[0])
    if cause_of is not None:
        reporter.fault("bad-address", resource, path, cause_of)
        return
    if address not in known.taken:
        known.taken[address] = (resource, path)
        return
    other, place = known.taken[address]
    hint = None
    if other.address.block == resource.address.block and other.address != resource.address:
        hint = "make it differ by server, as 10.20.0.{{ 10 + index }}"
    notes = ((f"{other.address} has it", other.where(place)),)
    reporter.fault("address-in-use", resource, path, f"{text} is also an address of {other.address}", hint, notes)
