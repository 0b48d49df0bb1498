"""What is rendered as libvirt XML is read back as the spec it was made of (rule 3), without a host."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from stacksmith.address import Address, identity
from stacksmith.model.found import Mark
from stacksmith.model.naming import (
    config_drive_name,
    image_file_name,
    local_disk_name,
    mac_address,
    network_name,
    volume_name,
)
from stacksmith.model.realised import (
    ConfigDrive,
    DhcpHost,
    Disk,
    DnsHost,
    Network,
    Nic,
    Policy,
    Server,
    Subnet,
    to_data,
)
from stacksmith.providers.libvirt import domain_read, domain_xml, mark_xml, network_xml
from stacksmith.providers.libvirt.domain_xml import DiskFile, Parts
from stacksmith.providers.libvirt.reading import BALLOON_SECONDS, balloon_rests

POOL = "/var/lib/libvirt/stacksmith"
SCHEMAS = Path("/usr/share/libvirt/schemas")  # of Debian's libvirt0
SIZES = st.integers(1, 2**12).map(lambda n: n * 2**20)
CHECKSUMS = st.sampled_from(["sha256:" + "ab" * 32, "sha256:" + "0" * 64, "sha512:" + "9f" * 64])
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20)
WORDS = st.text("abcdefghij-0123456789", min_size=1, max_size=12)


@cache
def schema(kind: str) -> etree.RelaxNG:
    """libvirt's own schema: what is rendered holds to it, so that no definition is validated again at a host."""
    return etree.RelaxNG(etree.parse(SCHEMAS / f"{kind}.rng"))


def mark_of(kind: str, name: str, spec: Server | Network, host: str | None = None) -> Mark:
    address = Address(kind, name, 3 if kind == "server" else None, host)
    return Mark("lab", "shop", address, identity("lab", "shop", address), to_data(spec), Policy(protect=True))


def disks() -> st.SearchStrategy[tuple[Disk, ...]]:
    letters = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=4)
    return letters.flatmap(lambda names: st.tuples(*(disk(f"vd{n}") for n in names)))


def disk(device: str) -> st.SearchStrategy[Disk]:
    boot = st.one_of(st.none(), st.integers(0, 3))
    local = st.builds(
        Disk,
        device=st.just(device),
        source=st.just("blank"),
        size_bytes=SIZES,
        boot_index=boot,
        serial=st.one_of(st.none(), WORDS),
    )
    overlay = st.builds(
        Disk, device=st.just(device), source=st.just("image"), ref=CHECKSUMS, size_bytes=SIZES, boot_index=boot
    )
    volume = st.builds(
        Disk,
        device=st.just(device),
        source=st.just("volume"),
        ref=st.sampled_from(["volume.data", "volume.db[2]", 'volume.db["eu-1"]']),
        bus=st.sampled_from(["virtio", "scsi"]),
    )
    return st.one_of(local, overlay, volume)


NICS = st.lists(
    st.builds(
        Nic,
        mac=st.integers(0, 99).map(lambda n: mac_address("u", "lan", n)),
        network=WORDS,
        model=st.sampled_from(["virtio", "e1000"]),
    ),
    unique_by=lambda n: n.mac,
    max_size=3,
).map(tuple)

SERVERS = st.builds(
    Server,
    name=WORDS,
    description=TEXTS,
    vcpus=st.integers(1, 8),
    ram_mib=st.integers(16, 9000),
    max_vcpus=st.one_of(st.none(), st.integers(9, 16)),
    max_ram_mib=st.one_of(st.none(), st.integers(9001, 20000)),
    cpu_mode=st.sampled_from([None, "host-passthrough", "host-model", "maximum", "Skylake-Client"]),
    machine_type=st.sampled_from([None, "q35", "pc", "pc-q35-7.2"]),
    firmware=st.just("bios"),
    kernel=st.one_of(st.none(), CHECKSUMS),
    ramdisk=st.one_of(st.none(), CHECKSUMS),
    disks=disks(),
    nics=NICS,
    config_drive=st.one_of(
        st.none(), st.builds(ConfigDrive, st.sampled_from(["configdrive", "nocloud"]), st.just("5f" * 32))
    ),
    power_state=st.sampled_from(["running", "stopped", "paused"]),
    autostart=st.booleans(),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    tags=st.lists(WORDS, unique=True, max_size=3).map(sorted).map(tuple),
)


