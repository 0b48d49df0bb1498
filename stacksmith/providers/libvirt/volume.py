"""Volumes on a host: made blank or copied from an image, grown, removed. Their data is never touched otherwise."""

from functools import partial
from typing import Any

import libvirt

from stacksmith.model.found import MOVING, Found, Mark
from stacksmith.model.naming import image_file_name, volume_name
from stacksmith.model.realised import Volume
from stacksmith.providers.base import Contents, Deadline, Driver, Gone, Refused, Scope, Stale, Target
from stacksmith.providers.libvirt import carry, inventory, native, storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.inventory import Inventory, Shelf
from stacksmith.providers.libvirt.storage import Stored

_UNMADE_BYTES = 2**20  # a file shorter than this that is not of its format was never finished


class VolumeDriver:
    """Volumes of one host."""

    def __init__(self, host: LibvirtHost) -> None:
        self._host = host

    def read(self, mark: Mark) -> Found | None:
        """The volume whose name has the mark's identity, or None."""
        return self._read(mark, self._host.default_deadline())

    def _read(self, mark: Mark, deadline: Deadline) -> Found | None:
        return self._host.call(partial(_read, self._host, mark), deadline)

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Finds or makes. A copy that was not finished is made again; a file with unknown data is never overwritten.

        Raises: Refused when it is smaller than its image, or when its file is there and is no copy of the image.
        """
        spec = target.wanted
        assert isinstance(spec, Volume)
        make = _make_blank if spec.image is None else _make_copy
        self._host.call(partial(make, self._host, target.mark, spec), deadline)
        return self._must_read(target.mark, deadline)

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Grows the volume: through the guest that has it, when it runs. Raises: Refused for all else, and Gone."""
        spec = target.wanted
        assert isinstance(spec, Volume)
        for change in target.changes:
            if change.path != "size_bytes" and not change.path.startswith("policy."):
                raise Refused(f"cannot change {change.path} of a volume in place", change.path)
        found = self._must_read(target.mark, deadline)
        if any(c.path == "size_bytes" for c in target.changes):
            self._host.call(partial(_grow, str(found.facts["path"]), spec.size_bytes), deadline)
        return self._must_read(target.mark, deadline)

    def migrate(self, target: Target, destination: Driver, contents: Contents, deadline: Deadline) -> Found:
        """Ends the move of a volume that its server took along: removes what it left here.

        Raises: Refused unless a domain has the copy on the destination, which a move made.
        """
        if not isinstance(destination, VolumeDriver):
            raise Refused(f"{target.host} is not a libvirt host")
        there = destination._must_read(target.mark, deadline)
        assert isinstance(target.wanted, Volume)
        if carry.is_shared(target.wanted.volume_type, self._host, destination._host):
            return there
        if there.partial or MOVING not in there.facts:
            raise Refused(f"{target.mark.address} did not come to {target.host} with its server", "host")
        if destination._host.name != self._host.name:
            self._host.call(partial(_remove, self._host, target.mark), deadline)
        destination._host.call(partial(_arrive, destination._host, target.mark), deadline)
        return destination._must_read(target.mark, deadline)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Removes the volume with its data. Raises: Refused when a domain has it as a disk."""
        self._host.call(partial(_remove, self._host, target.mark), deadline)

    def _must_read(self, mark: Mark, deadline: Deadline) -> Found:
        found = self._read(mark, deadline)
        if found is None:
            raise Gone(f"{mark.address} is not on {self._host.name}")
        return found


def _read(host: LibvirtHost, mark: Mark, link: Link) -> Found | None:
    volumes = host.storage.volumes(link)
    for stored, volume in volumes:
        part = native.read_part(stored.name)
        if part is not None and _is_it(part, mark):
            shelf = Shelf(tuple(s for s, _ in volumes), users=_users(link))
            facts = {stored.name: inventory.facts_or_none(volume)}
            scope = Scope(mark.fleet, mark.stack, {stored.name: mark.address})
            return Inventory(shelf, facts).volume(host.name, scope, stored, part)
    return None


def _is_it(part: native.Part, mark: Mark) -> bool:
    is_ours = part.is_volume and part.stack == mark.stack and part.label == mark.address.label
    return is_ours and mark.uuid.startswith(part.id8)


def _users(link: Link) -> dict[str, str]:
    return {path: domain.UUIDString() for domain, path in storage.disks(link)}


def _name(mark: Mark, spec: Volume) -> str:
    return volume_name(mark.stack, mark.address, mark.uuid, "raw" if spec.format == "raw" else "qcow2")


def _make_blank(host: LibvirtHost, mark: Mark, spec: Volume, link: Link) -> None:
    name = _name(mark, spec)
    xml = storage.volume_xml(name, spec.size_bytes, spec.format)
    if host.storage.create(link, spec.volume_type, xml) is not None:
        return
    volume = host.storage.lookup(link, spec.volume_type, name)
    there = storage.facts(volume) if volume is not None else None
    is_unmade = there is not None and there.format != spec.format and there.physical_bytes < _UNMADE_BYTES
    if is_unmade and there is not None and there.path not in storage.disk_users(link):
        storage.discard(volume)
        host.storage.create(link, spec.volume_type, xml)


def _make_copy(host: LibvirtHost, mark: Mark, spec: Volume, link: Link) -> None:
    """Copies the image. Marks say when it was begun and when it was whole: a killed copy looks like a whole one."""
    name, id8 = _name(mark, spec), mark.uuid[:8]
    begun, origin = native.begun_name(mark.stack, id8), native.origin_name(mark.stack, id8, spec.image or "")
    pools, kind = host.storage, spec.volume_type
    volume = pools.lookup(link, kind, name)
    if volume is not None and pools.lookup(link, kind, origin) is not None:
        return
    if volume is not None and pools.lookup(link, kind, begun) is None:
        raise Refused(f"volume {name} is there and is no copy of the image", "image", "remove it by hand")
    base = _image(host, spec, link)
    pools.create(link, kind, storage.volume_xml(begun, 0, "raw"))
    if volume is not None:
        storage.discard(volume)
    xml = storage.volume_xml(name, spec.size_bytes, spec.format)
    try:
        copy = pools.ensure(link, kind).createXMLFrom(xml, base, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        raise _not_whole(host, spec) from error
    if storage.facts(copy).capacity_bytes < spec.size_bytes:  # a copy is as large as what it was made from
        copy.resize(spec.size_bytes, 0)
    if not inventory.is_marked(pools, spec.image or "", "disk", link):  # it went while it was copied
        storage.discard(copy)
        raise _not_whole(host, spec)
    pools.create(link, kind, storage.volume_xml(origin, 0, "raw"))
    pools.remove(link, kind, begun)


def _image(host: LibvirtHost, spec: Volume, link: Link) -> Any:
    """The image's file. Raises: Stale when it is not whole, Refused when it is larger than the volume."""
    name, pools = image_file_name(spec.image or "", "disk"), host.storage
    base = pools.lookup(link, pools.default, name)
    if base is None or not inventory.is_marked(pools, spec.image or "", "disk", link):
        raise _not_whole(host, spec)
    needed = storage.facts(base).capacity_bytes
    if spec.size_bytes < needed:
        raise Refused(f"the volume of {spec.size_bytes} bytes is smaller than its image of {needed}", "size_bytes")
    return base


