"""What the pools of a host hold for a stack: images, volumes, and disks whose server is not there.

Volumes carry no mark: names tell whose they are (``native``), and tiny volumes beside them tell that they are whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

import libvirt

from stacksmith.address import Address, identity
from stacksmith.frozen import dataclass
from stacksmith.model.found import MOVING, Found, Resources, Unmanaged
from stacksmith.model.hardware import Holding
from stacksmith.model.naming import complete_name, image_file_name
from stacksmith.model.realised import Image, ImageFile, Volume, to_data
from stacksmith.providers.base import Scope
from stacksmith.providers.libvirt import native, storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.found import GIB, digest
from stacksmith.providers.libvirt.native import Part
from stacksmith.providers.libvirt.storage import Storage, Stored, VolumeFacts


@dataclass(frozen=True)
class Shelf:
    """The volumes of a host by name. ``sizes`` are bytes by path, ``users`` uuids of domains by path."""

    stored: tuple[Stored, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> frozenset[str]:
        """The volumes' names."""
        return frozenset(s.name for s in self.stored)

    @cached_property
    def origins(self) -> dict[tuple[str, str], str]:
        """Checksum of the image that a volume is a whole copy of, by its stack and id."""
        read = filter(None, map(native.read_origin, self.names))
        return {(stack, id8): checksum for stack, id8, checksum in read}


def image_files(scope: Scope) -> dict[Address, tuple[ImageFile, ...]]:
    """The files of every image in scope: as declared, else as names tell."""
    files = dict(scope.images)
    by_name: dict[Address, list[ImageFile]] = defaultdict(list)
    for name, address in scope.names.items():
        if (read := native.read_image(name)) and address not in files:
            by_name[address].append(ImageFile(read[1], read[0], ""))
    return files | {a: tuple(sorted(f, key=lambda f: f.role)) for a, f in by_name.items()}


def image_facts(volumes: Iterable[tuple[Stored, Any]], scope: Scope) -> dict[str, VolumeFacts | None]:
    """Facts by name of the image files in scope; None for one that is gone from the disk. One call each."""
    wanted = {image_file_name(f.checksum, f.role) for files in image_files(scope).values() for f in files}
    return {s.name: facts_or_none(v) for s, v in volumes if s.name in wanted}


def to_read(shelf: Shelf) -> list[Stored]:
    """Volumes that are resources: also of running guests, for a guest keeps the file that was removed under it."""
    return [s for s in shelf.stored if (p := native.read_part(s.name)) and p.is_volume]


def volume_facts(stored: Iterable[Stored], link: Link) -> dict[str, VolumeFacts | None]:
    """Facts by name; None for one that is gone from the disk. Two calls each."""
    found: dict[str, VolumeFacts | None] = {}
    for volume in stored:
        try:
            found[volume.name] = facts_or_none(link.connect.storageVolLookupByKey(volume.path))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            found[volume.name] = None
    return found


def is_marked(pools: Storage, checksum: str, role: str, link: Link) -> bool:
    """True when the marker of an image file is there: who removes the file removes it first, and then looks again for
    what uses the file."""
    return pools.lookup(link, pools.default, complete_name(image_file_name(checksum, role))) is not None


def facts_or_none(volume: Any) -> VolumeFacts | None:
    """Facts of a volume, or None when its file is gone from the disk."""
    try:
        return storage.facts(volume)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


