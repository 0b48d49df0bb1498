"""Servers on real libvirt and QEMU: what is made is read back, every shape of it; marks and other people's things."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from stacksmith import lab
from stacksmith.lab.guest import boot_sector
from stacksmith.model.change import Impact
from stacksmith.model.found import Found
from stacksmith.model.realised import (
    ConfigDrive,
    DhcpHost,
    Disk,
    DnsHost,
    Network,
    Nic,
    Server,
    Subnet,
    Volume,
    to_data,
)
from stacksmith.planner.diff import UNKNOWN, compare
from stacksmith.providers import rules
from stacksmith.providers.base import Refused, Scope, Session, TimedOut, WaitFor
from stacksmith.providers.libvirt import domain_read, domain_xml, power
from stacksmith.providers.libvirt import wait as wait_module
from stacksmith.providers.libvirt.domain_edit import find_disk
from tests.e2e.kit import until
from tests.e2e.libvirt_parts import MIB, Files, deadline, declared, image, session, target

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

STACK, MAC = "srv", "52:54:00:00:77:01"
OFF = Server("web", 1, 32, power_state="stopped", autostart=False)
SHAPES = {
    "plain": OFF,
    "maxima": replace(OFF, max_vcpus=3, max_ram_mib=64),
    "maxima that are what it has": replace(OFF, max_ram_mib=64, ram_mib=64),
    "topology": replace(OFF, vcpus=2, max_vcpus=8, cpu_sockets=2, cpu_cores=2, cpu_threads=2),
    "cpu maximum": replace(OFF, cpu_mode="maximum"),
    "cpu model": replace(OFF, cpu_mode="Nehalem"),
    "pc": replace(OFF, machine_type="pc"),
    "versioned machine": replace(OFF, machine_type="pc-q35-7.1"),
    "uefi": replace(OFF, firmware="uefi"),
    "secure boot": replace(OFF, firmware="uefi", secure_boot=True),
    "words": replace(
        OFF, description='<a href="x">&amp; "ä" \n', metadata={"k <>": "v&'\"\n", "empty": ""}, tags=("x",)
    ),
    "disks": replace(
        OFF,
        disks=(
            Disk("vda", "blank", None, 4 * MIB, boot_index=1, serial="root"),
            Disk("vdb", "volume", "volume.data", boot_index=0),
            Disk("sdb", "blank", None, 2 * MIB, bus="scsi"),
            Disk("sdc", "blank", None, 2 * MIB, bus="sata"),
        ),
    ),
    "interfaces": replace(OFF, nics=(Nic(MAC, "lan"), Nic("52:54:00:00:77:02", "lan", "e1000e"))),
    "config drive": replace(OFF, config_drive=ConfigDrive("nocloud", "ab" * 32)),
    "paused": replace(OFF, power_state="paused"),
    "running with autostart": replace(OFF, power_state="running", autostart=True),
}
NETWORKS = {
    "nat": Network(subnets=(Subnet("10.67.1.0/24"),)),
    "isolated, two subnets": Network(
        "isolated", subnets=(Subnet("10.67.2.0/24", "10.67.2.9", False), Subnet("fd67::/64", "fd67::1", False))
    ),
    "routed with all": Network(
        "route",
        mtu=1400,
        domain="srv.test",
        subnets=(
            Subnet("10.67.3.0/24", "10.67.3.1", True, (("10.67.3.5", "10.67.3.9"), ("10.67.3.50", "10.67.3.60"))),
        ),
        hosts=(DhcpHost(MAC, "10.67.3.77", "web"),),
        dns=(DnsHost("10.67.3.99", ("a", "b")),),
        autostart=False,
    ),
    "bridge": Network("bridge", bridge="br0"),
    "not running": Network(subnets=(Subnet("10.67.4.0/24"),), active=False),
}


@dataclass
class Lab:
    """A session with a network and a volume to build on."""

    session: Session
    connection: Any
    files: Files

    def create(self, address: str, spec: Any, wait_for: WaitFor | None = None) -> Found:
        wanted = replace(target(STACK, address, spec), wait_for=wait_for)
        return self.session.drivers[address.partition(".")[0]].create(wanted, self.files, deadline())

    def update(self, address: str, spec: Any, allowed: Impact = Impact.LIVE, seconds: float = 60) -> Found:
        """Makes the object what ``spec`` says, whatever differs."""
        found = self.observed(address)
        changes = tuple(compare(to_data(spec), UNKNOWN, to_data(found.spec)))
        wanted = replace(target(STACK, address, spec, found=found), changes=changes, allowed=allowed)
        return self.session.drivers[address.partition(".")[0]].update(wanted, self.files, deadline(seconds))

    def number(self, found: Found) -> int:
        """libvirt's number of the running guest: another one after a restart."""
        return int(self.connection.lookupByName(found.name).ID())

    def delete(self, address: str, spec: Any) -> None:
        driver = self.session.drivers[address.partition(".")[0]]
        driver.delete(target(STACK, address, spec, wanted=False), deadline())

    def observed(self, address: str) -> Found:
        return next(
            f for f in self.session.observe(Scope("fleet", STACK, {}), deadline()).found if str(f.address) == address
        )


