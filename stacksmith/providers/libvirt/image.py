"""Images on a host: uploaded once, believed only when the marker beside them says that they are whole.

Many stacks share a file, and two may upload it at once. The one who makes the file's name owns the upload and says so
with a claim in its stack's name; a stack has one run at a time, so its own old claim is a dead one's. Another stack's
claim is respected as long as the file grows.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import libvirt

from stacksmith.address import Address
from stacksmith.model.found import Found, Mark
from stacksmith.model.naming import complete_name, image_file_name
from stacksmith.model.realised import Image, ImageFile
from stacksmith.providers.base import Contents, Deadline, Refused, Scope, Stale, Target, Transient
from stacksmith.providers.libvirt import domain_read, inventory, native, storage
from stacksmith.providers.libvirt.connection import Link
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.inventory import Inventory, Shelf
from stacksmith.providers.libvirt.storage import Stored

STALLED_SECONDS = 30.0  # an upload that did not grow for so long is a dead one's
_POLL_SECONDS = 0.5
_MIB = 2**20
_QCOW2_MAGIC = b"QFI\xfb"


class ImageDriver:
    """Images of one host."""

    def __init__(self, host: LibvirtHost) -> None:
        self._host = host

    def read(self, mark: Mark) -> Found | None:
        """The files of ``mark.applied`` that are on the host; None when there are none."""
        return self._read(mark, self._host.default_deadline())

    def _read(self, mark: Mark, deadline: Deadline) -> Found | None:
        files = _files(mark)
        address = Address(mark.address.kind, mark.address.name, mark.address.key)
        scope = Scope(mark.fleet, mark.stack, {}, {address: files})

        def look(link: Link) -> Inventory:
            volumes = self._host.storage.volumes(link)
            return Inventory(Shelf(tuple(s for s, _ in volumes)), inventory.image_facts(volumes, scope))

        return self._host.call(look, deadline).image(self._host.name, scope, address, files)

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Uploads what is not there whole. Raises: Refused when a file is not what its checksum or format says."""
        assert isinstance(target.wanted, Image)
        for file in target.wanted.files:
            with self._host.alone(image_file_name(file.checksum, file.role), deadline):
                self._ensure(file, target, contents, deadline)
        found = self._read(target.mark, deadline)
        if found is None or found.partial:
            raise Stale(f"files of {target.mark.address} were removed from {self._host.name} while they were uploaded")
        return found

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Uploads the new files; the old ones stay while something may be built on them."""
        before = target.found.spec if target.found is not None else None
        found = self.create(target, contents, deadline)
        if isinstance(before, Image) and isinstance(target.wanted, Image):
            gone = [f for f in before.files if f not in target.wanted.files]
            self._remove_unused(gone, target.mark, deadline)
        return found

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Removes the files that nothing on the host is built on, and that no other stack uploads; the others are a
        cache that another stack uses."""
        self._remove_unused(_files(target.mark), target.mark, deadline)

    def _remove_unused(self, files: Sequence[ImageFile], mark: Mark, deadline: Deadline) -> None:
        names = [image_file_name(f.checksum, f.role) for f in files]
        claims = {name: native.claim_name(name, mark.fleet, mark.stack) for name in names}
        if claims:
            self._host.call(partial(_remove_unused, self._host, claims), deadline)

    def _ensure(self, file: ImageFile, target: Target, contents: Contents, deadline: Deadline) -> None:
        name = image_file_name(file.checksum, file.role)
        while not self._host.call(partial(_is_whole, self._host, name), deadline):
            path = contents.image_file(file.checksum)
            size = path.stat().st_size
            capacity = _capacity(path, file)
            if self._claim(name, file, capacity, target.mark, deadline):
                self._fill(name, (path, size), file, target, deadline)
                return
            self._await_other(name, target, deadline)
        if target.found is not None:
            # A run that died between sealing the file and this left its claim.
            claim = native.claim_name(name, target.mark.fleet, target.mark.stack)
            pools = self._host.storage
            self._host.call(lambda link: pools.remove(link, pools.default, claim), deadline)

    def _claim(self, name: str, file: ImageFile, capacity: int, mark: Mark, deadline: Deadline) -> bool:
        """Makes the file's name ours to fill. False when another upload holds it."""
        claim, going = native.claim_name(name, mark.fleet, mark.stack), native.going_name(name)
        # libvirt cannot make an ISO file; to it, it is raw.
        form = "qcow2" if file.format == "qcow2" else "raw"

        def make(link: Link) -> bool:
            pools, kind = self._host.storage, self._host.storage.default
            volumes = {s.name: v for s, v in pools.volumes(link)}
            is_own = {each for each in volumes if each.startswith(f"{name}.by.")} == {claim}  # and that run is dead
            if not is_own and name in volumes and inventory.facts_or_none(volumes[name]) is not None:
                return False
            pools.create(link, kind, storage.volume_xml(claim, 0, "raw"))
            for former in (going, name) if is_own else (going,):
                if former in volumes:
                    pools.remove(link, kind, former)
            is_ours = pools.create(link, kind, storage.volume_xml(name, capacity, form)) is not None
            if not is_ours:
                pools.remove(link, kind, claim)
            return is_ours

        return self._host.call(make, deadline)

    def _fill(self, name: str, source: tuple[Path, int], file: ImageFile, target: Target, deadline: Deadline) -> None:
        path, size = source
        claim = native.claim_name(name, target.mark.fleet, target.mark.stack)
        with path.open("rb") as opened:
            self._host.call(partial(self._upload, name, (opened, size), file, target, deadline), deadline)

        def seal(link: Link) -> None:
            pools, kind = self._host.storage, self._host.storage.default
            if pools.lookup(link, kind, claim) is None:
                raise Transient(f"another run took over the upload of {name}")
            pools.create(link, kind, storage.volume_xml(complete_name(name), 0, "raw"))
            pools.remove(link, kind, claim)

        self._host.call(seal, deadline)

    def _upload(
        self,
        name: str,
        source: tuple[BinaryIO, int],
        file: ImageFile,
        target: Target,
        deadline: Deadline,
        link: Link,
    ) -> None:
        opened, size = source
        algorithm, _, digest = file.checksum.partition(":")
        hashed = hashlib.new(algorithm)
        progress = _Progress(size, target.progress)

        def sent(data: bytes) -> None:
            hashed.update(data)
            progress.add(len(data))

        volume = self._host.storage.lookup(link, self._host.storage.default, name)
        if volume is None:
            raise Transient(f"{name} was removed while it was uploaded")
        storage.upload(link, volume, opened, size, deadline, sent)
        if hashed.hexdigest() != digest:
            storage.discard(volume)
            raise Refused(f"the file for {target.mark.address} changed while it was read: its {algorithm} is another")
        there = inventory.facts_or_none(volume)
        if there is None:
            raise Transient(f"{name} was removed while it was uploaded")
        if there.physical_bytes < size:
            raise Transient(f"the host kept {there.physical_bytes} of {size} bytes of {name}")

    def _await_other(self, name: str, target: Target, deadline: Deadline) -> None:
        """Waits while another stack's upload grows; removes one that stands still."""
        seen, since = None, self._host.clock()
        while self._host.clock() - since < STALLED_SECONDS:
            target.progress("waiting for another run that uploads the same image")
            now = self._host.call(partial(_growth, self._host, name), deadline)
            if now is None or self._host.call(partial(_is_whole, self._host, name), deadline):
                return
            if now != seen:
                seen, since = now, self._host.clock()
            time.sleep(min(_POLL_SECONDS, deadline.seconds))
        self._host.call(partial(_clear, self._host, name), deadline)


