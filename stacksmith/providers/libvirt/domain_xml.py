"""A server as libvirt's domain XML: each setter writes one field, so that making and changing share them.

Source: https://libvirt.org/formatdomain.html
"""

from collections.abc import Mapping
from dataclasses import field
from uuid import UUID, uuid5

from lxml import etree

from stacksmith.address import Address, identity
from stacksmith.frozen import dataclass
from stacksmith.model.found import Mark
from stacksmith.model.naming import network_name, server_name
from stacksmith.model.realised import ConfigDrive, Disk, Nic, Server
from stacksmith.providers.libvirt import mark_xml, numa_xml
from stacksmith.providers.libvirt.topology import topology

SPARE_PORTS = 8  # pcie-root-ports kept free, so that disks and NICs can be attached to a running guest
CONFIG_DEVICE = "sda"
WHOLE_MODES = frozenset({"host-passthrough", "host-model", "maximum"})  # others are names of CPU models

_TB_CACHE_MIB = 128  # QEMU without KVM would keep up to 1 GiB of translated code per guest


@dataclass(frozen=True, slots=True)
class DiskFile:
    """The file behind a disk: its path and format, and those of the image it is an overlay on."""

    path: str
    format: str
    backing: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server's definition needs beside its spec. ``files`` is by device; paths are on the host."""

    mark: Mark
    virt_type: str
    files: Mapping[str, DiskFile] = field(default_factory=dict)
    config_drive: str | None = None
    kernel: str | None = None
    ramdisk: str | None = None


def render(spec: Server, parts: Parts) -> str:
    """The domain definition of a new server."""
    root = _skeleton(spec, parts)
    set_mark(root, parts.mark, spec)
    set_memory(root, spec.ram_mib, spec.max_ram_mib or spec.ram_mib)
    set_vcpus(root, spec.vcpus, spec.max_vcpus or spec.vcpus)
    set_firmware(root, spec.firmware, spec.secure_boot)
    set_kernel(root, parts.kernel, parts.ramdisk, spec.command_line)
    set_cpu(root, spec, parts.virt_type)
    numa_xml.set_numa(root, spec)
    devices = child(root, "devices")
    for disk in spec.disks:
        devices.append(disk_element(disk, parts.files[disk.device], parts.mark))
    if spec.config_drive is not None and parts.config_drive is not None:
        devices.append(config_drive_element(parts.config_drive))
    for nic in spec.nics:
        devices.append(nic_element(nic, parts.mark.stack))
    numa_xml.set_pci_devices(root, spec)
    return text(root)


def text(root: etree._Element) -> str:
    """The element as XML."""
    return etree.tostring(root, encoding="unicode")


def child(parent: etree._Element, tag: str) -> etree._Element:
    """The first child with ``tag``, made when there is none."""
    found = parent.find(tag)
    return etree.SubElement(parent, tag) if found is None else found


def _set_text(parent: etree._Element, tag: str, value: str | None) -> None:
    """Sets the text of a child; None removes it."""
    found = parent.find(tag)
    if value is None:
        if found is not None:
            parent.remove(found)
        return
    child(parent, tag).text = value


def _remove(parent: etree._Element, tag: str) -> None:
    for found in parent.findall(tag):
        parent.remove(found)


def _skeleton(spec: Server, parts: Parts) -> etree._Element:
    """All that no field of the spec says: what virt-install gives a modern Linux guest."""
    root = etree.Element("domain", type=parts.virt_type)
    etree.SubElement(root, "name").text = server_name(parts.mark.stack, parts.mark.address)
    etree.SubElement(root, "uuid").text = parts.mark.uuid
    machine = spec.machine_type or "q35"
    etree.SubElement(etree.SubElement(root, "os"), "type", machine=machine).text = "hvm"
    features = etree.SubElement(root, "features")
    etree.SubElement(features, "acpi")
    etree.SubElement(features, "apic")
    if parts.virt_type == "qemu":
        cache = etree.SubElement(etree.SubElement(features, "tcg"), "tb-cache", unit="MiB")
        cache.text = str(_TB_CACHE_MIB)
    clock = etree.SubElement(root, "clock", offset="utc")
    etree.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    etree.SubElement(clock, "timer", name="pit", tickpolicy="delay")
    etree.SubElement(clock, "timer", name="hpet", present="no")
    etree.SubElement(root, "on_poweroff").text = "destroy"
    etree.SubElement(root, "on_reboot").text = "restart"
    etree.SubElement(root, "on_crash").text = "destroy"
    power = etree.SubElement(root, "pm")
    etree.SubElement(power, "suspend-to-mem", enabled="no")
    etree.SubElement(power, "suspend-to-disk", enabled="no")
    _add_devices(root, spec, "q35" in machine)
    return root


