"""The storage of a host of the lab, through a session and through libvirt itself."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from stacksmith import lab
from stacksmith.address import Address
from stacksmith.model.found import HostSnapshot
from stacksmith.model.realised import Volume
from stacksmith.providers.base import Scope, Session
from tests.e2e.libvirt_parts import MIB, Files, deadline, declared, session, target

STACK = "store"


@dataclass
class Store:
    """A session, and libvirt's own view of the pool."""

    session: Session
    connection: Any
    files: Files
    lab: Path

    @property
    def pool(self) -> Any:
        return self.connection.storagePoolLookupByName("stacksmith")

    def names(self) -> set[str]:
        self.pool.refresh()
        return set(self.pool.listVolumes())

    def create(self, address: str, spec: Any, stack: str = STACK, seconds: float = 60) -> Any:
        kind = address.partition(".")[0]
        return self.session.drivers[kind].create(target(stack, address, spec), self.files, deadline(seconds))

    def delete(self, address: str, spec: Any, stack: str = STACK) -> None:
        kind = address.partition(".")[0]
        self.session.drivers[kind].delete(target(stack, address, spec, wanted=False), deadline())

    def observe(self, images: dict[Address, Any] | None = None) -> HostSnapshot:
        return self.session.observe(Scope("fleet", STACK, {}, images or {}), deadline())

    def on_host(self, command: list[str]) -> None:
        """Does something behind libvirt's back."""
        subprocess.run(lab.command_in(self.lab, "hv1", command), check=True)

    def put(self, name: str, size: int = 0) -> Any:
        """A volume by hand."""
        xml = f"<volume><name>{name}</name><capacity>{size}</capacity><allocation>0</allocation></volume>"
        return self.pool.createXML(xml)


@contextmanager
def opened_store(lab_dir: Path, tmp_path: Path) -> Iterator[Store]:
    """One that must be empty again at its end."""
    host = declared(lab_dir)
    made = Store(session(host), libvirt.open(host.libvirt), Files(tmp_path), lab_dir)
    made.create("volume.pool", Volume(MIB))  # the pool itself
    made.delete("volume.pool", Volume(MIB))
    before = made.names()
    yield made
    left = made.names() - before
    for name in left:
        made.pool.storageVolLookupByName(name).delete()
    made.session.close()
    made.connection.close()
    assert left == set()
