"""The shape that wanted and found objects share (rule 3): what a provider makes and what it reads back.

A wanted object is compiled from the stack by ``planner.build``; a found one is read from a host. Both are these
frozen dataclasses, so a diff is a comparison of trees. ``None`` in a wanted object means: not declared, leave alone.
"""

from collections.abc import Callable
from dataclasses import field, fields
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from stacksmith.frozen import dataclass
from stacksmith.model.types import JSON

# The field that names an element of a list, by the list's own field name: lists without one compare as a whole.
LIST_KEYS = {
    "disks": "device",
    "nics": "mac",
    "hosts": "mac",
    "dns": "ip",
    "subnets": "cidr",
    "files": "role",
    "raid": "name",
}


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a server, named by ``device`` (``vda``).

    source: ``image`` (overlay on image file ``ref``, its checksum), ``blank`` (local, empty; ref None), ``volume``
    (ref is the volume's address, which owns the size) or ``file`` (found only: not ours, ref is the path).
    Local disks (image, blank) live and die with the server. ``boot_index`` as Nova: 0 boots first, None never.
    """

    device: str
    source: str
    ref: str | None = None
    size_bytes: int | None = None
    bus: str = "virtio"
    device_type: str = "disk"
    format: str = "qcow2"
    boot_index: int | None = None
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface, named by its MAC (lower case, colons). ``network`` is the name of a network of the
    stack; a found one that is not ours is ``network:NAME`` or ``bridge:NAME`` as libvirt has it."""

    mac: str
    network: str
    model: str = "virtio"


@dataclass(frozen=True, slots=True)
class NumaCell:
    """A NUMA cell of a guest: the numbers of its vCPUs and its memory, all of it from cell ``host_cell`` of the host.

    ``pins``: for each of ``vcpus`` the host CPUs that it may run on; one CPU is its own. None are all the host's.
    """

    id: int
    vcpus: tuple[int, ...]
    ram_mib: int
    host_cell: int | None = None
    pins: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigDrive:
    """The config drive: ``format`` is configdrive or nocloud, ``digest`` the sha256 of its logical content."""

    format: str
    digest: str


@dataclass(frozen=True, slots=True)
class Server:
    """A server with its local disks. ``kernel`` and ``ramdisk`` are checksums of image files on the host.

    ``page_size`` is that of the large pages that its memory is in (``2M``), empty for ordinary ones. ``pci_devices``
    are addresses of host devices that the guest has for itself, in order.
    """

    name: str
    vcpus: int
    ram_mib: int
    description: str = ""
    max_vcpus: int | None = None
    max_ram_mib: int | None = None
    cpu_mode: str | None = None
    cpu_sockets: int | None = None
    cpu_cores: int | None = None
    cpu_threads: int | None = None
    machine_type: str | None = None
    firmware: str = "bios"
    secure_boot: bool = False
    kernel: str | None = None
    ramdisk: str | None = None
    command_line: str | None = None
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    config_drive: ConfigDrive | None = None
    power_state: str = "running"  # running | stopped | paused
    autostart: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    numa_cells: tuple[NumaCell, ...] = ()
    page_size: str = ""
    pci_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RaidVolume:
    """A volume that a node's controller makes of its drives, named by ``name``.

    ``level`` is Redfish's RAIDType (``RAID1``). ``drives`` are names or serial numbers as ``node inspect`` shows
    them; a size of None is all of them.
    """

    name: str
    level: str
    drives: tuple[str, ...] = ()
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A server on a bare-metal node: what is on its root disk, and the settings of the node that are declared.

    ``image`` is the checksum of what the root disk was written with, ``boot_iso`` of an ISO that is booted once in
    place of it. ``power_state`` None is left to others. ``bios`` and ``firmware`` hold the declared names alone; what
    a BMC does not tell is found as None, or empty. BMCs keep no ``image``, ``config_drive``, ``name``, ``metadata`` and
    ``tags``: found ones are as they were applied.
    """

    name: str
    resource_class: str
    description: str = ""
    image: str | None = None
    boot_iso: str | None = None
    config_drive: ConfigDrive | None = None
    power_state: str | None = "running"  # running | stopped
    boot_mode: str | None = None  # uefi | bios
    secure_boot: bool | None = None
    bios: dict[str, JSON] = field(default_factory=dict)
    firmware: dict[str, str] = field(default_factory=dict)
    firmware_images: dict[str, str] = field(default_factory=dict)  # URLs that versions are had from
    raid: tuple[RaidVolume, ...] = ()
    indicator_led: str | None = None  # lit | blinking | off
    asset_tag: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk with a life of its own. ``image`` is the checksum of the image it was made from."""

    size_bytes: int
    volume_type: str = "local"
    format: str = "qcow2"
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Subnet:
    """Addresses of a network. ``ranges`` are (first, last) of the DHCP pool; dhcp False has none."""

    cidr: str
    gateway: str | None = None
    dhcp: bool = True
    ranges: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DhcpHost:
    """A fixed address: ``mac`` always gets ``ip`` and resolves as ``name``."""

    mac: str
    ip: str
    name: str


@dataclass(frozen=True, slots=True)
class DnsHost:
    """Names that the network's DNS answers for ``ip``."""

    ip: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """A network realised on one host. mode: nat, route, isolated, or bridge (an existing ``bridge`` of the host)."""

    mode: str = "nat"
    bridge: str | None = None
    mtu: int | None = None
    domain: str | None = None
    subnets: tuple[Subnet, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()
    dns: tuple[DnsHost, ...] = ()
    active: bool = True
    autostart: bool = True

    @property
    def routed(self) -> tuple[str, ...]:
        """The subnets that the host has an address in by it: none while it does not run."""
        return tuple(subnet.cidr for subnet in self.subnets) if self.active else ()


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file of an image on a host, complete and verified. role: disk, kernel or ramdisk."""

    role: str
    checksum: str
    format: str = "raw"


@dataclass(frozen=True, slots=True)
class Image:
    """An image cached on one host, shared by every stack that uses the same bytes."""

    files: tuple[ImageFile, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the live object cannot show: kept in its mark and in the store.

    protect: no plan may delete or replace it. on_destroy: ``delete``, or ``keep`` (the object is left and forgotten).
    wipe: disks of a bare-metal node that are wiped when its server goes, each ``signatures`` or ``whole``.
    """

    protect: bool = False
    on_destroy: str = "delete"
    wipe: dict[str, str] = field(default_factory=dict)


Realised = Server | Machine | Volume | Network | Image
SHAPES: dict[str, type[Realised]] = {"server": Server, "volume": Volume, "network": Network, "image": Image}
MACHINE = "machine"  # the shape of a server on a bare-metal node


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one shape becomes data: its fields, their values in one call, and the fields that hold more than a scalar."""

    names: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    nested: tuple[str, ...]
    places: tuple[int, ...]  # of those among ``names``


_SCALARS = frozenset({str, int, float, bool, NoneType})
_LAYOUTS: dict[type[Any], _Layout] = {}


def to_data(value: Any) -> JSON:
    """JSON data of a realised object, a policy, or anything inside one. Tuples become lists."""
    return _walk(value, _by_name)


def content(value: Any) -> JSON:
    """What is in a realised object without the names of fields: equal of equal objects of one shape, and soon made."""
    return _walk(value, _by_place)


def _walk(value: Any, told: Callable[[_Layout, Any], JSON]) -> JSON:
    shape = type(value)
    if shape in _SCALARS:
        return value
    if shape is tuple or shape is list:
        return [_walk(item, told) for item in value]
    if shape is dict:
        return {key: _walk(item, told) for key, item in value.items()}
    return told(_LAYOUTS.get(shape) or _LAYOUTS.setdefault(shape, _layout(shape)), value)


def _by_name(layout: _Layout, value: Any) -> JSON:
    data = dict(zip(layout.names, layout.values(value), strict=True))
    for name in layout.nested:
        data[name] = _walk(data[name], _by_name)
    return data


def _by_place(layout: _Layout, value: Any) -> JSON:
    values = list(layout.values(value))
    for place in layout.places:
        values[place] = _walk(values[place], _by_place)
    return values


def _layout(shape: type[Any]) -> _Layout:
    names = tuple(f.name for f in fields(shape))
    hints = get_type_hints(shape)
    one = attrgetter(names[0])
    values = attrgetter(*names) if len(names) > 1 else lambda value: (one(value),)
    nested = tuple(name for name in names if not _is_scalar(hints[name]))
    return _Layout(names, values, nested, tuple(map(names.index, nested)))


def _is_scalar(hint: Any) -> bool:
    return hint in _SCALARS or (get_origin(hint) is UnionType and _SCALARS.issuperset(get_args(hint)))


@cache
def _adapter(kind: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Machine if kind == MACHINE else SHAPES[kind])


def is_machine_data(data: JSON) -> bool:
    """Whether the data of a server is that of one on a bare-metal node."""
    return isinstance(data, dict) and "resource_class" in data


def from_data(kind: str, data: JSON) -> Realised:
    """The realised object of ``kind`` that ``to_data`` wrote; a server is one of both shapes.

    Unknown fields are ignored, missing ones get defaults.

    Raises: ValueError when a value has the wrong type.
    """
    is_machine = kind == "server" and is_machine_data(data)
    made: Realised = _adapter(MACHINE if is_machine else kind).validate_python(data)
    return made
