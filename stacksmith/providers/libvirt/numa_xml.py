"""NUMA cells, pinned vCPUs, large pages and host devices of a domain: written to its XML and read back.

Source: https://libvirt.org/formatdomain.html (numa, numatune, cputune, memoryBacking, hostdev).
"""

from collections.abc import Iterator

from lxml import etree

from stacksmith.model.hardware import CellUse, Holding, cpu_list, cpu_numbers, page_kib, page_words
from stacksmith.model.realised import NumaCell, Server

_KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 2**10, "M": 2**10, "GiB": 2**20, "G": 2**20}
DEFAULT_PAGE_KIB = 2048  # what <hugepages/> without a size comes to on x86


def set_numa(root: etree._Element, spec: Server) -> None:
    """The guest's cells, where their memory and vCPUs are on the host, and in what pages; none removes all of it."""
    _set_cells(root, spec)
    _set_pages(root, spec)
    bind(root, spec)


def bind(root: etree._Element, spec: Server) -> None:
    """Where the memory and vCPUs of the guest's cells are on the host; the cells themselves stay as they are."""
    for parent, tag in (("numatune", "memory"), ("numatune", "memnode"), ("cputune", "vcpupin")):
        for element in root.findall(f"{parent}/{tag}"):
            element.getparent().remove(element)  # type: ignore[union-attr]
    bound = [cell for cell in spec.numa_cells if cell.host_cell is not None]
    if bound:
        tune = _child(root, "numatune")
        etree.SubElement(
            tune, "memory", mode="strict", nodeset=cpu_list(c.host_cell for c in bound if c.host_cell is not None)
        )
        for cell in bound:
            etree.SubElement(tune, "memnode", cellid=str(cell.id), mode="strict", nodeset=str(cell.host_cell))
    for cell in spec.numa_cells:
        for vcpu, cpus in zip(cell.vcpus, cell.pins, strict=False):
            etree.SubElement(_child(root, "cputune"), "vcpupin", vcpu=str(vcpu), cpuset=cpu_list(cpus))
    for tag in ("numatune", "cputune", "memoryBacking"):
        empty = root.find(tag)
        if empty is not None and len(empty) == 0:
            root.remove(empty)


def _set_cells(root: etree._Element, spec: Server) -> None:
    for numa in root.findall("cpu/numa"):
        numa.getparent().remove(numa)  # type: ignore[union-attr]
    if not spec.numa_cells:
        return
    numa = etree.SubElement(_child(root, "cpu"), "numa")
    for cell in spec.numa_cells:
        etree.SubElement(numa, "cell", id=str(cell.id), cpus=cpu_list(cell.vcpus), memory=str(cell.ram_mib), unit="MiB")


def _set_pages(root: etree._Element, spec: Server) -> None:
    for pages in root.findall("memoryBacking/hugepages"):
        pages.getparent().remove(pages)  # type: ignore[union-attr]
    if spec.page_size:
        pages = etree.SubElement(_child(root, "memoryBacking"), "hugepages")
        etree.SubElement(pages, "page", size=str(page_kib(spec.page_size)), unit="KiB")


def set_pci_devices(root: etree._Element, spec: Server) -> None:
    """The host devices that the guest has for itself; those that stay keep their place in the guest."""
    devices = _child(root, "devices")
    there = {address: element for element in devices.findall("hostdev") if (address := _host_address(element))}
    for address, element in there.items():
        if address not in spec.pci_devices:
            devices.remove(element)
    for address in spec.pci_devices:
        if address not in there:
            devices.append(_hostdev(address))


def _hostdev(address: str) -> etree._Element:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    element = etree.Element("hostdev", mode="subsystem", type="pci", managed="yes")
    parts = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    where = {name: f"0x{value}" for name, value in parts.items()}
    etree.SubElement(etree.SubElement(element, "source"), "address", where)
    return element


def _child(parent: etree._Element, tag: str) -> etree._Element:
    found = parent.find(tag)
    return etree.SubElement(parent, tag) if found is None else found


def read_cells(root: etree._Element) -> tuple[NumaCell, ...]:
    """The guest's cells, in order."""
    pins = _pins(root)
    return tuple(_cell(root, cell, place, pins) for place, cell in enumerate(root.findall("cpu/numa/cell")))


def _cell(root: etree._Element, element: etree._Element, place: int, pins: dict[int, tuple[int, ...]]) -> NumaCell:
    number = int(element.get("id", place))
    vcpus = _numbers(element.get("cpus"))
    kib = int(int(element.get("memory", 0)) * _KIB[element.get("unit", "KiB")])
    bound = root.find(f"numatune/memnode[@cellid='{number}']")
    return NumaCell(
        id=number,
        vcpus=vcpus,
        ram_mib=kib // 1024,
        host_cell=_one(bound.get("nodeset")) if bound is not None else _whole_cell(root),
        pins=tuple(pins[vcpu] for vcpu in vcpus) if all(vcpu in pins for vcpu in vcpus) else (),
    )


def _whole_cell(root: etree._Element) -> int | None:
    """The one host cell that all of a guest's memory is in."""
    memory = root.find("numatune/memory")
    return _one(memory.get("nodeset")) if memory is not None and memory.get("mode", "strict") == "strict" else None


def _numbers(text: str | None) -> tuple[int, ...]:
    return cpu_numbers(text) if text else ()


def _one(text: str | None) -> int | None:
    numbers = _numbers(text)
    return numbers[0] if len(numbers) == 1 else None


def _pins(root: etree._Element) -> dict[int, tuple[int, ...]]:
    return {int(p.get("vcpu", 0)): _numbers(p.get("cpuset")) for p in root.findall("cputune/vcpupin")}


def read_page_size(root: etree._Element) -> str:
    """The size of the large pages that the memory is in, or nothing."""
    pages = root.find("memoryBacking/hugepages")
    if pages is None:
        return ""
    page = pages.find("page")
    if page is None:
        return page_words(DEFAULT_PAGE_KIB)
    return page_words(int(int(page.get("size", DEFAULT_PAGE_KIB)) * _KIB[page.get("unit", "KiB")]))


def read_pci_devices(root: etree._Element) -> tuple[str, ...]:
    """Addresses of the host devices, in their order."""
    return tuple(address for element in root.findall("devices/hostdev") if (address := _host_address(element)))


def _host_address(element: etree._Element) -> str | None:
    source = element.find("source/address")
    if source is None or source.get("bus") is None or (element.tag == "hostdev" and element.get("type") != "pci"):
        return None
    domain, bus, slot, function = (int(source.get(n, "0"), 0) for n in ("domain", "bus", "slot", "function"))
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def read_holding(root: etree._Element, ram_mib: int) -> Holding:
    """What the guest holds of its host's parts, whoever bound it."""
    cells = tuple(_uses(root, ram_mib))
    nics = (_host_address(nic) for nic in root.findall("devices/interface[@type='hostdev']"))
    devices = (*read_pci_devices(root), *(address for address in nics if address))
    return Holding(cells, tuple(_pins(root).values()), devices)


def _uses(root: etree._Element, ram_mib: int) -> Iterator[CellUse]:
    page = page_kib(size) if (size := read_page_size(root)) else 0
    cells = read_cells(root)
    for cell in cells:
        if cell.host_cell is not None or page:
            yield CellUse(cell.host_cell, len(cell.vcpus), cell.ram_mib, page)
    if not cells and (page or _whole_cell(root) is not None):
        yield CellUse(_whole_cell(root), 0, ram_mib, page)
