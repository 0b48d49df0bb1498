"""What is made on this machine for a deploy: raw images, packed ones, the ISO; and what is said when it cannot be."""

import fcntl
import gzip
import hashlib
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from stacksmith.model.deploy import Method
from stacksmith.providers.archive import Archive
from stacksmith.providers.base import Refused
from stacksmith.providers.bmc import Tell
from stacksmith.providers.deployment import Job
from stacksmith.providers.redfish.deploy import image, iso, ramdisk
from stacksmith.providers.redfish.deploy.job import Source
from stacksmith.providers.redfish.deploy.ramdisk import Boot

CONTENT = b"an image" * 4096


def sum_of(path: Path, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


def made(job: Job, method: Method, cache: Path, progress: Tell) -> Source:
    with image.source(job, method, cache, progress) as found:
        return found


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "image.raw"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def qcow2(raw: Path) -> Path:
    path = raw.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    return path


def test_raw_image_is_taken_as_it_is(raw: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = made(Job("bm1", "u", raw, "sha512:ab"), "http", tmp_path, said.append)
    assert (found.path, found.checksum, found.size, found.packed, said) == (raw, "sha512:ab", len(CONTENT), None, [])


def test_qcow2_image_is_converted_once(raw: Path, qcow2: Path, tmp_path: Path) -> None:
    said: list[str] = []
    job = Job("bm1", "u", qcow2, sum_of(qcow2, "sha512"), "qcow2")
    first, second = (made(job, "http", tmp_path, said.append) for _ in range(2))
    assert first == second and said == ["converting image.qcow2 to raw"]
    assert first.path.read_bytes() == CONTENT and first.checksum == sum_of(raw) and first.size == len(CONTENT)


def test_embedded_image_is_packed_once(raw: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        found = made(Job("bm1", "u", raw, sum_of(raw)), "embedded", tmp_path, said.append)
    assert found.packed and gzip.decompress(found.packed.read_bytes()) == CONTENT
    assert said == ["packing 0 MiB"]


def test_images_in_use_stay_however_many_are_made_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "KEPT_IMAGES", 1)

    def job(number: int) -> Job:
        path = tmp_path / f"{number}.raw"
        path.write_bytes(CONTENT + bytes([number]))
        return Job("bm1", "u", path, sum_of(path))

    def packed() -> int:
        return len(list((tmp_path / "deploy-images").glob("*.gz")))

    with ExitStack() as stack:
        held = [stack.enter_context(image.source(job(n), "embedded", tmp_path, str)) for n in range(3)]
        assert all(each.packed and each.packed.exists() for each in held)
        made(job(3), "embedded", tmp_path, str)
        assert packed() == 4
    made(job(4), "embedded", tmp_path, str)
    assert packed() == 1 and made(job(4), "embedded", tmp_path, pytest.fail).packed


def test_image_that_is_taken_away_while_its_turn_is_waited_for_is_made_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    job = Job("bm1", "u", raw, sum_of(raw))
    found = made(job, "embedded", tmp_path, said.append)
    taken: list[int] = []

    def flock(file: IO[bytes], how: int) -> None:
        if how == fcntl.LOCK_SH and len(taken) < 2:
            taken.append(how)
            assert found.packed
            found.packed.unlink(missing_ok=True)

    monkeypatch.setattr(image.fcntl, "flock", flock)
    with image.source(job, "embedded", tmp_path, said.append) as again:
        assert again == found and again.packed and again.packed.exists()
    assert said == ["packing 0 MiB"] * 3


def test_raw_image_whose_note_is_gone_is_made_again(qcow2: Path, tmp_path: Path) -> None:
    said: list[str] = []
    job = Job("bm1", "u", qcow2, sum_of(qcow2), "qcow2")
    first = made(job, "http", tmp_path, said.append)
    first.path.with_suffix(".json").unlink()
    assert made(job, "http", tmp_path, said.append) == first
    assert said == ["converting image.qcow2 to raw"] * 2


def test_cache_on_nfs_where_a_shared_lock_is_for_readers_is_used(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: IO[bytes], how: int) -> None:
        """As flock(2) tells of NFS: a lock of all the bytes of the file."""
        fcntl.lockf(file, how)

    monkeypatch.setattr(image.fcntl, "flock", flock)
    assert made(Job("bm1", "u", raw, sum_of(raw)), "embedded", tmp_path, str).packed


def test_image_with_other_bytes_is_not_converted(qcow2: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not have the checksum sha256:00"):
        made(Job("bm1", "u", qcow2, "sha256:00", "qcow2"), "http", tmp_path, str)
    assert not list(tmp_path.rglob("*.raw.*")) and not list((tmp_path / "deploy-images").glob("*.raw"))


def test_image_that_is_built_on_another_file_is_refused(raw: Path, tmp_path: Path) -> None:
    over = tmp_path / "over.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(raw), str(over)],
        check=True,
        capture_output=True,
    )
    with pytest.raises(Refused, match="it is built on another file"):
        made(Job("bm1", "u", over, sum_of(over), "qcow2"), "http", tmp_path, str)


@pytest.mark.parametrize("checksum", ["", "md5:00"])
def test_image_without_a_sound_checksum_is_refused(raw: Path, tmp_path: Path, checksum: str) -> None:
    with pytest.raises(Refused, match="sha256 or sha512"):
        made(Job("bm1", "u", raw, checksum), "http", tmp_path, str)


def test_missing_tools_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ramdisk, "PATH", str(tmp_path))
    with pytest.raises(Refused, match="not installed: gdisk, grub-common, kmod") as refusal:
        ramdisk.ensure(tmp_path)
    assert refusal.value.hint and refusal.value.hint.startswith("apt-get install gdisk grub-common")


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    folder = tmp_path / "boot"
    folder.mkdir()
    made = Boot(folder)
    for path in (made.kernel, made.ramdisk, made.efi, made.bios):
        path.write_bytes(path.name.encode() * 512)
    return made


def test_iso_has_no_name_anywhere(boot: Boot, tmp_path: Path) -> None:
    from pycdlib import PyCdlib

    job = Archive()
    job.file("job", b"token=1")
    before = set(tmp_path.rglob("*"))
    with iso.build(boot, "SSLABEL", job, boot.kernel, tmp_path) as file:
        assert set(tmp_path.rglob("*")) == before
        read = PyCdlib()
        read.open_fp(file)
        assert read.pvd.volume_identifier.strip() == b"SSLABEL"
        places = {
            child.rock_ridge.name(): child.extent_location()
            for child in read.list_children(iso_path="/")
            if child.rock_ridge and child.is_file()
        }
        assert max(places, key=lambda name: places[name]) == b"image.gz"  # a BIOS reads what is in front of it
        names = {child.rock_ridge.name() for child in read.list_children(iso_path="/") if child.rock_ridge}
        assert {b"vmlinuz", b"ramdisk", b"job", b"image.gz", b"efi.img", b"bios.img"} <= names
        read.close()


def test_ramdisk_looks_at_what_is_on_the_buses_that_it_has_modules_for() -> None:
    aliases = "alias pci:v00008086d*sv* ahci\nalias acpi*:APMC0D0D:* one\nalias mpt2sas mpt3sas\nalias pci:v1d* two\n"
    assert ramdisk.buses(aliases) == "^acpi:\n^pci:\n"
