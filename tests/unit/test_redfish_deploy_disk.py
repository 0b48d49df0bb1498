"""The scripts of the deploy ramdisk, by the busybox that runs them on a node."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from stacksmith.model.deploy import DeploySpec, NodeDeploySpec
from stacksmith.model.node import RootDeviceHints
from stacksmith.providers.deployment import Cleaning, Job
from stacksmith.providers.redfish.deploy.job import Source, Way, clean_text, deploy_text, hints_text
from stacksmith.providers.redfish.deploy.ramdisk import BUSYBOX, SCRIPTS

GIB = 1 << 30
DISKS = (
    ("nvme0n1", 960 * GIB, 0, "SAMSUNG MZ1", "", "S64G", "eui.0025", ""),
    ("sda", 480 * GIB, 0, "INTEL SSD", "ATA", "BTYF1", "naa.55cd2e414d", "0:0:0:0"),
    ("sdb", 480 * GIB, 0, "INTEL SSD", "ATA", "BTYF2", "naa.55cd2e414e", "1:0:0:0"),
    ("sdc", 4000 * GIB, 1, "HGST HUS72", "HGST", "V1", "naa.5000cca2", "2:0:0:0"),
)


Disk = tuple[str, int, int, str, str, str, str, str]


def choose(tmp_path: Path, needed: int = GIB, disks: Sequence[Disk] = DISKS, **hints: object) -> tuple[int, str]:
    """Exit status and words of the choice among the disks."""
    (tmp_path / "hints").write_text(hints_text(RootDeviceHints(**hints)))  # type: ignore[arg-type]
    lines = "".join("\t".join(map(str, disk)) + "\n" for disk in disks)
    argv = [str(BUSYBOX), "awk", "-F", "\t", "-v", f"needed={needed}", "-v", f"hints={tmp_path / 'hints'}"]
    done = subprocess.run(
        [*argv, "-f", str(SCRIPTS / "choose.awk")], input=lines, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("hints", "name"),
    [
        ({}, "sda"),
        ({"name": "/dev/sdb"}, "sdb"),
        ({"name": "sdc"}, "sdc"),
        ({"serial": "btyf2"}, "sdb"),
        ({"wwn": "0x5000cca2"}, "sdc"),
        ({"model": "samsung"}, "nvme0n1"),
        ({"vendor": "hgst"}, "sdc"),
        ({"hctl": "1:0:0:0"}, "sdb"),
        ({"rotational": True}, "sdc"),
        ({"rotational": False, "min_size": 500}, "nvme0n1"),
        ({"min_size": 480}, "sda"),
    ],
)
def test_root_device_is_the_smallest_that_fits_the_hints(tmp_path: Path, hints: dict[str, object], name: str) -> None:
    assert choose(tmp_path, **hints) == (0, name)


def test_root_device_among_equal_disks_is_the_same_whatever_they_are_called(tmp_path: Path) -> None:
    names = ("sda", "sdb"), ("sdb", "sda")
    chosen = [choose(tmp_path, disks=[(a, *DISKS[1][1:]), (b, *DISKS[2][1:])])[1] for a, b in names]
    assert chosen == ["sda", "sdb"]  # of serial BTYF1


@pytest.mark.parametrize(("disk", "found"), [("sdb", "sdb"), ("BTYF2", "sdb"), ("naa.5000cca2", "sdc"), ("btyf", "")])
def test_disk_to_wipe_is_named_by_name_serial_or_wwn(disk: str, found: str) -> None:
    lines = "".join("\t".join(map(str, each)) + "\n" for each in DISKS)
    script = f". {SCRIPTS / 'disk.sh'}; named {disk}"
    argv = [str(BUSYBOX), "sh", "-c", script]
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, done.stdout.strip()) == (bool(found), found)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("", ""),
        ("done u1 sha256:aa bb", "an image for server u1"),
        ("writing u1 sha256:aa bb", "an image for server u1 that is not finished"),
        ("config u1 sha256:aa bb", "an image for server u1 that is not finished"),
    ],
)
def test_mark_of_a_disk_is_told_in_words(mark: str, words: str) -> None:
    argv = [str(BUSYBOX), "sh", "-c", f". {SCRIPTS / 'disk.sh'}; marked {mark}"]
    assert subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(("S1", "W1"), ("S1", "W1"), True), (("S1", "W1"), ("S2", "W1"), False), (("", ""), ("", ""), False)],
)
def test_disk_by_two_paths_is_one_disk(
    tmp_path: Path, one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    """What is on the second path of it is its own, and nothing to remove."""
    says = "".join(
        f'{what}() {{ case $1 in */a) echo "{a}" ;; *) echo "{b}" ;; esac; }}\n'
        for what, a, b in zip(("serial", "wwn"), one, other, strict=True)
    )
    script = f". {SCRIPTS / 'disk.sh'}\n{says}same_disk a b"
    assert (subprocess.run([str(BUSYBOX), "sh", "-c", script], check=False).returncode == 0) == same


@pytest.mark.parametrize("sectors", [2048 * 3 + 7, 2048 * 257, 5])
def test_whole_wipe_leaves_no_byte_and_says_how_far_it_is(tmp_path: Path, sectors: int) -> None:
    """A run that hears nothing for minutes gives a node up, and a large disk takes hours."""
    disk, mib = tmp_path / "sdx", sectors // 2048
    with disk.open("wb") as file:
        for sector in (0, sectors // 2, sectors - 1):
            file.seek(sector * 512)
            file.write(b"\xff" * 512)
        file.write(b"beyond")
    script = f'tell() {{ echo "$*"; }}; . {SCRIPTS / "disk.sh"}; zero {disk} {sectors}'
    done = subprocess.run([str(BUSYBOX), "sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"clean sdx: {at} of {mib} MiB" for at in range(0, mib, 256)]
    with disk.open("rb") as file:
        assert not any(any(file.read(512)) for _ in range(sectors))
        assert file.read() == b"beyond"


def test_root_device_has_room_for_the_image(tmp_path: Path) -> None:
    assert choose(tmp_path, 500 * GIB) == (0, "nvme0n1")


def test_no_root_device_says_what_there_is(tmp_path: Path) -> None:
    status, said = choose(tmp_path, model="Optane", rotational=False)
    assert status == 1
    assert "no disk has 1.0 GiB and fits" in said and "model=Optane" in said and "rotational=0" in said
    assert "sdb (480.0 GiB, model INTEL SSD, serial BTYF2)" in said


def shell(*words: str) -> tuple[int, str]:
    """A call of a function of disk.sh."""
    argv = [str(BUSYBOX), "sh", "-c", f'. {SCRIPTS}/disk.sh; "$@"', "sh", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": "/bin:/usr/bin:/usr/sbin"})
    return done.returncode, done.stdout + done.stderr


def test_dos_partition_goes_to_the_first_free_entry(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    table = bytearray(512)
    table[446:462] = b"\x80" + b"\1" * 15
    table[510:] = b"\x55\xaa"
    disk.write_bytes(bytes(table) + bytes(1024))
    assert shell("add_dos_partition", str(disk), "8386560", "2048") == (0, "")
    found = disk.read_bytes()
    assert found[446:462] == table[446:462] and found[510:512] == b"\x55\xaa" and len(found) == 1536
    assert found[462:478] == b"\x00\xfe\xff\xff\x83\xfe\xff\xff" + (8386560).to_bytes(4, "little") + b"\0\x08\0\0"


def test_dos_partition_that_has_no_place_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\1" * 512)
    assert shell("add_dos_partition", str(disk), "2048", "2048") == (1, "the partition table of the image is full\n")
    status, said = shell("add_dos_partition", str(disk), str(2**32), "2048")
    assert status == 1 and "larger than a DOS partition table can say" in said


def read_back(text: str, *names: str) -> list[str]:
    """What a shell makes of a job's text."""
    script = text + "".join(f'printf "%s\\0" "${name}"\n' for name in names)
    done = subprocess.run([str(BUSYBOX), "sh"], input=script, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def test_job_reaches_the_shell_as_it_is() -> None:
    job = Job("bm1", "u'; reboot; '", Path("x"), "sha512:ab", overwrite=True)
    way = Way("http", "http://[::1]:1/a/b", "t$(id)", "SS1")
    text = deploy_text(job, Source(Path("x"), "sha256:cd", 5 << 20), b"x" * 600, way)
    names = ("task", "uuid", "url", "token", "method", "algorithm", "sum", "size", "config_mib", "overwrite")
    found = read_back(text, *names)
    assert found[:6] == ["deploy", "u'; reboot; '", "http://[::1]:1/a/b", "t$(id)", "http", "sha256"]
    assert found[6:] == ["cd", str(5 << 20), "1", "yes"]
    assert read_back(text, "identity")[0].startswith("u'; reboot; ' sha512:ab ")
    assert "t$(id)" not in repr(way) and "config" not in repr(Job("n", "u", config_drive={"a": b"config"}))


def test_cleaning_reaches_the_shell() -> None:
    text = clean_text(Cleaning("bm1", "u", ("/dev/sda", "sdb"), whole=True), Way("embedded", "u", "t", "SS1"))
    assert read_back(text, "task", "names", "wipe") == ["clean", "sda sdb", "whole"]


def test_node_may_differ_from_its_fleet() -> None:
    fleet = DeploySpec(listen="10.0.0.1:8080", method="http", boot_timeout_seconds=60)
    mine = fleet.for_node(NodeDeploySpec(method="embedded", advertise_url="http://10.0.0.9:80"))
    assert (mine.listen, mine.method, mine.advertise_url) == ("10.0.0.1:8080", "embedded", "http://10.0.0.9:80")
    assert mine.boot_timeout_seconds == 60 and fleet.for_node(None) is fleet


@pytest.mark.parametrize("listen", ["8080", ":80", "host", "1.2.3.4:70000", "1.2.3.4:"])
def test_address_without_a_port_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        DeploySpec(listen=listen)