LAN = Network("isolated", subnets=(Subnet("10.67.0.0/24", "10.67.0.1", False),))


@pytest.fixture(scope="module")
def host(lab_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    uri = declared(lab_dir)
    made = Lab(session(uri), libvirt.open(uri.libvirt), Files(tmp_path_factory.mktemp("files")))
    made.create("network.lan@hv1", LAN)
    made.create("volume.data", Volume(4 * MIB))
    yield made
    made.delete("volume.data", Volume(4 * MIB))
    made.delete("network.lan@hv1", LAN)
    made.session.close()
    made.connection.close()


@pytest.mark.parametrize("name", SHAPES)
def test_server_made_is_observed_and_read_as_its_spec_and_leaves_nothing(host: Lab, name: str) -> None:
    spec = SHAPES[name]
    made = host.create("server.web", spec)
    try:
        seen = host.observed("server.web")
        assert (made.spec, seen.spec, seen.saved, seen.problem) == (spec, spec, None, None)
        assert seen.mark == target(STACK, "server.web", spec).mark
        read = host.session.drivers["server"].read(target(STACK, "server.web", spec).mark)
        assert read is not None
        assert (read.spec, read.fingerprint) == (spec, seen.fingerprint)
    finally:
        host.delete("server.web", spec)
    assert [n for n in host.connection.listDefinedDomains() if n.startswith(STACK)] == []
    pool = host.connection.storagePoolLookupByName("stacksmith")
    assert [n for n in pool.listVolumes() if ".web." in n] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_network_made_is_observed_and_read_as_its_spec(host: Lab, name: str) -> None:
    spec = NETWORKS[name]
    made = host.create("network.net@hv1", spec)
    try:
        seen = host.observed("network.net@hv1")
        assert (made.spec, seen.spec, seen.saved) == (spec, spec, None)
        assert made.fingerprint == seen.fingerprint
    finally:
        host.delete("network.net@hv1", spec)
    assert f"{STACK}-net" not in [n.name() for n in host.connection.listAllNetworks()]


@contextmanager
def networks_that_come_and_go(uri: str) -> Iterator[None]:
    """One network after the other, each gone as soon as it runs."""
    ended, connection = Event(), libvirt.open(uri)

    def come_and_go() -> None:
        while not ended.is_set():
            connection.networkCreateXML("<network><name>fleeting</name></network>").destroy()

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(come_and_go)
        try:
            yield
        finally:
            ended.set()
    coming.result()
    connection.close()


def test_host_is_read_while_networks_come_and_go(host: Lab, lab_dir: Path) -> None:
    with networks_that_come_and_go(declared(lab_dir).libvirt):
        for _ in range(8):
            assert host.observed("network.lan@hv1").spec == LAN


def test_hand_edits_are_seen_each_as_its_field(host: Lab) -> None:
    spec = replace(OFF, metadata={"role": "web"}, tags=("a",), nics=(Nic(MAC, "lan"),))
    before = host.create("server.web", spec)
    try:
        domain = host.connection.lookupByName(before.name)
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        edited = xml.replace('value="web"', 'value="db"').replace("value='web'", "value='db'")
        edited = edited.replace("32768</memory>", "65536</memory>").replace("32768</curr", "65536</curr")
        edited = edited.replace("network='srv-lan'", "network='default'")
        host.connection.defineXML(edited)
        domain.setAutostart(1)
        seen = host.observed("server.web")
        assert seen.spec == replace(
            spec, metadata={"role": "db"}, ram_mib=64, nics=(Nic(MAC, "network:default"),), autostart=True
        )
        assert seen.fingerprint != before.fingerprint
    finally:
        host.delete("server.web", spec)


def test_update_keeps_what_somebody_else_pinned(host: Lab) -> None:
    before = host.create("server.web", OFF)
    try:
        domain = host.connection.lookupByName(before.name)
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        hand = xml.replace("<devices>", "<devices><watchdog model='i6300esb' action='reset'/>")
        host.connection.defineXML(hand)
        wanted = replace(OFF, ram_mib=48, description="new")
        after = host.update("server.web", wanted)
        assert after.spec == wanted
        text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert "i6300esb" in text
        assert "pc-q35-" in text
    finally:
        host.delete("server.web", OFF)


def test_name_that_is_anothers_is_refused_and_left_alone(host: Lab) -> None:
    other = host.connection.defineXML(
        f"<domain type='qemu'><name>{STACK}-web</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>"
    )
    try:
        with pytest.raises(Refused, match=f"'{STACK}-web' already exists with uuid {other.UUIDString()}"):
            host.create("server.web", OFF)
    finally:
        other.undefine()


def test_domain_that_is_transient_is_partial_and_create_makes_it_last(host: Lab) -> None:
    spec = replace(OFF, power_state="running")
    found = host.create("server.web", spec)
    try:
        domain = host.connection.lookupByName(found.name)
        number = host.number(found)
        domain.undefine()
        assert host.observed("server.web").partial
        wanted = replace(target(STACK, "server.web", spec), found=host.observed("server.web"))
        made = host.session.drivers["server"].create(wanted, host.files, deadline())
        assert (made.partial, made.spec, host.number(found)) == (False, spec, number)
    finally:
        host.delete("server.web", spec)


def test_server_that_is_transient_is_deleted_with_its_files(host: Lab) -> None:
    spec = replace(OFF, power_state="paused", disks=(Disk("vda", "blank", None, 4 * MIB),))
    made = host.create("server.web", spec)
    host.connection.lookupByName(made.name).undefine()
    host.delete("server.web", spec)
    assert made.name not in {domain.name() for domain in host.connection.listAllDomains()}
    pool = host.connection.storagePoolLookupByName("stacksmith")
    assert [n for n in pool.listVolumes() if ".web." in n] == []


def test_server_whose_network_was_removed_by_hand_is_read(host: Lab) -> None:
    net = Network(subnets=(Subnet("10.67.5.0/24"),))
    network = host.connection.networkLookupByName(host.create("network.net@hv1", net).name)
    spec = replace(OFF, power_state="paused", nics=(Nic(MAC, "net"),))
    host.create("server.web", spec)
    try:
        network.destroy()
        network.undefine()
        read = host.session.drivers["server"].read(target(STACK, "server.web", spec).mark)
        assert read is not None
        assert (read.spec, read.facts["addresses"]) == (spec, {})
    finally:
        host.delete("server.web", spec)


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (WaitFor("lease", 0), r"no address of server.web by lease in \d+ s: no DHCP lease was given"),
        (WaitFor("agent", 1.5), r"by agent in \d+ s: Guest agent is not responding"),
        (WaitFor("console", 2, "NEVER"), "did not print 'NEVER' in the time limit"),
    ],
    ids=lambda value: value.source if isinstance(value, WaitFor) else "",
)
def test_wait_that_ends_says_which_source_failed_and_why(
    host: Lab, wait: WaitFor, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait_module, "_LATE_SECONDS", 60.0)  # a slow machine opens a console late
    spec = replace(OFF, power_state="running")
    try:
        with pytest.raises(TimedOut, match=words):
            host.create("server.web", spec, wait)
    finally:
        host.delete("server.web", spec)


