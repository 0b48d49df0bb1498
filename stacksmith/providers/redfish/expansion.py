"""Whether a BMC hands out its BIOS with the settings that wait for the next boot, in one request ($expand)."""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

LASTS_SECONDS: Final = 30 * 86_400.0  # then it is found out anew: the firmware of BMCs is updated
_WORDS: Final = {"yes": True, "no": False}


class Expansion:
    """What was found out of the BMC at an address. It is kept in a file where there is a folder that can be used."""

    def __init__(self, folder: Path | None, address: str, clock: Callable[[], float] = time.time) -> None:
        name = hashlib.sha256(address.encode()).hexdigest()[:32]
        self._file = folder / name if folder is not None else None
        self._clock = clock
        self._known: bool | None = None

    def known(self) -> bool | None:
        """Whether it does; None while that is not known."""
        if self._known is None and self._file is not None:
            with suppress(OSError, UnicodeDecodeError):
                age = self._clock() - self._file.stat().st_mtime
                self._known = _WORDS.get(self._file.read_text()) if age < LASTS_SECONDS else None
        return self._known

    def note(self, is_so: bool) -> None:
        """Keeps what was found out."""
        if is_so is self.known():
            return
        self._known = is_so
        if self._file is None:
            return
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            draft.write_text("yes" if is_so else "no")
            draft.replace(self._file)
