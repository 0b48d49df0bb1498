"""The files behind a server: local disks made as overlays, volumes looked up, config drives uploaded.

Every function runs inside a connection's thread.
"""

import io
from collections.abc import Sequence

from stacksmith.address import Address, identity
from stacksmith.model.found import Mark
from stacksmith.model.naming import config_drive_name, image_file_name, local_disk_name
from stacksmith.model.realised import Disk, Server
from stacksmith.providers.base import Deadline, Refused, Stale
from stacksmith.providers.libvirt import inventory, native, storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.domain_xml import DiskFile
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.storage import VolumeFacts


def ensure_disk(host: LibvirtHost, mark: Mark, disk: Disk, link: Link) -> DiskFile:
    """The file of a disk, made when it is a local one that is not there. Raises: Refused."""
    if disk.source == "volume":
        return _volume(host, mark, Address.parse(disk.ref or ""), link)
    if disk.source == "image" and disk.device_type == "cdrom":
        return DiskFile(_base(host, disk, link).path, "raw")
    if disk.source not in {"image", "blank"}:
        raise Refused(f"cannot make a disk of {disk.source}", f"disks[{disk.device}]")
    return _local(host, mark, disk, link)


def present_disk(host: LibvirtHost, mark: Mark, disk: Disk, link: Link) -> DiskFile:
    """The file of a disk that the server has already: nothing is made."""
    if disk.source not in {"image", "blank"} or disk.device_type == "cdrom":
        return ensure_disk(host, mark, disk, link)
    kind = host.storage.default
    base = _base(host, disk, link) if disk.source == "image" else None
    name = local_disk_name(mark.stack, mark.address, mark.uuid, disk.device)
    return DiskFile(f"{host.storage.directory(link, kind)}/{name}", "qcow2", (base.path, base.format) if base else None)


def _local(host: LibvirtHost, mark: Mark, disk: Disk, link: Link) -> DiskFile:
    base = _base(host, disk, link) if disk.source == "image" else None
    size = disk.size_bytes or (base.capacity_bytes if base else 0)
    if base and size < base.capacity_bytes:
        raise Refused(
            f"disk {disk.device} of {size} bytes is smaller than its image of {base.capacity_bytes}",
            f"disks[{disk.device}].size_bytes",
        )
    pools, kind = host.storage, host.storage.default
    name = local_disk_name(mark.stack, mark.address, mark.uuid, disk.device)
    backing = (base.path, base.format) if base else None
    is_made = False
    try:
        is_made = _make(host, name, (size, backing), link)
    finally:  # libvirt tells of an image that was removed meanwhile only that it cannot be read, or nothing
        if base and not inventory.is_marked(host.storage, disk.ref or "", "disk", link):
            if is_made:
                pools.remove(link, kind, name)
            raise _not_whole(host, f"the image of disk {disk.device}", f"disks[{disk.device}]")
    return DiskFile(f"{pools.directory(link, kind)}/{name}", "qcow2", backing)


def _make(host: LibvirtHost, name: str, wanted: tuple[int, tuple[str, str] | None], link: Link) -> bool:
    """Makes the overlay, or blank disk, of (size, backing); False when a killed run had left it."""
    size, backing = wanted
    xml = storage.volume_xml(name, size, "qcow2", backing)
    if host.storage.create(link, host.storage.default, xml) is not None:
        return True
    if _is_as_wanted(host, name, wanted, link):
        return False
    _remake(host, name, xml, link)
    return True


def _is_as_wanted(host: LibvirtHost, name: str, wanted: tuple[int, tuple[str, str] | None], link: Link) -> bool:
    """True when the volume that a killed run left is the one that is to be made."""
    size, backing = wanted
    volume = host.storage.lookup(link, host.storage.default, name)
    if volume is None:
        return False
    there = storage.facts(volume)
    return (there.capacity_bytes, there.format, there.backing) == (size, "qcow2", backing[0] if backing else None)


def _remake(host: LibvirtHost, name: str, xml: str, link: Link) -> None:
    """Replaces a volume of our name with unknown content, unless a domain uses it."""
    pools, kind = host.storage, host.storage.default
    users = storage.disk_users(link).get(f"{pools.directory(link, kind)}/{name}")
    if users:
        raise Refused(f"volume {name} is in use by domain {', '.join(sorted(users))}")
    pools.remove(link, kind, name)
    if pools.create(link, kind, xml) is None:
        raise Refused(f"cannot make volume {name}: something else makes it, too")


def _base(host: LibvirtHost, disk: Disk, link: Link) -> VolumeFacts:
    """The image file a disk starts from, whole. Looked up once in a session."""
    name = image_file_name(disk.ref or "", "disk")
    path = f"{host.storage.directory(link, host.storage.default)}/{name}"
    with host.looking:  # servers are made side by side: one of them asks
        if path not in host.bases and (facts := host.seen(path)):
            host.bases[path] = facts
        if path not in host.bases:
            pools, kind = host.storage, host.storage.default
            volume = pools.lookup(link, kind, name)
            if volume is None or not inventory.is_marked(host.storage, disk.ref or "", "disk", link):
                raise _not_whole(host, f"the image of disk {disk.device}", f"disks[{disk.device}]")
            host.bases[path] = storage.facts(volume)
        return host.bases[path]


