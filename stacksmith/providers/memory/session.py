"""A host of a world, open."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stacksmith.address import Address, identity
from stacksmith.model.found import Found, HostSnapshot, Hypervisor, Unmanaged
from stacksmith.model.hardware import Hardware, Pool
from stacksmith.model.naming import image_file_name
from stacksmith.model.realised import Image
from stacksmith.providers.base import Deadline, Driver, Scope
from stacksmith.providers.memory.fault import Call
from stacksmith.providers.memory.found import found, found_image, leases, unmanaged
from stacksmith.providers.memory.network import NetworkDriver
from stacksmith.providers.memory.server import ServerDriver
from stacksmith.providers.memory.volume import ImageDriver, VolumeDriver
from stacksmith.providers.memory.world import KINDS, HostState, Object, World

HYPERVISOR = Hypervisor("QEMU", 8_000_000, cpu={"arch": "x86_64"}, supported=(("x86_64", "qemu", "hvm"),))


class MemorySession:
    """An open host. Holds nothing: every call asks the world."""

    def __init__(self, world: World, host: str, read_only: bool, apart: Sequence[str] = ()) -> None:
        self.host, self._apart = host, apart
        self._world = world
        self.drivers: Mapping[str, Driver] = {
            "image": ImageDriver(world, host, read_only),
            "network": NetworkDriver(world, host, read_only),
            "server": ServerDriver(world, host, read_only),
            "volume": VolumeDriver(world, host, read_only),
        }

    def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
        """The whole host; found objects in order of address, unmanaged ones of kind and name."""
        call = Call(self.host, "observe")
        self._world.reach(call, "begin", deadline)
        with self._world.reading(self.host) as state:
            mine, others = _sorted_out(state, scope, self.host)
            capacity, hardware = state.capacity, self._with_pools(state)
        self._world.reach(call, "end", deadline)
        hypervisor = replace(HYPERVISOR, hostname=self.host)
        return HostSnapshot(
            self.host, None, capacity, tuple(mine), tuple(others), hardware=hardware, hypervisor=hypervisor
        )

    def _with_pools(self, state: HostState) -> Hardware:
        """What the host is made of; a volume type of which nothing was said has as much as the host's own disks."""
        said = {pool.volume_type for pool in state.hardware.pools}
        more = (Pool(name, state.capacity.disk_gib) for name in self._apart if name not in said)
        return replace(state.hardware, pools=(*state.hardware.pools, *more))

    def close(self) -> None:
        """Nothing to give back."""


def _sorted_out(state: HostState, scope: Scope, host: str) -> tuple[list[Found], list[Unmanaged]]:
    fixed = leases(state)
    mine = list(_images(state, scope, host))
    others: list[Unmanaged] = []
    for item in (item for kind in KINDS if kind != "image" for item in state.objects[kind].values()):
        address = _address(item, scope)
        if address is None:
            others.append(unmanaged(item, host))
        else:
            mine.append(found(item, address, host, fixed))
    mine.sort(key=lambda one: one.address.order)
    others.sort(key=lambda one: (one.kind, one.name))
    return mine, others


def _address(item: Object, scope: Scope) -> Address | None:
    mark = item.mark
    if mark is not None and (mark.fleet, mark.stack) == (scope.fleet, scope.stack):
        return mark.address
    return scope.names.get(item.name) if item.kind == "volume" else None


def _images(state: HostState, scope: Scope, host: str) -> Iterator[Found]:
    """The images of which files are on the host. Files of other images are the shared cache: nobody's."""
    present = state.objects["image"]
    images = {
        address: [(f, present[name]) for f in files if (name := image_file_name(f.checksum, f.role)) in present]
        for address, files in scope.images.items()
    }
    for name, item in present.items():
        address = scope.names.get(name)
        if address is not None and address not in scope.images and isinstance(item.spec, Image):
            images.setdefault(address, []).append((item.spec.files[0], item))
    for address, files in images.items():
        if files:
            here = replace(address, host=host)
            image = found_image(files, here, identity(scope.fleet, scope.stack, here))
            yield replace(image, partial=image.partial or len(files) < len(scope.images.get(address, ())))
