"""The lab's nodes: what is written for them, and the farm of their BMCs, which runs in a host of its own, the rack."""

import importlib.util
import json
import secrets
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from stacksmith.lab import cgroup, draft, host, init, process, wire
from stacksmith.lab.bmc.profile import FIELDS, PROFILES
from stacksmith.lab.layout import RACK, LabError, Layout, Node, NodeState, NodeStatus, Progress, address_of

MAXIMUM = 200
MAXIMUM_DISKS = 4
FIRST_PORT = 8001
USERNAME = "admin"
LOCK = "farm.lock"
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")


def names(layout: Layout, count: int = 0) -> list[str]:
    """The lab's nodes, bm1, bm2, …: those that it has, and at least so many."""
    return [f"bm{index}" for index in range(1, max(count, len(list(_home(layout).glob("*.password")))) + 1)]


def needs(layout: Layout, count: int, disks: int = 1) -> None:
    """Check that this machine can hold nodes.

    Raises:
        LabError: it cannot, or there are too many.
    """
    if not 0 <= count <= MAXIMUM:
        raise LabError(f"cannot make {count} nodes: 0 to {MAXIMUM} are possible")
    if not 1 <= disks <= MAXIMUM_DISKS:
        raise LabError(f"cannot make nodes with {disks} disks: 1 to {MAXIMUM_DISKS} are possible")
    if count == 0:
        return
    if layout.uid != 0:
        raise LabError("cannot make nodes: their BMCs are reached by address, and only root has a wire to them")
    if importlib.util.find_spec("sushy_tools") is None:
        raise LabError("cannot make nodes: sushy-tools is not installed; pip install 'stacksmith[lab]'")
    if not wire.has_tls():
        raise LabError("cannot make nodes: certtool is not installed (package gnutls-bin)")
    if not FIRMWARE.exists():
        raise LabError("cannot make nodes: UEFI firmware is not installed (package ovmf)")


def ensure(layout: Layout, subnet: str, count: int, disks: int, progress: Progress) -> None:
    """Have a farm that serves these nodes; the rack must be up. A farm that serves just these goes on. New nodes have
    so many disks; those that are there keep theirs.

    Raises:
        LabError: it does not start.
    """
    home = _home(layout)
    home.mkdir(mode=0o700, exist_ok=True)
    for name in names(layout, count):
        password = home / f"{name}.password"
        if not password.exists():
            if disks > 1:
                draft.write(home / f"{name}.disks", str(disks))
            draft.write(password, secrets.token_urlsafe(12) + "\n")
            password.chmod(0o600)
    config, path = json.dumps(_config(layout, subnet), indent=1), home / "farm.json"
    if init.holder(str(_lock(layout)), init.READY) and path.exists() and path.read_text() == config:
        return
    stop(layout)
    draft.write(path, config)
    progress("nodes: starting their BMCs")
    first = process.first_process(layout, RACK)
    groups = [cgroup.leaf(directory) for directory in host.cgroups(layout, RACK)]
    argv = [sys.executable, "-I", "-m", "stacksmith.lab.bmc.farm", str(path)]
    done = subprocess.run(
        [*process.in_cgroups(groups), *process.inside(first), *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=process.ENVIRONMENT,
        check=False,
    )
    if done.returncode:
        raise LabError(f"cannot start the BMCs of the nodes: {done.stderr.strip() or done.returncode}")


def stop(layout: Layout) -> None:
    """End the farm if it runs; the nodes' machines run on."""
    pid = init.holder(str(_lock(layout)), init.ALIVE)
    if pid:
        process.end(pid)


def nodes(layout: Layout, subnet: str) -> list[Node]:
    """The lab's nodes as `up` hands them out."""
    address = address_of(subnet, RACK)
    return [
        Node(
            name,
            f"https://{address}:{_port(name)}",
            f"/redfish/v1/Systems/{_identity(layout, name)}",
            USERNAME,
            _home(layout) / f"{name}.password",
            layout.private / "pki" / "ca.pem",
            layout.home(RACK) / "log" / "qemu" / f"{name}-serial.log",
        )
        for name in names(layout)
    ]


def status(layout: Layout, subnet: str) -> list[NodeStatus]:
    """How each node is, without asking its BMC."""
    serves = init.holder(str(_lock(layout)), init.READY) != 0
    machines = layout.run / RACK / "qemu"
    found = []
    for node in nodes(layout, subnet):
        is_on = bool(process.first_process(layout, RACK)) and (machines / f"{node.name}.pid").exists()
        state = NodeState.NO_BMC if not serves else NodeState.ON if is_on else NodeState.OFF
        found.append(NodeStatus(node.name, state, node.redfish, _chosen(layout).get(node.name, {}).get("profiles", [])))
    return found


def behave(layout: Layout, name: str, profiles: Sequence[str], more: Mapping[str, float]) -> None:
    """Let a node's BMC behave so from its next request on.

    Raises:
        LabError: there is no such node, profile or value.
    """
    if name not in names(layout):
        raise LabError(f"cannot find {name} in {layout.directory}: there are {', '.join(names(layout)) or 'no nodes'}")
    for word, known in ((profiles, PROFILES.keys()), (more, FIELDS)):
        for unknown in sorted(set(word) - set(known)):
            raise LabError(f"cannot set {unknown} for {name}: there are {', '.join(sorted(known))}")
    entries = _chosen(layout) | {name: {"profiles": list(profiles), "more": dict(more)}}
    draft.write(_home(layout) / "behaviours.json", json.dumps(entries, indent=1))


def _chosen(layout: Layout) -> dict[str, dict[str, list[str]]]:
    path = _home(layout) / "behaviours.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _config(layout: Layout, subnet: str) -> dict[str, object]:
    pki = layout.home(RACK) / "etc" / "pki"
    return {
        "lock": f"/run/libvirt/{LOCK}",
        "log": str(layout.home(RACK) / "log" / "bmc.log"),
        "home": str(_home(layout) / "bmc"),
        "behaviours": str(_home(layout) / "behaviours.json"),
        "address": address_of(subnet, RACK),
        "certificate": str(pki / "servercert.pem"),
        "key": str(pki / "serverkey.pem"),
        "nodes": [
            {
                "name": name,
                "identity": _identity(layout, name),
                "mac": f"06:{layout.id[0:2]}:{layout.id[2:4]}:{layout.id[4:6]}:{layout.id[6:8]}:{_number(name):02x}",
                "port": _port(name),
                "username": USERNAME,
                "password": (_home(layout) / f"{name}.password").read_text().strip(),
                "disks": _disks(layout, name),
            }
            for name in names(layout)
        ],
    }


def _disks(layout: Layout, name: str) -> int:
    path = _home(layout) / f"{name}.disks"
    return int(path.read_text()) if path.exists() else 1


def _home(layout: Layout) -> Path:
    return layout.private / "nodes"


def _lock(layout: Layout) -> Path:
    """The farm's lock, in the folder that the rack sees as /run/libvirt."""
    return layout.run / RACK / LOCK


def _identity(layout: Layout, name: str) -> str:
    return str(uuid.uuid5(host.NAMESPACE, f"{layout.id}/node/{name}"))


def _port(name: str) -> int:
    return FIRST_PORT + _number(name) - 1


def _number(name: str) -> int:
    return int(name.removeprefix("bm"))
