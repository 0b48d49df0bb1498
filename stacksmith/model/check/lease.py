"""Whether a network's DHCP has an address for every server that asks it for one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from stacksmith.frozen import dataclass
from stacksmith.model.bare_metal import class_of
from stacksmith.model.check.network import LEAST
from stacksmith.model.check.reporter import Reporter
from stacksmith.model.document import DataPath
from stacksmith.model.kinds.network import NetworkSpec, SubnetSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack

_ip = lru_cache(65536)(ip_address)
_net = lru_cache(1024)(ip_network)

Ip = IPv4Address | IPv6Address
_HINT = "make the range or the subnet larger, or put servers on another network"


@dataclass(frozen=True, slots=True)
class _Pool:
    """The addresses that a network leases in one family, on each host that it is on."""

    net: IPv4Network | IPv6Network
    place: DataPath
    ranges: tuple[tuple[Ip, Ip], ...]
    gateway: Ip

    @property
    def size(self) -> int:
        """How many there are: dnsmasq leaves out its own address."""
        return sum(int(last) - int(first) + 1 for first, last in self.ranges) - self.has(self.gateway)

    def has(self, address: Ip) -> bool:
        """True for an address that may be leased."""
        within = (int(first) <= int(address) <= int(last) for first, last in self.ranges)
        return address.version == self.net.version and any(within)


@dataclass(slots=True)
class _Asked:
    """How many interfaces take an address of a pool: in all, and by the host that their servers are pinned to."""

    total: int = 0
    by_host: Counter[str] = field(default_factory=Counter)


def check_leases(stack: Stack, reporter: Reporter) -> None:
    """Tells of networks that lease fewer addresses than servers take: an error where that is so on any host that the
    servers may be on, a warning where they may spread over hosts, each of which has the network with all its
    addresses. What is malformed was told before."""
    networks = _networks(stack)
    asked: dict[tuple[str, int], _Asked] = defaultdict(_Asked)
    for resource in stack.resources.values():
        spec = resource.spec
        if isinstance(spec, ServerSpec) and spec.power_state in ("running", "paused") and not class_of(stack, resource):
            for name, version in _asks(spec, networks):
                each = asked[name, version]
                each.total += 1
                each.by_host[spec.host or ""] += 1
    for (name, version), each in sorted(asked.items()):
        resource, pools = networks[name]
        _check(resource, pools[version], each, list(stack.fleet.hosts), reporter)


def _networks(stack: Stack) -> dict[str, tuple[Resource, Mapping[int, _Pool]]]:
    """The networks whose DHCP is ours, with their pools by IP version."""
    made: dict[str, tuple[Resource, Mapping[int, _Pool]]] = {}
    for address, resource in stack.resources.items():
        spec = resource.spec
        if isinstance(spec, NetworkSpec) and spec.mode != "bridge":
            try:
                pools = dict(_pools(spec))
            except ValueError:
                continue
            made[address.name] = (resource, pools)
    return made


def _pools(spec: NetworkSpec) -> Iterator[tuple[int, _Pool]]:
    """The first pool of each version: libvirt takes one. IPv6 without ranges is not leased. Raises: ValueError."""
    seen: set[int] = set()
    for number, subnet in enumerate(spec.subnets):
        net = _net(subnet.cidr)
        if subnet.enable_dhcp and net.version not in seen and (net.version == 4 or subnet.allocation_pools):
            seen.add(net.version)
            yield net.version, _pool(subnet, net, number)


def _pool(subnet: SubnetSpec, net: IPv4Network | IPv6Network, number: int) -> _Pool:
    if net.num_addresses < LEAST:
        raise ValueError("a subnet is too small")
    gateway = _ip(subnet.gateway_ip) if subnet.gateway_ip else net[1]
    ranges = tuple((_ip(pool.start), _ip(pool.end)) for pool in subnet.allocation_pools)
    if any(first not in net or last not in net or int(first) > int(last) for first, last in ranges):
        raise ValueError("a range is not one of the subnet")
    if not ranges and net.num_addresses > 4:  # as it is built
        ranges = ((net[1], net[-2]),)
    key = "allocation_pools" if subnet.allocation_pools else "cidr"
    return _Pool(net, ("subnets", number, key), ranges, gateway)


def _asks(spec: ServerSpec, networks: Mapping[str, tuple[Resource, Mapping[int, _Pool]]]) -> Iterator[tuple[str, int]]:
    """(network, IP version) for each address that is taken of a pool; a fixed one outside of it is not."""
    for nic in spec.networks:
        if nic.network not in networks:
            continue
        for version, pool in networks[nic.network][1].items():
            fixed = _parsed(nic.fixed_ip)
            if fixed is None or fixed.version != version or (version == 4 and pool.has(fixed)):
                yield nic.network, version


def _parsed(text: str | None) -> Ip | None:
    try:
        return _ip(text) if text else None
    except ValueError:
        return None


def _check(resource: Resource, pool: _Pool, asked: _Asked, hosts: Iterable[str], reporter: Reporter) -> None:
    room, count = pool.size, len(list(hosts))
    of = f"{pool.net} leases {room} address{'' if room == 1 else 'es'}"
    for host, pinned in sorted(asked.by_host.items()):
        if host and pinned > room:
            cause = f"{of}, and the servers on {host} need {pinned}"
            reporter.fault("too-few-addresses", resource, pool.place, cause, _HINT)
            return
    if asked.total > room * count:
        on = "" if count == 1 else f" on each of {count} hosts"
        cause = f"{of}{on}, and the servers on it need {asked.total}"
        reporter.fault("too-few-addresses", resource, pool.place, cause, _HINT)
    elif asked.total > room:
        cause = f"{of} on each host, and the servers on it need {asked.total}: more than {room} on one host get none"
        reporter.warning("too-few-addresses", resource, pool.place, cause, _HINT)
