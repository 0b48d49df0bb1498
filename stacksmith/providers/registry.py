"""Which provider serves a host: by the scheme of its URI. The only place that names concrete providers."""

from functools import cache

from stacksmith.model.node import Node
from stacksmith.providers.base import ProviderType, Refused
from stacksmith.providers.bmc import BmcSession


def provider(uri: str) -> ProviderType:
    """The provider of ``uri``: ``memory:…``, or any libvirt URI (``qemu:///system``, ``qemu+ssh://…``, ``test:…``).

    Raises: Refused naming the scheme when none serves it.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme == "memory":
        return _memory()
    if scheme == "test" or scheme.partition("+")[0] == "qemu":
        return _libvirt()
    raise Refused(
        f"cannot reach {uri!r}: no provider for scheme {scheme!r}",
        hint="use qemu:///system, qemu+ssh://USER@HOST/system, or memory:///PATH/world.json",
    )


def open_bmc(name: str, node: Node, password: str, ca: str | None) -> BmcSession:
    """A session with a node's BMC; ``ca`` is the path of the authority's file. Nothing is asked of it yet."""
    from stacksmith.providers.redfish.session import RedfishSession

    return RedfishSession(name, node, password, ca)


@cache
def _memory() -> ProviderType:
    from stacksmith.providers.memory.provider import MemoryProvider

    return MemoryProvider()


@cache
def _libvirt() -> ProviderType:
    from stacksmith.providers.libvirt.provider import LibvirtProvider

    return LibvirtProvider()
