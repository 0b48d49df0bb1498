"""What the suite needs of a provider under test: a host, and hands on it that do not go through the provider."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from stacksmith.address import Address, identity
from stacksmith.model.change import Change, Impact
from stacksmith.model.found import Found, HostSnapshot, Mark
from stacksmith.model.naming import image_file_name, volume_name
from stacksmith.model.realised import Image, ImageFile, Policy, Realised, Server, Volume, to_data
from stacksmith.planner.diff import UNKNOWN, compare
from stacksmith.providers.base import Contents, Deadline, ProviderType, Scope, Session, Target, WaitFor

FLEET = "conf"
CREATE_ORDER = ("image", "network", "volume", "server")


class Rig(Protocol):
    """A host under test. Everything here but ``provider`` and ``session`` is done behind the provider's back."""

    host: str
    stack: str  # each test has its own
    provider: ProviderType
    contents: Contents

    def deadline(self) -> Deadline:
        """A fresh time limit for one call."""

    def session(self, read_only: bool = False) -> Session:
        """A session on the host, the same one every time."""

    def picture(self, role: str = "disk", number: int = 0) -> ImageFile:
        """A small image file that ``contents`` can give; each number is another file. A guest on it can shut down."""

    def with_kernel(self, server: Server) -> Server:
        """The server with what makes its guest give up devices; itself when it does anyway."""

    def kernel_images(self) -> tuple[Image, ...]:
        """What servers ``with_kernel`` need on the host."""

    def started(self, name: str) -> None:
        """Waits until the guest is up."""

    def guest(self, name: str) -> str | None:
        """Names this very run of the guest: another after each start; None when it does not run."""

    def native(self) -> frozenset[str]:
        """Everything on the host by its native name: ``server/shop-web``, ``disk/ss.shop.web.vda.1b2c3d4e.qcow2``."""

    def definition(self, kind: str, name: str) -> str:
        """The object in full, as the host tells it."""

    def unmanaged(self, kind: str, name: str) -> AbstractContextManager[str]:
        """An object that carries no mark, for a while; gives its definition."""

    def edit(self, found: Found) -> None:
        """A small change by hand."""

    def interruptions(self, kind: str) -> Sequence[Callable[[], AbstractContextManager[None]]]:
        """Ways in which a create dies half way."""


class Killed(BaseException):
    """The process dies."""


@dataclass
class Bench:
    """The suite's own small engine: targets as the real one makes them, and a list of what to clear away."""

    rig: Rig
    stack: str
    specs: dict[Address, Any] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        """The session of the rig."""
        return self.rig.session()

    @property
    def deadline(self) -> Deadline:
        """A fresh time limit."""
        return self.rig.deadline()

    def address(self, text: str) -> Address:
        """An address, on this host for kinds that are realised on each."""
        address = Address.parse(text)
        return replace(address, host=self.rig.host) if address.kind in {"image", "network"} else address

    def target(self, address: str, spec: Realised | None, policy: Policy | None = None) -> Target:
        """What the engine would ask to become of ``address``."""
        named = self.address(address)
        known = spec if spec is not None else self.specs.get(named)
        policy = policy or Policy()
        mark = Mark(FLEET, self.stack, named, self.uuid(address), to_data(known) if known else None, policy)
        if spec is not None:
            self.specs[named] = spec
        return Target(mark, self.rig.host, spec, policy)

    def uuid(self, address: str) -> str:
        """The identity."""
        return identity(FLEET, self.stack, self.address(address))

    def create(self, address: str, spec: Realised, wait_for: WaitFor | None = None) -> Found:
        """Creates, and remembers to clear away."""
        target = self.target(address, spec)
        now = self.read(address)
        driver = self.session.drivers[target.mark.address.kind]
        return driver.create(replace(target, found=now, wait_for=wait_for), self.rig.contents, self.deadline)

    def read(self, address: str) -> Found | None:
        """Reads one object."""
        target = self.target(address, None)
        return self.session.drivers[target.mark.address.kind].read(target.mark)

    def have(self, address: str) -> Found:
        """Reads one object that must be there."""
        found = self.read(address)
        assert found is not None, f"{address} is not there"
        return found

    def changes(self, address: str, spec: Realised) -> list[Change]:
        """The differences between ``spec`` and the live object, judged by the provider."""
        found = self.have(address)
        kind = self.address(address).kind
        before = found.mark.applied if found.mark else UNKNOWN
        return [
            self.rig.provider.impact(kind, change, found)
            for change in compare(to_data(spec), before, to_data(found.spec))
        ]

    def update(self, address: str, spec: Realised, allowed: Impact) -> Found:
        """Changes the live object into ``spec``."""
        changes = self.changes(address, spec)
        target = replace(self.target(address, spec), found=self.have(address), changes=tuple(changes), allowed=allowed)
        return self.session.drivers[target.mark.address.kind].update(target, self.rig.contents, self.deadline)

    def delete(self, address: str) -> None:
        """Deletes."""
        target = replace(self.target(address, None), found=self.read(address))
        self.session.drivers[target.mark.address.kind].delete(target, self.deadline)
        self.specs.pop(target.mark.address, None)

    def observe(self, read_only: bool = False) -> HostSnapshot:
        """The whole host."""
        return self.rig.session(read_only).observe(self.scope(), self.deadline)

    def observed(self, address: str) -> Found | None:
        """One object of an observation."""
        named = self.address(address)
        return next((f for f in self.observe().found if f.address == named), None)

    def scope(self) -> Scope:
        """The names of everything that was ever a target."""
        names, images = {}, {}
        for address, spec in self.specs.items():
            if isinstance(spec, Volume):
                made = identity(FLEET, self.stack, address)
                names[volume_name(self.stack, address, made, spec.format)] = address
            if isinstance(spec, Image):
                images[replace(address, host=None)] = spec.files
                names |= {image_file_name(f.checksum, f.role): replace(address, host=None) for f in spec.files}
        return Scope(FLEET, self.stack, names, images)

    def clear(self) -> None:
        """Deletes everything it made."""
        for kind in reversed(CREATE_ORDER):
            for address in [a for a in self.specs if a.kind == kind]:
                self.delete(str(replace(address, host=None)))


def differences(wanted: Realised, found: Realised | None) -> list[tuple[str, object, object]]:
    """Where found is not as wanted; what wanted does not declare may be anything."""
    assert found is not None, "there is no spec"
    return [(c.path, c.wanted, c.found) for c in compare(to_data(wanted), UNKNOWN, to_data(found))]
