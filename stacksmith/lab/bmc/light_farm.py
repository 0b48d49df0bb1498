"""BMCs without libvirt on loopback: `python -m stacksmith.lab.bmc.light_farm FOLDER COUNT`.

Anybody may run it; it prints `ready` once every port answers, and serves until it is killed. FOLDER holds the fleet
file, what is asked (bmc.log), how many connections there were at most (connections), and behaviours.json, as the lab's
farm has it.
"""

import json
import logging
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, Final

from stacksmith.lab import draft, process
from stacksmith.lab.bmc import server
from stacksmith.lab.bmc.bmc import Bmc
from stacksmith.lab.bmc.light import Light
from stacksmith.lab.bmc.message import ROOT
from stacksmith.lab.bmc.profile import Choice

ADDRESS: Final = "127.0.0.1"
USER, PASSWORD = "admin", "light-secret"


class Port(server.Port):
    """A port that notes how many connections all of them have."""

    lock = threading.Lock()
    now, most, note = 0, 0, Path()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with Port.lock:
            Port.now += 1
            if Port.now > Port.most:
                Port.most = Port.now
                Port.note.write_text(str(Port.most))
        try:
            super().finish_request(request, client_address)
        finally:
            with Port.lock:
                Port.now -= 1


def main(folder: Path, count: int) -> None:
    """Serve so many BMCs, bm1, bm2, …, for ever."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.basicConfig(filename=folder / "bmc.log", level=logging.INFO, format="%(asctime)s %(message)s")
    certificate, key = _certificate(folder)
    context, choice = server.context_of(str(certificate), str(key)), Choice(folder / "behaviours.json")
    Port.note = folder / "connections"
    ports, nodes = [], {}
    for name in (f"bm{number}" for number in range(1, count + 1)):
        identity = str(uuid.uuid4())
        bmc = Bmc(name, identity, Light(identity), (USER, PASSWORD), folder / f"{name}.json")
        port = Port((ADDRESS, 0), bmc, choice, context)
        ports.append(port)
        nodes[name] = {
            "redfish": f"https://{ADDRESS}:{port.server_port}",
            "system": f"{ROOT}/Systems/{identity}",
            "username": USER,
            "password": {"file": "password"},
            "ca": "certificate.pem",
        }
    draft.write(folder / "password", PASSWORD + "\n")
    draft.write(folder / "fleet.yaml", json.dumps({"fleet": "light", "nodes": nodes}, indent=1))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve(ports)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, with its key."""
    certificate, key, template = folder / "certificate.pem", folder / "key.pem", folder / "certificate.cfg"
    lines = ['cn = "light"', f"ip_address = {ADDRESS}", "expiration_days = 30", "ca", "cert_signing_key"]
    template.write_text("\n".join([*lines, "tls_www_server", "signing_key", "encryption_key"]) + "\n")
    process.run(["certtool", "-q", "--generate-privkey", "--key-type", "ecdsa", "--bits", "256", f"--outfile={key}"])
    load = ["--load-privkey", str(key), "--template", str(template), "--outfile", str(certificate)]
    process.run(["certtool", "-q", "--generate-self-signed", *load])
    return certificate, key


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
