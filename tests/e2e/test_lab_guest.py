"""The lab's images: real guests, booted by libvirt-python alone, judged by their serial logs."""

import hashlib
import io
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import libvirt
import libvirt_qemu
import pycdlib
import pytest

from stacksmith import lab
from stacksmith.lab.guest import COMMAND_LINE
from stacksmith.lab.layout import layout_of
from tests.tools.rpcproxy import PROCEDURES, RpcProxy, is_write

libvirt.registerErrorHandler(lambda _context, _error: None, None)
pytestmark = [pytest.mark.e2e, pytest.mark.takes(40)]
POOL = "/var/lib/libvirt/stacksmith"
SCRIPT = b"#!/bin/sh\necho hello from $(hostname)\nexit 3\n"
CLOUD_CONFIG = b"#cloud-config\n{}\n"
AWKWARD = {"role": 'say "hi" \\ there', "näme": "漢字 😀 = x", "lines": "one\ntwo"}
STATIC = {
    "version": 2,
    "ethernets": {"nic0": {"match": {"macaddress": "52:54:00:00:00:02"}, "addresses": ["10.77.0.99/24"]}},
}
KEY = "ssh-ed25519 AAAAC3Nz me@example"
DRIVES: dict[str, tuple[str, Mapping[str, bytes]]] = {
    "direct": (
        "config-2",
        {
            "openstack/latest/meta_data.json": json.dumps(
                {"uuid": "u", "meta": AWKWARD, "public_keys": {"ops": KEY + "\n"}, "hostname": "direct-1"}
            ).encode(),
            "openstack/latest/user_data": SCRIPT,
        },
    ),
    "scsi": (
        "cidata",
        {
            "meta-data": f"instance-id: u\nlocal-hostname: scsi-1\npublic-keys:\n  - {KEY}\nmeta:\n".encode()
            + "".join(f"  {json.dumps(key)}: {json.dumps(value)}\n" for key, value in AWKWARD.items()).encode(),
            "user-data": CLOUD_CONFIG,
            "network-config": json.dumps(STATIC).encode(),
        },
    ),
    "disk": ("config-2", {"openstack/latest/meta_data.json": b'{"uuid": "u", "hostname": "disk-1"}'}),
}
NETWORK = """<network><name>lan</name><ip address='10.77.0.1' netmask='255.255.255.0'><dhcp>
<range start='10.77.0.100' end='10.77.0.200'/>
<host mac='52:54:00:00:00:01' ip='10.77.0.11'/><host mac='52:54:00:00:00:02' ip='10.77.0.12'/>
<host mac='52:54:00:00:00:03' ip='10.77.0.13'/><host mac='52:54:00:00:00:04' ip='10.77.0.14'/></dhcp></ip></network>"""
NIC = """<interface type='network'><mac address='52:54:00:00:00:0{}'/><source network='lan'/>
<model type='virtio'/></interface>"""
DISK = """<disk type='file'><driver name='qemu' type='{format}'/><source file='{path}'/>
<target dev='{target}' bus='{bus}'/><serial>{serial}</serial></disk>"""
CDROM = """<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{path}'/>
<target dev='sda' bus='scsi'/><readonly/></disk><controller type='scsi' model='virtio-scsi'/>"""
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>128</memory><vcpu current='1'>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os><features><acpi/></features><devices>{devices}
<controller type='pci' index='0' model='pcie-root'/>
{ports}
<serial type='file'><source path='/var/log/libvirt/{name}.log'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>"""
PORTS = "<controller type='pci' model='pcie-root-port'/>" * 12


@dataclass(frozen=True, slots=True)
class Guest:
    """A running guest and its serial log."""

    domain: libvirt.virDomain
    log: Path

    def says(self, pattern: str, seconds: float = 300.0) -> str:
        """The first line that matches whole, waited for."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.log.read_text(errors="replace").replace("\r", "") if self.log.exists() else ""
            text = text[: text.rfind("\n") + 1]  # the last line may be half written
            if match := re.search(f"^{pattern}$", text, re.MULTILINE):
                return match[0]
            assert time.monotonic() < deadline, f"no line {pattern!r} in:\n{text}"
            time.sleep(0.05)

    def lines(self, word: str) -> list[str]:
        text = self.log.read_text(errors="replace").replace("\r", "")
        return re.findall(rf"^STACKSMITH-{word} (.*)$", text, re.MULTILINE)

    def addresses(self) -> list[str]:
        """Those it has said, waited for: a slow lease may come after READY."""
        self.says("STACKSMITH-ADDRESS .*")
        return self.lines("ADDRESS")


def iso(label: str, files: Mapping[str, bytes]) -> bytes:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
    if any("/" in path for path in files):
        for depth, (folder, name) in enumerate((("/openstack", "openstack"), ("/openstack/latest", "latest")), 1):
            image.add_directory("/D1/D2"[: 3 * depth], rr_name=name, joliet_path=folder)
    for number, (path, content) in enumerate(files.items()):
        above = "/D1/D2" if "/" in path else ""
        place = f"{above}/F{number}.;1"
        image.add_fp(io.BytesIO(content), len(content), place, rr_name=path.rpartition("/")[2], joliet_path=f"/{path}")
    packed = io.BytesIO()
    image.write_fp(packed)
    image.close()
    return packed.getvalue()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("lab") / "guests"
    lab.up(path, hosts=1)
    yield path
    lab.down(path)


