"""Bringing a lab up and taking it down."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from stacksmith.lab import cgroup, daemon, draft, fleet, host, image, process, switch, wire
from stacksmith.lab.ability import capability
from stacksmith.lab.bmc import node
from stacksmith.lab.layout import (
    RACK,
    Host,
    HostState,
    HostStatus,
    Lab,
    LabError,
    Layout,
    NodeStatus,
    Progress,
    address_of,
    host_names,
    layout_of,
    number,
)

READY_SECONDS = 60.0
LATE_SECONDS = 30.0  # in which a key is made


def up(
    directory: Path | str,
    hosts: int = 3,
    progress: Progress = lambda line: None,
    nodes: int = 0,
    node_disks: int = 1,
) -> Lab:
    """Bring up the lab in this directory with at least so many hosts and nodes; what runs already is left as it is.
    New nodes have ``node_disks`` disks.

    Raises:
        LabError: this machine or user cannot hold a lab, the directory holds something else, or a host does not start.
    """
    layout = layout_of(directory)
    if not 1 <= hosts <= host.MAXIMUM:
        raise LabError(f"cannot make a lab of {hosts} hosts: 1 to {host.MAXIMUM} are possible")
    able = capability()
    if able.mode == "none":
        raise LabError(f"cannot make a lab: {able.reason}")
    node.needs(layout, nodes, node_disks)
    with switch.guarded(layout) as guard:
        claim(layout)
        rack = [RACK] if node.names(layout, nodes) else []
        names = sorted({*rack, *host_names(hosts), *layout.hosts()}, key=number)
        images = fetch_images(layout, bool(rack), progress)
        subnet = start_switch(layout, guard)
        boot_all(layout, names, subnet, guard, progress)
        if rack:
            node.ensure(layout, subnet, nodes, node_disks, progress)
        names = [name for name in names if name != RACK]
        there = node.nodes(layout, subnet)
        draft.write(layout.fleet, fleet.fleet_text(layout, names, images, there))
    described = tuple(describe(layout, name, subnet) for name in names)
    return Lab(layout.directory, layout.fleet, described, tuple(there))


def claim(layout: Layout) -> None:
    """Make the directory the lab's own, unless it holds files of the same names that are not the lab's.

    Raises:
        LabError: it does, or it cannot be written.
    """
    try:
        layout.directory.mkdir(parents=True, exist_ok=True)
        if not layout.private.exists():
            for path in (layout.fleet, layout.images, layout.state):
                if path.exists():
                    raise LabError(
                        f"cannot make a lab in {layout.directory}: {path.name} is there and is not the lab's"
                    )
            layout.private.mkdir(mode=0o700)
        (layout.private / "hosts").mkdir(exist_ok=True)
        layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.state.mkdir(exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make a lab in {layout.directory}: {error.strerror}") from error


def fetch_images(layout: Layout, has_nodes: bool, progress: Progress) -> list[image.Image]:
    """Put the lab's images in the lab's folder."""
    found = []
    for ensure in (image.ensure, image.ensure_node) if has_nodes else (image.ensure,):
        folder, images = ensure(progress)
        image.offer(folder, layout.images, images)
        found += images
    return found


def start_switch(layout: Layout, guard: int) -> str:
    """Start the switch if need be; the lab's subnet, which stays the same as long as the lab's files do."""
    _, subnet = switch.ensure(layout, guard, subnet_of(layout))
    draft.write(layout.private / "lab.json", json.dumps({"subnet": subnet}))
    return subnet


def subnet_of(layout: Layout) -> str:
    """The subnet noted at the first `up`; empty when there was none."""
    try:
        return str(json.loads((layout.private / "lab.json").read_text())["subnet"])
    except (OSError, ValueError, KeyError):
        return ""


def boot_all(layout: Layout, names: Sequence[str], subnet: str, guard: int, progress: Progress) -> None:
    """Start, all at once, those of the hosts that are down, and wait until every libvirtd answers."""
    launchers: dict[str, subprocess.Popen[str]] = {}
    for name in names:
        if process.is_ready(layout, name):
            continue
        host.power_off(layout, name)
        host.prepare(layout, name, subnet)
        wire.equip(layout, name, subnet)
        progress(f"{name}: starting")
        launchers[name] = host.launch(layout, name, subnet, guard)
    faults = []
    for name, launcher in launchers.items():
        _, stderr = launcher.communicate()
        if launcher.returncode:
            faults.append(
                f"cannot start {name}: {stderr.strip() or launcher.returncode}{host.last_words(layout, name)}"
            )
    if faults:
        raise LabError("\n".join(faults))
    for name in launchers:
        daemon.wait(layout, name, READY_SECONDS)
        progress(f"{name}: up")


def describe(layout: Layout, name: str, subnet: str) -> Host:
    """The host as `up` and `boot` hand it out."""
    return Host(
        name,
        layout.uri(name),
        layout.socket(name),
        address_of(subnet, name),
        wire.tls_uri(layout, name, subnet),
        wire.ssh_uri(layout, name, subnet),
    )


def down(directory: Path | str, progress: Progress = lambda line: None) -> None:
    """End the lab in this directory and remove everything it made; does nothing where there is none.

    Raises:
        LabError: something of it cannot be ended or removed.
    """
    layout = layout_of(directory)
    if not layout.private.exists() and not layout.run.exists() and not layout.guard.exists():
        return
    with switch.guarded(layout):
        progress("ending every host")
        end_all(layout)
        keep_probes(layout)
        remove_files(layout)
        layout.guard.unlink(missing_ok=True)
    switch.remove_subnet_guard(layout)
    with contextlib.suppress(OSError):  # another lab is there
        layout.run_root.rmdir()


def end_all(layout: Layout) -> None:
    """End every process of the lab, its wire and its cgroups."""
    groups = host.cgroups(layout)
    for name in layout.hosts():
        with contextlib.suppress(LabError):
            cgroup.freeze(host.cgroups(layout, name), frozen=False)
    pid = process.first_process(layout, switch.NAME)
    if pid:
        process.end(pid)
        process.await_reaped(pid)
    for member in cgroup.processes(groups):
        process.end(member)
    cgroup.remove(groups)
    if layout.uid == 0:
        with contextlib.suppress(LabError):  # it goes with the switch, but a moment later
            process.run(["ip", "link", "delete", layout.uplink])


def keep_probes(layout: Layout) -> None:
    """Keep for the next lab what libvirt found out about QEMU here, if it was ever asked."""
    kept = image.cache_home() / "lab-probes"
    found = [
        path for name in layout.hosts() if (path := layout.home(name) / host.PROBES).is_dir() and any(path.iterdir())
    ]
    if found and not (kept.exists() and kept.stat().st_mtime >= found[0].stat().st_mtime):
        shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(OSError, shutil.Error):  # it only saves time
            draft.copy_tree(found[0], kept)


def remove_files(layout: Layout) -> None:
    """Remove what the lab wrote, the mark of a lab last, and the directory if nothing else is in it."""
    if layout.private.exists():
        for path in (layout.images, layout.state):
            remove_tree(path)
        layout.fleet.unlink(missing_ok=True)
        for left in layout.directory.glob(f".{layout.fleet.name}.*"):
            left.unlink()
    remove_tree(layout.run)
    remove_tree(layout.private)
    with contextlib.suppress(OSError):
        layout.directory.rmdir()


def remove_tree(path: Path) -> None:
    """Remove a tree; files that belong to the user's subordinate ids need root of a user namespace.

    A program that an `up` was waiting for when it was killed may still write into it for a moment.
    """
    deadline = time.monotonic() + LATE_SECONDS
    while path.exists():
        try:
            shutil.rmtree(path)
        except PermissionError:
            if os.getuid() == 0:
                raise
            process.run(["unshare", "--map-root-user", "--map-auto", "rm", "-rf", "--one-file-system", str(path)])
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT} or time.monotonic() > deadline:
                raise


def status(directory: Path | str) -> list[HostStatus]:
    """How each host of the lab is; empty when there is no lab. Never waits for a libvirtd."""
    layout = layout_of(directory)
    subnet = subnet_of(layout)
    pid = process.first_process(layout, switch.NAME)
    links: dict[str, bool] = {}
    with contextlib.suppress(LabError):  # the switch may be ending
        links = switch.links(pid) if pid else {}
    return [
        HostStatus(
            name=name,
            state=state_of(layout, name),
            uri=layout.uri(name),
            address=address_of(subnet, name),
            linked=links.get(name, False),
            guests=len(guests(layout, name)),
        )
        for name in layout.hosts()
        if name != RACK
    ]


def node_status(directory: Path | str) -> list[NodeStatus]:
    """How each node of the lab is; empty when there is none. Never waits for a BMC."""
    layout = layout_of(directory)
    return node.status(layout, subnet_of(layout))


def state_of(layout: Layout, name: str) -> HostState:
    """How one host is."""
    if not process.first_process(layout, name):
        return HostState.DOWN
    pid = daemon.find(layout, name)
    if not pid:
        return HostState.NO_DAEMON
    if process.is_stopped(pid) or cgroup.is_frozen(host.cgroups(layout, name)):
        return HostState.FROZEN
    return HostState.UP


def guests(layout: Layout, name: str) -> list[int]:
    """Pids of the host's QEMU processes."""
    first = process.first_process(layout, name)
    return sorted(pid for pid, command in process.members(first).items() if command.startswith("qemu-system"))
