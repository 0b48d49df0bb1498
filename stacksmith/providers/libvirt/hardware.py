"""What a host is made of, from its capabilities and node devices: NUMA cells, large pages, PCI devices, traits.

Only calls that a read-only connection may make. Sources: https://libvirt.org/formatcaps.html, formatnode.html.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import libvirt
from lxml import etree

from stacksmith.model.fleet import PciSpec
from stacksmith.model.hardware import Cell, Hardware, PciDevice
from stacksmith.model.host_trait import COMPUTE, CPU_FEATURES, THREADS
from stacksmith.providers.libvirt.connection import Link

_KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "MiB": 2**10, "GiB": 2**20}
_X86 = frozenset({"x86_64", "i686"})


def read_hardware(link: Link, capabilities: str, wanted: Sequence[PciSpec]) -> Hardware:
    """The parts of a host. One call for the CPU; with ``wanted`` devices one for their list and one for each device."""
    root = etree.fromstring(capabilities.encode())
    return Hardware(cells(root), tuple(_devices(link, wanted)), _traits(root, _features(link, root)))


def cells(capabilities: etree._Element) -> tuple[Cell, ...]:
    """The NUMA cells, in order; a host that tells none has none."""
    found = capabilities.findall("host/topology/cells/cell")
    return tuple(sorted(map(_cell, found), key=lambda cell: cell.id))


def _cell(element: etree._Element) -> Cell:
    memory = element.find("memory")
    kib = int(memory.text or 0) * _KIB[memory.get("unit", "KiB")] if memory is not None else 0
    sizes = [(int(int(p.get("size", 0)) * _KIB[p.get("unit", "KiB")]), int(p.text or 0)) for p in element.iter("pages")]
    return Cell(
        id=int(element.get("id", 0)),
        cpus=tuple(sorted(int(cpu.get("id", 0)) for cpu in element.iterfind("cpus/cpu"))),
        memory_mib=int(kib) // 1024,
        pages=tuple(sorted(sizes)[1:]),  # the smallest are the ordinary ones
    )


def _features(link: Link, capabilities: etree._Element) -> frozenset[str]:
    """Every feature of the host's CPU: capabilities name its model and what goes beyond it, libvirt expands both."""
    cpu = capabilities.find("host/cpu")
    if cpu is None or cpu.find("model") is None:
        return frozenset()
    flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    try:
        text = link.connect.baselineCPU([etree.tostring(cpu, encoding="unicode")], flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_CONFIG_UNSUPPORTED}:
            raise
        return frozenset(feature.get("name", "") for feature in cpu.findall("feature"))
    features = etree.fromstring(text.encode()).findall("feature")
    return frozenset(feature.get("name", "") for feature in features if feature.get("policy") != "disable")


def _traits(capabilities: etree._Element, features: Iterable[str]) -> tuple[str, ...]:
    arch = capabilities.findtext("host/cpu/arch", "")
    found = {*COMPUTE, f"HW_ARCH_{arch.upper()}"} if arch else set(COMPUTE)
    if arch in _X86:
        found |= {f"HW_CPU_X86_{CPU_FEATURES[name]}" for name in features if name in CPU_FEATURES}
    siblings = (cpu.get("siblings", "") for cpu in capabilities.iterfind("host/topology/cells/cell/cpus/cpu"))
    if any("," in text or "-" in text for text in siblings):
        found.add(THREADS)
    return tuple(sorted(found))


def _devices(link: Link, wanted: Sequence[PciSpec]) -> Iterator[PciDevice]:
    """The PCI devices that the fleet file offers, in order of address."""
    if not wanted:
        return
    listed = link.connect.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV)
    for node in sorted(listed, key=lambda node: str(node.name())):
        device = _read_device(node)
        if device is not None and any(spec.offers(device) for spec in wanted):
            yield device


def _read_device(node: Any) -> PciDevice | None:
    """A PCI device; None for one that went while the host was read."""
    try:
        text = node.XMLDesc(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NODE_DEVICE:
            raise
        return None
    return pci_device(text)


def pci_device(text: str) -> PciDevice:
    """The device of a node device's XML."""
    pci = etree.fromstring(text.encode()).find("capability[@type='pci']")
    assert pci is not None
    domain, bus, slot, function = (int(pci.findtext(n, "0"), 0) for n in ("domain", "bus", "slot", "function"))
    numa = pci.find("numa")
    return PciDevice(
        address=f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}",
        vendor_id=_id(pci, "vendor"),
        product_id=_id(pci, "product"),
        cell=int(numa.get("node", 0)) if numa is not None else None,
    )


def _id(pci: etree._Element, tag: str) -> str:
    element = pci.find(tag)
    return f"{int(element.get('id', '0'), 0):04x}" if element is not None else "0000"
