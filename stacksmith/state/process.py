"""This process as the holder of a lease, and whether another one still lives."""

import getpass
import os
import socket
from pathlib import Path

from stacksmith.state.store import Holder

_PROC = Path("/proc")


def this_process(run: str, command: str) -> Holder:
    """The holder that this process is."""
    pid = os.getpid()
    return Holder(run, command, _user(), socket.gethostname(), pid, machine(), started(pid))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def machine() -> str:
    """Names the running kernel and the process numbers seen from here; empty where the system does not say.

    Two containers on one kernel share its boot id but not their process numbers.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> str:
    """When the process started, in clock ticks since boot (proc(5), field 22); empty when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    state, *rest = text.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]


def is_dead(holder: Holder) -> bool:
    """True when the holder's process ran here and has ended; what cannot be told counts as alive."""
    return bool(holder.machine) and holder.machine == machine() and started(holder.pid) != holder.started
