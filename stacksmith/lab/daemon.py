"""libvirtd of one lab host: whether it answers, and its signals."""

import os
import signal
import socket
import struct
import time
from pathlib import Path

from stacksmith.lab import process
from stacksmith.lab.layout import LabError, Layout

REMOTE_PROGRAM, REMOTE_VERSION, AUTH_LIST = 0x20008086, 1, 66  # libvirt: src/remote/remote_protocol.x
VIRTLOGD = ["virtlogd", "-d", "-p", "/run/libvirt/virtlogd.pid"]
LIBVIRTD = ["libvirtd", "-d", "-l", "-p", "/run/libvirt/libvirtd.pid"]


def answers(path: Path, timeout_seconds: float) -> bool:
    """Whether a libvirtd that serves this socket replies to the first call of every client in time."""
    call = struct.pack(">IIIiiIi", 28, REMOTE_PROGRAM, REMOTE_VERSION, AUTH_LIST, 0, 0, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_seconds)
        try:
            client.connect(str(path))
            client.sendall(call)
            return len(client.recv(28)) == 28
        except OSError:
            return False


def find(layout: Layout, host: str) -> int:
    """The host's libvirtd as a pid of the caller; 0 when it does not run."""
    try:
        wanted = int((layout.run / host / "libvirtd.pid").read_text())
    except (OSError, ValueError):
        return 0
    members = process.members(process.first_process(layout, host))
    daemons = [pid for pid, name in members.items() if name == "libvirtd"]
    return next((pid for pid in daemons if process.inner_pid(pid) == wanted), 0)


def send(layout: Layout, host: str, number: signal.Signals) -> None:
    """Send a signal to the host's libvirtd.

    Raises:
        LabError: it does not run.
    """
    pid = find(layout, host)
    if not pid:
        raise LabError(f"cannot signal libvirtd of {host}: it does not run")
    os.kill(pid, number)
    deadline = time.monotonic() + 5
    while number == signal.SIGKILL and find(layout, host) and time.monotonic() < deadline:
        time.sleep(0.01)


def wait(layout: Layout, host: str, timeout_seconds: float) -> None:
    """Return once the host's libvirtd answers.

    Raises:
        LabError: the host ends, or the time is over.
    """
    deadline = time.monotonic() + timeout_seconds
    while not answers(layout.socket(host), 1.0):
        if not process.first_process(layout, host):
            raise LabError(f"cannot start {host}: it ended while it started; see {layout.home(host)}/log")
        if time.monotonic() > deadline:
            raise LabError(f"cannot reach {host}: libvirtd did not answer in {timeout_seconds:g} s")
        time.sleep(0.02)
