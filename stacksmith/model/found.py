"""What is there: the live objects of the hosts, as read in one observation."""

from collections.abc import Mapping
from dataclasses import field

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.hardware import NO_HARDWARE, NOTHING_HELD, Hardware, Holding
from stacksmith.model.realised import ImageFile, Policy, Realised
from stacksmith.model.types import JSON

WARNING = "warning"  # a fact of what a step has just made: what is to be known of it, though it ended well
MOVING = "moving"  # a fact of a volume: its server brought it here, and what it left is not removed yet
ABANDONED = "abandoned"  # a fact of a server: paused by a migration, whose other side may have become the server


@dataclass(frozen=True, slots=True)
class Mark:
    """The owner, written on the object itself where the API has room (domain and network metadata).

    ``applied`` is the JSON data of the realised spec as last applied; None when the object was made but the apply
    that made it did not finish.
    """

    fleet: str
    stack: str
    address: Address
    uuid: str
    applied: JSON = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Resources:
    """Amounts of the placement classes VCPU, MEMORY_MB and DISK_GB."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib, self.disk_gib + other.disk_gib)


@dataclass(frozen=True, slots=True)
class Found:
    """A live object of this stack (or a half made one).

    spec: what is in effect now (a running guest's live definition); saved: the persistent definition when it differs
    from the live one (``pending restart``), else None. ``partial`` is set when parts exist but not the whole (disks
    without their domain): create completes it. ``facts`` are for people and outputs: addresses, state, path.
    ``fingerprint`` changes whenever the object does, and only then; it leaves out what only runs (ids, counters).
    """

    address: Address
    host: str
    uuid: str
    name: str
    spec: Realised | None
    fingerprint: str
    mark: Mark | None = None
    saved: Realised | None = None
    partial: bool = False
    usage: Resources = Resources()
    holds: Holding = NOTHING_HELD
    facts: Mapping[str, JSON] = field(default_factory=dict)
    begun: tuple[ImageFile, ...] = ()  # files of an image that this stack began to upload, and did not end to
    problem: str | None = None  # why the object cannot be read or used: "file is missing: …"

    @property
    def is_unsaved(self) -> bool:
        """True for a whole server or network that runs without a saved definition: it would vanish when it stops."""
        is_whole = self.mark is not None and self.mark.applied is not None
        return self.partial and is_whole and self.address.kind in ("server", "network")


@dataclass(frozen=True, slots=True)
class Unmanaged:
    """A live object that carries no mark of this stack: reported, counted by placement, never touched.

    ``owner`` is ``fleet/stack`` when another stack's mark is on it.
    """

    kind: str
    host: str
    name: str
    uuid: str
    owner: str | None = None
    usage: Resources = Resources()
    detail: str = ""
    holds: Holding = NOTHING_HELD
    subnets: tuple[str, ...] = ()  # that the host routes to it, of a network that runs


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """What runs a host's guests. ``version`` is libvirt's number: major * 1,000,000 + minor * 1,000 + release.

    ``cpu`` is nova's cpu_info: arch, model, vendor, topology, features. ``supported`` are (architecture, domain type,
    vm mode) of the guests it can run, as (x86_64, kvm, hvm). ``machine`` is the UUID of the machine that it is on.
    """

    type: str
    version: int
    hostname: str = ""
    cpu: Mapping[str, JSON] = field(default_factory=dict)
    supported: tuple[tuple[str, str, str], ...] = ()
    machine: str = ""


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """One host as read. ``error`` is set, and the rest empty, when it could not be read in its time limit."""

    host: str
    error: str | None = None
    capacity: Resources = Resources()
    found: tuple[Found, ...] = ()
    unmanaged: tuple[Unmanaged, ...] = ()
    facts: Mapping[str, JSON] = field(default_factory=dict)
    hardware: Hardware = NO_HARDWARE
    hypervisor: Hypervisor | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every host of the fleet as read in one observation, in order of host name, and the bare-metal ``nodes`` that the
    stack is about."""

    hosts: tuple[HostSnapshot, ...]
    nodes: tuple[HostSnapshot, ...] = ()

    @property
    def places(self) -> tuple[HostSnapshot, ...]:
        """Hosts and nodes."""
        return (*self.hosts, *self.nodes) if self.nodes else self.hosts

    @property
    def unreachable(self) -> tuple[HostSnapshot, ...]:
        """The hosts and nodes that could not be read."""
        return tuple(h for h in self.places if h.error is not None)


def between_hosts(snapshot: Snapshot) -> bool:
    """Whether a migration paused a server that is whole nowhere else."""
    servers = [f for host in snapshot.hosts for f in host.found if f.address.kind == "server" and not f.partial]
    abandoned = {f.address for f in servers if ABANDONED in f.facts}
    return bool(abandoned) and not abandoned <= {f.address for f in servers if ABANDONED not in f.facts}