def parts_of(spec: Server, mark: Mark) -> Parts:
    """Paths as a host would give them."""

    def file(disk: Disk) -> DiskFile:
        if disk.source == "volume":
            address = Address.parse(disk.ref or "")
            return DiskFile(f"{POOL}/{volume_name('shop', address, identity('lab', 'shop', address))}", "qcow2")
        path = f"{POOL}/{local_disk_name('shop', mark.address, mark.uuid, disk.device)}"
        base = (f"{POOL}/{image_file_name(disk.ref, 'disk')}", "qcow2") if disk.ref else None
        return DiskFile(path, "qcow2", base)

    drive = spec.config_drive
    return Parts(
        mark=mark,
        virt_type="qemu",
        files={d.device: file(d) for d in spec.disks},
        config_drive=f"{POOL}/{config_drive_name('shop', mark.address, mark.uuid, drive.digest)}" if drive else None,
        kernel=f"{POOL}/{image_file_name(spec.kernel, 'kernel')}" if spec.kernel else None,
        ramdisk=f"{POOL}/{image_file_name(spec.ramdisk, 'ramdisk')}" if spec.ramdisk else None,
    )


@settings(max_examples=200, deadline=None)
@given(SERVERS)
def test_server_rendered_reads_back_as_its_spec(spec: Server) -> None:
    mark = mark_of("server", "web", spec)
    root = domain_read.parse(domain_xml.render(spec, parts_of(spec, mark)))
    schema("domain").assertValid(root)
    sizes = {d.device: d.size_bytes for d in spec.disks if d.size_bytes is not None}
    domain = domain_read.read(root, sizes, spec.power_state, spec.autostart, None)
    assert domain.spec == spec
    assert domain.mark == mark


@settings(max_examples=100, deadline=None)
@given(SERVERS)
def test_server_metadata_as_text_for_libvirt_holds_the_same_as_in_the_domain(spec: Server) -> None:
    mark = mark_of("server", "web", spec)
    bare = etree.fromstring(mark_xml.text(mark, domain_xml.details(spec)))
    for element in bare.iter():  # as virDomainSetMetadata does
        element.tag = f"{{{mark_xml.URI}}}{element.tag}"
    root = etree.Element("domain")
    etree.SubElement(root, "metadata").append(bare)
    assert mark_xml.read(root) == (mark, domain_xml.details(spec))