def _files(mark: Mark) -> tuple[ImageFile, ...]:
    """The files of the image that was applied."""
    return tuple(ImageFile(f["role"], f["checksum"], f["format"]) for f in (mark.applied or {}).get("files", ()))


class _Progress:
    """Tells how much of a file is sent, once in every 16 MiB."""

    def __init__(self, size: int, say: Callable[[str], None]) -> None:
        self._size, self._say = size, say
        self._sent = self._said = 0

    def add(self, count: int) -> None:
        self._sent += count
        if self._sent - self._said >= 16 * _MIB:
            self._said = self._sent
            self._say(f"uploading {self._sent // _MIB} of {self._size // _MIB} MiB")


def _capacity(path: Path, file: ImageFile) -> int:
    """The size of the disk in the file, in bytes. Raises: Refused when the file is not of its format."""
    with path.open("rb") as opened:
        head = opened.read(104)
    if head[:4] != _QCOW2_MAGIC:
        if file.format == "qcow2":
            raise Refused("the image is declared as qcow2, and the file is not", "format", "write format: raw")
        return path.stat().st_size
    if file.format != "qcow2":
        # libvirt would find out and open it as qcow2 later, whatever was declared.
        raise Refused(f"the image is declared as {file.format}, and the file is qcow2", "format", "write format: qcow2")
    backing, features = int.from_bytes(head[8:16], "big"), int.from_bytes(head[72:80], "big")
    if backing or (int.from_bytes(head[4:8], "big") >= 3 and features & 4):
        raise Refused("the image needs another file (backing or external data file)", "source", "use qemu-img convert")
    return int.from_bytes(head[24:32], "big")


def _is_whole(host: LibvirtHost, name: str, link: Link) -> bool:
    """True when the file is there and marked. A marker alone is removed: its file was deleted behind us."""
    pools, kind = host.storage, host.storage.default
    marker = pools.lookup(link, kind, complete_name(name))
    if marker is None:
        return False
    volume = pools.lookup(link, kind, name)
    if volume is not None:
        if inventory.facts_or_none(volume) is not None:
            return True
        storage.discard(volume)
    storage.discard(marker)
    return False


