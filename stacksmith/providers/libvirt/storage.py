"""Storage pools and volumes of one host: found, made, filled and removed.

libvirt guards nothing here (a running guest's disk can be deleted, a killed upload looks whole), so callers check
users and completeness themselves. Every function runs inside a connection's thread.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import libvirt
from lxml import etree

from stacksmith.frozen import dataclass
from stacksmith.model.fleet import VolumeType
from stacksmith.providers.base import Deadline, Refused, TimedOut
from stacksmith.providers.libvirt.connection import Link

# What is asked of every domain at once.
STATISTICS = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BLOCK | libvirt.VIR_DOMAIN_STATS_BALLOON


@dataclass(frozen=True, slots=True)
class Stored:
    """A volume as a pool lists it."""

    volume_type: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """A volume as its file is. ``physical_bytes`` is its length, ``allocated_bytes`` what it takes of the disk."""

    path: str
    capacity_bytes: int
    physical_bytes: int
    format: str
    backing: str | None
    allocated_bytes: int = 0


class Storage:
    """The pools behind a host's volume types; a missing one is made by the first write that needs it."""

    def __init__(self, types: Mapping[str, VolumeType], default: str) -> None:
        self.types = types
        self.default = default
        self._making = threading.Lock()
        self._directories: dict[str, str] = {}

    def find(self, link: Link, volume_type: str) -> Any | None:
        """The pool of a volume type, or None when there is none on the host."""
        name = self._type(volume_type).pool
        if name not in link.pools:
            try:
                link.pools[name] = link.connect.storagePoolLookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                    raise
                return None
        return link.pools[name]

    def ensure(self, link: Link, volume_type: str) -> Any:
        """The pool of a volume type, running; made when there is none."""
        declared = self._type(volume_type)
        if declared.pool in self._directories and declared.pool in link.pools:
            return link.pools[declared.pool]
        with self._making:
            pool = self.find(link, volume_type)
            if pool is not None and declared.pool in self._directories:
                return pool
            if pool is None:
                pool = link.pools[declared.pool] = _make_pool(link, declared)
            else:
                _start(pool, declared.path)
            self._directories[declared.pool] = _target_path(pool)
        return pool

    def directory(self, link: Link, volume_type: str) -> str:
        """The folder on the host that a volume type's files are in."""
        declared = self._type(volume_type)
        if declared.pool not in self._directories:
            pool = self.find(link, volume_type)
            if pool is None:
                return declared.path
            self._directories[declared.pool] = _target_path(pool)
        return self._directories[declared.pool]

    def volumes(self, link: Link) -> list[tuple[Stored, Any]]:
        """Every volume of every running pool, with its handle. One call for each pool."""
        found, seen = [], set()
        for volume_type, declared in self.types.items():
            if declared.pool in seen:
                continue
            seen.add(declared.pool)
            pool = self.find(link, volume_type)
            if pool is not None:
                listed = [(Stored(volume_type, v.name(), v.key()), v) for v in _listed(pool)]
                found += listed
                if listed and (folder := os.path.dirname(listed[0][0].path)):  # it runs, and this is where
                    self._directories.setdefault(declared.pool, folder)
        return found

    def lookup(self, link: Link, volume_type: str, name: str) -> Any | None:
        """A volume by name, or None."""
        try:
            return self.ensure(link, volume_type).storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return None

    def create(self, link: Link, volume_type: str, xml: str) -> Any | None:
        """A new volume, or None when the name is taken."""
        pool = self.ensure(link, volume_type)
        try:
            return pool.createXML(xml, 0)
        except libvirt.libvirtError as error:
            is_listed = error.get_error_code() == libvirt.VIR_ERR_STORAGE_VOL_EXIST
            if not is_listed and "exists" not in str(error):
                raise
        if is_listed and self._is_on_disk(pool, xml):
            return None
        # The pool's list is not what is on the disk: a file was put there, or taken away, behind libvirt.
        with self._making:
            pool.refresh(0)
        return _unless_listed(pool, xml) if is_listed else None

    @staticmethod
    def _is_on_disk(pool: Any, xml: str) -> bool:
        try:
            pool.storageVolLookupByName(etree.fromstring(xml).findtext("name", "")).info()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return False
        return True

    def remove(self, link: Link, volume_type: str, name: str) -> bool:
        """Removes a volume; False when there was none."""
        volume = self.lookup(link, volume_type, name)
        return volume is not None and discard(volume)

    def _type(self, volume_type: str) -> VolumeType:
        if volume_type not in self.types:
            known = ", ".join(sorted(self.types)) or "none"
            raise Refused(f"the host has no volume type {volume_type!r} (it has {known})", "volume_type")
        return self.types[volume_type]


