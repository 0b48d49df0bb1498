"""Images as the ramdisk takes them: raw, and packed when they go along on the ISO. Made once for a checksum."""

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from stacksmith.model.deploy import Method
from stacksmith.providers.base import Refused
from stacksmith.providers.deployment import Job
from stacksmith.providers.redfish.deploy.job import Source

CHUNK_BYTES = 1 << 20
KEPT_IMAGES = 4
ALGORITHMS = ("sha256", "sha512")


def source(job: Job, method: Method, cache: Path, progress: Callable[[str], None]) -> Source:
    """The raw bytes of a job's image. Raises: Refused."""
    if job.image is None or job.checksum.partition(":")[0] not in ALGORITHMS:
        raise Refused(f"cannot deploy {job.node}: an image with a sha256 or sha512 checksum is needed", "image")
    found = Source(job.image, job.checksum, job.image.stat().st_size)
    if job.format != "raw":
        found = _converted(job, cache, progress)
    if method == "embedded":
        return Source(found.path, found.checksum, found.size, _packed(found, cache, progress))
    return found


def _converted(job: Job, cache: Path, progress: Callable[[str], None]) -> Source:
    """The image as raw, of which the checksum is noted beside it."""
    assert job.image is not None
    path = _home(cache) / f"{job.checksum.replace(':', '-')}.raw"
    note = path.with_suffix(".json")
    with _turn(path):
        if not note.exists() or not path.exists():
            progress(f"converting {job.image.name} to raw")
            if _digest(job.image, job.checksum.partition(":")[0]) != job.checksum:
                raise Refused(
                    f"cannot deploy {job.node}: {job.image} does not have the checksum {job.checksum}", "image"
                )
            draft = path.with_suffix(".draft")
            _convert(job.image, job.format, draft)
            facts = {"checksum": _digest(draft, "sha256"), "size": draft.stat().st_size}
            draft.replace(path)
            note.with_suffix(".note").write_text(json.dumps(facts))
            note.with_suffix(".note").replace(note)
            _prune(path.parent)
        facts = json.loads(note.read_text())
    return Source(path, facts["checksum"], facts["size"])


def _convert(image: Path, format: str, target: Path) -> None:
    """Raises: Refused, for an image that is built on other files too."""
    try:
        told = subprocess.run(
            ["qemu-img", "info", "--output=json", "-f", format, str(image)], capture_output=True, text=True, check=True
        )
        facts = json.loads(told.stdout)
        if facts.get("backing-filename") or facts.get("format-specific", {}).get("data", {}).get("data-file"):
            raise Refused(f"cannot use image {image}: it is built on another file", "image")
        argv = ["qemu-img", "convert", "-f", format, "-O", "raw", str(image), str(target)]
        subprocess.run(argv, capture_output=True, text=True, check=True)
    except FileNotFoundError as fault:
        raise Refused("cannot convert images: qemu-img is not installed", hint="apt-get install qemu-utils") from fault
    except subprocess.CalledProcessError as fault:
        raise Refused(f"cannot convert {image} from {format}: {fault.stderr.strip()}", "image") from fault


def _packed(found: Source, cache: Path, progress: Callable[[str], None]) -> Path:
    path = _home(cache) / f"{found.checksum.replace(':', '-')}.gz"
    with _turn(path):
        if not path.exists():
            progress(f"packing {found.size >> 20} MiB")
            draft = path.with_suffix(".draft")
            with found.path.open("rb") as source, draft.open("wb") as file:
                with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0, filename="") as packed:
                    shutil.copyfileobj(source, packed, CHUNK_BYTES)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _prune(path.parent)
    return path


def _home(cache: Path) -> Path:
    home = cache / "deploy-images"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


class _turn:
    """One maker at a time, in any process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(".lock")

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *cause: object) -> None:
        self._file.close()


def _prune(home: Path) -> None:
    """Forgets all but the newest; one that is being sent stays until it is closed."""
    made = sorted((*home.glob("*.raw"), *home.glob("*.gz")), key=lambda path: path.stat().st_mtime)
    for path in made[:-KEPT_IMAGES]:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
