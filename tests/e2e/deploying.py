"""A deploy that kills itself: ``python -m tests.e2e.deploying FACTS.json STAGE LAST``.

STAGE is what the run before had reached; LAST is the stage, or the first word of the ramdisk's, that is this
process's last act, at once after it is noted on stdout.
"""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacksmith.lab import image
from stacksmith.model.deploy import DeploySpec
from stacksmith.model.node import Node, RootDeviceHints, SecretRef
from stacksmith.providers.base import Deadline
from stacksmith.providers.deployment import Job
from stacksmith.providers.redfish.deploy import Deployer
from stacksmith.providers.redfish.session import RedfishSession

LIMIT_SECONDS = 900.0


@dataclass(frozen=True)
class Facts:
    """A node of the lab and an image, as text that goes to another process."""

    node: str
    redfish: str
    system: str
    password: str
    ca: str
    uuid: str
    image: str
    checksum: str
    cache: str
    hostname: str
    user_data: str
    root_serial: str = ""
    boot_mode: str = "uefi"

    def described(self) -> Node:
        return Node(redfish=self.redfish, system=self.system, username="admin", password=SecretRef(file="unused"))

    def session(self) -> RedfishSession:
        return RedfishSession(self.node, self.described(), Path(self.password).read_text().strip(), self.ca)

    def deployer(self, settings: DeploySpec | None = None) -> Deployer:
        return Deployer(settings or DeploySpec(), {self.node: self.described()}, Path(self.cache))

    def job(self, **more: Any) -> Job:
        meta = {"uuid": self.uuid, "hostname": self.hostname, "name": self.hostname}
        drive = {
            "openstack/latest/meta_data.json": json.dumps(meta).encode(),
            "openstack/latest/user_data": f"#!/bin/sh\necho {self.user_data}\n".encode(),
        }
        fields: dict[str, Any] = {"image": Path(self.image), "checksum": self.checksum, "config_drive": drive}
        fields["boot_mode"] = self.boot_mode
        if self.root_serial:
            fields["root_device"] = RootDeviceHints(serial=self.root_serial)
        return Job(self.node, self.uuid, **(fields | more))


def in_time() -> Deadline:
    return Deadline(time.monotonic() + LIMIT_SECONDS, time.monotonic)


def lab_cache() -> Path:
    """The user's own, so that the ramdisk is built once."""
    return image.cache_home()


def main(path: str, stage: str, last: str) -> int:
    facts = Facts(**json.loads(Path(path).read_text()))

    def note(words: str) -> None:
        print(words, flush=True)
        if words.partition(":")[0] == last:
            os.kill(os.getpid(), signal.SIGKILL)

    deployer = facts.deployer()
    try:
        deployer.deploy(facts.session(), facts.job(), note, note, stage, in_time())
    finally:
        deployer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
