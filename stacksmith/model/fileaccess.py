"""The only way to a file that a stack or fleet names: inside its folder, size limited, regular files only."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Final

from stacksmith.frozen import dataclass

ROOT_MARKS: Final = (".git", "stacksmith.root")
# A checkout keeps the token it was made with in its .git/config; the state tells of other stacks.
HIDDEN: Final = frozenset({".git", ".stacksmith"})


class FileFault(Exception):
    """A file that cannot be had. ``code`` is a diagnostic's code; the message is the cause alone."""

    def __init__(self, code: str, cause: str, hint: str | None = None) -> None:
        super().__init__(cause)
        self.code, self.hint = code, hint


def root_of(folder: Path) -> Path:
    """The folder that paths must stay in: the nearest parent with ``.git`` or ``stacksmith.root``, else itself."""
    return _root_of(Path(os.path.realpath(folder)))


@cache
def _root_of(real: Path) -> Path:
    for parent in (real, *real.parents):
        if any((parent / mark).exists() for mark in ROOT_MARKS):
            return parent
    return real


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the relative paths of a file start (``path``, as shown to people), and what they may not leave."""

    path: Path
    root: Path
    _hashes: dict[Path, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of_stack(cls, file: Path) -> "Folder":
        """The folder of a stack file, with the repository around it."""
        return cls(file.parent, root_of(file.parent))

    @classmethod
    def of_fleet(cls, file: Path) -> "Folder":
        """The folder of a fleet file, and nothing around it."""
        return cls(file.parent, Path(os.path.realpath(file.parent)))

    def shown(self, name: str) -> Path:
        """The path for messages: joined, with ``..`` taken out; the real one where a link makes them differ.

        Raises: FileFault when it leads outside.
        """
        real = self.resolve(name)
        joined = os.path.normpath(self.path / name)
        return Path(joined) if os.path.realpath(joined) == str(real) else real

    def resolve(self, name: str) -> Path:
        """The real path of ``name``. Raises: FileFault when it leads outside, by ``..`` or by a link."""
        if "\0" in name or not name or len(name) > 4096:
            raise FileFault("file-missing", f"{name[:60]!r} is not a path")
        try:
            real = Path(os.path.realpath(self.path / name))
        except (OSError, ValueError) as fault:
            raise FileFault("file-unreadable", str(fault)) from None
        if not real.is_relative_to(self.root):
            hint = "paths stay inside the file's folder, or the nearest one around it with .git or stacksmith.root"
            raise FileFault("outside-folder", f"{name!r} is outside its folder", hint)
        if hidden := HIDDEN.intersection(real.relative_to(self.root).parts):
            raise FileFault("outside-folder", f"{name!r} is in {min(hidden)}, which no file may name")
        return real

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedReader]:
        """A regular file for reading. Raises: FileFault."""
        with open_regular(self.resolve(name), name) as file:
            yield file

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file. Raises: FileFault, too-large when there are more than ``limit``."""
        return read_limited(self.resolve(name), name, limit)

    def read_text(self, name: str, limit: int) -> str:
        """The text of a UTF-8 file. Raises: FileFault."""
        try:
            return self.read(name, limit).decode()
        except UnicodeDecodeError as fault:
            raise FileFault("not-utf8", f"{name!r} is not UTF-8 text at byte {fault.start}") from None

    def sha256(self, name: str) -> str:
        """``sha256:…`` of a file, read once in chunks. Raises: FileFault."""
        real = self.resolve(name)
        if real not in self._hashes:
            with self.open(name) as file:
                digest = hashlib.file_digest(file, "sha256")
            self._hashes[real] = f"sha256:{digest.hexdigest()}"
        return self._hashes[real]

    def check(self, name: str) -> Path:
        """The real path of a file that can be read. Raises: FileFault."""
        with self.open(name):
            return self.resolve(name)


def read_limited(path: Path, name: str, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit``. Raises: FileFault."""
    with open_regular(path, name) as file:
        try:
            content = file.read(limit + 1)
        except OSError as fault:
            raise FileFault("file-unreadable", f"{name!r}: {fault.strerror}") from None
    if len(content) > limit:
        raise FileFault("too-large", f"{name!r} has more than {limit} bytes")
    return content


@contextmanager
def open_regular(path: Path, name: str) -> Iterator[BufferedReader]:
    """A regular file; a FIFO or device is refused and never waited for. Raises: FileFault."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileFault("file-missing", f"{name!r} does not exist") from None
    except (OSError, ValueError) as fault:
        cause = getattr(fault, "strerror", None) or str(fault)
        raise FileFault("file-unreadable", f"{name!r}: {cause}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileFault("file-missing", f"{name!r} is not a regular file")
    with os.fdopen(handle, "rb") as file:
        yield file
