"""The volumes that a server takes along to another host: their files there, and what tells that they are on the way.

A tiny volume beside a copy says that a move made it. It is there before the copy, and goes after the original has: a
copy with it that no domain has is nobody's, one that a domain has is the volume. Every function runs inside a
connection's thread.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.found import Mark
from stacksmith.model.realised import Server
from stacksmith.providers.base import Refused
from stacksmith.providers.libvirt import native, server_disk, storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.host import LibvirtHost


@dataclass(frozen=True, slots=True)
class Carried:
    """A volume of the server. ``origin`` is the name that says which image it is a whole copy of, "" for none.

    ``shared`` is the name of a storage that other hosts see, too: nothing is copied between those.
    """

    device: str
    volume_type: str
    name: str
    capacity_bytes: int
    format: str
    moving: str
    origin: str = ""
    shared: str | None = None


def carried(host: LibvirtHost, mark: Mark, spec: Server, link: Link) -> list[Carried]:
    """The volumes of a server on the host it is on. Raises: Refused when one is not there."""
    return list(_carried(host, mark, spec, link))


def _carried(host: LibvirtHost, mark: Mark, spec: Server, link: Link) -> Iterator[Carried]:
    disks = [disk for disk in spec.disks if disk.source == "volume"]
    names = {stored.name for stored, _ in host.storage.volumes(link)} if disks else set()
    for disk in disks:
        stored = server_disk.stored_volume(host, mark, Address.parse(disk.ref or ""), link)
        part = native.read_part(stored.name) if stored is not None else None
        if stored is None or part is None:
            raise Refused(f"{disk.ref} is not on {host.name}", f"disks[{disk.device}]")
        there = storage.facts(link.connect.storageVolLookupByKey(stored.path))
        prefix = native.origin_name(mark.stack, part.id8, "")
        origin = next((name for name in sorted(names) if name.startswith(prefix)), "")
        moving = native.moving_name(mark.stack, part.id8)
        form = "raw" if part.extension == "raw" else "qcow2"
        shared = host.storage.types[stored.volume_type].shared
        yield Carried(disk.device, stored.volume_type, stored.name, there.capacity_bytes, form, moving, origin, shared)


def check_shared(host: LibvirtHost, volumes: Sequence[Carried], link: Link) -> None:
    """Raises: Refused when the host does not see a volume that is in a storage it shares."""
    for each in volumes:
        pool = host.storage.ensure(link, each.volume_type)
        pool.refresh(0)
        if host.storage.lookup(link, each.volume_type, each.name) is None:
            where = host.storage.directory(link, each.volume_type)
            hint = f"is {each.shared} mounted at {where} of {host.name}?"
            raise Refused(f"volume {each.name} of storage {each.shared} is not seen on {host.name}", "disks", hint)


def is_shared(volume_type: str, one: LibvirtHost, other: LibvirtHost) -> bool:
    """True when both hosts see the same storage as that volume type."""
    names = [host.storage.types[volume_type].shared for host in (one, other) if volume_type in host.storage.types]
    return len(names) == 2 and names[0] is not None and names[0] == names[1]


def prepare(host: LibvirtHost, volumes: Sequence[Carried], link: Link) -> None:
    """Makes the files of the copies, still empty, on the host they go to.

    Raises: Refused when a file of that name is there that no move made.
    """
    pools = host.storage
    for kind in sorted({each.volume_type for each in volumes}):
        pools.ensure(link, kind).refresh(0)  # what is on the disk counts: a file that libvirt does not know may be data
    for each in volumes:
        kind = each.volume_type
        there = pools.lookup(link, kind, each.name)
        if there is not None:
            if pools.lookup(link, kind, each.moving) is None:
                hint = (
                    "hosts that share a storage cannot copy it to each other; else see which of the two is the volume"
                )
                raise Refused(f"volume {each.name} is on {host.name}, too", "disks", hint)
            _check_unused(each, there, link)
            storage.discard(there)
        pools.create(link, kind, storage.volume_xml(each.moving, 0, "raw"))
        if each.origin:
            pools.create(link, kind, storage.volume_xml(each.origin, 0, "raw"))
        if pools.create(link, kind, storage.volume_xml(each.name, each.capacity_bytes, each.format)) is None:
            raise Refused(f"cannot make volume {each.name}: something else makes it, too", "disks")


def drop(host: LibvirtHost, volumes: Sequence[Carried], link: Link) -> None:
    """Removes the copies that a move made and that no domain has; what says so last."""
    for each in volumes:
        pools, kind = host.storage, each.volume_type
        moving = pools.lookup(link, kind, each.moving)
        if moving is None:
            continue
        there = pools.lookup(link, kind, each.name)
        if there is not None:
            _check_unused(each, there, link)
            storage.discard(there)
        if each.origin:
            pools.remove(link, kind, each.origin)
        storage.discard(moving)


def _check_unused(each: Carried, volume: Any, link: Link) -> None:
    users = storage.disk_users(link).get(str(volume.key()))
    if users:
        raise Refused(f"volume {each.name} is in use by domain {', '.join(sorted(users))}", "disks")
