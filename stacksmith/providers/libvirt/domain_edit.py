"""Changes of a saved domain definition: only what was asked; all else stays as libvirt or somebody's hand pinned it."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy

from lxml import etree

from stacksmith.frozen import dataclass
from stacksmith.model.change import Change
from stacksmith.model.realised import Disk, Server
from stacksmith.providers.libvirt import domain_read, domain_xml, numa_xml
from stacksmith.providers.libvirt.domain_xml import CONFIG_DEVICE, Parts, child
from stacksmith.providers.libvirt.topology import topology

_MACHINE_FAMILIES = (("q35", "pc-q35-"), ("pc", "pc-i440fx-"))


@dataclass(frozen=True, slots=True)
class Path:
    """A change's path taken apart: ``disks[vdb].size_bytes`` is field disks, key vdb, rest size_bytes."""

    field: str
    key: str
    rest: str

    @classmethod
    def of(cls, change: Change) -> "Path":
        """The path of a change."""
        head, bracket, tail = change.path.partition("[")
        if bracket and "." not in head:
            key, _, rest = tail.rpartition("]")
            return cls(head, key, rest.removeprefix("."))
        field, _, rest = change.path.partition(".")
        return cls(field, "", rest)


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change, by whom it is done. ``paths`` are of the changes; ``live`` is the running definition after the
    live changes: a device's address is the same in both."""

    spec: Server
    paths: tuple[Path, ...]
    parts: Parts
    live: etree._Element | None = None

    def touches(self, *fields: str) -> bool:
        """True when one of the fields changes."""
        return any(p.field in fields for p in self.paths)

    def keys(self, field: str) -> list[str]:
        """The keys of the elements of a list that change, each once."""
        return list(dict.fromkeys(p.key for p in self.paths if p.field == field))


def edited(saved: str, edit: Edit) -> str:
    """The saved definition with the changes; equal text when nothing of it changes."""
    root = domain_read.parse(saved)
    before = domain_xml.text(root)
    for fields, apply in _EDITS:
        if edit.touches(*fields):
            apply(root, edit)
    after = domain_xml.text(root)
    return saved if after == before else after


def _description(root: etree._Element, edit: Edit) -> None:
    domain_xml.set_description(root, edit.spec.description)


def _memory(root: etree._Element, edit: Edit) -> None:
    domain_xml.set_memory(root, edit.spec.ram_mib, edit.spec.max_ram_mib or edit.spec.ram_mib)


def _vcpus(root: etree._Element, edit: Edit) -> None:
    """Sets the number; a topology that no longer fits is set as declared, or goes."""
    most = max(edit.spec.vcpus, edit.spec.max_vcpus or 0)
    domain_xml.set_vcpus(root, edit.spec.vcpus, most)
    if topology(edit.spec) is not None:
        domain_xml.set_topology(root, edit.spec)
    elif (sizes := root.find("cpu/topology")) is not None and _product(sizes) != most:
        sizes.getparent().remove(sizes)  # type: ignore[union-attr]


def _product(sizes: etree._Element) -> int:
    product = 1
    for size in sizes.attrib.values():
        product *= int(size)
    return product


def _cpu(root: etree._Element, edit: Edit) -> None:
    if edit.touches("cpu_mode"):
        domain_xml.set_cpu(root, edit.spec, root.get("type", ""))
    else:
        domain_xml.set_topology(root, edit.spec)


def _numa(root: etree._Element, edit: Edit) -> None:
    numa_xml.set_numa(root, edit.spec)


def _pci_devices(root: etree._Element, edit: Edit) -> None:
    numa_xml.set_pci_devices(root, edit.spec)


def _machine(root: etree._Element, edit: Edit) -> None:
    """Another family has other buses: addresses and PCI controllers are given anew."""
    wanted = edit.spec.machine_type or "q35"
    present = root.find("os/type").get("machine", "")  # type: ignore[union-attr]
    domain_xml.set_machine(root, wanted)
    if _family(wanted) == _family(present):
        return
    devices = child(root, "devices")
    for controller in devices.findall("controller"):
        if controller.get("type") in {"pci", "sata", "ide"}:
            devices.remove(controller)
    for address in list(devices.iter("address")):
        if address.get("type") == "pci":
            address.getparent().remove(address)  # type: ignore[union-attr]
    if _family(wanted) == "q35":
        domain_xml.add_root_ports(devices, edit.spec)


