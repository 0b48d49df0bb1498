"""A libvirt domain read back as the server it is, in the shape of the spec (rule 3).

libvirt fills in what was not said. A field that may be left undeclared is given a value only when the domain's own
mark says that it was declared, or when the domain has no mark; so libvirt's defaults never show as differences.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from lxml import etree

from stacksmith.address import Address, identity
from stacksmith.frozen import dataclass
from stacksmith.model.found import Mark
from stacksmith.model.hardware import NOTHING_HELD, Holding
from stacksmith.model.naming import network_name, volume_name
from stacksmith.model.realised import ConfigDrive, Disk, Nic, Server
from stacksmith.model.types import JSON
from stacksmith.providers.libvirt import mark_xml, native, numa_xml
from stacksmith.providers.libvirt.domain_xml import CONFIG_DEVICE, WHOLE_MODES, default_serial
from stacksmith.providers.libvirt.network_xml import BETWEEN

_KIB_PER_UNIT = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 1024, "M": 1024, "GiB": 2**20, "G": 2**20}
_UNDECLARABLE = tuple(f.name for f in fields(Server) if f.default is None and f.name not in {"config_drive"})
_FROM_NOTHING = frozenset({"kernel", "ramdisk", "command_line"})  # libvirt never fills these in

E = TypeVar("E", Disk, Nic)


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as read. ``limits`` are what the guest can have without a restart: (vCPUs, MiB).

    ``files`` are the paths of its disks by device, the config drive's included; ``actual`` is the spec with every
    field that libvirt knows, declared or not. ``is_ejected``: the config drive is there without its medium,
    or saved and not there.
    """

    name: str
    uuid: str
    mark: Mark | None
    spec: Server
    actual: Server
    limits: tuple[int, int]
    files: Mapping[str, str] = field(default_factory=dict)
    holds: Holding = NOTHING_HELD
    is_ejected: bool = False


def parse(xml: str) -> etree._Element:
    """The domain's root element."""
    return etree.fromstring(xml.encode(), etree.XMLParser(resolve_entities=False, huge_tree=True))


def read(
    root: etree._Element,
    sizes: Mapping[str, int],
    power_state: str,
    autostart: bool,
    inactive: etree._Element | None,
    balloon_rests: bool = False,
) -> Domain:
    """The domain of ``root``. ``sizes`` are capacities in bytes by device; ``inactive`` is the saved definition.

    The mark is the saved one: it is what lasts.
    """
    marked = mark_xml.read(root if inactive is None else inactive)
    mark, details = marked or (None, mark_xml.Details())
    shown = mark_xml.read(root)
    if shown is not None:
        details = shown[1]  # metadata and tags in effect are those of the running guest
    now_vcpus, max_vcpus = vcpus(root)
    ram, max_ram = _memory_in_effect(root, inactive, balloon_rests)
    name = root.findtext("name", "")
    firmware, secure = _firmware(root)
    applied = mark.applied if mark is not None else None
    actual = Server(
        name=details.name or name,
        description=root.findtext("description", ""),
        vcpus=now_vcpus,
        max_vcpus=max_vcpus,
        ram_mib=ram,
        max_ram_mib=max_ram,
        **_cpu(root, inactive),
        machine_type=_machine(root, applied),
        firmware=firmware,
        secure_boot=secure,
        kernel=_image_checksum(root.findtext("os/kernel")),
        ramdisk=_image_checksum(root.findtext("os/initrd")),
        command_line=root.findtext("os/cmdline"),
        disks=_disks(root, mark, sizes),
        nics=tuple(_nic(e, mark) for e in root.findall("devices/interface")),
        config_drive=_config_drive(root, details),
        power_state=power_state,
        autostart=autostart,
        metadata=dict(details.metadata),
        tags=details.tags,
        numa_cells=numa_xml.read_cells(root),
        page_size=numa_xml.read_page_size(root),
        pci_devices=numa_xml.read_pci_devices(root),
    )
    return Domain(
        name=name,
        uuid=root.findtext("uuid", ""),
        mark=mark,
        spec=as_declared(actual, mark) if mark is not None else actual,
        actual=actual,
        limits=(max_vcpus or now_vcpus, max_ram or ram),
        files={target(d): path for d in root.findall("devices/disk") if (path := file_of(d))},
        holds=numa_xml.read_holding(root, ram),
        is_ejected=_is_ejected(root, inactive),
    )


