"""Inspections that are kept: what a node consists of stays, while its UUID, serial number and BIOS version do."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, Final

from stacksmith.engine.contents import cache_folder
from stacksmith.frozen import dataclass
from stacksmith.model.machine_identity import Identity
from stacksmith.model.node_found import Disk, Nic, NodeFound, NodeInventory, Power

VERSION: Final = 1  # of the files' form


@dataclass(frozen=True, slots=True)
class Kept:
    """One file: no setting of the node is in it, for BIOS attributes may be secrets."""

    version: int
    identity: tuple[str, str, str]
    cpus: int
    memory_mib: int
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    firmware: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inspections:
    """A folder of inspections; one that cannot be read or written is none."""

    folder: Path

    def find(self, found: NodeFound) -> NodeInventory | None:
        """What is kept of the node that was found so."""
        kept = self._read(found)
        if kept is None:
            return None
        return NodeInventory(found, kept.cpus, kept.memory_mib, kept.disks, kept.nics, dict(kept.firmware))

    def keep(self, inventory: NodeInventory) -> None:
        """Keeps it, in a file that its owner alone can read; not that of a node that does not say which it is, nor of
        one that is off and shows no disk."""
        identity = _identity(inventory.found)
        is_whole = inventory.disks or inventory.found.power_state is not Power.OFF  # some show no parts while off
        if not any(identity[:2]) or not is_whole:
            return
        parts = (inventory.cpus, inventory.memory_mib, inventory.disks, inventory.nics, inventory.firmware)
        kept = Kept(VERSION, identity, *parts)
        if kept == self._read(inventory.found):
            return
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(identity[:2])
            draft = path.with_suffix(f".{os.getpid()}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(_form().dump_json(kept))
            draft.replace(path)

    def forget(self, machine: Identity) -> None:
        """Drops what is kept of a machine: its next inspection asks for everything."""
        with suppress(OSError):
            self._path(machine).unlink(missing_ok=True)

    def _read(self, found: NodeFound) -> Kept | None:
        identity = _identity(found)
        try:
            kept: Kept = _form().validate_json(self._path(identity[:2]).read_bytes())
        except (OSError, ValueError):
            return None
        return kept if (kept.version, kept.identity) == (VERSION, identity) else None

    def _path(self, machine: Identity) -> Path:
        return self.folder / f"{hashlib.sha256(repr(machine).encode()).hexdigest()[:32]}.json"


def inspections(environment: Mapping[str, str]) -> Inspections:
    """Those of this user: ``$XDG_CACHE_HOME/stacksmith/nodes``, in ``~/.cache`` by default."""
    return Inspections(cache_folder(environment).with_name("nodes"))


def _identity(found: NodeFound) -> tuple[str, str, str]:
    return found.uuid.lower(), found.serial, found.bios_version


@cache
def _form() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Kept)
