"""A node of the lab as its BMC's users see it."""

import functools
import os
import re
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from stacksmith import lab
from stacksmith.lab.layout import RACK, layout_of
from tests.e2e.kit import until

RESET, INSERT, EJECT = (
    "/Actions/ComputerSystem.Reset",
    "/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia",
    "/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia",
)


class Bmc:
    """One BMC over HTTPS, as its user; paths that start with / are below the system's."""

    def __init__(self, directory: Path, node: lab.Node) -> None:
        self.directory, self.node = directory, node
        self.password = node.password.read_text().strip()
        self.http = self.stranger()
        self.http.auth = (node.username, self.password)

    def stranger(self) -> requests.Session:
        """A session without credentials that trusts the lab's authority alone."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.node.ca)
        return session

    def url(self, path: str) -> str:
        return self.node.redfish + (path if path.startswith("/redfish") else self.node.system + path)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, self.url(path), json=body, headers=named, timeout=60)

    def get(self, path: str = "") -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def patch(self, path: str, body: Any, **headers: str) -> int:
        return self.ask("PATCH", path, body, **headers).status_code

    def post(self, path: str, body: Any) -> int:
        return self.ask("POST", path, body).status_code

    def reset(self, kind: str) -> int:
        return self.post(RESET, {"ResetType": kind})

    def message(self, answer: requests.Response) -> str:
        """The id of the message of an error."""
        return str(answer.json()["error"]["@Message.ExtendedInfo"][0]["MessageId"])

    @property
    def handed_out(self) -> Path:
        """The file with the token of every session that this BMC has opened."""
        return self.node.password.with_name("bmc") / f"{self.node.name}.tokens"

    @property
    def log(self) -> Path:
        """What all BMCs were asked."""
        return layout_of(self.directory).home(RACK) / "log" / "bmc.log"

    def asked(self) -> list[str]:
        """What this BMC was asked so far, as METHOD PATH; the system's path is left out of it."""
        found = re.findall(rf'\b{self.node.name}: "([A-Z]+ \S+) HTTP', self.log.read_text())
        return [each.replace(self.node.system, "") for each in found]

    def writes(self) -> list[str]:
        return [each for each in self.asked() if not each.startswith("GET ")]

    def tokens(self) -> list[bytes]:
        """Those of every session so far."""
        return self.handed_out.read_bytes().splitlines() if self.handed_out.exists() else []

    def signature(self) -> bytes:
        """User and password as basic authentication sends them."""
        return b64encode(f"{self.node.username}:{self.password}".encode())

    def behave(self, *profiles: str, **more: float) -> None:
        lab.behave(self.directory, self.node.name, profiles, **more)

    def make_off(self) -> None:
        """Well-behaved, off, without media and without an override."""
        self.behave()
        until(lambda: self.ask("GET", "").status_code == 200, 60, "the BMC is ready")
        if self.get()["PowerState"] in ("On", "PoweringOn"):
            until(lambda: self.reset("ForceOff") == 204, 60, "the machine is off")
        until(lambda: self.get()["PowerState"] == "Off", 60, "the machine is off")
        self.post(EJECT, {})
        self.patch("", {"Boot": {"BootSourceOverrideEnabled": "Disabled"}})


@contextmanager
def served(folder: Path, address: str) -> Iterator[str]:
    """A web server for the files of a folder at an address of ours; yields its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def our_address(node: lab.Node) -> str:
    """The address of this machine in the lab's network."""
    return node.redfish.removeprefix("https://").rpartition(":")[0].rpartition(".")[0] + ".1"


def put(disk: Path, data: bytes) -> None:
    """Writes at the beginning of a node's disk."""
    with disk.open("r+b") as file:
        file.write(data)
        os.fsync(file.fileno())


def config_drive_of_another(folder: Path) -> bytes:
    """A file system that is labelled as a config drive is."""
    path = folder / "stale.img"
    argv = ["mformat", "-C", "-f", "1440", "-v", "CONFIG-2", "-i", str(path), "::"]
    subprocess.run(argv, check=True, capture_output=True)
    return path.read_bytes()