@pytest.fixture(scope="module")
def host(directory: Path) -> Iterator[libvirt.virConnect]:
    connection = libvirt.open(lab.status(directory)[0].uri)
    connection.networkCreateXML(NETWORK)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def guests(directory: Path, host: libvirt.virConnect) -> dict[str, Guest]:
    """All guests of this file, booting at once."""
    home = layout_of(directory).home("hv1")
    pool, images = home / "lib" / "stacksmith", directory / "images"
    (pool / "base.qcow2").write_bytes((images / "disk.qcow2").read_bytes())
    for name, size in (("root", "1G"), ("data", "64M"), ("extra", "32M")):
        backing = ["-b", "base.qcow2", "-F", "qcow2"] if name == "root" else []
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, pool / f"{name}.qcow2", size], check=True)
    for name, (label, files) in DRIVES.items():
        (pool / f"{name}.iso").write_bytes(iso(label, files))
    direct = f"<kernel>{images}/vmlinuz</kernel><initrd>{images}/guest.gz</initrd><cmdline>{COMMAND_LINE}</cmdline>"
    drive = DISK.format(format="raw", path=f"{POOL}/{{}}.iso", target="vdz", bus="virtio", serial="drive")
    data = DISK.format(format="qcow2", path=f"{POOL}/data.qcow2", target="vda", bus="virtio", serial="data-1")
    root = DISK.format(format="qcow2", path=f"{POOL}/root.qcow2", target="vda", bus="virtio", serial="root")
    texts = {
        "direct": (direct, drive.format("direct") + data + NIC.format(1)),
        "scsi": (direct, CDROM.format(path=f"{POOL}/scsi.iso") + NIC.format(2)),
        "disk": ("<boot dev='hd'/>", root + drive.format("disk") + NIC.format(3)),
    }
    return {
        name: Guest(
            host.createXML(DOMAIN.format(name=name, ports=PORTS, boot=boot, devices=devices)),
            home / "log" / f"{name}.log",
        )
        for name, (boot, devices) in texts.items()
    }


def test_direct_guest_reports_its_config_drive(guests: dict[str, Guest]) -> None:
    guest = guests["direct"]
    assert re.fullmatch(r"STACKSMITH-READY uptime=[\d.]+ cpus=1 mem_kib=\d+", guest.says("STACKSMITH-READY .*"))
    assert guest.lines("HOSTNAME") == ["direct-1"]
    assert guest.lines("FORMAT") == ["configdrive"]
    assert guest.lines("META") == ['role=say "hi" \\ there', "näme=漢字 😀 = x", "lines=one\\ntwo"]
    assert guest.lines("KEY") == [KEY]
    assert guest.addresses() == ["eth0 52:54:00:00:00:01 10.77.0.11/24"]
    assert f"vda {64 << 20} data-1" in guest.lines("DISK")
    guest.says("hello from direct-1")
    assert guest.lines("USERDATA") == ["rc=3"]


def test_guest_with_a_nocloud_cdrom_on_scsi_reports_it(guests: dict[str, Guest]) -> None:
    guest = guests["scsi"]
    guest.says("STACKSMITH-READY .*")
    assert guest.lines("HOSTNAME") == ["scsi-1"]
    assert guest.lines("FORMAT") == ["nocloud"]
    assert guest.lines("META") == ['role=say "hi" \\ there', "näme=漢字 😀 = x", "lines=one\\ntwo"]
    assert guest.lines("KEY") == [KEY]
    assert guest.addresses() == ["eth0 52:54:00:00:00:02 10.77.0.99/24"]
    assert guest.lines("USERDATA") == [f"cloud-config {hashlib.sha256(CLOUD_CONFIG).hexdigest()}"]


def test_disk_image_boots_from_a_larger_overlay(guests: dict[str, Guest]) -> None:
    guest = guests["disk"]
    guest.says("STACKSMITH-READY .*")
    assert guest.lines("HOSTNAME") == ["disk-1"]
    assert guest.addresses() == ["eth0 52:54:00:00:00:03 10.77.0.13/24"]
    assert f"vda {1 << 30} root" in guest.lines("DISK")


def test_guest_agent_answers(guests: dict[str, Guest]) -> None:
    guests["direct"].says("STACKSMITH-READY .*")
    deadline = time.monotonic() + 300
    while True:
        try:
            answer = libvirt_qemu.qemuAgentCommand(guests["direct"].domain, '{"execute": "guest-get-host-name"}', 5, 0)
            break
        except libvirt.libvirtError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert json.loads(answer) == {"return": {"host-name": "direct-1"}}