def _unless_listed(pool: Any, xml: str) -> Any | None:
    """A new volume, or None when the pool lists one of its name."""
    try:
        return pool.createXML(xml, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_STORAGE_VOL_EXIST:
            raise
        return None


def _listed(pool: Any) -> list[Any]:
    try:
        return list(pool.listAllVolumes(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            return []  # the pool is not running
        raise


def discard(volume: Any) -> bool:
    """Deletes a volume; False when its file was gone already, and the pool's list with it."""
    try:
        volume.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        with suppress(libvirt.libvirtError):  # busy: the list is right when the next job has ended
            volume.storagePoolLookupByVolume().refresh(0)
        return False
    return True


def _make_pool(link: Link, declared: VolumeType) -> Any:
    root = etree.Element("pool", type="dir")
    etree.SubElement(root, "name").text = declared.pool
    etree.SubElement(etree.SubElement(root, "target"), "path").text = declared.path
    try:
        pool = link.connect.storagePoolDefineXML(etree.tostring(root, encoding="unicode"), 0)
    except libvirt.libvirtError:
        # Another run may have made it in this moment; if not, this raises the reason.
        pool = link.connect.storagePoolLookupByName(declared.pool)
    _start(pool, declared.path, build=True)
    pool.setAutostart(1)
    return pool


def _start(pool: Any, path: str, build: bool = False) -> None:
    """Starts a pool that does not run, unless another run does it in this moment. ``build`` makes its folder first."""
    if pool.isActive():
        return
    try:
        if build:
            _build(pool)
        pool.create(0)
    except libvirt.libvirtError:
        is_whole = bool(pool.autostart())  # its maker sets that last: the folder was there once, and must be mounted
        if pool.isActive():
            return
        root = etree.fromstring(pool.XMLDesc(0).encode())
        if build or is_whole or (root.get("type"), root.findtext("target/path")) != ("dir", path):
            raise
        _start(pool, path, build=True)  # another run defined it, and was killed, or is, before it made the folder
        pool.setAutostart(1)


def _build(pool: Any) -> None:
    try:
        pool.build(0)
    except libvirt.libvirtError as error:
        if "File exists" not in str(error):  # another host that sees the storage made the folder in this moment
            raise


def _target_path(pool: Any) -> str:
    return etree.fromstring(pool.XMLDesc(0).encode()).findtext("target/path", "")


def volume_xml(name: str, capacity_bytes: int, form: str, backing: tuple[str, str] | None = None) -> str:
    """The definition of a volume; ``backing`` is (path, format). compat 1.1: 0.10 has no bitmaps, so no backups."""
    root = etree.Element("volume", type="file")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "capacity", unit="bytes").text = str(capacity_bytes)
    if form == "raw":
        etree.SubElement(root, "allocation", unit="bytes").text = "0"
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "format", type=form)
    if form == "qcow2":
        etree.SubElement(target, "compat").text = "1.1"
    if backing is not None:
        store = etree.SubElement(root, "backingStore")
        etree.SubElement(store, "path").text = backing[0]
        etree.SubElement(store, "format", type=backing[1])
    return etree.tostring(root, encoding="unicode")


def facts(volume: Any) -> VolumeFacts:
    """The volume's file as it is now. Raises: libvirtError NO_STORAGE_VOL when it was removed behind libvirt."""
    root = etree.fromstring(volume.XMLDesc(0).encode())
    form = root.find("target/format")
    return VolumeFacts(
        path=root.findtext("target/path", ""),
        capacity_bytes=int(root.findtext("capacity", "0")),
        physical_bytes=int(root.findtext("physical", "0")),
        format=form.get("type", "raw") if form is not None else "raw",
        backing=root.findtext("backingStore/path") or None,
        allocated_bytes=int(root.findtext("allocation", "0")),
    )


def upload(
    link: Link, volume: Any, source: BinaryIO, size: int, deadline: Deadline, sent: Callable[[bytes], None]
) -> None:
    """Streams ``size`` bytes into the volume, calling ``sent`` with every block. Raises: TimedOut at the deadline."""
    stream = link.connect.newStream(0)
    volume.upload(stream, 0, size, 0)

    def block(stream: Any, length: int, opaque: Any) -> bytes:
        if not deadline.seconds:
            raise TimedOut("the upload did not end in the time limit")
        data = source.read(length)
        sent(data)
        return data

    try:
        stream.sendAll(block, None)
        stream.finish()
    except BaseException:
        _abort(stream)
        raise


def _abort(stream: Any) -> None:
    try:
        stream.abort()
    except libvirt.libvirtError:
        return  # it was ended by the fault already


def disk_users(link: Link) -> dict[str, set[str]]:
    """Names of the domains that have each file as a disk, running or not, by path. One call."""
    users: dict[str, set[str]] = {}
    for domain, path in disks(link):
        users.setdefault(path, set()).add(domain.name())
    return users


def disks(link: Link) -> Iterator[tuple[Any, str]]:
    """(domain, path) of every disk of every domain. One call."""
    for domain, stats in all_stats(link):
        for _, path, _ in blocks(stats):
            yield domain, path


def all_stats(link: Link) -> list[tuple[Any, dict[str, Any]]]:
    """(domain, statistics) of every domain. NOWAIT: a frozen QEMU gives less, and costs no time."""
    return list(link.connect.getAllDomainStats(STATISTICS, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT))


def blocks(stats: Mapping[str, Any]) -> Iterator[tuple[str, str, int | None]]:
    """(device, path, capacity in bytes) of each disk with a medium; no capacity when the file cannot be read."""
    for index in range(stats.get("block.count", 0)):
        path = stats.get(f"block.{index}.path")
        if path:
            yield stats[f"block.{index}.name"], path, stats.get(f"block.{index}.capacity")
