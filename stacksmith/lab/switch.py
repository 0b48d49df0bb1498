"""The switch of a lab: one process with its own namespaces, in which the bridge is and from which every host descends.

Ending it ends the whole lab. As root it has a wire to the caller (interface `ss<id>`); without root it has a user
namespace instead, and the caller reaches the hosts through their sockets alone.
"""

import contextlib
import fcntl
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from stacksmith.lab import init, process
from stacksmith.lab.layout import LabError, Layout

NAME = "switch"
BRIDGE = "lab0"
SUBNET_GUARD = "subnet.guard"
SUBNETS = [f"198.18.{third}" for third in range(256)]  # RFC 2544: set aside for tests, so seldom in use


@contextlib.contextmanager
def guarded(layout: Layout) -> Iterator[int]:
    """Hold the lab's lock; yields its descriptor. Waits for other callers, and for launchers of one that was killed."""
    layout.run_root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if layout.run_root.stat().st_uid != layout.uid:
        raise LabError(f"cannot use {layout.run_root}: it belongs to another user")
    with _lock(layout.guard) as descriptor:
        yield descriptor


@contextlib.contextmanager
def subnet_guarded(layout: Layout) -> Iterator[int]:
    """Hold the lock under which the user's labs take their subnets; yields its descriptor."""
    with _lock(layout.run_root / SUBNET_GUARD) as descriptor:
        yield descriptor


def remove_subnet_guard(layout: Layout) -> None:
    """Remove the lock's file when nobody holds it; who waits for it makes another one."""
    if (layout.run_root / SUBNET_GUARD).exists():
        with subnet_guarded(layout):
            (layout.run_root / SUBNET_GUARD).unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[int]:
    descriptor = -1
    while descriptor < 0:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # `down` removes both the file and the folder
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_open_file(descriptor, path):
                os.close(descriptor)
                descriptor = -1
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_open_file(descriptor: int, path: Path) -> bool:
    """Whether the path still is the file that we have open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def ensure(layout: Layout, guard: int, wanted: str) -> tuple[int, str]:
    """The switch's first process, started if need be, and the lab's subnet (`wanted` if that is not empty)."""
    subnet = wanted or SUBNETS[int(layout.id, 16) % len(SUBNETS)]
    pid = process.first_process(layout, NAME)
    if pid and process.is_ready(layout, NAME):
        return pid, subnet
    if pid:
        process.end(pid)
    if layout.uid == 0:
        with subnet_guarded(layout):
            subnet = wanted or free_subnet(int(layout.id, 16))
            _start(layout, guard, subnet)
    else:
        _start(layout, guard, subnet)
    return process.first_process(layout, NAME), subnet


def free_subnet(start: int) -> str:
    """The first subnet, counted from `start`, that no route of this machine touches."""
    routes = [
        route.get("dst", "") for route in json.loads(process.run(["ip", "-j", "-4", "route", "show", "table", "all"]))
    ]
    for index in range(len(SUBNETS)):
        subnet = SUBNETS[(start + index) % len(SUBNETS)]
        if not any(str(route).startswith(f"{subnet}.") for route in routes):
            return subnet
    raise LabError("cannot find a free subnet: 198.18.0.0/16 is all in use")


def _start(layout: Layout, guard: int, subnet: str) -> None:
    inside = ["link set lo up", f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up"]
    outside = []
    if layout.uid == 0:
        with contextlib.suppress(LabError):  # the wire of a switch that was just killed may linger
            process.run(["ip", "link", "delete", layout.uplink])
        outside = [
            f"link add {layout.uplink} type veth peer name uplink netns {{pid}}",
            f"address add {subnet}.1/24 dev {layout.uplink}",
            f"link set {layout.uplink} up",
        ]
        inside.append(f"link set uplink master {BRIDGE} up")
    else:
        inside.append(f"address add {subnet}.1/24 dev {BRIDGE}")
    spec: init.Spec = {
        "lock": str(layout.lock(NAME)),
        "log": str(layout.private / "switch.log"),
        "cgroups": [],
        "id_maps": id_maps(layout.uid),
        "outside": ip(outside),
        "hostname": "",
        "tmpfs": [],
        "binds": [],
        "inside": ip(inside),
    }
    launcher = process.launch(spec, layout.private / "switch.json", [], guard)
    _, stderr = launcher.communicate()
    if launcher.returncode:
        raise LabError(f"cannot start the lab's switch: {stderr.strip() or launcher.returncode}")


def ip(lines: list[str]) -> list[list[str]]:
    """The lines as commands of `ip`."""
    return [["ip", *line.split()] for line in lines]


def id_maps(uid: int) -> list[list[str]]:
    """Commands that map root of a user namespace to this user, and 1… to its subordinate ids; none for root.

    Raises:
        LabError: the user has no subordinate ids (see subuid(5)).
    """
    if uid == 0:
        return []
    user = pwd.getpwuid(uid)
    maps = []
    for tool, file, own in (("newuidmap", "/etc/subuid", uid), ("newgidmap", "/etc/subgid", os.getgid())):
        start, count = _subordinate(Path(file), user.pw_name, uid)
        maps.append([tool, "{pid}", "0", str(own), "1", "1", start, count])
    return maps


def _subordinate(file: Path, name: str, uid: int) -> tuple[str, str]:
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        owner, _, ids = line.strip().partition(":")
        start, _, count = ids.partition(":")
        if owner in (name, str(uid)) and start.isdigit() and count.isdigit():
            return start, count
    raise LabError(f"cannot map users: {file} has no line for {name}; add one with `usermod --add-subuids`")


def links(pid: int) -> dict[str, bool]:
    """For every host that has a wire in the switch of this pid, whether it is plugged in."""
    links = json.loads(process.run([*process.inside(pid), "ip", "-j", "link", "show", "type", "veth"]) or "[]")
    return {link["ifname"]: "UP" in link["flags"] for link in links if link.get("ifname")}
