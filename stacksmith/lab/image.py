"""The lab's images, built once for a kernel and kept in the user's cache."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from stacksmith.frozen import dataclass
from stacksmith.lab import guest, node_disk
from stacksmith.lab.layout import LabError, Progress
from stacksmith.providers import archive

KEPT_BUILDS = 6
FILES = {
    "lab": ("kernel", ["vmlinuz", "guest.gz"]),
    "lab-disk": ("qcow2", ["disk.qcow2"]),
    "lab-acpi": ("raw", ["acpi.img"]),
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of an image, by name in the folder of images."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the lab's fleet offers; `kind` is "kernel" (kernel, then ramdisk) or the format of its one file."""

    name: str
    kind: str
    files: tuple[File, ...]


def ensure(progress: Progress) -> tuple[Path, list[Image]]:
    """The folder that holds the images for hosts, built if need be, and what they are. Another builder is waited for.

    Raises:
        LabError: a tool is missing or fails.
    """
    release, kernel = guest.kernel()
    folder = _once(
        f"{_digest(guest, archive)}-{release}", progress, guest.needs, lambda draft: _write(draft, release, kernel)
    )
    return folder, _images(folder, FILES)


def ensure_node(progress: Progress) -> tuple[Path, list[Image]]:
    """The same for the image of the nodes.

    Raises:
        LabError: a tool is missing or fails.
    """
    node_disk.needs()
    release = node_disk.kernel()
    name = f"{_digest(guest, archive, node_disk)}-{release}-node"
    folder = _once(name, progress, node_disk.needs, lambda draft: node_disk.write(draft / node_disk.FILE, release))
    return folder, _images(folder, {node_disk.NAME: ("raw", [node_disk.FILE])})


def _once(name: str, progress: Progress, needs: Callable[[], None], write: Callable[[Path], None]) -> Path:
    """The folder of a build, which `write` fills if there is none."""
    home = cache_home() / "lab-images"
    folder = home / name
    if not (folder / "manifest.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        with open(home / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "manifest.json").exists():
                needs()
                progress(f"images: building {name}, once")
                _build(folder, write)
                _prune(home)
    return folder


def _images(folder: Path, files: Mapping[str, tuple[str, list[str]]]) -> list[Image]:
    digests = json.loads((folder / "manifest.json").read_text())
    return [
        Image(name, kind, tuple(File(each, digests[each]) for each in each_of))
        for name, (kind, each_of) in files.items()
    ]


def cache_home() -> Path:
    """Where stacksmith keeps what it can make again (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stacksmith"


def _digest(*modules: ModuleType) -> str:
    """Twelve hex digits that change with the builder's code, the guest's scripts and the programs packed."""
    total = hashlib.sha256()
    sources = [Path(str(module.__file__)) for module in modules]
    for path in sorted([*sources, *guest.SCRIPTS.iterdir()]):
        if path.is_file():
            total.update(path.read_bytes())
    for program in (guest.BUSYBOX, guest.AGENT):
        if program.exists():
            total.update(f"{program}:{program.stat().st_size}:{program.stat().st_mtime_ns}".encode())
    return total.hexdigest()[:12]


def _write(draft: Path, release: str, kernel: Path) -> None:
    """Fill the folder of the images for hosts."""
    shutil.copyfile(kernel, draft / "vmlinuz")
    (draft / "guest.gz").write_bytes(guest.ramdisk(release))
    (draft / "acpi.img").write_bytes(guest.boot_sector())
    guest.write_disk(draft / "disk.qcow2", draft / "vmlinuz", draft / "guest.gz")


def _build(folder: Path, write: Callable[[Path], None]) -> None:
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    write(draft)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(draft.iterdir())}
    for name in digests:
        (draft / name).chmod(0o444)
    (draft / "manifest.json").write_text(json.dumps(digests))
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def _prune(home: Path) -> None:
    """Forget all but the newest builds; labs that are up have links or copies of what they use."""
    builds = sorted(home.glob("*/manifest.json"), key=lambda manifest: manifest.stat().st_mtime, reverse=True)
    for manifest in builds[KEPT_BUILDS:]:
        shutil.rmtree(manifest.parent, ignore_errors=True)


def offer(source: Path, target: Path, images: list[Image]) -> None:
    """Put the images into the lab's folder: hard links where the file system allows, else copies.

    Raises:
        LabError: the folder cannot be written.
    """
    try:
        target.mkdir(exist_ok=True)
        for file in (file for image in images for file in image.files):
            if not _holds(target / file.name, file.sha256):
                _place(source / file.name, target / file.name)
    except OSError as error:
        raise LabError(f"cannot write the lab's images to {target}: {error.strerror}") from error


def _holds(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _place(source: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(source, draft)
    except OSError:  # another file system
        shutil.copyfile(source, draft)
    draft.replace(target)