SUBNET = st.sampled_from(["10.20.0.0/24", "10.30.4.0/22", "fd00:1::/64"])
NETWORKS = st.builds(
    Network,
    mode=st.sampled_from(["nat", "route", "isolated"]),
    mtu=st.one_of(st.none(), st.integers(576, 9000)),
    domain=st.one_of(st.none(), st.just("shop.test")),
    subnets=st.lists(
        st.builds(
            lambda cidr, dhcp, ranged: Subnet(
                cidr,
                "10.20.0.1" if cidr == "10.20.0.0/24" else None,
                dhcp,
                (("10.20.0.9", "10.20.0.99"),) if dhcp and ranged and cidr == "10.20.0.0/24" else (),
            ),
            SUBNET,
            st.booleans(),
            st.booleans(),
        ),
        unique_by=lambda s: s.cidr,
        max_size=3,
    ).map(tuple),
    dns=st.lists(
        st.builds(DnsHost, st.sampled_from(["10.9.9.1", "10.9.9.2"]), st.lists(WORDS, min_size=1).map(tuple)),
        unique_by=lambda d: d.ip,
    ).map(tuple),
    active=st.booleans(),
    autostart=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(NETWORKS, st.booleans())
def test_network_rendered_reads_back_as_its_spec(spec: Network, with_host: bool) -> None:
    if with_host and any(s.cidr == "10.20.0.0/24" for s in spec.subnets):
        fixed = (DhcpHost("52:54:00:00:00:02", "10.20.0.12", "b"), DhcpHost("52:54:00:00:00:01", "10.20.0.11", "a"))
        spec = Network(**{f: getattr(spec, f) for f in Network.__slots__} | {"hosts": fixed})
    mark = mark_of("network", "lan", spec, "hv1")
    root = network_xml.parse(network_xml.render(spec, mark))
    schema("network").assertValid(root)
    found = network_xml.read(root, spec.active, spec.autostart)
    assert found.spec == spec
    assert found.mark == mark
    assert found.name == network_name("shop", mark.address)


def test_network_with_a_bridge_that_libvirt_chose_shows_it_only_as_fact() -> None:
    spec = Network(subnets=(Subnet("10.20.0.0/24"),))
    mark = mark_of("network", "lan", spec, "hv1")
    root = network_xml.parse(network_xml.render(spec, mark))
    root.find("bridge").set("name", "virbr7")
    found = network_xml.read(root, True, True)
    assert (found.spec.bridge, found.bridge) == (None, "virbr7")


def test_network_of_a_restart_that_did_not_end_reads_as_its_spec_half_made_until_its_mark_is_put() -> None:
    spec = Network(subnets=(Subnet("10.20.0.0/24"),))
    mark = mark_of("network", "lan", spec, "hv1")
    root = network_xml.parse(network_xml.render(spec, mark))
    mark_xml.begin(root, mark)
    found = network_xml.read(root, True, True)
    assert (found.spec, found.mark) == (spec, replace(mark, applied=None))
    mark_xml.put(root, mark)
    assert network_xml.read(root, True, True).mark == mark


def test_network_redefined_keeps_the_bridge_and_mac_that_libvirt_chose() -> None:
    spec = Network(subnets=(Subnet("10.20.0.0/24"),))
    mark = mark_of("network", "lan", spec, "hv1")
    present = network_xml.parse(
        "<network><name>shop-lan</name><forward mode='nat'/><bridge name='virbr7'/>"
        "<mac address='52:54:00:12:34:56'/></network>"
    )
    root = network_xml.parse(network_xml.render(spec, mark, present))
    assert root.find("bridge").get("name") == "virbr7"
    assert root.find("mac").get("address") == "52:54:00:12:34:56"


def test_domain_without_mark_shows_all_that_libvirt_knows() -> None:
    root = domain_read.parse(
        "<domain type='kvm'><name>other</name><uuid>3b6545be-1550-43f8-8767-14490a15a241</uuid>"
        "<memory unit='GiB'>2</memory><currentMemory unit='MiB'>1024</currentMemory><vcpu current='1'>4</vcpu>"
        "<os><type machine='pc-i440fx-7.2'>hvm</type></os><devices>"
        "<disk type='file' device='disk'><driver type='raw'/><source file='/x/y.img'/><target dev='vda' bus='sata'/>"
        "</disk><interface type='bridge'><mac address='52:54:00:AA:00:01'/><source bridge='br0'/></interface>"
        "</devices></domain>"
    )
    domain = domain_read.read(root, {"vda": 5}, "running", False, None)
    assert domain.mark is None
    assert domain.spec == Server(
        name="other",
        vcpus=1,
        max_vcpus=4,
        ram_mib=1024,
        max_ram_mib=2048,
        machine_type="pc",
        disks=(Disk("vda", "file", "/x/y.img", 5, "sata", "disk", "raw"),),
        nics=(Nic("52:54:00:aa:00:01", "bridge:br0", ""),),
        autostart=False,
    )


@pytest.mark.parametrize(
    ("shown", "rests", "read"),
    [
        (256, False, (128, 256)),  # starting, or without a driver for the balloon
        (200, False, (128, 256)),  # on its way to what it was told, or raised by hand
        (200, True, (200, 256)),
        (256, True, (256, None)),
        (64, False, (64, 256)),
        (64, True, (64, 256)),
    ],
)
def test_memory_of_a_running_guest_is_what_it_was_told(shown: int, rests: bool, read: tuple[int, int | None]) -> None:
    def definition(mib: int) -> str:
        return (
            "<domain><name>a</name><uuid>3b6545be-1550-43f8-8767-14490a15a241</uuid><memory unit='MiB'>256</memory>"
            f"<currentMemory unit='MiB'>{mib}</currentMemory><vcpu>1</vcpu></domain>"
        )

    saved, live = domain_read.parse(definition(128)), domain_read.parse(definition(shown))
    domain = domain_read.read(live, {}, "running", False, saved, rests)
    assert (domain.actual.ram_mib, domain.actual.max_ram_mib) == read


@pytest.mark.parametrize(
    ("stats", "rests"),
    [
        ({}, False),  # QEMU did not answer
        ({"balloon.last-update": 0}, False),  # no driver spoke since the start
        ({"balloon.last-update": 1000 - BALLOON_SECONDS}, True),
        ({"balloon.last-update": 1001 - BALLOON_SECONDS}, False),
    ],
)
def test_balloon_rests_some_time_after_its_driver_came_up(stats: dict[str, int], rests: bool) -> None:
    assert balloon_rests(stats, 1000.0) is rests


def test_mark_that_was_tampered_with_is_no_mark() -> None:
    spec = Server("web", 1, 64)
    mark = mark_of("server", "web", spec)
    root = domain_read.parse(domain_xml.render(spec, Parts(mark, "qemu")))
    root.find("metadata")[0].set("address", "not an address")
    assert mark_xml.read(root) is None