def _add_devices(root: etree._Element, spec: Server, has_root_ports: bool) -> None:
    devices = etree.SubElement(root, "devices")
    if has_root_ports:
        add_root_ports(devices, spec)
    etree.SubElement(devices, "controller", type="usb", index="0", model="none")
    etree.SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    etree.SubElement(devices, "controller", type="virtio-serial", index="0")
    for tag in ("serial", "console"):
        etree.SubElement(etree.SubElement(devices, tag, type="pty"), "target", port="0")
    channel = etree.SubElement(devices, "channel", type="unix")
    etree.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    etree.SubElement(devices, "memballoon", model="virtio")
    rng = etree.SubElement(devices, "rng", model="virtio")
    etree.SubElement(rng, "backend", model="random").text = "/dev/urandom"
    name = root.findtext("name", "")
    log = etree.Element("log", file=f"/var/log/libvirt/qemu/{name}-serial.log", append="on")
    child(devices, "serial").insert(0, log)


def add_root_ports(devices: etree._Element, spec: Server) -> None:
    """A q35 machine's PCI slots: one for each device, and spare ones."""
    etree.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    used = 4 + len(spec.disks) + len(spec.nics) + len(spec.pci_devices)  # scsi, virtio-serial, balloon, rng
    for index in range(1, used + SPARE_PORTS + 1):
        etree.SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")


def set_mark(root: etree._Element, mark: Mark, spec: Server) -> None:
    """Sets what only metadata can hold, and the description."""
    mark_xml.put(root, mark, details(spec))
    set_description(root, spec.description)


def set_description(root: etree._Element, description: str) -> None:
    """The description; an empty one is none."""
    _set_text(root, "description", description or None)


def details(spec: Server) -> mark_xml.Details:
    """The part of a server that is kept in its metadata."""
    drive = spec.config_drive or ConfigDrive("", "")
    return mark_xml.Details(spec.name, dict(spec.metadata), spec.tags, drive.format, drive.digest)


def set_memory(root: etree._Element, ram_mib: int, max_ram_mib: int) -> None:
    """The guest's memory, and up to what its balloon can give without a restart."""
    for tag, amount in (("memory", max(ram_mib, max_ram_mib)), ("currentMemory", ram_mib)):
        element = child(root, tag)
        element.set("unit", "MiB")
        element.text = str(amount)


def set_vcpus(root: etree._Element, vcpus: int, max_vcpus: int) -> None:
    """The guest's vCPUs, and up to how many can be added while it runs."""
    _remove(root, "vcpus")  # libvirt's own list of the single ones, true only for the old number
    element = child(root, "vcpu")
    element.text = str(max(vcpus, max_vcpus))
    element.attrib.pop("current", "")
    if vcpus < max_vcpus:
        element.set("current", str(vcpus))


def set_machine(root: etree._Element, machine_type: str) -> None:
    """The machine type; libvirt pins the version of a family when it defines the domain."""
    root.find("os/type").set("machine", machine_type)  # type: ignore[union-attr]


def set_firmware(root: etree._Element, firmware: str, secure_boot: bool) -> None:
    """BIOS, or UEFI with secure boot asked for or asked not to be (libvirt would pick it first)."""
    os = child(root, "os")
    for tag in ("firmware", "loader", "nvram"):
        _remove(os, tag)
    os.attrib.pop("firmware", "")
    features = child(root, "features")
    _remove(features, "smm")
    if firmware != "uefi":
        return
    os.set("firmware", "efi")
    wanted = etree.Element("firmware")
    for name in ("enrolled-keys", "secure-boot"):
        etree.SubElement(wanted, "feature", enabled="yes" if secure_boot else "no", name=name)
    os.insert(1, wanted)
    if secure_boot:
        etree.SubElement(features, "smm", state="on")