def test_guest_sees_what_is_plugged_in_and_out(guests: dict[str, Guest]) -> None:
    guest = guests["direct"]
    guest.says("STACKSMITH-READY .*")
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE
    extra = DISK.format(format="qcow2", path=f"{POOL}/extra.qcow2", target="vdb", bus="virtio", serial="extra-1")
    guest.domain.attachDeviceFlags(extra, live)
    name = guest.says(rf"STACKSMITH-DISK vd\w {32 << 20} extra-1").split()[1]
    guest.domain.blockResize("vdb", 48 << 20, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    guest.says(f"STACKSMITH-DISK {name} {48 << 20} extra-1")
    guest.domain.attachDeviceFlags(NIC.format(4), live)
    guest.says(r"STACKSMITH-ADDRESS eth1 52:54:00:00:00:04 10\.77\.0\.14/24")
    guest.domain.setVcpusFlags(2, live)
    guest.says("STACKSMITH-CPUS 2")
    guest.domain.detachDeviceFlags(extra, live)
    guest.says(f"STACKSMITH-DISK-GONE {name}")
    guest.domain.detachDeviceFlags(NIC.format(4), live)
    guest.says("STACKSMITH-NIC-GONE eth1")


def test_guests_answer_the_power_button(guests: dict[str, Guest]) -> None:
    for guest in guests.values():
        guest.says("STACKSMITH-READY .*")
        guest.domain.shutdown()
        guest.says("STACKSMITH-POWEROFF")
    deadline = time.monotonic() + 300
    connection = guests["direct"].domain.connect()
    while connection.listAllDomains():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_boot_sector_starts_and_answers_the_power_button(directory: Path, host: libvirt.virConnect) -> None:
    disk = DISK.format(format="raw", path=directory / "images/acpi.img", target="vda", bus="virtio", serial="s")
    text = DOMAIN.format(name="crowd", ports=PORTS, boot="", devices=disk.replace("</disk>", "<readonly/></disk>"))
    domain = host.createXML(text.replace("<memory unit='MiB'>128", "<memory unit='MiB'>16"))
    guest = Guest(domain, layout_of(directory).home("hv1") / "log" / "crowd.log")
    guest.says("BOOTOK")
    domain.shutdown()
    guest.says("SHUTDOWN")


def test_proxy_counts_calls_by_name_and_tells_writes(directory: Path, tmp_path: Path) -> None:
    with RpcProxy(Path(lab.up(directory, hosts=1).hosts[0].socket), tmp_path / "proxy", rtt_seconds=0.05) as proxy:
        connection = libvirt.open(f"qemu+unix:///system?socket={proxy.socket}")
        assert proxy.take().writes == {}
        started = time.monotonic()
        connection.listAllDomains()
        assert time.monotonic() - started > 0.05
        assert dict(proxy.take().calls) == {"connect_list_all_domains": 1}
        change_everything(connection)
        assert proxy.take().writes == {
            "domain_define_xml_flags": 1,
            "domain_set_autostart": 1,
            "domain_set_metadata": 1,
            "domain_undefine_flags": 1,
            "network_define_xml": 1,
            "network_create": 1,
            "network_update": 1,
            "network_destroy": 1,
            "network_undefine": 1,
            "storage_pool_create": 1,
            "storage_pool_define_xml": 1,
            "storage_pool_destroy": 1,
            "storage_pool_refresh": 1,
            "storage_pool_undefine": 1,
            "storage_vol_create_xml": 1,
            "storage_vol_delete": 1,
            "storage_vol_resize": 1,
            "storage_vol_upload": 1,
        }
        connection.close()
    assert not proxy.socket.exists()


def change_everything(connection: libvirt.virConnect) -> None:
    """Call each of the commonest procedures that write, once."""
    domain = connection.defineXMLFlags(
        "<domain type='qemu'><name>x</name><memory>1024</memory><os><type>hvm</type></os></domain>", 1
    )
    domain.setAutostart(1)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "title", None, None, 2)
    domain.undefineFlags(0)
    network = connection.networkDefineXML(NETWORK.replace("lan", "other").replace("10.77.", "10.78."))
    network.create()
    network.update(
        libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
        libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        -1,
        "<host mac='52:54:00:00:00:09' ip='10.78.0.19'/>",
        3,
    )
    network.destroy()
    network.undefine()
    pool = connection.storagePoolDefineXML(
        f"<pool type='dir'><name>p</name><target><path>{POOL}</path></target></pool>"
    )
    pool.create()
    pool.refresh()
    volume = pool.createXML("<volume><name>v</name><capacity>1000000</capacity></volume>")
    volume.resize(2000000)
    stream = connection.newStream()
    volume.upload(stream, 0, 3)
    stream.send(b"abc")
    stream.finish()
    volume.delete()
    pool.destroy()
    pool.undefine()


def test_every_procedure_that_may_change_something_counts_as_a_write() -> None:
    words = {
        *("define", "undefine", "create", "update", "set", "attach", "detach", "destroy", "delete", "upload"),
        *("resize", "shutdown", "refresh", "rename"),
    }
    changing = [name for name in PROCEDURES if words & set(name.split("_")) and "event" not in name]
    assert len(changing) > 100
    assert [name for name in changing if not is_write(name)] == []
    assert (PROCEDURES[10], PROCEDURES[207], PROCEDURES[349]) == (
        "domain_define_xml",
        "storage_vol_upload",
        "domain_define_xml_flags",
    )
