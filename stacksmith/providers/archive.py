"""An initial ramdisk as the kernel wants it: a `newc` cpio archive, the same bytes for the same content."""

import gzip
import stat
from dataclasses import field
from pathlib import Path

from stacksmith.frozen import dataclass

TRAILER = "TRAILER!!!"


@dataclass(slots=True)
class Archive:
    """Entries by path (without a leading slash): mode, content, device number."""

    entries: dict[str, tuple[int, bytes, tuple[int, int]]] = field(default_factory=dict)

    def folder(self, path: str) -> None:
        """Add a folder and those above it."""
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            self.entries.setdefault("/".join(parts[:end]), (stat.S_IFDIR | 0o755, b"", (0, 0)))

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._above(path)
        self.entries[path] = (stat.S_IFREG | mode, content, (0, 0))

    def link(self, path: str, target: str) -> None:
        self._above(path)
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode(), (0, 0))

    def device(self, path: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._above(path)
        self.entries[path] = (stat.S_IFCHR | 0o600, b"", (major, minor))

    def copy(self, source: Path, path: str = "", mode: int = 0o755) -> None:
        """Add a file of this machine, at its own path unless told."""
        self.file(path or str(source).lstrip("/"), source.read_bytes(), mode)

    def _above(self, path: str) -> None:
        above, _, _ = path.rpartition("/")
        if above:
            self.folder(above)

    def pack(self) -> bytes:
        """The compressed archive. Kernel: Documentation/driver-api/early-userspace/buffer-format.rst."""
        parts = [_entry(number, path, *entry) for number, (path, entry) in enumerate(sorted(self.entries.items()), 1)]
        parts.append(_entry(0, TRAILER, 0, b"", (0, 0)))
        return gzip.compress(b"".join(parts), 9, mtime=0)


def _entry(number: int, path: str, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields) + name
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
