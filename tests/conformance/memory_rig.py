"""The memory provider under test."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from stacksmith.address import Address
from stacksmith.model.fleet import Host
from stacksmith.model.found import Found
from stacksmith.model.realised import Image, ImageFile, Network, Realised, Server, Volume, to_data
from stacksmith.providers.base import Contents, Deadline, Session
from stacksmith.providers.memory.fault import Call
from stacksmith.providers.memory.provider import forget, world
from stacksmith.providers.memory.world import Stage
from stacksmith.providers.registry import provider
from tests.conformance.rig import Killed

POINTS = {
    "image": ("upload", "complete"),
    "network": ("define", "start"),
    "volume": ("begin", "define"),
    "server": ("disks", "define", "start", "end"),
}
UNMANAGED: dict[str, Realised] = {
    "server": Server("theirs", 1, 64),
    "network": Network(mode="isolated"),
    "volume": Volume(2**20),
}
EDITS: dict[str, Callable[[Any], Realised]] = {
    "server": lambda spec: replace(spec, description="edited by hand"),
    "network": lambda spec: replace(spec, domain="edited.test"),
    "volume": lambda spec: replace(spec, size_bytes=spec.size_bytes + 2**20),
    "image": lambda spec: Image((replace(spec.files[0], checksum="sha256:" + "0" * 64),)),
}


class MemoryContents:
    """Bytes that nobody looks at."""

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        """Nothing."""
        return {}

    def image_file(self, checksum: str) -> Path:
        """An empty file."""
        return Path("/dev/null")


class MemoryRig:
    """One host of a world. ``uri`` decides whether it lives in the process or in a file."""

    host, stack = "hv1", "suite"

    def __init__(self, uri: str) -> None:
        forget(uri)
        self.provider = provider(uri)
        self.contents: Contents = MemoryContents()
        self.world, self._uri = world(uri), uri
        self._sessions: dict[bool, Session] = {}

    def session(self, read_only: bool = False) -> Session:
        if read_only not in self._sessions:
            fleet_host = Host(libvirt=self._uri)
            self._sessions[read_only] = self.provider.open(self.host, fleet_host, read_only, self.deadline())
        return self._sessions[read_only]

    def deadline(self) -> Deadline:
        return Deadline(time.monotonic() + 120, time.monotonic)

    def picture(self, role: str = "disk", number: int = 0) -> ImageFile:
        return ImageFile(role, f"sha256:{hashlib.sha256(f'{role}{number}'.encode()).hexdigest()}", "raw")

    def with_kernel(self, server: Server) -> Server:
        return server

    def kernel_images(self) -> tuple[Image, ...]:
        return ()

    def started(self, name: str) -> None:
        return

    def guest(self, name: str) -> str | None:
        item = self.world.object(self.host, f"server.{name}")
        assert isinstance(item.spec, Server)
        return None if item.spec.power_state == "stopped" else str(item.boots)

    def native(self) -> frozenset[str]:
        names = set()
        for item in self.world.objects(self.host):
            if item.stage is not Stage.PARTS:
                names.add(f"{item.kind}/{item.name}")
            if isinstance(item.spec, Server) and item.spec.disks:
                names.add(f"disk/{item.name}")
        return frozenset(names)

    def definition(self, kind: str, name: str) -> str:
        item = self.world.object(self.host, f"{kind}.{name}")
        return f"{to_data(item.spec)} {to_data(item.saved)} {item.mark} {item.boots}"

    @contextmanager
    def unmanaged(self, kind: str, name: str) -> Iterator[str]:
        self.world.add_unmanaged(self.host, kind, name, UNMANAGED[kind])
        yield self.definition(kind, name)
        self.world.remove(self.host, f"{kind}.{name}")

    def edit(self, found: Found) -> None:
        self.world.edit(self.host, f"{found.address.kind}.{found.name}", EDITS[found.address.kind])

    def interruptions(self, kind: str) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        return [partial(self._killed_at, kind, point) for point in POINTS[kind]]

    @contextmanager
    def _killed_at(self, kind: str, point: str) -> Iterator[None]:
        def kill(call: Call, reached: str) -> None:
            if (call.operation, call.kind, reached) == ("create", kind, point):
                raise Killed(point)

        self.world.hooks.append(kill)
        try:
            yield
        finally:
            self.world.hooks.remove(kill)
