"""A network changed in place: DHCP and DNS live by virNetworkUpdate, the rest by restarting it.

A restart leaves the guests' interfaces on a bridge that is gone; each is moved to another network and back, which
plugs it in again without its guest seeing more than a short loss of its link.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID, uuid5

import libvirt
from lxml import etree

from stacksmith.frozen import dataclass
from stacksmith.model.change import Impact
from stacksmith.model.found import Mark
from stacksmith.model.realised import Network
from stacksmith.providers.base import Deadline, Gone, Refused, Target
from stacksmith.providers.libvirt import domain_read, domain_xml, mark_xml, network_xml, reading, server_live
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.domain_edit import Path, fields_of
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.ownership import owned_network

LIVE, CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
_ADD, _DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
_HOST, _RANGE = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE
_DNS = libvirt.VIR_NETWORK_SECTION_DNS_HOST

# The elements of a definition that a field of the spec is written in.
_ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "mode": ("forward", "bridge", "mac"),
    "bridge": ("bridge",),
    "mtu": ("mtu",),
    "domain": ("domain",),
    "subnets": ("ip",),
    "hosts": ("ip",),
    "dns": ("dns",),
}


@dataclass(frozen=True, slots=True)
class _Command:
    """One virNetworkUpdate: an element taken out of, or added to, a section (of the n-th subnet)."""

    command: int
    section: int
    subnet: int
    element: str


def apply(host: LibvirtHost, target: Target, deadline: Deadline) -> None:
    """Makes ``target.changes``. Raises: Gone, Refused."""
    paths = fields_of(target.changes)
    late = any(_needs_restart(p) for p in paths)
    stops = any(p.field == "active" for p in paths) and not _wanted(target).active
    if stops and target.allowed < Impact.RESTART:
        raise Refused("restart is not allowed: the network would be stopped", "active")
    if late:
        host.call(partial(_define, target, paths), deadline)
        if target.allowed >= Impact.RESTART:
            host.call(partial(_bounce, target), deadline)
    else:
        host.call(partial(_update, target, paths), deadline)
    host.call(partial(_finish, target, paths), deadline)


def _wanted(target: Target) -> Network:
    assert isinstance(target.wanted, Network)
    return target.wanted


def _needs_restart(path: Path) -> bool:
    if path.field == "subnets":
        return path.rest != "ranges"
    return path.field in {"mode", "bridge", "mtu", "domain"}


def _must_own(link: Link, mark: Mark) -> Any:
    network = owned_network(link, mark)
    if network is None:
        raise Gone(f"{mark.address} no longer exists")
    return network


def _saved(network: Any) -> etree._Element:
    return network_xml.parse(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))


def _update(target: Target, paths: Sequence[Path], link: Link) -> None:
    """Each definition, running and saved, gets the commands that bring it to what is wanted."""
    network = _must_own(link, target.mark)
    definitions = [(CONFIG, _saved(network))]
    if network.isActive():
        definitions.insert(0, (LIVE, network_xml.parse(network.XMLDesc(0))))
    for flag, root in definitions:
        for command in _commands(root, _wanted(target), paths):
            network.update(command.command, command.section, command.subnet, command.element, flag)


def _commands(root: etree._Element, spec: Network, paths: Sequence[Path]) -> Iterator[_Command]:
    """Deletes first, then adds: an address may move from one host to another."""
    touched = {(p.field, p.key) for p in paths}
    removed, added = [], []
    for section, subnet, old, new in _differences(root, spec, touched):
        removed += [_Command(_DELETE, section, subnet, domain_xml.text(_told(section, e))) for e in old]
        added += [_Command(_ADD, section, subnet, domain_xml.text(e)) for e in new]
    yield from removed
    yield from added


def _told(section: int, element: etree._Element) -> etree._Element:
    """What tells libvirt which element to delete: of a DNS entry its address alone, for other entries may have its
    names (virNetworkUpdate refuses what matches several)."""
    return etree.Element("host", ip=element.get("ip", "")) if section == _DNS else element


def _differences(
    root: etree._Element, spec: Network, touched: set[tuple[str, str]]
) -> Iterator[tuple[int, int, list[etree._Element], list[etree._Element]]]:
    """(section, index of the subnet, elements to take out, elements to put in) for everything that is touched."""
    subnets = [network_xml.subnet_cidr(e) for e in root.findall("ip")]
    for index, element in enumerate(root.findall("ip")):
        hosts = [e for e in element.findall("dhcp/host") if ("hosts", e.get("mac", "").lower()) in touched]
        wanted = [h for h in spec.hosts if ("hosts", h.mac) in touched and _is_in(h.ip, subnets[index])]
        yield (_HOST, index, *_unlike(hosts, [network_xml.host_element(h) for h in wanted]))
        if ("subnets", subnets[index]) in touched:
            subnet = next((s for s in spec.subnets if s.cidr == subnets[index]), None)
            ranges = network_xml.ranges(subnet) if subnet is not None else ()
            there = element.findall("dhcp/range")
            yield (_RANGE, index, *_unlike(there, [network_xml.range_element(*r) for r in ranges]))
    names = [e for e in root.findall("dns/host") if ("dns", e.get("ip", "")) in touched]
    wanted_names = [network_xml.dns_element(d) for d in spec.dns if ("dns", d.ip) in touched]
    yield (_DNS, -1, *_unlike(names, wanted_names))


def _is_in(address: str, cidr: str) -> bool:
    return ip_address(address) in ip_network(cidr)


def _unlike(old: list[etree._Element], new: list[etree._Element]) -> tuple[list[etree._Element], list[etree._Element]]:
    """Without the elements that are on both sides."""
    olds, news = {_essence(e) for e in old}, {_essence(e) for e in new}
    return [e for e in old if _essence(e) not in news], [e for e in new if _essence(e) not in olds]


def _essence(element: etree._Element) -> tuple[Any, ...]:
    names = tuple(h.text for h in element.findall("hostname"))
    return (*sorted((k, v.lower()) for k, v in element.attrib.items()), names)


def _define(target: Target, paths: Sequence[Path], link: Link) -> None:
    """Writes the saved definition with the changed elements; the bridge's name and MAC stay.

    Its mark says that a restart is begun, if one follows: its guests are cut off until they are plugged in again.
    """
    network = _must_own(link, target.mark)
    saved = _saved(network)
    wanted = network_xml.parse(network_xml.render(_wanted(target), target.mark, saved))
    for tag in dict.fromkeys(tag for p in paths for tag in _ELEMENTS.get(p.field, ())):
        for old in saved.findall(tag):
            saved.remove(old)
        saved.extend([deepcopy(new) for new in wanted.findall(tag)])
    if target.allowed >= Impact.RESTART:
        mark_xml.begin(saved, target.mark)
    link.connect.networkDefineXML(domain_xml.text(saved))


def _finish(target: Target, paths: Sequence[Path], link: Link) -> None:
    """Starts or stops it, sets autostart, and writes the mark: redefining keeps all else as it is."""
    network, spec = _must_own(link, target.mark), _wanted(target)
    fields = {p.field for p in paths}
    if "active" in fields and spec.active != bool(network.isActive()):
        if spec.active:
            saved = _saved(network)  # guests that ran on when it was stopped by hand are to be plugged in
            mark_xml.begin(saved, target.mark)
            start(link.connect.networkDefineXML(domain_xml.text(saved)), spec, link)
        else:
            network.destroy()
    if "autostart" in fields:
        network.setAutostart(int(spec.autostart))
    complete(network, target.mark, link)


def _bounce(target: Target, link: Link) -> None:
    network = _must_own(link, target.mark)
    if network.isActive():
        network.destroy()
        start(network, _wanted(target), link)


def start(network: Any, spec: Network, link: Link) -> None:
    """Starts it; when the name that libvirt chose for its bridge is taken by now, with one that it chooses anew.

    It gives two networks that are defined at once the same.
    """
    try:
        network.create()
    except libvirt.libvirtError as error:
        if error.get_int1() != errno.EEXIST or spec.bridge:
            raise
        saved = _saved(network)
        for bridge in saved.findall("bridge"):
            bridge.attrib.pop("name", "")
        link.connect.networkDefineXML(domain_xml.text(saved)).create()


def complete(network: Any, mark: Mark, link: Link) -> None:
    """Writes the mark, after what a restart began has ended: redefining keeps all else as it is."""
    saved = _saved(network)
    if mark_xml.is_begun(saved) and network.isActive():
        _replug(network, link)
    mark_xml.put(saved, mark)
    link.connect.networkDefineXML(domain_xml.text(saved))


def remove_between(network: Any, link: Link) -> None:
    """Removes what a killed run left of plugging the network's guests in."""
    left = reading.find_network(link, _uuid_between(network))
    if left is not None:
        left.destroy()


