"""Sessions that killed runs leave at BMCs: where each is stands in a file, so that a later run can end it.

A process has one file, and its lock as long as it lives: the kernel drops that of one that is killed. No token is
written.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO, Final
from uuid import uuid4

from stacksmith.frozen import dataclass
from stacksmith.model.types import JSON

LONGEST_SECONDS: Final = 86_400.0  # no session lasts longer without a request (SessionTimeout in DSP0268)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session of ``user`` at a BMC; ``created`` is when, in the BMC's words, and ``at`` by our clock."""

    bmc: str
    path: str
    user: str
    created: str = ""
    at: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What a session is told by; BMCs count, so that a path may be another session's later."""
        return self.bmc, self.path


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is locked until its process ends: that closes it, whatever ends it."""

    path: Path
    descriptor: int

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Leftovers:
    """What this process has opened, and what dead ones have left; a folder that cannot be used holds nothing."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._file: _File | None = None
        self._ours: set[tuple[str, str]] = set()
        self._left: dict[tuple[str, str], Opened] = {}
        self._lock = Lock()

    def opened(self, session: Opened) -> None:
        """Notes a session of this process."""
        with self._lock, suppress(OSError):
            self._ours.add(session.key)
            self._left.pop(session.key, None)
            self._write({"opened": asdict(session) | {"at": self._clock()}})

    def ended(self, bmc: str, path: str) -> None:
        """Notes that a session is no more."""
        with self._lock, suppress(OSError):
            self._ours.discard((bmc, path))
            self._left.pop((bmc, path), None)
            self._write({"ended": [bmc, path]})
            if not self._ours and not self._left:
                self._drop()

    def left(self, bmc: str) -> list[Opened]:
        """What dead processes have left at a BMC, and none that lives has opened since."""
        with self._lock:
            with suppress(OSError):
                self._take_over()
            return [session for session in self._left.values() if session.bmc == bmc]

    def _take_over(self) -> None:
        """Makes what the dead have noted part of our file, and removes theirs."""
        living = set(self._ours)
        for path in sorted(self._folder.glob("*.log")):
            if self._file is not None and path == self._file.path:
                continue
            with suppress(FileNotFoundError), path.open("r", encoding="utf-8") as file:
                is_dead = _locked(file.fileno(), path)
                noted = _sessions(file)
                if not is_dead:
                    living |= {session.key for session in noted}
                    continue
                for session in noted:
                    if self._clock() - session.at < LONGEST_SECONDS:
                        self._left[session.key] = session
                        self._write({"opened": asdict(session)})
                path.unlink()
        self._left = {key: session for key, session in self._left.items() if key not in living}

    def _write(self, line: object) -> None:
        if self._file is None:
            self._file = self._created()
        os.write(self._file.descriptor, f"{json.dumps(line)}\n".encode())

    def _created(self) -> _File:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = self._folder / f"{uuid4()}.log"
            file = _File(path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            try:
                if _locked(file.descriptor, path):
                    return file
            except OSError:  # a file system without locks: nothing can be noted there
                file.remove()
                raise
            os.close(file.descriptor)  # another took it, empty and not locked yet, for that of a dead process

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.remove()


@cache
def leftovers(folder: Path) -> Leftovers:
    """Those of this process."""
    return Leftovers(folder)


def is_same(session: Opened, page: Mapping[str, JSON]) -> bool:
    """Whether the page of a session may be this one's: not that of another user, or of one created at another time."""
    user, created = str(page.get("UserName") or session.user), str(page.get("CreatedTime") or "")
    return user == session.user and created in ("", session.created or created)


def _locked(descriptor: int, path: Path) -> bool:
    """Whether the file is ours until it is closed, and still the one of this name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _sessions(file: IO[str]) -> list[Opened]:
    """The sessions that a file has opened and not ended; a line that was cut off is none."""
    noted: dict[tuple[str, str], Opened] = {}
    for line in file:
        with suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            if "ended" in entry:
                noted.pop(tuple(entry["ended"]), None)
            else:
                session = Opened(**entry["opened"])
                noted[session.key] = session
    return list(noted.values())
