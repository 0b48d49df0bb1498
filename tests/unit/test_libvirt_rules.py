"""What changes do to a guest on libvirt, and what is refused before a host is asked."""

from dataclasses import fields, replace
from typing import Any

import pytest

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.fleet import Host
from stacksmith.model.found import Found
from stacksmith.model.realised import SHAPES, DhcpHost, Disk, Image, Network, Realised, Server, Volume
from stacksmith.providers.libvirt.check import check
from stacksmith.providers.rules import RULES, impact

HOST = Host(libvirt="qemu:///system", virt_type="qemu")
MAC = "52:54:00:00:00:01"
BLANK = {"source": "blank", "bus": "virtio", "device_type": "disk", "boot_index": None}
DATA, OTHER = (BLANK | {"source": "volume", "ref": ref} for ref in ("volume.data", "volume.other"))
SERVER = Server("web", 2, 1024, max_ram_mib=2048)


def judge(kind: str, path: str, wanted: Any, found: Any, spec: Realised = SERVER, **facts: Any) -> tuple[Impact, str]:
    there = Found(Address(kind, "x"), "hv1", "u", "n", spec, "f", facts=facts)
    judged = impact(kind, Change(path, wanted, None, found, Status.CHANGE), there)
    return judged.impact, judged.note


@pytest.mark.parametrize("kind", SHAPES)
def test_every_field_of_every_shape_has_a_rule(kind: str) -> None:
    assert set(RULES[kind]) == {f.name for f in fields(SHAPES[kind])}


@pytest.mark.parametrize(
    ("path", "wanted", "found", "expected"),
    [
        ("ram_mib", 2048, 1024, Impact.LIVE),
        ("ram_mib", 512, 1024, Impact.LIVE),
        ("ram_mib", 4096, 1024, Impact.RESTART),
        ("vcpus", 3, 2, Impact.RESTART),
        ("vcpus", 1, 2, Impact.RESTART),
        ("disks[vda].size_bytes", 2, 1, Impact.LIVE),
        ("disks[vda].size_bytes", 1, 2, Impact.REPLACE),
        ("disks[vda].ref", "sha256:1", "sha256:2", Impact.REPLACE),
        ("disks[vdb].boot_index", 1, None, Impact.RESTART),
        ("disks[vdb]", OTHER, DATA, Impact.LIVE),
        ("disks[vdb]", OTHER, DATA | {"boot_index": 0}, Impact.RESTART),
        ("disks[vdb]", OTHER | {"bus": "sata"}, DATA, Impact.RESTART),
        ("disks[vdb].source", "blank", "volume", Impact.REPLACE),
        ("disks[vdd]", BLANK, None, Impact.LIVE),
        ("disks[vdd]", BLANK | {"boot_index": 0}, None, Impact.RESTART),
        ("firmware", "uefi", "bios", Impact.REPLACE),
        ("machine_type", "q35", None, Impact.NONE),
        ("machine_type", "pc", None, Impact.RESTART),
        ("power_state", "stopped", "running", Impact.RESTART),
        ("power_state", "paused", "running", Impact.LIVE),
        ("metadata.role", "db", "web", Impact.LIVE),
        ("tags", ["a"], [], Impact.LIVE),
        ("config_drive.digest", "a", "b", Impact.LIVE),
        ("config_drive", None, {"format": "nocloud", "digest": "b"}, Impact.RESTART),
        ("nics[52:54:00:00:00:01].network", "lan", "dmz", Impact.LIVE),
        ("nics[52:54:00:00:00:01].model", "e1000e", "virtio", Impact.LIVE),
        ("nics[52:54:00:00:00:01].model", "e1000", "virtio", Impact.RESTART),
        ("nics[52:54:00:00:00:01].model", "virtio", "rtl8139", Impact.RESTART),
        ("nics[52:54:00:00:00:02]", {"model": "virtio"}, None, Impact.LIVE),
        ("nics[52:54:00:00:00:02]", {"model": "rtl8139"}, None, Impact.RESTART),
        ("policy.protect", True, False, Impact.NONE),
    ],
)
def test_server_change_has_its_impact(path: str, wanted: Any, found: Any, expected: Impact) -> None:
    assert judge("server", path, wanted, found, actual={"machine_type": "q35"})[0] is expected


def test_interface_of_an_old_model_is_plugged_into_a_running_pc_machine() -> None:
    machine = {"machine_type": "pc"}
    assert judge("server", f"nics[{MAC}].model", "e1000", "virtio", actual=machine)[0] is Impact.LIVE


