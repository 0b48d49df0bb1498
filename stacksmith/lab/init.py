"""Starts the first process of a lab's switch or of one of its hosts, which then reaps for ever.

Run by path (`python -I -S init.py SPEC.json`), inside the switch's namespaces when it starts a host. Uses the standard
library alone and imports nothing of stacksmith. The launcher ends as soon as the first process has done its commands;
the first process holds the lock of SPEC (byte 0: alive, byte 1: ready) for as long as it lives, and the kernel ends
everything in its pid namespace with it. A launcher that dies before the wires are laid takes the first process along.
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import struct
import sys
from typing import BinaryIO, TypedDict

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
ALIVE, READY = 0, 1
LAUNCH_SECONDS = 120
FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid

libc = ctypes.CDLL(None, use_errno=True)


class Spec(TypedDict):
    """What the first process is to be."""

    lock: str
    log: str
    cgroups: list[str]  # directories the process enters first, one per hierarchy
    id_maps: list[list[str]]  # commands that map users, "{pid}" stands for the process; empty: no user namespace
    outside: list[list[str]]  # commands beside the namespaces, "{pid}" stands for the first process
    hostname: str  # empty: no hostname, mounts or cgroup view of its own (the switch)
    tmpfs: list[str]
    binds: list[list[str]]  # [source, target], in order; a target that does not exist is skipped
    inside: list[list[str]]  # commands in the namespaces; each must succeed


def main(path: str) -> int:
    """Return 0 when the first process is ready; else print why not and return 1."""
    with open(path, encoding="utf-8") as file:
        spec: Spec = json.load(file)
    signal.alarm(LAUNCH_SECONDS)
    for directory in spec["cgroups"]:
        enter_cgroup(directory)
    news, wire = os.pipe(), os.pipe()
    if os.fork() == 0:
        signal.alarm(0)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, news[1], wire[0]}:
            os.closerange(descriptor, descriptor + 1)  # the caller's lock among them: it guards the launcher alone
        with os.fdopen(wire[0], "rb", 0) as orders:
            become_first(spec, news[1], orders)
    os.close(news[1])
    os.close(wire[0])
    with os.fdopen(news[0], "rb", 0) as reports:
        try:
            lead(spec, reports, wire[1])
        except (OSError, RuntimeError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


def enter_cgroup(directory: str) -> None:
    """Move this process into the cgroup; a cpuset of cgroup v1 must be told its cpus first."""
    if os.path.exists(f"{directory}/cpuset.cpus") and os.path.exists(f"{directory}/tasks"):
        for name in ("cpuset.cpus", "cpuset.mems"):
            with (
                open(f"{os.path.dirname(directory)}/{name}") as source,
                open(f"{directory}/{name}", "w") as target,
            ):
                target.write(source.read())
        write(f"{directory}/cgroup.clone_children", "1")
    write(f"{directory}/cgroup.procs", "0")


def lead(spec: Spec, reports: BinaryIO, wire: int) -> None:
    """Do the launcher's part of the talk with the first process: user maps, wires, wait until it is ready."""
    middle = int(expect(reports, "unshared"))
    for command in spec["id_maps"]:
        run([word.format(pid=middle) for word in command])
    os.write(wire, b"mapped\n")
    expect(reports, "made")
    pid = holder(spec["lock"], ALIVE)
    for command in spec["outside"]:
        run([word.format(pid=pid) for word in command])
    os.write(wire, b"wired\n")
    expect(reports, "ready")


def expect(reports: BinaryIO, word: str) -> str:
    line = reports.readline().decode().strip()
    head, _, rest = line.partition(" ")
    if head != word:
        raise RuntimeError(line or f"the first process ended before it was {word}")
    return rest


def become_first(spec: Spec, news: int, orders: BinaryIO) -> None:
    """Fork into new namespaces; the child becomes the first process and never returns."""
    try:
        unshare(CLONE_NEWPID | (CLONE_NEWUSER if spec["id_maps"] else 0))
        os.write(news, f"unshared {os.getpid()}\n".encode())
        if not orders.readline():
            os._exit(1)
        if os.fork():
            os._exit(0)
        lock = hold_lock(spec)
        make_world(spec)
        os.write(news, b"made\n")
        if not orders.readline():
            os._exit(1)
        for command in spec["inside"]:
            run(command)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, READY)
        os.write(news, b"ready\n")
        os.close(news)
    except (OSError, RuntimeError) as error:
        os.write(news, f"{error}\n".encode())
        os._exit(1)
    reap()


def hold_lock(spec: Spec) -> int:
    """Cut the ties with the launcher's session and take the lock; returns its descriptor, which stays open."""
    os.setsid()
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir("/")
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lock = os.open(spec["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, ALIVE)
    return lock


def make_world(spec: Spec) -> None:
    """Enter the remaining namespaces and lay out the mounts of SPEC."""
    if spec["id_maps"]:
        os.setgroups([])
    own = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP if spec["hostname"] else 0
    unshare(CLONE_NEWNS | CLONE_NEWNET | own)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    sources = [os.open(source, os.O_PATH | os.O_CLOEXEC) for source, _ in spec["binds"]]
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if spec["hostname"]:
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        libc.sethostname(spec["hostname"].encode(), len(spec["hostname"].encode()))
    if spec["cgroups"] and spec["hostname"]:
        mount_cgroups()
    for target in spec["tmpfs"]:
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for descriptor, (_, target) in zip(sources, spec["binds"], strict=True):
        if target.startswith(tuple(spec["tmpfs"])):
            os.makedirs(target, exist_ok=True)
        if os.path.exists(target):
            mount(f"/proc/self/fd/{descriptor}", target, "", MS_BIND)
        os.close(descriptor)


def mount_cgroups() -> None:
    """Show the host only its own part of every hierarchy, so that hosts cannot collide on /machine/qemu-1-NAME."""
    with open("/proc/self/cgroup") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
    if len(rows) == 1:
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        os.makedirs("/sys/fs/cgroup/init", exist_ok=True)  # v2: only a group without processes may hand on controllers
        write("/sys/fs/cgroup/init/cgroup.procs", "0")
        return
    mount("tmpfs", "/sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for _, controllers, _ in rows:
        target = f"/sys/fs/cgroup/{controllers.removeprefix('name=') or 'unified'}"
        os.makedirs(target)
        if not controllers:
            mount("cgroup2", target, "cgroup2", 0)
        else:
            mount("cgroup", target, "cgroup", 0, f"none,{controllers}" if "=" in controllers else controllers)


def reap() -> None:
    """Collect every child as soon as it ends, for ever."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


def holder(path: str, byte: int) -> int:
    """The process that holds this byte of the lock file, as a pid of this namespace; 0: none, or no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else int(pid)
    finally:
        os.close(descriptor)


def run(argv: list[str]) -> None:
    code = os.spawnvp(os.P_WAIT, argv[0], argv)
    if code:
        raise RuntimeError(f"`{' '.join(argv)}` ended with {code}")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def unshare(flags: int) -> None:
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "cannot unshare: " + os.strerror(ctypes.get_errno()))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot mount {source} on {target}: {os.strerror(error)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
