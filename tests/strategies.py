"""Hypothesis strategies: realised specs that a host can make, with references that resolve."""

import hashlib
from dataclasses import dataclass

from hypothesis import strategies as st

from stacksmith.model.realised import (
    ConfigDrive,
    DhcpHost,
    Disk,
    DnsHost,
    Image,
    ImageFile,
    Network,
    Nic,
    NumaCell,
    Server,
    Subnet,
    Volume,
)

GIB = 2**30
LABELS = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=20).map(str.strip)
DEVICES = [f"vd{letter}" for letter in "abcdef"]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything one server stands on, by the name its block has, and the server."""

    images: dict[str, Image]
    networks: dict[str, Network]
    volumes: dict[str, Volume]
    server: Server


def macs(count: int) -> st.SearchStrategy[list[str]]:
    """``count`` different MACs."""
    numbers = st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count, unique=True)
    return numbers.map(lambda ns: [":".join(["52", "54", *(f"{n:08x}"[i : i + 2] for i in (0, 2, 4, 6))]) for n in ns])


@st.composite
def images(draw: st.DrawFn) -> Image:
    """A disk, or a kernel with a ramdisk, or all three."""
    roles = draw(st.sampled_from([("disk",), ("kernel", "ramdisk"), ("disk", "kernel", "ramdisk")]))
    files = []
    for role in roles:
        seed = draw(st.integers(0, 2**64 - 1))
        digest = hashlib.sha256(f"{role}{seed}".encode()).hexdigest()
        files.append(ImageFile(role, f"sha256:{digest}", draw(st.sampled_from(["qcow2", "raw"]))))
    return Image(tuple(files))


@st.composite
def networks(draw: st.DrawFn, macs_on_it: tuple[str, ...] = (), third: int = 0) -> Network:
    """A network in 10.20.``third``.0/24 with fixed addresses for some of the MACs."""
    mode = draw(st.sampled_from(["nat", "route", "isolated", "bridge"]))
    if mode == "bridge":
        return Network(mode, bridge="br0")
    prefix = f"10.20.{third}"
    ranges = draw(st.sampled_from([(), ((f"{prefix}.100", f"{prefix}.150"),)]))
    subnet = Subnet(f"{prefix}.0/24", f"{prefix}.1", True, ranges)
    known = [mac for mac in macs_on_it if draw(st.booleans())]
    hosts = tuple(DhcpHost(mac, f"{prefix}.{10 + place}", f"guest-{place}") for place, mac in enumerate(known))
    names = draw(st.lists(LABELS, max_size=2, unique=True))
    dns = (DnsHost(f"{prefix}.200", tuple(names)),) if names else ()
    return Network(
        mode,
        mtu=draw(st.none() | st.integers(1280, 9000)),
        domain=draw(st.none() | LABELS.map(lambda label: f"{label}.test")),
        subnets=(subnet,),
        hosts=hosts,
        dns=dns,
        autostart=draw(st.booleans()),
    )


def volumes() -> st.SearchStrategy[Volume]:
    """An empty volume."""
    return st.builds(Volume, st.integers(1, 64).map(lambda n: n * GIB), format=st.sampled_from(["qcow2", "raw"]))


@st.composite
def disks(draw: st.DrawFn, pictures: dict[str, Image], parts: dict[str, Volume]) -> tuple[Disk, ...]:
    """Disks on some of the images and all of the volumes, and blank ones."""
    sources: list[tuple[str, str | None, int | None]] = [("volume", f"volume.{name}", None) for name in parts]
    sources += [
        ("image", file.checksum, draw(st.integers(1, 40)) * GIB)
        for image in pictures.values()
        for file in image.files
        if file.role == "disk" and draw(st.booleans())
    ]
    sources += [("blank", None, draw(st.integers(1, 40)) * GIB) for _ in range(draw(st.integers(0, 1)))]
    return tuple(
        Disk(
            device,
            *source,
            bus=draw(st.sampled_from(["virtio", "scsi", "sata"])),
            boot_index=place if draw(st.booleans()) else None,
            serial=draw(st.none() | LABELS),
        )
        for place, (device, source) in enumerate(zip(DEVICES, sources, strict=False))
    )


@st.composite
def numa_cells(draw: st.DrawFn, vcpus: int, ram_mib: int) -> tuple[NumaCell, ...]:
    """No cells, or some with a vCPU each and the rest in the last, on cells of the host."""
    count = draw(st.integers(0, min(vcpus, 3)))
    cells = []
    for place in range(count):
        last = place == count - 1
        numbers = tuple(range(place, vcpus if last else place + 1))
        pins = tuple((number, number + 8) for number in numbers)
        ram = ram_mib - (count - 1) * (ram_mib // count) if last else ram_mib // count
        cells.append(NumaCell(place, numbers, ram, draw(st.integers(0, 1)), pins))
    return tuple(cells)


@st.composite
def servers(
    draw: st.DrawFn,
    pictures: dict[str, Image] | None = None,
    nics: tuple[Nic, ...] = (),
    parts: dict[str, Volume] | None = None,
) -> Server:
    """A server on these images, networks and volumes."""
    vcpus, ram_mib = draw(st.integers(1, 8)), draw(st.integers(64, 65536))
    boot = {f.role: f.checksum for image in (pictures or {}).values() for f in image.files if f.role != "disk"}
    return Server(
        name=draw(LABELS),
        vcpus=vcpus,
        ram_mib=ram_mib,
        description=draw(TEXTS),
        max_vcpus=draw(st.none() | st.integers(vcpus, 16)),
        max_ram_mib=draw(st.none() | st.integers(ram_mib, 131072)),
        cpu_mode=draw(st.sampled_from([None, "host-model"])),
        firmware=draw(st.sampled_from(["bios", "uefi"])),
        kernel=boot.get("kernel"),
        ramdisk=boot.get("ramdisk"),
        command_line=draw(st.none() | st.just("console=ttyS0")) if boot else None,
        disks=draw(disks(pictures or {}, parts or {})),
        nics=nics,
        config_drive=draw(
            st.none()
            | st.builds(ConfigDrive, st.sampled_from(["configdrive", "nocloud"]), st.sampled_from(["a" * 64, "b" * 64]))
        ),
        power_state=draw(st.sampled_from(["running", "stopped", "paused"])),
        autostart=draw(st.booleans()),
        metadata=draw(st.dictionaries(LABELS, TEXTS, max_size=3)),
        tags=tuple(sorted(draw(st.sets(LABELS, max_size=3)))),
        numa_cells=draw(numa_cells(vcpus, ram_mib)),
        page_size=draw(st.sampled_from(["", "2M", "1G"])),
        pci_devices=tuple(draw(st.lists(st.sampled_from(["0000:81:00.0", "0000:01:00.1"]), unique=True))),
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A server and all that it stands on."""
    pictures = {name: draw(images()) for name in draw(st.lists(LABELS, max_size=2, unique=True))}
    parts = {name: draw(volumes()) for name in draw(st.lists(LABELS, max_size=2, unique=True))}
    names = draw(st.lists(LABELS, max_size=2, unique=True))
    addresses = draw(macs(len(names)))
    model = st.sampled_from(["virtio", "e1000e"])
    nics = tuple(Nic(mac, name, draw(model)) for mac, name in zip(addresses, names, strict=True))
    nets = {name: draw(networks((mac,), third)) for third, (name, mac) in enumerate(zip(names, addresses, strict=True))}
    return Scene(pictures, nets, parts, draw(servers(pictures, nics, parts)))