def test_config_drive_that_was_ejected_is_put_in_again_live() -> None:
    drive = {"format": "nocloud", "digest": "b"}
    assert judge("server", "config_drive", drive, None, config_drive_ejected=True)[0] is Impact.LIVE
    assert judge("server", "config_drive", drive, None, config_drive_ejected=False)[0] is Impact.RESTART


def test_memory_above_the_live_maximum_says_what_it_is() -> None:
    assert judge("server", "ram_mib", 4096, 1024, max_ram_mib=2048) == (
        Impact.RESTART,
        "needs a restart: above the live maximum of 2048 MiB",
    )


def test_restart_of_a_guest_that_is_off_is_none() -> None:
    off = replace(SERVER, power_state="stopped")
    assert judge("server", "machine_type", "pc", "q35", off)[0] is Impact.LIVE


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        ({"source": "volume", "bus": "virtio", "device_type": "disk"}, Impact.LIVE),
        ({"source": "file", "bus": "virtio", "device_type": "disk"}, Impact.LIVE),
        ({"source": "volume", "bus": "sata", "device_type": "disk"}, Impact.RESTART),
        ({"source": "blank", "bus": "virtio", "device_type": "disk"}, Impact.DATA_LOSS),
    ],
)
def test_disk_taken_away_loses_only_local_data(disk: dict[str, str], expected: Impact) -> None:
    assert judge("server", "disks[vdb]", None, disk)[0] is expected


@pytest.mark.parametrize(
    ("kind", "path", "wanted", "found", "expected"),
    [
        ("volume", "size_bytes", 2, 1, Impact.LIVE),
        ("volume", "size_bytes", 1, 2, Impact.DATA_LOSS),
        ("volume", "format", "raw", "qcow2", Impact.DATA_LOSS),
        ("network", "subnets[10.0.0.0/24].ranges", [], [["a", "b"]], Impact.LIVE),
        ("network", "subnets[10.0.0.0/24].gateway", "a", "b", Impact.RESTART),
        ("network", "hosts[52:54:00:00:00:01].ip", "a", "b", Impact.LIVE),
        ("network", "mtu", 1400, 1500, Impact.RESTART),
        ("network", "active", True, False, Impact.LIVE),
        ("image", "files[disk].checksum", "a", "b", Impact.LIVE),
    ],
)
def test_change_of_other_kinds_has_its_impact(kind: str, path: str, wanted: Any, found: Any, expected: Impact) -> None:
    assert judge(kind, path, wanted, found, Volume(1))[0] is expected


@pytest.mark.parametrize(
    ("kind", "wanted", "path"),
    [
        ("server", replace(SERVER, description="a\x07b"), "description"),
        ("server", replace(SERVER, metadata={"k": "\x1b[31m"}), "metadata.k"),
        ("server", replace(SERVER, max_vcpus=1), "max_vcpus"),
        ("server", replace(SERVER, max_ram_mib=512), "max_ram_mib"),
        ("server", replace(SERVER, cpu_mode="host-passthrough"), "cpu_mode"),
        ("server", replace(SERVER, cpu_sockets=3), "cpu_sockets"),
        ("server", replace(SERVER, firmware="coreboot"), "firmware"),
        ("server", replace(SERVER, secure_boot=True), "secure_boot"),
        ("server", replace(SERVER, disks=(Disk("hda", "blank", bus="ide"),)), "disks[hda].bus"),
        ("server", replace(SERVER, disks=(Disk("vda", "blank", device_type="cdrom"),)), "disks[vda].bus"),
        ("volume", Volume(1, "ssd"), "volume_type"),
        ("network", Network(mode="bridge"), "bridge"),
        ("network", Network(bridge="a-very-long-bridge"), "bridge"),
        ("network", Network(hosts=(DhcpHost("52:54:00:00:00:01", "fd00::5", "a"),)), "hosts[52:54:00:00:00:01].ip"),
    ],
)
def test_check_finds_what_libvirt_would_refuse(kind: str, wanted: Realised, path: str) -> None:
    assert [p for p, _ in check(kind, wanted, HOST)] == [path]


@pytest.mark.parametrize(
    ("kind", "wanted"), [("server", SERVER), ("volume", Volume(1)), ("network", Network()), ("image", Image(()))]
)
def test_check_of_what_libvirt_takes_finds_nothing(kind: str, wanted: Realised) -> None:
    assert list(check(kind, wanted, HOST)) == []