def _growth(host: LibvirtHost, name: str, link: Link) -> tuple[int, int] | None:
    """What changes while a file is written: (length, allocation); None when it is not there, or not made yet."""
    volume = host.storage.lookup(link, host.storage.default, name)
    there = None if volume is None else inventory.facts_or_none(volume)
    return None if there is None else (there.physical_bytes, there.allocated_bytes)


def _clear(host: LibvirtHost, name: str, link: Link) -> None:
    """Removes an upload that nobody goes on with: claims first, so that a sleeper cannot seal it. A whole file that was
    being removed, and is used, is marked again."""
    volumes = {s.name: (s, v) for s, v in host.storage.volumes(link)}
    if complete_name(name) in volumes:
        return  # it is whole since
    others = [v for s, v in volumes.values() if s.name != name]
    claims = [v for s, v in volumes.values() if s.name.startswith(f"{name}.by.")]
    is_going = not claims and {name, native.going_name(name)} <= volumes.keys()
    if is_going and volumes[name][0].path in _used_files(link, others):
        return _mark(host, name, link)
    host.storage.remove(link, host.storage.default, native.going_name(name))
    for claim in claims:
        storage.discard(claim)
    host.storage.remove(link, host.storage.default, name)


def _mark(host: LibvirtHost, name: str, link: Link) -> None:
    """Marks a file as whole again that is not removed after all. Where another run claims it just now that is left to
    who waits for it."""
    pools, kind = host.storage, host.storage.default
    if any(stored.name.startswith(f"{name}.by.") for stored, _ in pools.volumes(link)):
        return
    pools.create(link, kind, storage.volume_xml(complete_name(name), 0, "raw"))
    pools.remove(link, kind, native.going_name(name))


def _remove_unused(host: LibvirtHost, own_claims: Mapping[str, str], link: Link) -> None:
    """Removes image files, each with the claim that is ours, that no volume is an overlay on and no domain uses: the
    marker first, then the file. Until that has gone another marker says that it is whole, should a run be killed."""
    pools, kind = host.storage, host.storage.default
    volumes = {s.name: (s, v) for s, v in pools.volumes(link)}
    present = {n: volumes[n] for n in own_claims if n in volumes}
    used = _used_files(link, [v for s, v in volumes.values() if s.name not in present]) if present else set()
    whole: set[str] = set()
    for name, own_claim in own_claims.items():
        marker, going = complete_name(name), native.going_name(name)
        claims = {each for each in volumes if each.startswith(f"{name}.by.")}
        is_foreign = marker not in volumes and bool(claims - {own_claim})  # its upload goes on
        if is_foreign or (name in present and present[name][0].path in used):
            if own_claim in claims:
                storage.discard(volumes[own_claim][1])
            present.pop(name, None)
            continue
        if name in present and (marker in volumes or (going in volumes and not claims)):
            whole.add(name)
        if name in present and marker in volumes:
            pools.create(link, kind, storage.volume_xml(going, 0, "raw"))
        # A claim without the marker would say that the file is a part.
        for leftover in (*sorted(claims), marker) if name in present else (*sorted(claims), marker, going):
            if leftover in volumes:
                storage.discard(volumes[leftover][1])
    _remove_unmarked(host, present, whole, link)


def _remove_unmarked(host: LibvirtHost, files: Mapping[str, tuple[Stored, Any]], whole: set[str], link: Link) -> None:
    """Removes image files whose marker was removed just now; marks those ``whole`` ones again that are used by now.

    Who begins to use an image looks for its marker afterwards: so one of the two sees what the other did.
    """
    gone: set[str] = set()
    try:
        others = [v for s, v in host.storage.volumes(link) if s.name not in files] if whole else []
        used = _used_files(link, others) if whole else set()
        for name, (stored, volume) in files.items():
            if stored.path not in used and _is_removed(volume):
                gone.add(name)
                host.bases.pop(stored.path, None)
                host.storage.remove(link, host.storage.default, native.going_name(name))
    finally:
        for name in sorted(whole - gone):
            _mark(host, name, link)


def _is_removed(volume: Any) -> bool:
    """Removes the file; False when a copy is made of it in this moment."""
    try:
        storage.discard(volume)
    except libvirt.libvirtError as error:
        if "is still in use" not in str(error):
            raise
        return False
    return True


def _used_files(link: Link, volumes: list[Any]) -> set[str]:
    """Paths that a volume is built on or that a domain names anywhere."""
    used = set(storage.disk_users(link))
    for volume in volumes:
        if (there := inventory.facts_or_none(volume)) and there.backing:
            used.add(there.backing)
    saved = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE | libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
    for which, form in ((0, 0), (saved, libvirt.VIR_DOMAIN_XML_INACTIVE)):  # what runs, and what is at the next start
        for domain in link.connect.listAllDomains(which):
            try:
                used |= _paths(domain.XMLDesc(form))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
    return used


def _paths(xml: str) -> set[str]:
    root = domain_read.parse(xml)
    named = {e.get("file", "") for e in root.iter("source")}
    return named | {root.findtext("os/kernel", ""), root.findtext("os/initrd", "")}
