"""An open libvirt host."""

from collections.abc import Mapping

from stacksmith.model.found import HostSnapshot
from stacksmith.providers.base import Deadline, Driver, Scope
from stacksmith.providers.libvirt.host import LibvirtHost
from stacksmith.providers.libvirt.image import ImageDriver
from stacksmith.providers.libvirt.network import NetworkDriver
from stacksmith.providers.libvirt.observe import observe
from stacksmith.providers.libvirt.server import ServerDriver
from stacksmith.providers.libvirt.volume import VolumeDriver


class LibvirtSession:
    """An open host: reads it in bulk, and has a driver for each kind."""

    def __init__(self, host: LibvirtHost) -> None:
        self._host = host
        self.host = host.name
        self.drivers: Mapping[str, Driver] = {
            "image": ImageDriver(host),
            "network": NetworkDriver(host),
            "server": ServerDriver(host),
            "volume": VolumeDriver(host),
        }

    def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
        """The whole host in bulk reads. Raises: Transient, TimedOut."""
        return observe(self._host, scope, deadline)

    def close(self) -> None:
        """Gives the connections back; never blocks on a dead host."""
        self._host.connections.close()
