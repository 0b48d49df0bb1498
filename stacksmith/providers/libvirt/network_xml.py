"""A network as libvirt's network XML, and read back.

Source: https://libvirt.org/formatnetwork.html
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TypeVar

from lxml import etree

from stacksmith.frozen import dataclass
from stacksmith.model.found import Mark
from stacksmith.model.naming import PREFIX, network_name
from stacksmith.model.realised import DhcpHost, DnsHost, Network, Subnet
from stacksmith.model.types import JSON
from stacksmith.providers.libvirt import mark_xml

BETWEEN = f"{PREFIX}replug."  # then the name of the network whose guests are on it for a moment
_FORWARDED = frozenset({"nat", "route", "bridge"})

E = TypeVar("E", Subnet, DhcpHost, DnsHost)


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A network as read. ``bridge`` is the host's device, whoever chose it."""

    name: str
    uuid: str
    mark: Mark | None
    spec: Network
    bridge: str | None


def parse(xml: str) -> etree._Element:
    """The network's root element."""
    return etree.fromstring(xml.encode())


def render(spec: Network, mark: Mark, pinned: etree._Element | None = None) -> str:
    """The network's definition. ``pinned`` is the present one: the bridge's name and MAC are kept."""
    root = etree.Element("network")
    etree.SubElement(root, "name").text = network_name(mark.stack, mark.address)
    etree.SubElement(root, "uuid").text = mark.uuid
    mark_xml.put(root, mark)
    if spec.mode in _FORWARDED:
        etree.SubElement(root, "forward", mode=spec.mode)
    _add_bridge(root, spec, pinned)
    if spec.mtu is not None:
        etree.SubElement(root, "mtu", size=str(spec.mtu))
    if spec.domain:
        etree.SubElement(root, "domain", name=spec.domain, localOnly="yes")
    if spec.dns:
        dns = etree.SubElement(root, "dns")
        for name in spec.dns:
            dns.append(dns_element(name))
    for subnet in spec.subnets:
        root.append(_subnet_element(subnet, spec.hosts))
    return etree.tostring(root, encoding="unicode")


def render_between(name: str, uuid: str) -> str:
    """A network without addresses. Its bridge has a name that libvirt gives to no other."""
    root = etree.Element("network")
    etree.SubElement(root, "name").text = f"{BETWEEN}{name}"
    etree.SubElement(root, "uuid").text = uuid
    etree.SubElement(root, "bridge", name=f"ssr{uuid[:8]}", stp="off", delay="0")
    return etree.tostring(root, encoding="unicode")


def _add_bridge(root: etree._Element, spec: Network, pinned: etree._Element | None) -> None:
    if spec.mode == "bridge":
        etree.SubElement(root, "bridge", name=spec.bridge or "")
        return
    bridge = etree.SubElement(root, "bridge", stp="on", delay="0")
    was_ours = pinned is not None and _mode(pinned) != "bridge"
    kept = pinned.find("bridge") if pinned is not None and was_ours else None
    name = spec.bridge or (kept.get("name") if kept is not None else None)
    if name:
        bridge.set("name", name)
    mac = pinned.find("mac") if pinned is not None and was_ours else None
    if mac is not None:
        etree.SubElement(root, "mac", address=mac.get("address", ""))


def _subnet_element(subnet: Subnet, hosts: Iterable[DhcpHost]) -> etree._Element:
    net = ip_network(subnet.cidr)
    attributes = {"address": subnet.gateway or str(net[1]), "prefix": str(net.prefixlen)}
    if net.version == 6:
        attributes["family"] = "ipv6"
    element = etree.Element("ip", attributes)
    fixed = [h for h in hosts if ip_address(h.ip) in net]
    pools = ranges(subnet)
    if pools or fixed:
        dhcp = etree.SubElement(element, "dhcp")
        for first, last in pools:
            dhcp.append(range_element(first, last))
        for host in fixed:
            dhcp.append(host_element(host))
    return element


def default_ranges(subnet: Subnet) -> tuple[tuple[str, str], ...]:
    """All addresses but the network's, the gateway when it is the first, and the broadcast."""
    net = ip_network(subnet.cidr)
    if net.num_addresses <= 4:
        return ()
    first = net[2] if (subnet.gateway or str(net[1])) == str(net[1]) else net[1]
    return ((str(first), str(net[-2])),)


def ranges(subnet: Subnet) -> tuple[tuple[str, str], ...]:
    """The DHCP ranges of a subnet, declared or by default."""
    if not subnet.dhcp:
        return ()
    return subnet.ranges or default_ranges(subnet)


