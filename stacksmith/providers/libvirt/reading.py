"""The texts of domains and networks, read one by one or in bulk. Every function runs inside a connection's thread."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import libvirt
from lxml import etree

from stacksmith.providers.libvirt import storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.found import DomainText, NetworkText

T = TypeVar("T")

BALLOON_SECONDS = 120  # in which a guest gives back what it got at its start; 4 s for 128 MiB under emulation


def find_domain(link: Link, uuid: str) -> Any | None:
    """The domain with this UUID, or None."""
    return _or_none(lambda: link.connect.lookupByUUIDString(uuid), libvirt.VIR_ERR_NO_DOMAIN)


def find_network(link: Link, uuid: str) -> Any | None:
    """The network with this UUID, or None."""
    return _or_none(lambda: link.connect.networkLookupByUUIDString(uuid), libvirt.VIR_ERR_NO_NETWORK)


def _or_none(ask: Callable[[], T], code: int) -> T | None:
    try:
        return ask()
    except libvirt.libvirtError as error:
        if error.get_error_code() != code:
            raise
        return None


def domain_text(link: Link, uuid: str) -> DomainText | None:
    """One domain, or None when there is none."""
    domain = find_domain(link, uuid)
    if domain is None:
        return None
    nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    try:
        answer = link.connect.domainListGetStats([domain], storage.STATISTICS, nowait)
        if not answer:
            return None
        return text_of(domain, answer[0][1], bool(domain.isPersistent()), bool(domain.autostart()))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None  # it went while it was read


_ABANDONED = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED),
}


def text_of(domain: Any, stats: Mapping[str, Any], persistent: bool, autostart: bool) -> DomainText:
    """A domain's definitions: one call when it is off, two when it runs."""
    active = domain.ID() >= 0
    saved = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if persistent else None
    live = domain.XMLDesc(0) if active else None
    sizes = {device: size for device, _, size in storage.blocks(stats) if size is not None}
    return DomainText(
        live=live,
        saved=saved,
        state=int(stats.get("state.state", 0)),
        autostart=autostart,
        sizes=sizes if live is None else _completed(domain, live, sizes),
        blocks_known="block.count" in stats,
        is_abandoned=(stats.get("state.state"), stats.get("state.reason")) in _ABANDONED,
        balloon_rests=balloon_rests(stats, time.time()),
    )


def balloon_rests(stats: Mapping[str, Any], now: float) -> bool:
    """Whether the memory that a guest has is what it was told, and not on its way there from its start.

    QEMU notes when the guest's balloon driver first spoke (``balloon.last-update``): 0 before it, anew at a reboot.
    """
    spoke = int(stats.get("balloon.last-update", 0))
    return 0 < spoke <= now - BALLOON_SECONDS


def _completed(domain: Any, live: str, sizes: dict[str, int]) -> dict[str, int]:
    """The sizes with those that NOWAIT left out, because the guest was busy in that moment, asked of the storage."""
    found = dict(sizes)
    for disk in etree.fromstring(live.encode()).iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        path = source.get("file") if source is not None else None
        device = target.get("dev") if target is not None else None
        if path and device and device not in found:
            with suppress(libvirt.libvirtError):  # in no pool, or its file is gone
                found[device] = int(domain.connect().storageVolLookupByPath(path).info()[1])
    return found


def leases_of(link: Link, uuid: str) -> dict[str, list[str]]:
    """Addresses by MAC that networks' DHCP gave a running domain; none when it, or one of its networks, went."""
    domain = find_domain(link, uuid)
    if domain is None:
        return {}
    gone = {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK}
    try:
        nics = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in gone:
            raise
        return {}
    return {nic["hwaddr"].lower(): sorted(a["addr"] for a in nic["addrs"]) for nic in nics.values() if nic["addrs"]}


def network_text(link: Link, uuid: str) -> NetworkText | None:
    """One network, or None when there is none."""
    network = find_network(link, uuid)
    if network is None:
        return None
    return network_text_of(network, bool(network.isActive()), bool(network.autostart()), bool(network.isPersistent()))


def network_text_of(network: Any, active: bool, autostart: bool, persistent: bool) -> NetworkText | None:
    """A network's definitions: one call when it is off, two when it runs. None when it went while it was read."""

    def read() -> NetworkText:
        return NetworkText(
            live=network.XMLDesc(0) if active or not persistent else None,
            saved=network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE) if persistent else None,
            autostart=autostart,
        )

    return _or_none(read, libvirt.VIR_ERR_NO_NETWORK)


def leases(network: Any) -> dict[str, list[str]]:
    """Addresses by MAC that the network's DHCP gave out; none when it went."""
    found: dict[str, list[str]] = {}
    for lease in _or_none(network.DHCPLeases, libvirt.VIR_ERR_NO_NETWORK) or ():
        if lease.get("mac"):
            found.setdefault(lease["mac"].lower(), []).append(lease["ipaddr"])
    return {mac: sorted(addresses) for mac, addresses in found.items()}
