"""What a node's ramdisk is to do, as it reads it."""

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from stacksmith.frozen import dataclass
from stacksmith.model.deploy import Method
from stacksmith.model.node import RootDeviceHints
from stacksmith.providers import configdrive
from stacksmith.providers.deployment import Cleaning, Job

MIB = 1 << 20
FAREWELLS = 10  # so often a ramdisk without a network tries to say that it is done, about 2 s each


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of the root disk: ``checksum`` is that of ``path``, of ``size`` bytes; ``packed`` is it by gzip."""

    path: Path
    checksum: str
    size: int
    packed: Path | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How the node gets its image (http or embedded) and reaches us, and what the label of its media is."""

    method: Method
    url: str
    token: str = field(repr=False)
    label: str


def drive(job: Job) -> bytes:
    """The config drive as an ISO image; nothing when there is none."""
    return configdrive.iso(job.config_drive, "configdrive") if job.config_drive else b""


def deploy_text(job: Job, source: Source, config: bytes, way: Way) -> str:
    """The job as shell assignments."""
    algorithm, _, digest = source.checksum.partition(":")
    config_sum = hashlib.sha256(config).hexdigest()
    return _text(
        {
            "task": "deploy",
            **_common(job, way),
            "image_sum": job.checksum,
            "identity": f"{job.uuid} {job.checksum} {config_sum} {job.life}",
            "life": job.life,
            "algorithm": algorithm,
            "sum": digest,
            "size": source.size,
            "config_mib": -(-(len(config) + 512) // MIB) if config else 0,
            "config_sum": config_sum,
            "overwrite": "yes" if job.overwrite else "no",
            "clears_others": "yes" if job.clears_others else "no",
        }
    )


def clean_text(job: Cleaning, way: Way) -> str:
    """The job as shell assignments; it needs no network when the fleet's images do not."""
    wipe = "whole" if job.whole else "signatures"
    names = " ".join(name.removeprefix("/dev/") for name in job.disks)
    return _text({"task": "clean", **_common(job, way), "names": names, "wipe": wipe})


def hints_text(hints: RootDeviceHints) -> str:
    """The hints that are given, a line each, name and value parted by a tab."""
    given = {name: int(value) if isinstance(value, bool) else value for name, value in hints if value is not None}
    return "".join(f"{name}\t{' '.join(str(value).split())}\n" for name, value in given.items())


def _common(job: Job | Cleaning, way: Way) -> dict[str, object]:
    return {
        "uuid": job.uuid,
        "method": way.method,
        "url": way.url,
        "token": way.token,
        "media": way.label,
        "farewells": FAREWELLS,
    }


def _text(values: Mapping[str, object]) -> str:
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