def as_declared(actual: Server, mark: Mark) -> Server:
    """The server without what nobody declared, its lists in the order of the applied ones."""
    applied = mark.applied or {}
    shown: dict[str, Any] = {n: None for n in _UNDECLARABLE if n not in _FROM_NOTHING and applied.get(n) is None}
    for most, now in (("max_vcpus", "vcpus"), ("max_ram_mib", "ram_mib")):
        if applied.get(most) is not None:  # libvirt does not write a maximum that is what the guest has
            shown[most] = getattr(actual, most) or getattr(actual, now)
    known = {d["device"]: d for d in applied.get("disks", ())}
    disks = (_declared_disk(d, known.get(d.device, {}), mark) for d in actual.disks)
    return replace(
        actual,
        disks=_in_order(disks, "device", applied.get("disks", ())),
        nics=_in_order(actual.nics, "mac", applied.get("nics", ())),
        **shown,
    )


def _declared_disk(disk: Disk, applied: Mapping[str, JSON], mark: Mark) -> Disk:
    if disk.source == "file":
        return disk
    if applied.get("serial") is None and disk.serial == default_serial(disk, mark):
        disk = replace(disk, serial=None)
    if disk.source == "volume" or (applied and applied.get("size_bytes") is None):
        disk = replace(disk, size_bytes=None)
    return disk


def _in_order(found: Iterable[E], key: str, applied: Sequence[Mapping[str, JSON]]) -> tuple[E, ...]:
    places = {element[key]: place for place, element in enumerate(applied)}
    return tuple(sorted(found, key=lambda element: places.get(getattr(element, key), len(places))))


def _mebibytes(element: etree._Element | None) -> int:
    if element is None or not element.text:
        return 0
    return int(int(element.text) * _KIB_PER_UNIT[element.get("unit", "KiB")]) // 1024


def memory(root: etree._Element) -> tuple[int, int | None]:
    """(now, at most) in MiB: the second is None when it is the same."""
    most = _mebibytes(root.find("memory"))
    now = _mebibytes(root.find("currentMemory")) or most
    return now, most if most != now else None


def _memory_in_effect(
    root: etree._Element, inactive: etree._Element | None, balloon_rests: bool
) -> tuple[int, int | None]:
    """(now, at most) in MiB, of a running guest too.

    A running domain shows what its balloon has come to: all of its memory until the guest's driver is up, and for
    ever without one. What it was told is shown nowhere but in the saved definition; that is taken unless the guest
    has less, or has had the time to give back what is more.
    """
    now, most = memory(root)
    if inactive is None or inactive is root or balloon_rests:
        return now, most
    told, _ = memory(inactive)
    ceiling = most or now
    if told <= now:
        return told, ceiling if ceiling != told else None
    return now, most


def vcpus(root: etree._Element) -> tuple[int, int | None]:
    """(now, at most): the second is None when it is the same."""
    element = root.find("vcpu")
    most = int(element.text or 1) if element is not None else 1
    now = int(element.get("current", most)) if element is not None else most
    return now, most if most != now else None


def _cpu(root: etree._Element, inactive: etree._Element | None) -> dict[str, Any]:
    cpu = root.find("cpu")
    saved = inactive.find("cpu") if inactive is not None else None
    if cpu is None:
        return {}
    mode = cpu.get("mode")
    if saved is not None and saved.get("mode") == "host-model":
        mode = "host-model"  # a running guest shows the model it came to
    sizes = cpu.find("topology")
    found = {} if sizes is None else {f"cpu_{n}": int(sizes.get(n, 1)) for n in ("sockets", "cores", "threads")}
    return {"cpu_mode": mode if mode in WHOLE_MODES else cpu.findtext("model"), **found}


def _machine(root: etree._Element, applied: JSON) -> str | None:
    """The family, since libvirt pins its version; the whole type when that is what was declared."""
    element = root.find("os/type")
    machine = element.get("machine") if element is not None else None
    if machine is None or (applied or {}).get("machine_type") == machine:
        return machine
    for family, prefix in (("q35", "pc-q35-"), ("pc", "pc-i440fx-")):
        if machine.startswith(prefix):
            return family
    return machine


def _firmware(root: etree._Element) -> tuple[str, bool]:
    loader, os = root.find("os/loader"), root.find("os")
    is_uefi = (os is not None and os.get("firmware") == "efi") or (
        loader is not None and loader.get("type") == "pflash"
    )
    asked = root.find("os/firmware/feature[@name='secure-boot']")
    secure = (asked is not None and asked.get("enabled") == "yes") or (
        asked is None and loader is not None and loader.get("secure") == "yes"
    )
    return ("uefi", secure) if is_uefi else ("bios", False)


def _image_checksum(path: str | None) -> str | None:
    """The checksum of an image file; the path of one that is not ours."""
    if path is None:
        return None
    image = native.read_image(PurePosixPath(path).name)
    return image[0] if image else path


def target(disk: etree._Element) -> str:
    """The device name of a disk."""
    element = disk.find("target")
    return element.get("dev", "") if element is not None else ""


def file_of(disk: etree._Element) -> str | None:
    """The file of a disk, or what else it is on; None without a medium."""
    source = disk.find("source")
    if source is None:
        return None
    return source.get("file") or source.get("dev") or source.get("name") or source.get("volume")