def set_kernel(root: etree._Element, kernel: str | None, ramdisk: str | None, command_line: str | None) -> None:
    """Paths of the kernel and ramdisk that the guest starts from; None starts from its disks."""
    os = child(root, "os")
    _set_text(os, "kernel", kernel)
    _set_text(os, "initrd", ramdisk)
    _set_text(os, "cmdline", command_line if kernel else None)


def set_cpu(root: etree._Element, spec: Server, virt_type: str) -> None:
    """CPU mode and topology. Without a mode: the host's CPU with KVM, libvirt's default without. The cells stay."""
    numa = root.find("cpu/numa")
    _remove(root, "cpu")
    mode = spec.cpu_mode or ("host-passthrough" if virt_type == "kvm" else None)
    if mode is not None:
        cpu = etree.SubElement(root, "cpu")
        if mode in WHOLE_MODES:
            cpu.set("mode", mode)
        else:
            cpu.set("mode", "custom")
            cpu.set("match", "exact")
            etree.SubElement(cpu, "model", fallback="forbid").text = mode
    set_topology(root, spec)
    if numa is not None:
        child(root, "cpu").append(numa)


def set_topology(root: etree._Element, spec: Server) -> None:
    """Sockets, cores and threads, as declared; none leaves libvirt to choose."""
    sizes = topology(spec)
    if (cpu := root.find("cpu")) is not None:
        _remove(cpu, "topology")
    if sizes is not None:
        names = ("sockets", "cores", "threads")
        etree.SubElement(child(root, "cpu"), "topology", {k: str(v) for k, v in zip(names, sizes, strict=True)})


def disk_element(disk: Disk, file: DiskFile, mark: Mark) -> etree._Element:
    """A disk. type='file' with its path: AppArmor's profile maker does not see type='volume'."""
    element = etree.Element("disk", type="file", device=disk.device_type)
    driver = etree.SubElement(element, "driver", name="qemu", type=file.format)
    if disk.device_type == "disk":
        driver.set("discard", "unmap")
    etree.SubElement(element, "source", file=file.path)
    if file.backing is not None:
        path, form = file.backing
        backing = etree.SubElement(element, "backingStore", type="file")
        etree.SubElement(backing, "format", type=form)
        etree.SubElement(backing, "source", file=path)
        etree.SubElement(backing, "backingStore")
    etree.SubElement(element, "target", dev=disk.device, bus=disk.bus)
    if disk.device_type == "cdrom":
        etree.SubElement(element, "readonly")
    else:
        etree.SubElement(element, "serial").text = disk.serial or default_serial(disk, mark)
    if disk.boot_index is not None:
        etree.SubElement(element, "boot", order=str(disk.boot_index + 1))
    return element


def default_serial(disk: Disk, mark: Mark) -> str:
    """A serial that is stable: guests find the disk by it in /dev/disk/by-id (virtio shows 20 characters)."""
    if disk.source == "volume" and disk.ref:
        return identity(mark.fleet, mark.stack, Address.parse(disk.ref))[:20]
    return str(uuid5(UUID(mark.uuid), disk.device))[:20]


def config_drive_element(path: str) -> etree._Element:
    """The config drive: a SCSI cdrom, which small cloud kernels can read and whose medium can change live."""
    element = etree.Element("disk", type="file", device="cdrom")
    etree.SubElement(element, "driver", name="qemu", type="raw")
    etree.SubElement(element, "source", file=path)
    etree.SubElement(element, "target", dev=CONFIG_DEVICE, bus="scsi")
    etree.SubElement(element, "readonly")
    return element


def nic_element(nic: Nic, stack: str) -> etree._Element:
    """A network interface on a network of the stack."""
    element = etree.Element("interface", type="network")
    etree.SubElement(element, "mac", address=nic.mac)
    etree.SubElement(element, "source", network=network_name(stack, Address("network", nic.network)))
    etree.SubElement(element, "model", type=nic.model)
    return element
