"""Changes of a running guest. Each is made only where the running definition differs, so a repeat does no harm."""

import time
from collections.abc import Callable
from functools import partial

import libvirt
from lxml import etree

from stacksmith.model.found import Mark
from stacksmith.model.realised import Disk
from stacksmith.providers.base import Deadline, Refused, TimedOut
from stacksmith.providers.libvirt import domain_edit, domain_read, domain_xml
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.domain_edit import Edit
from stacksmith.providers.libvirt.domain_xml import CONFIG_DEVICE
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.power import must_find

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_DETACH_SECONDS = 30.0
_BALLOON_SECONDS = 5.0
_POLL_SECONDS = 0.1
_KIB_PER_MIB = 1024


def apply(host: LibvirtHost, mark: Mark, edit: Edit, deadline: Deadline) -> etree._Element:
    """Makes the changes that need no restart, and gives the running definition after them."""
    host.call(partial(_sizes, mark, edit), deadline)
    if edit.touches("ram_mib"):
        _await_memory(host, mark, edit.spec.ram_mib, deadline)
    for device in edit.keys("disks"):  # what goes goes first: its file may be another's from now on, as may its port
        if host.call(partial(_goes, mark, edit, device), deadline):
            _detach(host, mark, ("disk", device), deadline)
    stay = {nic.mac for nic in edit.spec.nics}
    for mac in sorted(edit.keys("nics"), key=stay.__contains__):
        _nic(host, mark, edit, mac, deadline)
    for device in edit.keys("disks"):
        _disk(host, mark, edit, device, deadline)
    if edit.touches("config_drive") and edit.parts.config_drive is not None:
        _config_drive(host, mark, edit.parts.config_drive, deadline)
    return host.call(partial(_finish, mark, edit), deadline)


def check_ports(running: str, edit: Edit) -> None:
    """Raises: Refused when a running guest has fewer free ports than devices are to come."""
    keys, root = (*edit.keys("disks"), *edit.keys("nics")), domain_read.parse(running)
    ports = {int(c.get("index", "0")) for c in root.findall("devices/controller[@model='pcie-root-port']")}
    used = {int(a.get("bus", "0"), 16) for a in root.findall("devices//address[@type='pci']")}
    there = {t.get("dev", "") for t in root.findall("devices/disk/target[@bus='virtio']")}
    there |= {domain_edit.mac_of(n) for n in root.findall("devices/interface")}
    kept = {d.device: d.bus == "virtio" for d in edit.spec.disks} | {n.mac: True for n in edit.spec.nics}
    come = sum(kept.get(key, False) and key not in there for key in keys)
    free = len(ports - used) + sum(key in there and key not in kept for key in keys)
    if ports and come > free:
        cause = f"cannot plug {come} devices into the running guest: it has {free} free PCI ports"
        raise Refused(cause, "disks", "plug fewer, or all of them while the guest is off (power_state: stopped)")


def _sizes(mark: Mark, edit: Edit, link: Link) -> None:
    """vCPUs and memory."""
    domain = must_find(link, mark)
    root = _definition(domain)
    spec = edit.spec
    vcpus, _ = domain_read.vcpus(root)
    if edit.touches("vcpus") and vcpus < spec.vcpus:
        domain.setVcpusFlags(spec.vcpus, LIVE)
    if edit.touches("ram_mib"):  # what is shown is where the balloon is, not what it was told
        domain.setMemoryFlags(spec.ram_mib * _KIB_PER_MIB, LIVE)


def _await_memory(host: LibvirtHost, mark: Mark, ram_mib: int, deadline: Deadline) -> None:
    """Gives the balloon a moment to come to what it was told. A guest without a driver for it is no fault."""
    limit = Deadline(min(deadline.at, deadline.clock() + _BALLOON_SECONDS), deadline.clock)
    while limit.seconds and host.call(partial(_ram, mark), deadline) not in {None, ram_mib}:
        time.sleep(min(_POLL_SECONDS, limit.seconds))


def _ram(mark: Mark, link: Link) -> int | None:
    """MiB that the guest has; None when its balloon has no driver."""
    stats = must_find(link, mark).memoryStats()
    return int(stats["actual"]) // _KIB_PER_MIB if stats.get("last_update") else None


def _finish(mark: Mark, edit: Edit, link: Link) -> etree._Element:
    """What cannot fail half way: the description."""
    domain = must_find(link, mark)
    if edit.touches("description"):
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, edit.spec.description or None, None, None, LIVE)
    return _definition(domain)


def _config_drive(host: LibvirtHost, mark: Mark, path: str, deadline: Deadline) -> None:
    """Puts the medium into the drive; where that cannot be, a new drive with it takes the place of the old one.

    A guest that boots resets its drive, which shuts the tray, and libvirt does not hear of it: it takes the tray for
    open until the guest is switched off, and every change of the medium fails.
    """
    if host.call(partial(_insert, mark, path), deadline):
        return
    old = host.call(partial(_drive, mark), deadline)

    def plug(drive: etree._Element) -> Callable[[Link], None]:
        return partial(_attach_or_grow, mark, CONFIG_DEVICE, drive, None)

    _detach(host, mark, ("disk", CONFIG_DEVICE), deadline)
    try:
        host.call(plug(domain_xml.config_drive_element(path)), deadline)
    except Refused:
        if old is not None:  # the guest keeps the drive that it had
            host.call(plug(old), deadline)
        raise


def _drive(mark: Mark, link: Link) -> etree._Element | None:
    return domain_edit.find_disk(_definition(must_find(link, mark)), CONFIG_DEVICE)


