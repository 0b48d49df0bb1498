"""The libvirt provider: rules that need no host, and the way to open one."""

from collections.abc import Sequence

from stacksmith.model.change import Change
from stacksmith.model.fleet import Host
from stacksmith.model.found import Found
from stacksmith.model.realised import Realised
from stacksmith.providers import rules
from stacksmith.providers.base import Deadline, Session
from stacksmith.providers.libvirt.check import check


class LibvirtProvider:
    """Servers, volumes, networks and images on libvirt hosts."""

    name = "libvirt"

    def impact(self, kind: str, change: Change, found: Found) -> Change:
        """The change with ``impact`` and ``note`` set."""
        return rules.impact(kind, change, found)

    def check(self, kind: str, wanted: Realised, host: Host) -> Sequence[tuple[str, str]]:
        """Faults that need no host to see, as (attribute path, cause)."""
        return check(kind, wanted, host)

    def open(self, name: str, host: Host, read_only: bool, deadline: Deadline) -> Session:
        """A session, its first connection made. Raises: Transient, Refused, TimedOut."""
        from stacksmith.providers.libvirt.connection import WARM_TO_READ, WARM_TO_WRITE, ConnectionPool
        from stacksmith.providers.libvirt.host import LibvirtHost
        from stacksmith.providers.libvirt.session import LibvirtSession
        from stacksmith.providers.libvirt.storage import Storage

        connections = ConnectionPool(host.libvirt, host.connections, read_only)
        opened = LibvirtHost(
            name, host, connections, deadline.clock, Storage(host.volume_types, host.default_volume_type)
        )
        warm = WARM_TO_READ if read_only else WARM_TO_WRITE
        try:
            if "+ssh" not in host.libvirt:  # where a wrong key would be refused as often as it is shown
                connections.warm(warm)
            opened.call(lambda link: None, deadline)
            connections.warm(warm)
        except BaseException:
            connections.close()
            raise
        return LibvirtSession(opened)
