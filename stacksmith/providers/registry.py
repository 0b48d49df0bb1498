"""Which provider serves a host: by the scheme of its URI. The only place that names concrete providers."""

from functools import cache
from pathlib import Path

from stacksmith.model.fleet import Fleet
from stacksmith.model.node import Node
from stacksmith.providers.base import ProviderRules, ProviderType, Refused, Session
from stacksmith.providers.bmc import Access, BmcSession, Deployer


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


def open_bmc(name: str, node: Node, password: str, ca: str | None, sessions: Path | None = None) -> BmcSession:
    """A session with a node's BMC; ``ca`` is the path of the authority's file, ``sessions`` the folder where it is
    noted what a killed run leaves at BMCs. Nothing is asked of it yet."""
    from stacksmith.providers.redfish.session import RedfishSession

    return RedfishSession(name, node, password, ca, sessions)


def open_node(name: str, node: Node, access: Access, deployer: Deployer | None) -> Session:
    """A node as a place for servers. Nothing is asked of its BMC yet; without a ``deployer`` nothing is deployed."""
    from stacksmith.providers.redfish.place import open_place

    return open_place(name, node, access, deployer)


def make_deployer(fleet: Fleet, cache: Path) -> Deployer:
    """What deploys the nodes of one run; it serves nothing until the first of them. To be closed."""
    from stacksmith.providers.redfish.deploy import make_deployer

    return make_deployer(fleet, cache)


def node_rules() -> ProviderRules:
    """What changes of a server do to a node."""
    from stacksmith.providers.redfish.rules import RedfishRules

    return RedfishRules()


@cache
def _memory() -> ProviderType:
    from stacksmith.providers.memory.provider import MemoryProvider

    return MemoryProvider()


@cache
def _libvirt() -> ProviderType:
    from stacksmith.providers.libvirt.provider import LibvirtProvider

    return LibvirtProvider()
