"""observe(render(spec)) == spec for a table of specs, the same for every provider (rule 3)."""

from dataclasses import replace

import pytest

from stacksmith.model.realised import (
    ConfigDrive,
    DhcpHost,
    Disk,
    DnsHost,
    Image,
    Network,
    Nic,
    NumaCell,
    Realised,
    Server,
    Subnet,
    Volume,
)
from tests.conformance.example import MAC, MIB, OTHER_MAC, lan
from tests.conformance.rig import Bench, differences

ODD = "ümläut <&> \"quotes\" 'n' 日本"
OFF = Server("one", 1, 64, power_state="stopped", autostart=False)
BLANK = Disk("vda", "blank", None, 16 * MIB)

SERVERS = {
    "least": OFF,
    "running": replace(OFF, power_state="running"),
    "paused": replace(OFF, power_state="paused"),
    "odd words": replace(OFF, description=ODD, metadata={"k": ODD, "empty": "", "a.b": "1"}, tags=("a b", ODD)),
    "maxima": replace(OFF, vcpus=2, max_vcpus=8, ram_mib=64, max_ram_mib=128),
    "topology": replace(OFF, vcpus=4, cpu_sockets=1, cpu_cores=2, cpu_threads=2, cpu_mode="host-model"),
    "machine type": replace(OFF, machine_type="pc"),
    "autostart": replace(OFF, autostart=True),
    "one cell": replace(OFF, vcpus=2, numa_cells=(NumaCell(0, (0, 1), 64, 0, ((0,), (0,))),)),
    "two running cells": replace(
        OFF,
        vcpus=3,
        cpu_mode="maximum",
        power_state="running",
        numa_cells=(NumaCell(0, (0, 2), 24, 0, ((0,), (0,))), NumaCell(1, (1,), 40, 0, ((0,),))),
    ),
    "large pages": replace(OFF, page_size="2M", numa_cells=(NumaCell(0, (0,), 64, 0, ((0,),)),)),
    "host device": replace(OFF, pci_devices=("0000:00:1f.7",)),
    "blank disks on each bus": replace(
        OFF,
        disks=(
            replace(BLANK, boot_index=1, serial="first"),
            replace(BLANK, device="sda", bus="scsi", boot_index=0),
            replace(BLANK, device="sdb", bus="sata"),
        ),
    ),
    "interfaces": replace(OFF, nics=(Nic(MAC, "lan", "e1000e"), Nic(OTHER_MAC, "lan"))),
    "config drive": replace(OFF, config_drive=ConfigDrive("configdrive", "c" * 64)),
    "nocloud": replace(OFF, power_state="running", config_drive=ConfigDrive("nocloud", "d" * 64)),
}
NETWORKS = {
    "nat": replace(lan(51), mode="nat"),
    "route": replace(lan(52), mode="route", autostart=False),
    "no subnet": Network(mode="isolated"),
    "no dhcp": Network(mode="isolated", subnets=(Subnet("10.77.53.0/24", "10.77.53.1", False),)),
    "mtu": Network(mode="nat", mtu=1400, subnets=(Subnet("10.77.54.0/24", "10.77.54.254"),)),
    "names": Network(
        mode="isolated",
        subnets=(Subnet("10.77.55.0/24", "10.77.55.1"),),
        hosts=(DhcpHost(OTHER_MAC, "10.77.55.9", "b"), DhcpHost(MAC, "10.77.55.8", "a")),
        dns=(DnsHost("10.77.55.3", ("x", "y")), DnsHost("10.77.55.2", ("z",))),
    ),
    "six": Network(mode="isolated", subnets=(Subnet("fd00:77::/64", "fd00:77::1", False),)),
    "bridge": Network(mode="bridge", bridge="br0"),
}
VOLUMES = {
    "qcow2": Volume(32 * MIB),
    "raw": Volume(8 * MIB, format="raw"),
}


def _same(bench: Bench, address: str, spec: Realised) -> None:
    bench.create(address, spec)
    seen = bench.observed(address)
    assert seen is not None
    assert differences(spec, seen.spec) == []
    assert (seen.saved, seen.partial, seen.problem) == (None, False, None)
    assert bench.changes(address, spec) == []


@pytest.mark.parametrize("name", SERVERS)
def test_server_is_observed_as_it_was_wanted(bench: Bench, name: str) -> None:
    spec = SERVERS[name]
    if spec.nics:
        bench.create("network.lan", lan())
    _same(bench, "server.one", spec)


def test_server_with_kernel_and_overlay_is_observed_as_it_was_wanted(bench: Bench) -> None:
    files = [bench.rig.picture(role) for role in ("disk", "kernel", "ramdisk")]
    bench.create("image.all", Image(tuple(files)))
    overlay = Disk("vda", "image", files[0].checksum, 8 * MIB, boot_index=0)
    spec = replace(OFF, kernel=files[1].checksum, ramdisk=files[2].checksum, command_line="quiet", disks=(overlay,))
    _same(bench, 'server.one["eu"]', spec)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_observed_as_it_was_wanted(bench: Bench, name: str) -> None:
    _same(bench, "network.net", NETWORKS[name])


@pytest.mark.parametrize("name", VOLUMES)
def test_volume_is_observed_as_it_was_wanted(bench: Bench, name: str) -> None:
    _same(bench, "volume.data[3]", VOLUMES[name])


def test_volume_copied_from_an_image_is_observed_as_it_was_wanted(bench: Bench) -> None:
    picture = bench.rig.picture()
    bench.create("image.small", Image((picture,)))
    _same(bench, "volume.copy", Volume(16 * MIB, image=picture.checksum))


def test_two_objects_of_each_kind_are_kept_apart(bench: Bench) -> None:
    wanted: dict[str, Realised] = {}
    for place in (1, 2):
        wanted[f"image.i{place}"] = Image((bench.rig.picture(number=place),))
        wanted[f"network.n{place}"] = lan(60 + place)
        wanted[f"volume.v[{place}]"] = Volume(place * 8 * MIB)
        wanted[f"server.s[{place}]"] = replace(OFF, ram_mib=64 * place)
    for address, spec in wanted.items():
        bench.create(address, spec)
    found = {f.address: f.spec for f in bench.observe().found}
    assert found.keys() == {bench.address(address) for address in wanted}
    for address, spec in wanted.items():
        assert differences(spec, found[bench.address(address)]) == []