def _is_config_drive(disk: etree._Element) -> bool:
    path = file_of(disk)
    part = native.read_part(PurePosixPath(path).name) if path else None
    if part is not None and part.config_digest:
        return True
    return _is_empty_drive(disk)


def _is_empty_drive(disk: etree._Element) -> bool:
    return disk.get("device") == "cdrom" and target(disk) == CONFIG_DEVICE and file_of(disk) is None


def _is_ejected(root: etree._Element, inactive: etree._Element | None) -> bool:
    drives = [d for d in root.findall("devices/disk") if _is_config_drive(d)]
    saved = [] if inactive is None else [d for d in inactive.findall("devices/disk") if _is_config_drive(d)]
    can_be_plugged = root.find("devices/controller[@type='scsi']") is not None
    return any(map(_is_empty_drive, drives)) or (not drives and bool(saved) and can_be_plugged)


def _disks(root: etree._Element, mark: Mark | None, sizes: Mapping[str, int]) -> tuple[Disk, ...]:
    disks = [d for d in root.findall("devices/disk") if not _is_config_drive(d)]
    return tuple(_disk(d, mark, sizes.get(target(d))) for d in disks)


def _disk(element: etree._Element, mark: Mark | None, size: int | None) -> Disk:
    place, driver, boot = element.find("target"), element.find("driver"), element.find("boot")
    path = file_of(element)
    source, ref = _source(element, path, mark)
    return Disk(
        device=target(element),
        source=source,
        ref=ref,
        size_bytes=None if source == "volume" else size,
        bus=place.get("bus", "") if place is not None else "",
        device_type=element.get("device", "disk"),
        # A volume's format is its own; the disk only says that there is one.
        format="qcow2" if source == "volume" or driver is None else driver.get("type", "raw"),
        boot_index=int(boot.get("order", "1")) - 1 if boot is not None else None,
        serial=element.findtext("serial"),
    )


def _source(element: etree._Element, path: str | None, mark: Mark | None) -> tuple[str, str | None]:
    """(source, ref) of a disk, told by the name of its file."""
    name = PurePosixPath(path).name if path else ""
    if image := native.read_image(name):
        return "image", image[0]
    part = native.read_part(name)
    if part is None or mark is None or part.stack != mark.stack:
        return "file", path
    if part.is_volume:
        volume = volume_address(mark, part, name)
        return ("volume", str(volume)) if volume else ("file", path)
    if part.label != mark.address.label or not mark.uuid.startswith(part.id8) or part.part != target(element):
        return "file", path
    backing = element.find("backingStore/source")
    image = native.read_image(PurePosixPath(backing.get("file", "")).name) if backing is not None else None
    if image is not None:
        return "image", image[0]
    return ("blank", None) if backing is None else ("file", path)


def volume_address(mark: Mark, part: native.Part, name: str) -> Address | None:
    """The address of the volume whose file is ``name``, told by its identity."""
    for disk in (mark.applied or {}).get("disks", ()):
        if disk["source"] == "volume" and disk["ref"]:
            address = Address.parse(disk["ref"])
            uuid = identity(mark.fleet, mark.stack, address)
            if volume_name(mark.stack, address, uuid, part.extension) == name:
                return address
    found = native.resource(mark.fleet, mark.stack, "volume", part.label, part.id8)
    return found[0] if found else None


def _nic(element: etree._Element, mark: Mark | None) -> Nic:
    mac, source, model = element.find("mac"), element.find("source"), element.find("model")
    return Nic(
        mac=mac.get("address", "").lower() if mac is not None else "",
        network=_network(element.get("type", ""), dict(source.attrib) if source is not None else {}, mark),
        model=model.get("type", "") if model is not None else "",
    )


def _network(kind: str, source: Mapping[Any, Any], mark: Mark | None) -> str:
    if kind == "network":
        name = str(source.get("network", "")).removeprefix(BETWEEN)
        prefix = network_name(mark.stack, Address("network", "")) if mark is not None else None
        return name.removeprefix(prefix) if prefix and name.startswith(prefix) else f"network:{name}"
    return f"{kind}:{source.get('bridge') or source.get('dev') or source.get('name') or ''}"


def _config_drive(root: etree._Element, details: mark_xml.Details) -> ConfigDrive | None:
    """Told by the name of the medium's file; the mark knows the whole digest and the format of the one we made."""
    for disk in root.findall("devices/disk"):
        path = file_of(disk)
        part = native.read_part(PurePosixPath(path).name) if path else None
        if part is not None and (short := part.config_digest):
            if details.config_digest.startswith(short):
                return ConfigDrive(details.config_format, details.config_digest)
            return ConfigDrive("unknown", short)
    return None