def _not_whole(host: LibvirtHost, spec: Volume) -> Stale:
    return Stale(f"the image {spec.image} is not on {host.name} as a whole file", "image")


def _grow(path: str, size: int, link: Link) -> None:
    """Grows the file: blockResize when a running guest has it, which sees the new size at once."""
    volume = link.connect.storageVolLookupByKey(path)
    capacity = storage.facts(volume).capacity_bytes
    if size < capacity:
        raise Refused(f"cannot shrink a volume of {capacity} bytes to {size}: its data would be lost", "size_bytes")
    if size == capacity:
        return
    users = [domain for domain, disk in storage.disks(link) if disk == path and domain.isActive()]
    if users:
        users[0].blockResize(path, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    else:
        volume.resize(size, 0)


def _remove(host: LibvirtHost, mark: Mark, link: Link) -> None:
    """The volume last: what is left of a killed delete is found by it."""
    volumes = host.storage.volumes(link)
    ours = [(s, v) for s, v in volumes if (p := native.read_part(s.name)) is not None and _is_it(p, mark)]
    users = storage.disk_users(link) if ours else {}
    for stored, _ in ours:
        _check_unused(stored, users)
    id8 = mark.uuid[:8]
    for stored, volume in volumes:
        origin = native.read_origin(stored.name)
        if stored.name == native.begun_name(mark.stack, id8) or (origin and origin[:2] == (mark.stack, id8)):
            storage.discard(volume)
    for _, volume in ours:
        storage.discard(volume)
    for stored, volume in volumes:  # to the last it tells that a copy that a move made is nobody's
        if stored.name == native.moving_name(mark.stack, id8):
            storage.discard(volume)


def _arrive(host: LibvirtHost, mark: Mark, link: Link) -> None:
    """Removes what says that the volume is on the way here."""
    for stored, volume in host.storage.volumes(link):
        if stored.name == native.moving_name(mark.stack, mark.uuid[:8]):
            storage.discard(volume)


def _check_unused(stored: Stored, users: dict[str, set[str]]) -> None:
    if stored.path in users:
        raise Refused(f"volume {stored.name} is in use by domain {', '.join(sorted(users[stored.path]))}")
