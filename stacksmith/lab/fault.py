"""What goes wrong on purpose: power losses, hung and dead daemons, pulled cables; and commands inside a host."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from stacksmith.lab import cgroup, daemon, host, lab, process, switch
from stacksmith.lab.bmc import node
from stacksmith.lab.layout import RACK, Host, HostState, LabError, Layout, layout_of

READY_SECONDS = 30.0
FREEZE_SECONDS = 10.0


def boot(directory: Path | str, name: str) -> Host:
    """Start a host that is down, as `up` would; its guests with autostart come back. Does nothing if it is up.

    Raises:
        LabError: there is no such host, or it does not start.
    """
    layout = _layout(directory, name)
    with switch.guarded(layout) as guard:
        subnet = lab.start_switch(layout, guard)
        lab.boot_all(layout, [name], subnet, guard, lambda line: None)
        if name == RACK:
            node.ensure(layout, subnet, 0, 1, lambda line: None)
    return lab.describe(layout, name, subnet)


def crash(directory: Path | str, name: str) -> None:
    """Take the host's power away; what is on its disks stays. Does nothing if it is down."""
    layout = _layout(directory, name)
    with switch.guarded(layout):
        host.power_off(layout, name)


def exec_in(directory: Path | str, name: str, argv: Sequence[str]) -> int:
    """Run a command inside the host with the caller's own stdin, stdout and stderr; its exit status.

    Raises:
        LabError: there is no such host or it is down.
    """
    return subprocess.run(command_in(directory, name, argv), check=False).returncode


def command_in(directory: Path | str, name: str, argv: Sequence[str]) -> list[str]:
    """The command as one to run outside the host, for callers that want its output."""
    layout = _layout(directory, name)
    groups = [cgroup.leaf(directory) for directory in host.cgroups(layout, name)]
    return [*process.in_cgroups(groups), *process.inside(_running(layout, name)), *argv]


def freeze(directory: Path | str, name: str, *, whole: bool = False) -> None:
    """Hang the host's libvirtd, its guests run on; `whole` hangs every process of the host (root only).

    Raises:
        LabError: there is no such host, it is down, or it is not hung within some seconds.
    """
    layout = _layout(directory, name)
    _running(layout, name)
    if whole:
        cgroup.freeze(host.cgroups(layout, name), frozen=True)
    else:
        daemon.send(layout, name, signal.SIGSTOP)
    deadline = time.monotonic() + FREEZE_SECONDS
    while lab.state_of(layout, name) is not HostState.FROZEN:  # a process stops when it next runs
        if time.monotonic() > deadline:
            raise LabError(f"cannot freeze {name}: it was not still after {FREEZE_SECONDS:g} s")
        time.sleep(0.01)


def thaw(directory: Path | str, name: str) -> None:
    """End whatever `freeze` did; does nothing if the host is not frozen."""
    layout = _layout(directory, name)
    _running(layout, name)
    groups = host.cgroups(layout, name)
    if cgroup.is_frozen(groups):
        cgroup.freeze(groups, frozen=False)
    if daemon.find(layout, name):
        daemon.send(layout, name, signal.SIGCONT)


def kill_daemon(directory: Path | str, name: str) -> None:
    """Kill the host's libvirtd with SIGKILL; its guests run on.

    Raises:
        LabError: it does not run.
    """
    daemon.send(_layout(directory, name), name, signal.SIGKILL)


def start_daemon(directory: Path | str, name: str) -> None:
    """Start the host's libvirtd and wait until it answers; does nothing if it runs."""
    layout = _layout(directory, name)
    _running(layout, name)
    if not daemon.find(layout, name):
        process.run(command_in(directory, name, daemon.LIBVIRTD))
    daemon.wait(layout, name, READY_SECONDS)


def daemon_pid(directory: Path | str, name: str) -> int:
    """The host's libvirtd as a pid of the caller; 0 when it does not run."""
    return daemon.find(_layout(directory, name), name)


def link(directory: Path | str, name: str, up: bool) -> None:
    """Plug in or pull out the host's cable to the lab's bridge."""
    layout = _layout(directory, name)
    _running(layout, name)
    pid = process.first_process(layout, switch.NAME)
    process.run([*process.inside(pid), "ip", "link", "set", name, "up" if up else "down"])


def _layout(directory: Path | str, name: str) -> Layout:
    layout = layout_of(directory)
    known = layout.hosts()
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there is no lab"
        raise LabError(f"cannot find {name} in {layout.directory}: {there}")
    return layout


def _running(layout: Layout, name: str) -> int:
    pid = process.first_process(layout, name)
    if not pid:
        raise LabError(f"cannot reach {name}: it is down")
    return pid


def behave(directory: Path | str, name: str, profiles: Sequence[str] = (), **more: float) -> None:
    """Let a node's BMC behave as these profiles say from its next request on, and as single values say over them.

    Raises:
        LabError: there is no such node, profile or value.
    """
    node.behave(layout_of(directory), name, profiles, more)


def kill_bmcs(directory: Path | str) -> None:
    """Kill the process of the lab's BMCs; the nodes' machines run on, and `up` starts it again."""
    node.stop(layout_of(directory))
