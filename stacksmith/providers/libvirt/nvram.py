"""The variables of a server's UEFI firmware: a small file of its host, read and written through a pool of its folder.

libvirt has no call for that file itself. The pool is transient: it is gone when the file has been read or written.
Every function runs inside a connection's thread, and alone on its host: the folder is that of all servers.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import libvirt
from lxml import etree

from stacksmith.model.naming import PREFIX
from stacksmith.providers.base import Deadline, Refused, Transient
from stacksmith.providers.libvirt import storage
from stacksmith.providers.libvirt.connection import Link

LARGEST_BYTES = 16 << 20
_SYSTEM = PurePosixPath("/var/lib/libvirt/qemu/nvram")
_POOL = f"{PREFIX}.nvram."


def path_of(definition: str, uri: str) -> PurePosixPath | None:
    """The file that a domain has for its variables, None for one with another firmware.

    A definition names it or not; then it is where libvirt puts it (qemuDomainNVRAMPathFormat).
    Raises: Refused for a daemon that has another folder, which it tells nobody.
    """
    root = etree.fromstring(definition.encode())
    text = root.findtext("os/nvram")
    if text:
        return PurePosixPath(text)
    if root.find("os[@firmware='efi']") is None:
        return None
    if not urlsplit(uri).path.endswith("/system"):
        raise Refused("the variables of its firmware are in an unknown folder while it is off", "firmware")
    return _SYSTEM / f"{root.findtext('name', '')}_VARS.fd"


def read(link: Link, path: PurePosixPath) -> bytes | None:
    """The file's bytes; None when there is none: the guest was never started. Raises: Refused for a large one."""
    with _folder(link, path) as pool:
        volume = _lookup(pool, path.name)
        if volume is None:
            return None
        size = storage.facts(volume).physical_bytes
        if size > LARGEST_BYTES:
            raise Refused(f"the variables of its firmware are {size >> 20} MiB", "firmware", "start it first")
        stream, parts = link.connect.newStream(0), list[bytes]()
        volume.download(stream, 0, size, 0)
        while data := stream.recv(1 << 16):
            parts.append(data)
        stream.finish()
        return b"".join(parts)


def write(link: Link, path: PurePosixPath, content: bytes, deadline: Deadline) -> None:
    """Makes the file anew: one that is there was left by a run that did not end."""
    with _folder(link, path) as pool:
        left = _lookup(pool, path.name)
        if left is not None:
            left.delete(0)
        volume = pool.createXML(storage.volume_xml(path.name, len(content), "raw"), 0)
        storage.upload(link, volume, io.BytesIO(content), len(content), deadline, lambda data: None)


def remove(link: Link, path: PurePosixPath) -> None:
    """Removes the file, if it is there."""
    with _folder(link, path) as pool:
        volume = _lookup(pool, path.name)
        if volume is not None:
            volume.delete(0)


@contextmanager
def _folder(link: Link, path: PurePosixPath) -> Iterator[Any]:
    """A pool of the file's folder: one that is there, else one for this moment.

    Raises: Transient when another run has ended it: which of them made it nobody knows, and none is left behind.
    """
    pool = _running_pool(link, str(path.parent)) or _make_pool(link, path)
    try:
        pool.refresh(0)
        yield pool
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        raise Transient(f"the folder of the firmware's variables was let go by another run: {error}") from error
    finally:
        if pool.name().startswith(_POOL):
            with suppress(libvirt.libvirtError):  # another run has ended it, or is at work in it and ends it
                pool.destroy()


def _running_pool(link: Link, folder: str) -> Any | None:
    try:
        return link.connect.storagePoolLookupByTargetPath(folder)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return None


def _make_pool(link: Link, path: PurePosixPath) -> Any:
    root = etree.Element("pool", type="dir")
    etree.SubElement(root, "name").text = f"{_POOL}{path.stem}"
    etree.SubElement(etree.SubElement(root, "target"), "path").text = str(path.parent)
    text = etree.tostring(root, encoding="unicode")
    try:
        return link.connect.storagePoolCreateXML(text, 0)
    except libvirt.libvirtError:
        pool = _running_pool(link, str(path.parent))  # another run made it in this moment
    # Else the folder is not there: no guest of the host ever had such a file.
    return pool or link.connect.storagePoolCreateXML(text, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)


def _lookup(pool: Any, name: str) -> Any | None:
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None
