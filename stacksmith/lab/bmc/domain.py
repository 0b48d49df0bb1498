"""The libvirt objects behind the nodes: a pool for media, a network, and a domain with an empty disk for each node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import libvirt
from lxml import etree
from lxml.builder import E

from stacksmith.frozen import dataclass
from stacksmith.lab.bmc.emulator import CODE_SECURE, POOL, VARS
from stacksmith.lab.bmc.page import serial_of

NETWORK, BRIDGE = "nodes", "nodes0"
SUBNET = "198.19.0"  # inside the rack's own namespace, behind its address
HOME = Path("/var/lib/libvirt/nodes")
CONSOLES = Path("/var/log/libvirt/qemu")
CPU = "Nehalem"  # x86-64-v2, which distributions ask for; what newer ones have costs an emulator a tenth of a boot
MEMORY_GIB, DISK_BYTES = 1, 4 * 1024**3
DISKS = ("sda", "sdb", "sdc", "sdd")


@dataclass(frozen=True, slots=True)
class Node:
    """One node as the farm is told of it."""

    name: str
    identity: str  # UUID of its domain and of its system
    mac: str
    port: int
    username: str
    password: str
    disks: int = 1


def prepare(uri: str, nodes: Sequence[Node]) -> None:
    """Find or make all of it. What is there already is left as it is."""
    connection = libvirt.open(uri)
    try:
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        pool = _pool(connection)
        _start(pool)
        _start(_network(connection))
        known = {domain.UUIDString() for domain in connection.listAllDomains()}
        for node in nodes:
            if node.identity not in known:
                for disk in map(disk_path, [node] * node.disks, DISKS):
                    if not disk.exists():
                        with disk.open("wb") as file:
                            file.truncate(DISK_BYTES)
                connection.defineXMLFlags(_text(domain_xml(node)), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        pool.refresh()
    finally:
        connection.close()


def disk_path(node: Node, name: str) -> Path:
    """The file of a node's disk, as the rack sees it: ``bm1-disk.img`` of sda, ``bm1-b-disk.img`` of sdb."""
    return HOME / f"{node.name}{_tail(name)}-disk.img"


def _tail(name: str) -> str:
    return "" if name == DISKS[0] else f"-{name[-1]}"


def domain_xml(node: Node) -> Any:
    """A machine with UEFI (secure boot possible, and off), SATA disks, of which it boots the first, and one network
    card."""
    return E.domain(
        {"type": "qemu"},
        E.name(node.name),
        E.uuid(node.identity),
        E.memory(str(MEMORY_GIB), unit="GiB"),
        E.vcpu("1"),
        E.os(
            E.type("hvm", arch="x86_64", machine="q35"),
            E.loader(str(CODE_SECURE), readonly="yes", type="pflash", secure="no"),
            E.nvram(template=str(VARS)),
        ),
        E.features(E.acpi(), E.apic(), E.smm(state="on")),
        E.cpu(E.model(CPU), mode="custom", match="exact"),
        E.on_poweroff("destroy"),
        E.on_reboot("restart"),
        E.on_crash("destroy"),
        E.devices(
            *(_disk(node, unit) for unit in range(node.disks)),
            E.interface(
                {"type": "network"}, E.mac(address=node.mac), E.source(network=NETWORK), E.model(type="virtio")
            ),
            E.serial({"type": "file"}, E.source(path=str(CONSOLES / f"{node.name}-serial.log"), append="on")),
            E.video(E.model(type="vga")),
        ),
    )


def _disk(node: Node, unit: int) -> Any:
    name = DISKS[unit]
    return E.disk(
        {"type": "file", "device": "disk"},
        E.driver(name="qemu", type="raw"),
        E.source(file=str(disk_path(node, name))),
        E.target(dev=name, bus="sata"),
        E.serial(serial_of(node.name, name)),
        *([E.boot(order="1")] if unit == 0 else []),
        E.address(type="drive", controller="0", bus="0", target="0", unit=str(unit)),
    )


def _pool(connection: Any) -> Any:
    try:
        return connection.storagePoolLookupByName(POOL)
    except libvirt.libvirtError:
        HOME.mkdir(parents=True, exist_ok=True)
        return connection.storagePoolDefineXML(
            _text(E.pool({"type": "dir"}, E.name(POOL), E.target(E.path(str(HOME)))))
        )


def _network(connection: Any) -> Any:
    try:
        return connection.networkLookupByName(NETWORK)
    except libvirt.libvirtError:
        leases = E.dhcp(E.range(start=f"{SUBNET}.10", end=f"{SUBNET}.254"))
        ip = E.ip({"address": f"{SUBNET}.1", "netmask": "255.255.255.0"}, leases)
        forward = E.forward(mode="nat")
        return connection.networkDefineXML(_text(E.network(E.name(NETWORK), forward, E.bridge(name=BRIDGE), ip)))


def _start(found: Any) -> None:
    """Start a pool or network, now and at each boot of the host."""
    if not found.isActive():
        found.create()
    found.setAutostart(True)


def _text(element: Any) -> str:
    return str(etree.tostring(element, encoding="unicode"))