def _insert(mark: Mark, path: str, link: Link) -> bool:
    """False when there is no drive, or its tray is not what libvirt takes it for."""
    domain = must_find(link, mark)
    present = domain_edit.find_disk(_definition(domain), CONFIG_DEVICE)
    if present is None or domain_read.file_of(present) == path:
        return present is not None
    try:
        domain.updateDeviceFlags(domain_xml.text(domain_xml.config_drive_element(path)), LIVE)
    except libvirt.libvirtError as error:
        if "Tray of " not in error.get_error_message():
            raise
        return False
    return True


def _definition(domain: libvirt.virDomain) -> etree._Element:
    return domain_read.parse(domain.XMLDesc(0))


def _goes(mark: Mark, edit: Edit, device: str, link: Link) -> bool:
    """True when the guest has a disk at ``device`` that it shall not have, or the disk of another volume."""
    disk = _wanted(edit, device)
    present = domain_edit.find_disk(_definition(must_find(link, mark)), device)
    if present is None or disk is None:
        return present is not None
    return disk.source == "volume" and domain_read.file_of(present) != edit.parts.files[device].path


def _wanted(edit: Edit, device: str) -> Disk | None:
    return next((d for d in edit.spec.disks if d.device == device), None)


def _disk(host: LibvirtHost, mark: Mark, edit: Edit, device: str, deadline: Deadline) -> None:
    """Attaches a disk that is not there, or grows it."""
    disk = _wanted(edit, device)
    if disk is None:
        return
    size = disk.size_bytes if disk.source in {"image", "blank"} else None
    element = domain_xml.disk_element(disk, edit.parts.files[device], edit.parts.mark)
    host.call(partial(_attach_or_grow, mark, device, element, size), deadline)


def _attach_or_grow(mark: Mark, device: str, element: etree._Element, size: int | None, link: Link) -> None:
    domain = must_find(link, mark)
    if domain_edit.find_disk(_definition(domain), device) is None:
        domain.attachDeviceFlags(domain_xml.text(element), LIVE)
    elif size is not None and domain.blockInfo(device)[0] < size:
        domain.blockResize(device, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def _nic(host: LibvirtHost, mark: Mark, edit: Edit, mac: str, deadline: Deadline) -> None:
    nic = next((n for n in edit.spec.nics if n.mac == mac), None)
    wanted = domain_xml.nic_element(nic, mark.stack) if nic is not None else None
    old = host.call(partial(_misfit, mark, mac, wanted), deadline)
    if old is not None:
        _detach(host, mark, ("interface", mac), deadline)
    if wanted is None:
        return
    try:
        host.call(partial(_plug, mark, mac, wanted), deadline)
    except Refused:
        if old is not None:  # the guest keeps the link that it had
            host.call(partial(_plug, mark, mac, old), deadline)
        raise


def _misfit(mark: Mark, mac: str, wanted: etree._Element | None, link: Link) -> etree._Element | None:
    """The interface when it must be unplugged; None when it is as wanted, or only its network had to change."""
    domain = must_find(link, mark)
    present = domain_edit.find_nic(_definition(domain), mac)
    if present is None:
        return None
    if wanted is None or present.get("type") != "network" or _model(present) != _model(wanted):
        return present
    source = wanted.find("source")
    assert source is not None
    if present.find("source").get("network") != source.get("network"):  # type: ignore[union-attr]
        domain.updateDeviceFlags(moved(present, source.get("network", "")), LIVE)
    return None


def moved(present: etree._Element, network: str) -> str:
    """The running interface on another network, as virDomainUpdateDeviceFlags takes it."""
    source = present.find("source")
    assert source is not None
    source.attrib.clear()
    source.set("network", network)
    return domain_xml.text(present)


def _model(nic: etree._Element) -> str | None:
    model = nic.find("model")
    return model.get("type") if model is not None else None


def _plug(mark: Mark, mac: str, wanted: etree._Element, link: Link) -> None:
    domain = must_find(link, mark)
    if domain_edit.find_nic(_definition(domain), mac) is None:
        domain.attachDeviceFlags(domain_xml.text(wanted), LIVE)


def _detach(host: LibvirtHost, mark: Mark, device: tuple[str, str], deadline: Deadline) -> None:
    """Asks for the device and waits until the guest lets go of it. Raises: TimedOut when it does not."""
    limit = Deadline(min(deadline.at, deadline.clock() + _DETACH_SECONDS), deadline.clock)
    asked = host.call(partial(_ask_to_detach, mark, device), deadline)
    while asked:
        if not limit.seconds:
            raise TimedOut(f"the guest of {mark.address} did not let go of {device[0]} {device[1]}")
        time.sleep(min(_POLL_SECONDS, limit.seconds))
        asked = host.call(partial(_has, mark, device), deadline)


def _find(root: etree._Element, device: tuple[str, str]) -> etree._Element | None:
    kind, name = device
    return domain_edit.find_disk(root, name) if kind == "disk" else domain_edit.find_nic(root, name)


def _has(mark: Mark, device: tuple[str, str], link: Link) -> bool:
    return _find(_definition(must_find(link, mark)), device) is not None


def _ask_to_detach(mark: Mark, device: tuple[str, str], link: Link) -> bool:
    domain = must_find(link, mark)
    present = _find(_definition(domain), device)
    if present is None:
        return False
    domain.detachDeviceFlags(domain_xml.text(present), LIVE)
    return True