def _family(machine: str) -> str:
    return next((family for family, prefix in _MACHINE_FAMILIES if machine.startswith(prefix)), machine)


def _kernel(root: etree._Element, edit: Edit) -> None:
    domain_xml.set_kernel(root, edit.parts.kernel, edit.parts.ramdisk, edit.spec.command_line)


def _disks(root: etree._Element, edit: Edit) -> None:
    wanted = {d.device: d for d in edit.spec.disks}
    for device in edit.keys("disks"):
        replace_device(root, find_disk(root, device), disk_of(wanted.get(device), edit.parts), edit.live)
    if root.find("devices//boot[@order]") is not None:  # libvirt's own default order does not go with it
        for boot in root.findall("os/boot"):
            boot.getparent().remove(boot)  # type: ignore[union-attr]


def _nics(root: etree._Element, edit: Edit) -> None:
    wanted = {n.mac: n for n in edit.spec.nics}
    for mac in edit.keys("nics"):
        nic = wanted.get(mac)
        element = domain_xml.nic_element(nic, edit.parts.mark.stack) if nic is not None else None
        replace_device(root, find_nic(root, mac), element, edit.live)


def _config_drive(root: etree._Element, edit: Edit) -> None:
    path = edit.parts.config_drive
    element = domain_xml.config_drive_element(path) if edit.spec.config_drive is not None and path else None
    replace_device(root, find_disk(root, CONFIG_DEVICE), element, None)


_EDITS: tuple[tuple[tuple[str, ...], Callable[[etree._Element, Edit], None]], ...] = (
    (("description",), _description),
    (("ram_mib", "max_ram_mib"), _memory),
    (("vcpus", "max_vcpus"), _vcpus),
    (("cpu_mode", "cpu_sockets", "cpu_cores", "cpu_threads"), _cpu),
    (("numa_cells", "page_size"), _numa),
    (("pci_devices",), _pci_devices),
    (("machine_type",), _machine),
    (("kernel", "ramdisk", "command_line"), _kernel),
    (("disks",), _disks),
    (("nics",), _nics),
    (("config_drive",), _config_drive),
)


def disk_of(disk: Disk | None, parts: Parts) -> etree._Element | None:
    """The element of a wanted disk."""
    return None if disk is None else domain_xml.disk_element(disk, parts.files[disk.device], parts.mark)


def find_disk(root: etree._Element, device: str) -> etree._Element | None:
    """The disk at a device name."""
    return next((d for d in root.findall("devices/disk") if domain_read.target(d) == device), None)


def find_nic(root: etree._Element, mac: str) -> etree._Element | None:
    """The interface with a MAC."""
    return next((n for n in root.findall("devices/interface") if mac_of(n) == mac), None)


def mac_of(nic: etree._Element) -> str:
    """The MAC of an interface."""
    mac = nic.find("mac")
    return mac.get("address", "").lower() if mac is not None else ""


def replace_device(
    root: etree._Element, present: etree._Element | None, wanted: etree._Element | None, live: etree._Element | None
) -> None:
    """Puts ``wanted`` in the place of ``present``. Its address is the running device's, or the present one's."""
    devices = child(root, "devices")
    if wanted is not None:
        address = _address(_twin(live, wanted)) if live is not None else None
        if address is None and present is not None and _bus(present) == _bus(wanted):
            address = _address(present)
        if address is not None:
            wanted.append(deepcopy(address))
    if present is not None and wanted is not None:
        devices.replace(present, wanted)
    elif present is not None:
        devices.remove(present)
    elif wanted is not None:
        devices.append(wanted)


def _twin(live: etree._Element, wanted: etree._Element) -> etree._Element | None:
    found = find_disk(live, domain_read.target(wanted)) if wanted.tag == "disk" else find_nic(live, mac_of(wanted))
    return found if found is not None and _bus(found) == _bus(wanted) else None


def _address(element: etree._Element | None) -> etree._Element | None:
    return element.find("address") if element is not None else None


def _bus(element: etree._Element) -> str | None:
    target = element.find("target")
    return target.get("bus") if element.tag == "disk" and target is not None else None


def fields_of(changes: Iterable[Change]) -> tuple[Path, ...]:
    """The paths of changes, taken apart."""
    return tuple(Path.of(change) for change in changes)


def local_files(spec: Server, files: Mapping[str, str]) -> dict[str, str]:
    """Paths of the local disks of a server by device."""
    return {d.device: files[d.device] for d in spec.disks if d.source in {"image", "blank"} and d.device in files}
