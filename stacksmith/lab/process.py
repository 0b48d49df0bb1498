"""The processes of a lab: who holds it up, how to get inside, how to end it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from stacksmith.lab import init
from stacksmith.lab.layout import LabError, Layout

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root"}
ENTER_CGROUPS = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"'
NAMESPACES = {
    "user": "--user",
    "mnt": "--mount",
    "net": "--net",
    "pid": "--pid",
    "uts": "--uts",
    "ipc": "--ipc",
    "cgroup": "--cgroup",
}
END_SECONDS = 30.0
REAP_SECONDS = 1.0


def first_process(layout: Layout, name: str) -> int:
    """The first process of a host, or of "switch", as a pid of the caller; 0 when it does not run."""
    return init.holder(str(layout.lock(name)), init.ALIVE)


def is_ready(layout: Layout, name: str) -> bool:
    """Whether the first process got through all its commands."""
    return init.holder(str(layout.lock(name)), init.READY) != 0


def launch(spec: init.Spec, path: Path, prefix: Sequence[str], guard: int) -> "subprocess.Popen[str]":
    """Start the launcher of a first process; `guard` is the lab's lock, which the launcher shares while it works."""
    path.write_text(json.dumps(spec))
    argv = [*prefix, sys.executable, "-I", "-S", init.__file__, str(path)]
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        pass_fds=(guard,),
        start_new_session=True,
    )


def inside(pid: int) -> list[str]:
    """The start of a command that runs in those namespaces of this process that are not the caller's own.

    Raises:
        LabError: the process is gone.
    """
    try:
        others = [
            name for name in NAMESPACES if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        ]
    except OSError as error:
        raise LabError(f"cannot enter the namespaces of process {pid}: {error.strerror}") from error
    return ["nsenter", "--target", str(pid), *(NAMESPACES[name] for name in others), "--"]


def in_cgroups(directories: Iterable[Path]) -> list[str]:
    """The start of a command that runs in these cgroups."""
    return ["sh", "-c", ENTER_CGROUPS, "sh", *map(str, directories), "--"]


def run(argv: Sequence[str]) -> str:
    """What the command prints.

    Raises:
        LabError: it is not installed or it fails.
    """
    return run_bytes(argv).decode(errors="replace")


def run_bytes(argv: Sequence[str]) -> bytes:
    """What the command prints, as bytes; see `run`."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, check=False)
    except FileNotFoundError as error:
        raise LabError(f"cannot run {argv[0]}: it is not installed") from error
    if done.returncode:
        cause = (done.stderr or done.stdout).decode(errors="replace").strip() or f"it ended with {done.returncode}"
        raise LabError(f"cannot run `{' '.join(argv)}`: {cause}")
    return done.stdout


def members(first: int) -> dict[int, str]:
    """Pid and command name of every process in the pid namespace of this first process."""
    try:
        namespace = os.readlink(f"/proc/{first}/ns/pid")
    except OSError:
        return {}
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/ns/pid") == namespace:
                    found[int(entry)] = Path(f"/proc/{entry}/comm").read_text().strip()
    return found


def inner_pid(pid: int) -> int:
    """The pid that the process has in its own namespace; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), 0)


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def end(pid: int) -> None:
    """Kill a first process and wait until the kernel has ended all that was in its namespace.

    Raises:
        LabError: it does not end in half a minute.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        waiting = select.poll()  # a caller may have more open files than select takes
        waiting.register(handle, select.POLLIN)
        if not waiting.poll(END_SECONDS * 1000):
            raise LabError(f"cannot end process {pid}: it did not end in {END_SECONDS:g} s")
    finally:
        os.close(handle)


def await_reaped(pid: int) -> None:
    """Wait a little for the machine's own first process to collect an ended one: some look only once a second."""
    deadline = time.monotonic() + REAP_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