@pytest.mark.parametrize("make", [Lab.create, Lab.update])
def test_network_whose_bridge_got_a_name_that_is_taken_by_now_gets_another(
    host: Lab, lab_dir: Path, make: Callable[[Lab, str, Network], Found]
) -> None:
    """As libvirt gives two networks the same that come at once."""
    off = NETWORKS["not running"]
    network = host.connection.networkLookupByName(host.create("network.net@hv1", off).name)
    taken = network.bridgeName()
    assert lab.exec_in(lab_dir, "hv1", ["ip", "link", "add", taken, "type", "bridge"]) == 0
    try:
        on = replace(off, active=True)
        assert make(host, "network.net@hv1", on).spec == host.observed("network.net@hv1").spec == on
        assert network.bridgeName() != taken
    finally:
        host.delete("network.net@hv1", off)
        assert lab.exec_in(lab_dir, "hv1", ["ip", "link", "del", taken]) == 0


def test_network_restart_plugs_its_guests_in_again(host: Lab) -> None:
    spec = replace(OFF, power_state="running", nics=(Nic(MAC, "lan"),))
    found = host.create("server.web", spec)
    try:
        domain = host.connection.lookupByName(found.name)
        number = host.number(found)
        wanted = replace(LAN, mtu=1400)
        host.update("network.lan@hv1", wanted, Impact.RESTART)
        assert host.observed("network.lan@hv1").spec == wanted
        assert host.observed("network.lan@hv1").saved is None
        bridge = host.connection.networkLookupByName(f"{STACK}-lan").bridgeName()
        assert f"bridge='{bridge}'" in domain.XMLDesc()
        assert host.number(found) == number
        assert not [n for n in host.connection.listAllNetworks() if n.name().startswith("ss.replug")]
    finally:
        host.delete("server.web", spec)