def range_element(first: str, last: str) -> etree._Element:
    """A DHCP range, as virNetworkUpdate takes it too."""
    return etree.Element("range", start=first, end=last)


def host_element(host: DhcpHost) -> etree._Element:
    """A fixed address."""
    return etree.Element("host", mac=host.mac, name=host.name, ip=host.ip)


def dns_element(entry: DnsHost) -> etree._Element:
    """Names of an address."""
    element = etree.Element("host", ip=entry.ip)
    for name in entry.names:
        etree.SubElement(element, "hostname").text = name
    return element


def read(root: etree._Element, active: bool, autostart: bool, saved: etree._Element | None = None) -> FoundNetwork:
    """The network of ``root``. The mark is taken from ``saved``, the persistent definition, when there is another; that
    of a restart that did not end is one of what is half made."""
    holder = root if saved is None else saved
    marked = mark_xml.read(holder)
    mark = marked[0] if marked else None
    bridge, mtu, domain = root.find("bridge"), root.find("mtu"), root.find("domain")
    device = bridge.get("name") if bridge is not None else None
    mode = _mode(root)
    actual = Network(
        mode=mode,
        bridge=device,
        mtu=int(mtu.get("size", "0")) if mtu is not None else None,
        domain=domain.get("name") if domain is not None else None,
        subnets=tuple(_subnet(e) for e in root.findall("ip")),
        hosts=tuple(_host(e) for e in root.findall("ip/dhcp/host")),
        dns=tuple(_dns(e) for e in root.findall("dns/host")),
        active=active,
        autostart=autostart,
    )
    spec = _as_declared(actual, mark.applied) if mark is not None else actual
    if mark is not None and mark_xml.is_begun(holder):
        mark = replace(mark, applied=None)
    return FoundNetwork(root.findtext("name", ""), root.findtext("uuid", ""), mark, spec, device)


def _mode(root: etree._Element) -> str:
    forward = root.find("forward")
    return forward.get("mode", "nat") if forward is not None else "isolated"


def subnet_cidr(element: etree._Element) -> str:
    """The subnet of an ``<ip>`` element, as ``10.20.0.0/24``."""
    prefix = element.get("prefix") or element.get("netmask") or ("128" if element.get("family") == "ipv6" else "32")
    return str(ip_network(f"{element.get('address', '')}/{prefix}", strict=False))


def _subnet(element: etree._Element) -> Subnet:
    pools = tuple((r.get("start", ""), r.get("end", "")) for r in element.findall("dhcp/range"))
    return Subnet(cidr=subnet_cidr(element), gateway=element.get("address", ""), dhcp=bool(pools), ranges=pools)


def _host(element: etree._Element) -> DhcpHost:
    return DhcpHost(element.get("mac", "").lower(), element.get("ip", ""), element.get("name", ""))


def _dns(element: etree._Element) -> DnsHost:
    return DnsHost(element.get("ip", ""), tuple(h.text or "" for h in element.findall("hostname")))


def _as_declared(actual: Network, applied: JSON) -> Network:
    """The network without what nobody declared, its lists in the order of the applied ones."""
    known = applied or {}
    declared = {s["cidr"]: s for s in known.get("subnets", ())}
    subnets = (_declared_subnet(s, declared.get(s.cidr)) for s in actual.subnets)
    chosen_by_libvirt = actual.mode != "bridge" and known.get("bridge") is None
    return replace(
        actual,
        bridge=None if chosen_by_libvirt else actual.bridge,
        subnets=_in_order(subnets, "cidr", known.get("subnets", ())),
        hosts=_in_order(actual.hosts, "mac", known.get("hosts", ())),
        dns=_in_order(actual.dns, "ip", known.get("dns", ())),
    )


def _declared_subnet(found: Subnet, applied: Mapping[str, JSON] | None) -> Subnet:
    if applied is None:
        return found
    if applied.get("gateway") is None and found.gateway == str(ip_network(found.cidr)[1]):
        found = replace(found, gateway=None)
    if applied.get("dhcp") and not applied.get("ranges") and found.ranges == default_ranges(found):
        found = replace(found, dhcp=True, ranges=())
    return found


def _in_order(found: Iterable[E], key: str, applied: Sequence[Mapping[str, JSON]]) -> tuple[E, ...]:
    places = {element[key]: place for place, element in enumerate(applied)}
    return tuple(sorted(found, key=lambda element: places.get(getattr(element, key), len(places))))