def _uuid_between(network: Any) -> str:
    return str(uuid5(UUID(network.UUIDString()), "between"))


def _replug(network: Any, link: Link) -> None:
    """Plugs the running guests' interfaces on the network in again: libvirt does nothing for the same network.

    What one guest refuses does not keep the others; the first such fault is raised at the end.
    """
    guests, uuid, faults = list(_guests(link, network.name())), _uuid_between(network), []
    between = reading.find_network(link, uuid)
    if between is None and guests:
        between = link.connect.networkCreateXML(network_xml.render_between(network.name(), uuid))
    for domain, nic in guests:
        try:
            _move(domain, nic, f"{network_xml.BETWEEN}{network.name()}")
            _move(domain, nic, network.name())
        except libvirt.libvirtError as error:
            if not _is_off(domain):
                faults.append(error)
    if between is not None:
        between.destroy()
    if faults:
        raise faults[0]


def _guests(link: Link, name: str) -> Iterator[tuple[Any, etree._Element]]:
    """The interfaces on the network, and those that a killed run left on the one between."""
    for domain in link.connect.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            root = domain_read.parse(domain.XMLDesc(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            continue  # it went since it was listed
        for nic in root.findall("devices/interface"):
            source = nic.find("source")
            if source is not None and source.get("network") in {name, f"{network_xml.BETWEEN}{name}"}:
                yield domain, nic


def _is_off(domain: Any) -> bool:
    try:
        return not domain.isActive()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return True


def _move(domain: Any, nic: etree._Element, network: str) -> None:
    domain.updateDeviceFlags(server_live.moved(nic, network), libvirt.VIR_DOMAIN_AFFECT_LIVE)