UPDATES = {
    "all of a guest that is off": replace(
        OFF,
        vcpus=2,
        max_vcpus=4,
        ram_mib=48,
        max_ram_mib=96,
        cpu_mode="maximum",
        cpu_cores=2,
        cpu_sockets=2,
        disks=(Disk("vda", "blank", None, 8 * MIB, boot_index=0), Disk("vdb", "volume", "volume.data", serial="s")),
        nics=(Nic(MAC, "lan", "e1000e"), Nic("52:54:00:00:77:02", "lan")),
        config_drive=ConfigDrive("configdrive", "cd" * 32),
        description="new",
        metadata={"a": "b"},
        tags=("t",),
        autostart=True,
    ),
    "another machine": replace(OFF, machine_type="pc"),
    "less": replace(OFF, ram_mib=24),
}


@pytest.mark.parametrize("name", UPDATES)
def test_server_that_is_off_becomes_as_wanted_and_goes_back(host: Lab, name: str) -> None:
    first = replace(OFF, disks=(Disk("vda", "blank", None, 4 * MIB),), nics=(Nic(MAC, "lan"),), machine_type="q35")
    wanted = UPDATES[name] if UPDATES[name].disks else replace(UPDATES[name], disks=first.disks, nics=first.nics)
    host.create("server.web", first)
    try:
        assert host.update("server.web", wanted).spec == wanted
        # What is no longer declared (the boot order, the config drive) is left as it is.
        back = replace(first, disks=wanted.disks[:1], config_drive=wanted.config_drive)
        assert host.update("server.web", back, Impact.RESTART).spec == back
        pool = host.connection.storagePoolLookupByName("stacksmith")
        assert len([n for n in pool.listVolumes() if ".web.config-" in n]) == (1 if wanted.config_drive else 0)
    finally:
        host.delete("server.web", first)


def test_several_changes_of_a_running_guest_cost_one_restart(host: Lab) -> None:
    spec = replace(OFF, power_state="running", disks=(Disk("vda", "blank", None, 4 * MIB),))
    found = host.create("server.web", spec)
    try:
        domain = host.connection.lookupByName(found.name)
        number = host.number(found)
        domain.suspend()  # a guest without software answers no power button: a paused one is not asked
        paused = replace(spec, power_state="paused")
        wanted = replace(paused, ram_mib=64, vcpus=2, cpu_mode="maximum", description="new")
        assert host.update("server.web", wanted, Impact.RESTART).spec == wanted
        assert host.number(found) == number + 1
    finally:
        host.delete("server.web", spec)


def eject(domain: Any) -> None:
    empty = "<disk type='file' device='cdrom'><target dev='sda' bus='scsi'/><readonly/></disk>"
    domain.updateDeviceFlags(empty, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE)