@dataclass(frozen=True, slots=True)
class Inventory:
    """The shelf with the facts that were read of its volumes."""

    shelf: Shelf
    facts: Mapping[str, VolumeFacts | None]

    def found(self, host: str, scope: Scope, servers: set[str]) -> Iterator[Found]:
        """Images, volumes, and remains of servers of the stack. ``servers`` are uuids of those that are there."""
        for address, files in sorted(image_files(scope).items()):
            if image := self.image(host, scope, address, files):
                yield image
        remains: dict[tuple[str, str], list[Stored]] = defaultdict(list)
        for stored in self.shelf.stored:
            part = native.read_part(stored.name)
            if part is None or part.stack != scope.stack:
                continue
            if part.is_volume:
                if self._is_ours(scope, stored, part):
                    yield self.volume(host, scope, stored, part)
            elif stored.path not in self.shelf.users and not any(uuid.startswith(part.id8) for uuid in servers):
                remains[part.label, part.id8].append(stored)
        for (label, id8), parts in sorted(remains.items()):
            if self._is_in_fleet(scope, "server", label, id8):
                yield _remains(host, scope, (label, id8), parts)

    def _is_ours(self, scope: Scope, stored: Stored, part: Part) -> bool:
        """False for a volume of another fleet's stack of the same name: only the identity in its name differs."""
        return part.stack == scope.stack and (
            stored.name in scope.names or self._is_in_fleet(scope, "volume", part.label, part.id8)
        )

    def _is_in_fleet(self, scope: Scope, kind: str, label: str, id8: str) -> bool:
        return native.resource(scope.fleet, scope.stack, kind, label, id8) is not None

    def image(self, host: str, scope: Scope, address: Address, files: tuple[ImageFile, ...]) -> Found | None:
        """Another stack's upload counts as a part: it is one for who needs the image here, and nothing to remove."""
        whole, begun, missing, is_there = [], [], [], False
        for file in files:
            name = image_file_name(file.checksum, file.role)
            facts = self.facts.get(name)
            if name in self.facts and facts is None:
                missing.append(name)
            elif facts is not None and complete_name(name) in self.shelf.names:
                whole.append(ImageFile(file.role, file.checksum, _format(file, facts)))
            if native.claim_name(name, scope.fleet, scope.stack) in self.shelf.names:
                begun.append(file)
            is_there |= name in self.facts
        if not begun and not is_there:
            return None
        address = Address(address.kind, address.name, address.key, host)
        return Found(
            address=address,
            host=host,
            uuid=identity(scope.fleet, scope.stack, address),
            name=address.name,
            spec=Image(tuple(whole)),
            fingerprint=digest(to_data(Image(tuple(whole)))),
            partial=len(whole) < len(files) or bool(begun),  # the bytes may be whole: create takes the claim away
            facts={"missing": list(missing)} if missing else {},
            begun=tuple(begun),
        )

    def volume(self, host: str, scope: Scope, stored: Stored, part: Part) -> Found:
        """A volume resource. One copied from an image is partial until its copy was whole, one that a server brings
        here until that is here."""
        known = scope.names.get(stored.name)
        told = native.resource(scope.fleet, scope.stack, "volume", part.label, part.id8)
        address, uuid = told or (known or Address("volume", part.label), part.id8)
        origin = self.shelf.origins.get((part.stack, part.id8))
        begun = origin is not None or native.begun_name(part.stack, part.id8) in self.shelf.names
        moving = native.moving_name(part.stack, part.id8) in self.shelf.names
        user = self.shelf.users.get(stored.path)
        facts = self.facts.get(stored.name)
        is_missing = stored.name in self.facts and facts is None
        size = 0 if is_missing else self.shelf.sizes.get(stored.path, facts.capacity_bytes if facts else 0)
        spec = Volume(size, stored.volume_type, "raw" if part.extension == "raw" else "qcow2", origin)
        return Found(
            address=known or address,
            host=host,
            uuid=uuid,
            name=stored.name,
            spec=spec,
            fingerprint=digest(to_data(spec), stored.path),
            partial=(begun and origin is None) or (moving and user is None),
            usage=Resources(disk_gib=-(-size // GIB)),
            holds=_disk(stored, size),
            facts={"path": stored.path, "attached_to": user} | ({MOVING: True} if moving else {}),
            problem=f"file is missing: {stored.path}" if is_missing else None,
        )

    def unmanaged(self, host: str, scope: Scope) -> Iterator[Unmanaged]:
        """Volumes of other stacks; the disks of their servers are counted with the servers."""
        for stored in self.shelf.stored:
            part = native.read_part(stored.name)
            if part is None or not part.is_volume or self._is_ours(scope, stored, part):
                continue
            facts = self.facts.get(stored.name)
            size = self.shelf.sizes.get(stored.path, facts.capacity_bytes if facts else 0)
            mine = self._is_in_fleet(Scope(scope.fleet, part.stack, {}), "volume", part.label, part.id8)
            owner = f"{scope.fleet}/{part.stack}" if mine else None
            usage = Resources(disk_gib=-(-size // GIB))
            detail = f"stack {part.stack}"
            yield Unmanaged("volume", host, stored.name, part.id8, owner, usage, detail, _disk(stored, size))


def _disk(stored: Stored, size_bytes: int) -> Holding:
    """The room that a volume takes of its volume type."""
    return Holding(disks=((stored.volume_type, -(-size_bytes // GIB)),))


def _format(file: ImageFile, facts: VolumeFacts) -> str:
    """libvirt knows a qcow2 file; what it calls raw may be meant as an ISO."""
    if facts.format == "qcow2":
        return "qcow2"
    return file.format if file.format in {"raw", "iso"} else "raw"


def _remains(host: str, scope: Scope, identity8: tuple[str, str], parts: list[Stored]) -> Found:
    """Disks of a server without their domain: its create did not end, or somebody undefined it."""
    told = native.resource(scope.fleet, scope.stack, "server", *identity8)
    assert told is not None
    names = sorted(p.name for p in parts)
    return Found(
        address=told[0],
        host=host,
        uuid=told[1],
        name=names[0],
        spec=None,
        fingerprint=digest(names),
        partial=True,
        facts={"remains": list(names)},
    )
