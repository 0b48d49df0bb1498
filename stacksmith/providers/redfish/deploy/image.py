"""Images as the ramdisk takes them: raw, and packed when they go along on the ISO. Made once for a checksum."""

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from stacksmith.model.deploy import Method
from stacksmith.providers.base import Refused
from stacksmith.providers.bmc import Tell
from stacksmith.providers.deployment import Job
from stacksmith.providers.redfish.deploy.job import Source

CHUNK_BYTES = 1 << 20
KEPT_IMAGES = 4
ALGORITHMS = ("sha256", "sha512")


@contextmanager
def source(job: Job, method: Method, cache: Path, progress: Tell) -> Iterator[Source]:
    """The raw bytes of a job's image, which stay as long as the block lasts. Raises: Refused."""
    if job.image is None or job.checksum.partition(":")[0] not in ALGORITHMS:
        raise Refused(f"cannot deploy {job.node}: an image with a sha256 or sha512 checksum is needed", "image")
    with ExitStack() as stack:
        found = Source(job.image, job.checksum, job.image.stat().st_size)
        if job.format != "raw":
            found = stack.enter_context(_converted(job, cache, progress))
        if method == "embedded":
            packed = stack.enter_context(_packed(found, cache, progress))
            found = Source(found.path, found.checksum, found.size, packed)
        yield found


@contextmanager
def _converted(job: Job, cache: Path, progress: Tell) -> Iterator[Source]:
    """The image as raw, of which the checksum is noted beside it."""
    image = job.image
    assert image is not None
    path = _home(cache) / f"{job.checksum.replace(':', '-')}.raw"
    note = path.with_suffix(".json")

    def make() -> None:
        progress(f"converting {image.name} to raw")
        if _digest(image, job.checksum.partition(":")[0]) != job.checksum:
            raise Refused(f"cannot deploy {job.node}: {image} does not have the checksum {job.checksum}", "image")
        draft = path.with_suffix(".draft")
        _convert(image, job.format, draft)
        facts = {"checksum": _digest(draft, "sha256"), "size": draft.stat().st_size}
        note.with_suffix(".note").write_text(json.dumps(facts))
        note.with_suffix(".note").replace(note)
        draft.replace(path)

    with _kept((path, note), make):
        facts = json.loads(note.read_text())
        yield Source(path, facts["checksum"], facts["size"])


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


@contextmanager
def _packed(found: Source, cache: Path, progress: Tell) -> Iterator[Path]:
    path = _home(cache) / f"{found.checksum.replace(':', '-')}.gz"

    def make() -> None:
        progress(f"packing {found.size >> 20} MiB")
        draft = path.with_suffix(".draft")
        with found.path.open("rb") as source, draft.open("wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0, filename="") as packed:
                shutil.copyfileobj(source, packed, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    with _kept((path,), make):
        yield path


def _home(cache: Path) -> Path:
    home = cache / "deploy-images"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


@contextmanager
def _kept(files: Sequence[Path], make: Callable[[], None]) -> Iterator[None]:
    """The file, and what belongs to it, which no other process takes away as long as the block lasts; made by one at a
    time, once."""
    with files[0].with_suffix(".lock").open("a+") as lock:  # on NFS a shared lock is for those who may read
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if all(each.exists() for each in files):
                break
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not all(each.exists() for each in files):
                make()
                _prune(files[0])
        os.utime(files[0])
        yield


def _prune(new: Path) -> None:
    """Forgets all but those used last, and those in use."""
    home = new.parent
    made = sorted((*home.glob("*.raw"), *home.glob("*.gz")), key=lambda path: path.stat().st_mtime)
    for path in made[:-KEPT_IMAGES]:
        with path.with_suffix(".lock").open("a+") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            if path.suffix == ".raw":
                path.with_suffix(".json").unlink(missing_ok=True)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
