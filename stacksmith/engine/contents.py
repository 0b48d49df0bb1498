"""Bytes that creates need: image files, verified and downloaded once, and config drives."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from stacksmith.address import Address
from stacksmith.engine.download import CHUNK_BYTES, Download, download
from stacksmith.frozen import dataclass
from stacksmith.model.stack import ImageFileSource
from stacksmith.providers.base import Deadline, Refused, TimedOut

ConfigDrives = Callable[[Address, str], Mapping[str, bytes]]

_Seen = tuple[str, int, int]  # path, mtime in ns, size


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where downloaded images are kept: ``$XDG_CACHE_HOME/stacksmith/images``, in ``~/.cache`` by default."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".cache")
    return Path(base) / "stacksmith" / "images"


def session_folder(environment: Mapping[str, str]) -> Path:
    """Where runs note the sessions that they open at BMCs: ``sessions`` beside the images."""
    return cache_folder(environment).with_name("sessions")


def _silent(detail: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """What this process has verified; one lock for each checksum, so that a file is read once and others meanwhile."""

    seen: dict[str, _Seen] = field(default_factory=dict)
    locks: defaultdict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))


@dataclass(frozen=True, slots=True)
class StackContents:
    """The ``Contents`` of a stack. ``files`` are the image files by checksum, ``drives`` renders a config drive.

    ``bound`` gives the same for one step, with its deadline and its progress; all share what was verified.
    """

    files: Mapping[str, ImageFileSource]
    drives: ConfigDrives
    cache: Path
    deadline: Deadline | None = None
    progress: Callable[[str], None] = _silent
    _verified: _Verified = field(default_factory=_Verified)

    def bound(self, deadline: Deadline, progress: Callable[[str], None]) -> "StackContents":
        """The same bytes, for a step that must have them by ``deadline``."""
        return StackContents(self.files, self.drives, self.cache, deadline, progress, self._verified)

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        """Files by path inside the drive. Raises: Stale when the stack files no longer give ``digest``."""
        return self.drives(server, digest)

    def image_file(self, checksum: str) -> Path:
        """A verified local file: the source itself, or a download in the cache, made once.

        Raises: Refused when the bytes are not those of the checksum or cannot be had, Transient when the network
        failed, TimedOut past the deadline.
        """
        source = self.files.get(checksum)
        if source is None:
            raise Refused(f"no image of the stack has checksum {checksum}")
        with self._turn(checksum):
            if "://" not in source.source:
                return self._local(Path(source.source), checksum)
            return self._downloaded(source.source, checksum)

    def _turn(self, checksum: str) -> "_Turn":
        return _Turn(self._verified.locks[checksum], self.deadline)

    def _local(self, path: Path, checksum: str) -> Path:
        try:
            found = self._digest(path, checksum)
        except OSError as fault:
            raise Refused(f"cannot read image file {path}: {fault.strerror}") from fault
        if found != checksum:
            raise Refused(f"image file {path} has checksum {found}, expected {checksum}")
        return path

    def _downloaded(self, url: str, checksum: str) -> Path:
        path = self.cache / checksum.replace(":", "-")
        with suppress(FileNotFoundError, NotADirectoryError):  # not there, or taken away by another process
            if self._digest(path, checksum) == checksum:
                return path
            path.unlink()  # damaged since it was downloaded: have it again
        download(Download(url, checksum, path, self.deadline, self.progress))
        self._verified.seen[checksum] = _identity(path)
        return path

    def _digest(self, path: Path, checksum: str) -> str:
        """The checksum of the file by the same algorithm; not computed again while the file stays as it was."""
        before = _identity(path)
        if self._verified.seen.get(checksum) == before:
            return checksum
        algorithm = checksum.partition(":")[0]
        digest = hashlib.new(algorithm)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                if self.deadline is not None and not self.deadline.seconds:
                    raise TimedOut(f"cannot verify {path}: its time is over")
        found = f"{algorithm}:{digest.hexdigest()}"
        if found == checksum:
            self._verified.seen[checksum] = before
        return found


class _Turn:
    """A lock that is waited for until the deadline."""

    def __init__(self, lock: threading.Lock, deadline: Deadline | None) -> None:
        self._lock, self._deadline = lock, deadline

    def __enter__(self) -> None:
        # Short waits, for a deadline may come nearer while it is waited for.
        while not self._lock.acquire(timeout=0.5):
            if self._deadline is not None and not self._deadline.seconds:
                raise TimedOut("another step is still getting this image")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _identity(path: Path) -> _Seen:
    status = path.stat()
    return (str(path), status.st_mtime_ns, status.st_size)
