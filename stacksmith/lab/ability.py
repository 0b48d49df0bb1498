"""Whether this user on this machine can hold a lab."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from stacksmith.frozen import dataclass
from stacksmith.lab import switch
from stacksmith.lab.layout import LabError
from stacksmith.lab.process import ENVIRONMENT, PATH

PROGRAMS = {
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "nsenter": "util-linux",
    "ip": "iproute2",
}


@dataclass(frozen=True, slots=True)
class Capability:
    """`mode` says how a lab would run here; `reason` why not, or why not as root."""

    mode: Literal["root", "rootless", "none"]
    reason: str


def capability() -> Capability:
    """How a lab can run here, found by trying the namespaces that it needs."""
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name, path=PATH)})
    if missing:
        return Capability("none", f"not installed: {', '.join(missing)}")
    uid = os.getuid()
    if uid == 0:
        fault = _attempt(["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "true"])
        return Capability("none", f"root may not make namespaces here: {fault}") if fault else Capability("root", "")
    if not shutil.which("newuidmap", path=PATH):
        return Capability("none", f"user {uid} is not root, and newuidmap (package uidmap) is not installed")
    try:
        switch.id_maps(uid)
    except (LabError, KeyError) as error:
        return Capability("none", str(error))
    limit = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if limit.exists() and limit.read_text().strip() == "1":
        return Capability("none", f"{limit} is 1: AppArmor keeps users from making namespaces")
    fault = _attempt(["unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"])
    if fault:
        return Capability("none", f"user {uid} may not make user namespaces here: {fault}")
    return Capability("rootless", f"user {uid} is not root")


def _attempt(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"`{' '.join(argv)}` ended with {done.returncode}"
