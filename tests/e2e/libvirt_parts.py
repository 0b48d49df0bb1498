"""Sessions, targets and small files for tests that drive the libvirt provider without the engine."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from stacksmith.address import Address, identity
from stacksmith.model.fleet import Fleet, Host
from stacksmith.model.found import Found, Mark
from stacksmith.model.realised import Image, ImageFile, Policy, Realised, to_data
from stacksmith.providers.base import Deadline, Session, Target
from stacksmith.providers.registry import provider

MIB = 2**20


def deadline(seconds: float = 60) -> Deadline:
    return Deadline(time.monotonic() + seconds, time.monotonic)


def declared(lab_dir: Path, name: str = "hv1") -> Host:
    """A host of the lab's fleet file."""
    return Fleet.model_validate(yaml.safe_load((lab_dir / "fleet.yaml").read_text())).hosts[name]


def session(host: Host, read_only: bool = False, seconds: float = 30) -> Session:
    return provider(host.libvirt).open("hv1", host, read_only, deadline(seconds))


@dataclass
class Files:
    """Contents from files made here."""

    folder: Path
    paths: dict[str, Path] = field(default_factory=dict)

    def make(self, name: str, content: bytes, form: str = "raw", role: str = "disk") -> ImageFile:
        path = self.folder / name
        path.write_bytes(content)
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.paths[checksum] = path
        return ImageFile(role, checksum, form)

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        return {"openstack/latest/meta_data.json": f'{{"uuid": "{digest}"}}'.encode()}

    def image_file(self, checksum: str) -> Path:
        return self.paths[checksum]


def target(stack: str, address: str, spec: Realised, wanted: bool = True, found: Found | None = None) -> Target:
    """A target of ``spec``; not ``wanted`` for a delete."""
    named = Address.parse(address)
    mark = Mark("fleet", stack, named, identity("fleet", stack, named), to_data(spec))
    return Target(mark, "hv1", spec if wanted else None, Policy(), found)


def image(file: ImageFile) -> Image:
    return Image((file,))
