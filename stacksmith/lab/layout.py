"""Where a lab keeps what: every path and name follows from the directory and the user, so a half-made lab is found."""

import hashlib
import os
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

from stacksmith.frozen import dataclass

Progress = Callable[[str], None]
RACK = "rack"  # the host that holds the nodes' machines and their BMCs; no host of the fleet


class LabError(Exception):
    """A lab cannot do what was asked; the text says `cannot <verb> <what>: <cause>`."""


class HostState(StrEnum):
    """How a lab host is."""

    UP = "up"
    FROZEN = "frozen"  # libvirtd, or the whole host, is stopped in its tracks
    NO_DAEMON = "no daemon"  # the host runs, libvirtd does not
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Host:
    """One private libvirt host; a way in that this machine does not offer is an empty string."""

    name: str
    uri: str
    socket: Path
    address: str
    tls_uri: str
    ssh_uri: str


class NodeState(StrEnum):
    """How a node of the lab is."""

    ON = "on"
    OFF = "off"
    NO_BMC = "no BMC"  # its BMC does not serve


@dataclass(frozen=True, slots=True)
class Node:
    """One bare-metal node: an empty machine with an emulated BMC."""

    name: str
    redfish: str
    system: str
    username: str
    password: Path  # the file that holds it
    ca: Path
    console: Path  # its serial log, once it was on


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What `status` knows of one node, without asking its BMC anything."""

    name: str
    state: NodeState
    redfish: str
    profiles: list[str]


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up; `fleet` is the fleet file to plan against."""

    directory: Path
    fleet: Path
    hosts: tuple[Host, ...]
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What `status` knows of one host, without asking its libvirtd anything."""

    name: str
    state: HostState
    uri: str
    address: str
    linked: bool
    guests: int  # QEMU processes


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of the lab in `directory` (absolute, resolved) of the user `uid`."""

    directory: Path
    uid: int

    @property
    def id(self) -> str:
        """Eight hex digits that name the lab's interfaces and cgroups."""
        return hashlib.sha256(f"{self.uid}:{self.directory}".encode()).hexdigest()[:8]

    @property
    def private(self) -> Path:
        return self.directory / ".lab"

    @property
    def fleet(self) -> Path:
        return self.directory / "fleet.yaml"

    @property
    def images(self) -> Path:
        return self.directory / "images"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def run_root(self) -> Path:
        """A short path (a unix socket's has at most 107 bytes) that no environment variable can move."""
        if self.uid == 0:
            return Path("/run/stacksmith-lab")
        personal = Path(f"/run/user/{self.uid}")
        if personal.is_dir() and personal.stat().st_uid == self.uid:
            return personal / "stacksmith-lab"
        return Path(f"/tmp/stacksmith-lab-{self.uid}")

    @property
    def run(self) -> Path:
        return self.run_root / self.id

    @property
    def guard(self) -> Path:
        """The lock that one `up`, `down` or `boot` at a time holds."""
        return self.run_root / f"{self.id}.guard"

    @property
    def uplink(self) -> str:
        return f"ss{self.id}"

    def lock(self, name: str) -> Path:
        """The file whose bytes the first process of a host (or of the switch) keeps locked."""
        return self.run / f"{name}.lock"

    def socket(self, host: str) -> Path:
        return self.run / host / "libvirt-sock"

    def home(self, host: str) -> Path:
        """What a host keeps over a power loss."""
        return self.private / "hosts" / host

    def hosts(self) -> list[str]:
        """Names of the hosts that exist, in the order rack, hv1, hv2, …, hv10."""
        homes = self.private / "hosts"
        names = [entry.name for entry in homes.iterdir()] if homes.is_dir() else []
        return sorted(names, key=number)

    def uri(self, host: str) -> str:
        return f"qemu+unix:///system?socket={self.socket(host)}"


def layout_of(directory: Path | str) -> Layout:
    """The layout of the lab in this directory, whether or not there is one."""
    return Layout(Path(directory).expanduser().resolve(), os.getuid())


def number(host: str) -> int:
    """3 for hv3, 0 for the rack."""
    return 0 if host == RACK else int(host.removeprefix("hv"))


def host_names(count: int) -> Iterator[str]:
    return (f"hv{index}" for index in range(1, count + 1))


def address_of(subnet: str, host: str) -> str:
    """The host's address in the lab's network; `subnet` is its first three bytes."""
    return f"{subnet}.{10 + number(host)}"
