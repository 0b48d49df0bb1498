"""Stub until the deploy branch is merged."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Job:
    node: str
    uuid: str
    image: Any
    checksum: str
    format: str
    iso: Any
    config_drive: Any
    root_device: Any
    overwrite: bool
    boot_mode: Any
    secure_boot: Any


class Deployer:
    def deploy(self, bmc: Any, job: Any, progress: Any, reached: Any, stage: str, deadline: Any) -> None:
        reached("written")

    def close(self) -> None: ...


def make_deployer(fleet: Any, cache: Any) -> Deployer:
    return Deployer()
