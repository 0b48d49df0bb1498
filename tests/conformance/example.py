"""One example of each kind, and what it stands on."""

from stacksmith.model.realised import (
    DhcpHost,
    Disk,
    DnsHost,
    Image,
    Network,
    Nic,
    Realised,
    Server,
    Subnet,
    Volume,
)
from tests.conformance.rig import Bench

MIB, GIB = 2**20, 2**30
MAC, OTHER_MAC, THIRD_MAC = "52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:aa:00:03"
ADDRESSES = {"image": "image.small", "network": "network.lan", "volume": "volume.data", "server": "server.web[0]"}
KINDS = tuple(ADDRESSES)


def lan(octet: int = 41) -> Network:
    """A network with a fixed address and a name."""
    prefix = f"10.77.{octet}"
    return Network(
        mode="isolated",
        domain="suite.test",
        subnets=(Subnet(f"{prefix}.0/24", f"{prefix}.1", True, ((f"{prefix}.100", f"{prefix}.150"),)),),
        hosts=(DhcpHost(MAC, f"{prefix}.10", "web-0"),),
        dns=(DnsHost(f"{prefix}.200", ("api", "www")),),
    )


def example(bench: Bench, kind: str) -> Realised:
    """A spec of the kind; what it stands on is made."""
    rig = bench.rig
    if kind == "image":
        return Image((rig.picture(),))
    if kind == "network":
        return lan()
    if kind == "volume":
        return Volume(64 * MIB)
    return server(bench)


def server(bench: Bench) -> Server:
    """A running server with a disk of each source and an interface, on things that are made here."""
    rig = bench.rig
    bench.create("image.small", Image((rig.picture(),)))
    bench.create("network.lan", lan())
    bench.create("volume.data", Volume(64 * MIB))
    return Server(
        name="web-0",
        vcpus=1,
        ram_mib=128,
        description="the first",
        max_vcpus=3,
        max_ram_mib=192,
        disks=(
            Disk("vda", "image", rig.picture().checksum, 64 * MIB, boot_index=0),
            Disk("vdb", "volume", "volume.data", serial="data-1"),
            Disk("vdc", "blank", None, 32 * MIB),
        ),
        nics=(Nic(MAC, "lan"),),
        autostart=False,
        metadata={"role": "web", "tier": "1"},
        tags=("blue", "green"),
    )


def make(bench: Bench, kind: str) -> str:
    """Makes the example and gives its address."""
    bench.create(ADDRESSES[kind], example(bench, kind))
    return ADDRESSES[kind]
