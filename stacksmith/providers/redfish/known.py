"""What earlier runs found out of a BMC: it spares requests, and waits for one answer before the next is asked for."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final

LASTS_SECONDS: Final = 30 * 86_400.0  # then it is found out anew: the firmware of BMCs is updated


class Known:
    """What was found out of a system of a BMC. It is kept in a file where there is a folder that can be used."""

    def __init__(self, folder: Path | None, system: str, clock: Callable[[], float] = time.time) -> None:
        name = hashlib.sha256(system.encode()).hexdigest()[:32]
        self._file = folder / name if folder is not None else None
        self._lock = Lock()
        read = self._read(clock)
        expands, bios = read.get("expands"), read.get("bios")
        self._expands: bool | None = expands if isinstance(expands, bool) else None
        # A path on that BMC alone: what is asked there is signed.
        self._bios: str | None = bios if isinstance(bios, str) and bios.startswith("/redfish/") else None

    @property
    def expands(self) -> bool | None:
        """Whether it hands out the BIOS with the settings that wait, in one request ($expand); None: not known."""
        return self._expands

    @property
    def bios(self) -> str | None:
        """Where its BIOS was; None: not known."""
        return self._bios

    def note_expands(self, is_so: bool) -> None:
        """Keeps what was found out."""
        with self._lock:
            self._note(is_so, self._bios)

    def note_bios(self, path: str | None) -> None:
        """Keeps what its page said; None when it shows none."""
        with self._lock:
            self._note(self._expands, path)

    def _read(self, clock: Callable[[], float]) -> Mapping[str, Any]:
        with suppress(OSError, ValueError):
            if self._file is not None and clock() - self._file.stat().st_mtime < LASTS_SECONDS:
                read = json.loads(self._file.read_text())
                return read if isinstance(read, dict) else {}
        return {}

    def _note(self, expands: bool | None, bios: str | None) -> None:
        if (expands, bios) == (self._expands, self._bios):
            return
        self._expands, self._bios = expands, bios
        if self._file is None:
            return
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            draft.write_text(json.dumps({"expands": expands, "bios": bios}))
            draft.replace(self._file)