def _not_whole(host: LibvirtHost, what: str, path: str) -> Stale:
    return Stale(f"{what} is not on {host.name} as a whole file", path)


def check_images(host: LibvirtHost, spec: Server, link: Link) -> None:
    """Raises: Stale when an image that the server reads itself, as cdrom or to boot, is not there as a whole file. To
    be called once the domain is defined: before, another stack may still remove it."""
    files = [
        (d.ref, "disk", f"disks[{d.device}]") for d in spec.disks if d.source == "image" and d.device_type == "cdrom"
    ]
    for checksum, role, path in [*files, (spec.kernel, "kernel", "kernel"), (spec.ramdisk, "ramdisk", "ramdisk")]:
        if checksum and not inventory.is_marked(host.storage, checksum, role, link):
            raise _not_whole(host, f"the image of {path}", path)


def _volume(host: LibvirtHost, mark: Mark, address: Address, link: Link) -> DiskFile:
    """The file of a volume of the stack; the newest when a replaced one is still there."""
    stored = stored_volume(host, mark, address, link)
    if stored is None:
        raise Refused(f"{address} is not on {host.name}", "disks", "a server and its volumes live on the same host")
    part = native.read_part(stored.name)
    return DiskFile(stored.path, "raw" if part is not None and part.extension == "raw" else "qcow2")


def stored_volume(host: LibvirtHost, mark: Mark, address: Address, link: Link) -> storage.Stored | None:
    """The file of a volume resource, or None."""
    ids = [identity(mark.fleet, mark.stack, address, g)[:8] for g in range(native.GENERATIONS)]
    found = {}
    for stored, _ in host.storage.volumes(link):
        part = native.read_part(stored.name)
        if part and part.is_volume and part.stack == mark.stack and part.label == address.label and part.id8 in ids:
            found[ids.index(part.id8)] = stored
    return found[max(found)] if found else None


def kernel_path(host: LibvirtHost, checksum: str | None, role: str, link: Link) -> str | None:
    """The path of a kernel or ramdisk file on the host."""
    if checksum is None:
        return None
    return f"{host.storage.directory(link, host.storage.default)}/{image_file_name(checksum, role)}"


def put_config_drive(host: LibvirtHost, mark: Mark, drive: tuple[str, bytes], deadline: Deadline, link: Link) -> str:
    """Uploads the config drive ``(digest, bytes)`` and gives its path. One that is there is not believed: its upload
    may have been killed."""
    digest, content = drive
    pools, kind = host.storage, host.storage.default
    name = config_drive_name(mark.stack, mark.address, mark.uuid, digest)
    volume = pools.create(link, kind, storage.volume_xml(name, len(content), "raw"))
    if volume is None:
        pools.remove(link, kind, name)
        volume = pools.create(link, kind, storage.volume_xml(name, len(content), "raw"))
    if volume is None:
        raise Refused(f"cannot make volume {name}: something else makes it, too", "config_drive")
    storage.upload(link, volume, io.BytesIO(content), len(content), deadline, lambda data: None)
    return str(volume.key())


def remove_files(host: LibvirtHost, mark: Mark, link: Link) -> None:
    """Removes the server's local disks and config drives by their names. Raises: Refused when a domain has one."""
    remove_paths(link, [stored.path for stored in _own_files(host, mark, link)])


def remove_config_drives(host: LibvirtHost, mark: Mark, link: Link) -> None:
    """Removes the server's config drives that no domain has: those of former contents."""
    users = storage.disk_users(link)
    for stored in _own_files(host, mark, link):
        part = native.read_part(stored.name)
        if part is not None and part.config_digest and stored.path not in users:
            storage.discard(link.connect.storageVolLookupByKey(stored.path))


def _own_files(host: LibvirtHost, mark: Mark, link: Link) -> list[storage.Stored]:
    """Local disks and config drives of the server, told by name."""
    ours = []
    for stored, _ in host.storage.volumes(link):
        part = native.read_part(stored.name)
        if part is None or part.is_volume or part.stack != mark.stack or part.label != mark.address.label:
            continue
        if mark.uuid.startswith(part.id8):
            ours.append(stored)
    return ours


def remove_paths(link: Link, paths: Sequence[str]) -> None:
    """Removes files of the server. Raises: Refused when a domain has one of them."""
    users = storage.disk_users(link) if paths else {}
    for path in paths:
        if path in users:
            raise Refused(f"disk {path} is in use by domain {', '.join(sorted(users[path]))}", "disks")
        storage.discard(link.connect.storageVolLookupByKey(path))