def drives_of(domain: Any) -> list[dict[str, Any]]:
    """What QEMU says of the guest's drives."""
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-block"}', 0))
    return list(answer["return"])


def media(domain: Any) -> list[str]:
    """The files that QEMU has in the guest's drives."""
    return [drive["inserted"]["image"]["filename"] for drive in drives_of(domain) if "inserted" in drive]


def unplug(domain: Any) -> None:
    drive = find_disk(domain_read.parse(domain.XMLDesc(0)), "sda")
    assert drive is not None
    domain.detachDeviceFlags(domain_xml.text(drive), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    until(lambda: find_disk(domain_read.parse(domain.XMLDesc(0)), "sda") is None, 60, "the drive is gone")


@pytest.mark.parametrize("gone", [eject, unplug])
def test_config_drive_whose_medium_is_gone_is_put_in_again_without_a_restart(
    host: Lab, gone: Callable[[Any], None]
) -> None:
    """A paused guest: one that boots resets its drive, maybe just as the test is at it."""
    spec = replace(OFF, power_state="paused", config_drive=ConfigDrive("nocloud", "ab" * 32))
    found = host.create("server.web", spec)
    try:
        domain = host.connection.lookupByName(found.name)
        gone(domain)
        seen = host.observed("server.web")
        assert seen.spec == replace(spec, config_drive=None)
        (change,) = compare(to_data(spec), UNKNOWN, to_data(seen.spec))
        assert rules.impact("server", change, seen).impact is Impact.LIVE
        number = host.number(found)
        assert host.update("server.web", spec).spec == spec
        assert [".web.config-abababab" in name for name in media(domain)] == [True]
        assert host.number(found) == number
    finally:
        host.delete("server.web", spec)


def test_config_drive_of_a_guest_that_boots_is_changed_without_a_restart(host: Lab) -> None:
    """The boot resets the drive, which shuts the tray, now and then just as the medium is changed."""
    spec = replace(OFF, power_state="running", config_drive=ConfigDrive("nocloud", "00" * 32))
    found = host.create("server.web", spec)
    try:
        domain, number = host.connection.lookupByName(found.name), host.number(found)
        for change in range(1, 31):
            spec = replace(spec, config_drive=ConfigDrive("nocloud", f"{change:02d}" * 32))
            domain.reset()
            time.sleep(0.03 + change * 0.003)
            assert host.update("server.web", spec).spec == spec
            assert [f".web.config-{change:02d}{change:02d}" in name for name in media(domain)] == [True]
        assert host.number(found) == number
    finally:
        host.delete("server.web", spec)


def test_more_devices_than_a_running_guest_has_ports_for_are_refused_as_a_whole_and_taken_when_it_is_off(
    host: Lab,
) -> None:
    spec = replace(OFF, power_state="running")
    found = host.create("server.web", spec)
    wanted = replace(spec, disks=tuple(Disk(f"vd{letter}", "blank", None, MIB) for letter in "abcdefghijklmnop"))
    try:
        with pytest.raises(Refused, match="cannot plug 16 devices into the running guest: it has 8 free PCI ports"):
            host.update("server.web", wanted)
        assert host.observed("server.web").spec == spec
        assert not any(".web." in name for name in host.connection.storagePoolLookupByName("stacksmith").listVolumes())
        host.connection.lookupByName(found.name).destroy()
        assert host.update("server.web", wanted).spec == wanted
    finally:
        host.delete("server.web", wanted)


def test_guest_that_missed_the_power_button_while_it_booted_is_asked_again(
    host: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "SHUTDOWN_SECONDS", 300)  # a slow machine boots it late
    file = host.files.make("boot", boot_sector().ljust(MIB, b"\0"))
    host.create("image.boot@hv1", image(file))
    spec = replace(OFF, power_state="running", disks=(Disk("vda", "image", file.checksum, MIB, boot_index=0),))
    found = host.create("server.web", spec)
    try:
        host.update("server.web", replace(spec, power_state="stopped"), Impact.RESTART, 300)
        state = host.connection.lookupByName(found.name).state()
        assert state == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]
    finally:
        host.delete("server.web", spec)
        host.delete("image.boot@hv1", image(file))
