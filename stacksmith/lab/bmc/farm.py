"""The process of all the lab's BMCs: `python -m stacksmith.lab.bmc.farm CONFIG.json`, inside the host of the nodes.

The command ends once every port answers, 0; else it prints why not. What serves is its grandchild, which the first
process of the host collects, and which holds the lock of CONFIG (byte 0: alive, byte 1: ready) as long as it lives.
"""

import dataclasses
import fcntl
import json
import logging
import os
import resource
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TypedDict

from stacksmith.lab.init import ALIVE, READY

URI = "qemu:///system"


class Config(TypedDict):
    """What the farm is to be; `nodes` are the fields of domain.Node."""

    lock: str
    log: str
    home: str  # what the BMCs remember, and their media on the way
    behaviours: str
    address: str
    certificate: str
    key: str
    nodes: list[dict[str, object]]


def main(path: str) -> int:
    """Start the farm; its exit status."""
    config: Config = json.loads(Path(path).read_text())
    news, wire = os.pipe()
    if os.fork() == 0:
        os.close(news)
        os.setsid()
        if os.fork():
            os._exit(0)
        _become_farm(config, wire)
    os.close(wire)
    os.wait()
    with os.fdopen(news) as reports:
        said = reports.read()
    if said != "ready":
        sys.stderr.write(said or "the farm ended while it started\n")
        return 1
    return 0


def _become_farm(config: Config, wire: int) -> None:
    """Serve, and never return."""
    try:
        _detach(config["log"])
        lock = os.open(config["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, ALIVE)
        ports = _ports(config)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, READY)
        os.write(wire, b"ready")
    except BaseException as error:
        traceback.print_exc()
        os.write(wire, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.close(wire)
    from stacksmith.lab.bmc.server import serve

    serve(ports)


def _detach(log: str) -> None:
    """Let go of all that belongs to the caller."""
    os.chdir("/")
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def _ports(config: Config) -> list["server.Port"]:  # type: ignore[name-defined]  # noqa: F821
    from stacksmith.lab.bmc import domain, emulator, server
    from stacksmith.lab.bmc.bmc import Bmc
    from stacksmith.lab.bmc.profile import Choice

    home = Path(config["home"])
    (home / "media").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(home / "media")
    fields = {field.name for field in dataclasses.fields(domain.Node)}
    nodes = [domain.Node(**{name: entry[name] for name in fields}) for entry in config["nodes"]]  # type: ignore[arg-type]
    domain.prepare(URI, nodes)
    disks = {node.identity: domain.DISKS[: node.disks] for node in nodes}
    emulator.configure(URI, home / "emulator", disks, domain.DISK_BYTES)
    choice = Choice(Path(config["behaviours"]))
    context = server.context_of(config["certificate"], config["key"])
    ports = []
    for node in nodes:
        machine = emulator.Emulator(URI, node.identity)
        user = (node.username, node.password)
        bmc = Bmc(node.name, node.identity, machine, user, home / f"{node.name}.json")
        ports.append(server.Port((config["address"], node.port), bmc, choice, context))
    return ports


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
