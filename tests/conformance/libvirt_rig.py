"""The libvirt provider under test: a private libvirtd of the lab, and hands on it by a connection of their own."""

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import libvirt
import yaml

from stacksmith import lab
from stacksmith.address import Address
from stacksmith.lab.guest import COMMAND_LINE, boot_sector
from stacksmith.model.fleet import Fleet
from stacksmith.model.found import Found
from stacksmith.model.naming import complete_name
from stacksmith.model.realised import Image, ImageFile, Server
from stacksmith.providers.base import Contents, Deadline, Session
from stacksmith.providers.registry import provider
from tests.conformance.rig import Killed

MIB = 2**20
BOOT_SECONDS = 240.0
READY = ("STACKSMITH-READY", "BOOTOK")  # what a guest says, with a kernel and without
CHECKS = (1, 2, 3, 5, 8, 13)  # at which look at its clock a create dies
_stacks = count()


class LabContents:
    """Image files of the lab and small ones made here; a config drive with the digest in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}

    def offer(self, path: Path) -> str:
        """Makes the file known, and gives its checksum."""
        checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        self._files[checksum] = path
        return checksum

    def picture(self, role: str, number: int) -> ImageFile:
        """A file of 1 MiB, which boots."""
        path = self._folder / f"{role}-{number}"
        if not path.exists():
            unlike = hashlib.sha256(path.name.encode()).digest()
            path.write_bytes(boot_sector()[: -len(unlike)] + unlike)
        return ImageFile(role, self.offer(path), "raw")

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        """One file that tells the digest."""
        return {"openstack/latest/meta_data.json": f'{{"uuid": "{digest}"}}'.encode()}

    def image_file(self, checksum: str) -> Path:
        """The file with this checksum."""
        return self._files[checksum]


class LibvirtRig:
    """Host hv1 of the lab in ``directory``."""

    host = "hv1"
    seconds = 60.0

    def __init__(self, there: lab.Lab, folder: Path) -> None:
        self.stack = f"suite{next(_stacks)}"
        fleet = Fleet.model_validate(yaml.safe_load(there.fleet.read_text()))
        self._declared = fleet.hosts[self.host]
        self._directory = there.directory
        self._pool = self._declared.volume_types["local"].pool
        self.provider = provider(self._declared.libvirt)
        self._files = LabContents(folder)
        self.contents: Contents = self._files
        kernel, ramdisk = (self._files.offer(there.directory / "images" / name) for name in ("vmlinuz", "guest.gz"))
        self._boot = Image((ImageFile("kernel", kernel), ImageFile("ramdisk", ramdisk)))
        self._connection = libvirt.open(self._declared.libvirt)
        self._sessions: dict[bool, Session] = {}
        self._clock: Callable[[], float] = time.monotonic

    def close(self) -> None:
        """Gives all connections back."""
        for session in self._sessions.values():
            session.close()
        self._connection.close()

    def session(self, read_only: bool = False) -> Session:
        if read_only not in self._sessions:
            opened = self.provider.open(self.host, self._declared, read_only, self.deadline())
            self._sessions[read_only] = opened
        return self._sessions[read_only]

    def deadline(self) -> Deadline:
        return Deadline(time.monotonic() + self.seconds, self._clock)

    def picture(self, role: str = "disk", number: int = 0) -> ImageFile:
        return self._files.picture(role, number)

    def with_kernel(self, server: Server) -> Server:
        kernel, ramdisk = (file.checksum for file in self._boot.files)
        return replace(server, kernel=kernel, ramdisk=ramdisk, command_line=COMMAND_LINE)

    def kernel_images(self) -> tuple[Image, ...]:
        return (self._boot,)

    def started(self, name: str) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not any(word in self._serial_log(name) for word in READY):
            assert time.monotonic() < deadline, (
                f"the guest of {name} did not get ready: {self._serial_log(name)[-2000:]}"
            )
            time.sleep(0.2)

    def _serial_log(self, name: str) -> str:
        command = lab.command_in(self._directory, self.host, ["cat", f"/var/log/libvirt/qemu/{name}-serial.log"])
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout

    def guest(self, name: str) -> str | None:
        domain = self._connection.lookupByName(name)
        return str(domain.ID()) if domain.isActive() else None

    def native(self) -> frozenset[str]:
        names = {f"server/{domain.name()}" for domain in self._connection.listAllDomains()}
        names |= {f"network/{network.name()}" for network in self._connection.listAllNetworks()}
        for pool in self._connection.listAllStoragePools():
            pool.refresh()
            names |= {f"disk/{name}" for name in pool.listVolumes()}
        return frozenset(names)

    def definition(self, kind: str, name: str) -> str:
        if kind == "network":
            return str(self._connection.networkLookupByName(name).XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        domain = self._connection.lookupByName(name)
        return f"{domain.isActive()} {domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}"

    @contextmanager
    def unmanaged(self, kind: str, name: str) -> Iterator[str]:
        if kind == "network":
            made = self._connection.networkDefineXML(f"<network><name>{name}</name></network>")
        else:
            made = self._connection.defineXML(
                f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
                "<os><type arch='x86_64'>hvm</type></os></domain>"
            )
        try:
            yield self.definition(kind, name)
        finally:
            made.undefine()

    def edit(self, found: Found) -> None:
        getattr(self, f"_edit_{found.address.kind}")(found.name, found)

    def _edit_server(self, name: str, found: Found) -> None:
        domain = self._connection.lookupByName(name)
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0)
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, "edited by hand", None, None, flags)

    def _edit_network(self, name: str, found: Found) -> None:
        self._connection.networkLookupByName(name).update(
            libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
            libvirt.VIR_NETWORK_SECTION_DNS_HOST,
            -1,
            "<host ip='10.77.41.222'><hostname>edited</hostname></host>",
            libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG,
        )

    def _edit_volume(self, name: str, found: Found) -> None:
        volume = self._connection.storagePoolLookupByName(self._pool).storageVolLookupByName(name)
        size = volume.info()[1] + MIB
        for domain in self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            if volume.path() in domain.XMLDesc():
                domain.blockResize(volume.path(), size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
                return
        volume.resize(size)

    def _edit_image(self, name: str, found: Found) -> None:
        pool = self._connection.storagePoolLookupByName(self._pool)
        digest = self.picture().checksum.partition(":")[2]
        marker = next(n for n in pool.listVolumes() if digest in n and n.endswith(complete_name("")))
        pool.storageVolLookupByName(marker).delete()

    def interruptions(self, kind: str) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        return [partial(self._killed_at, check) for check in CHECKS]

    @contextmanager
    def _killed_at(self, check: int) -> Iterator[None]:
        looks = count(1)

        def clock() -> float:
            if next(looks) >= check:
                raise Killed(f"at look {check} at the clock")
            return time.monotonic()

        self._clock = clock
        try:
            yield
        finally:
            self._clock = time.monotonic
            self._settle()

    def _settle(self) -> None:
        """Waits until libvirtd has ended the call in which the client died, and the thread that was in it has."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        for thread in threading.enumerate():
            if thread.name == f"libvirt {self._declared.libvirt}":
                thread.join(self.seconds)
        before: frozenset[str] | None = None
        while before is None or before != self._native_or_none():
            before = self._native_or_none()
            time.sleep(0.2)

    def _native_or_none(self) -> frozenset[str] | None:
        with suppress(libvirt.libvirtError):  # a volume is being made
            return self.native()
        return None

    def drop(self) -> None:
        """Removes whatever a failed test left, so that the next one starts clean."""
        self.close()
        connection: Any = libvirt.open(self._declared.libvirt)
        for domain in connection.listAllDomains():
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        for network in connection.listAllNetworks():
            if network.isActive():
                network.destroy()
            network.undefine()
        for pool in connection.listAllStoragePools():
            pool.refresh()
            for volume in pool.listAllVolumes():
                volume.delete()
        connection.close()
