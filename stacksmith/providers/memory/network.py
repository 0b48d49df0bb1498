"""Networks of the memory provider."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

from stacksmith.model.found import Mark
from stacksmith.model.naming import network_name
from stacksmith.model.realised import Network, Server
from stacksmith.providers.base import Contents, Refused, Target
from stacksmith.providers.memory.driver import ObjectDriver
from stacksmith.providers.memory.world import HostState, Object, Stage


class NetworkDriver(ObjectDriver):
    """Networks: defined with a mark that says unfinished, then started."""

    kind = "network"

    def native_name(self, mark: Mark) -> str:
        """As libvirt's."""
        return network_name(mark.stack, mark.address)

    def make(self, target: Target, contents: Contents) -> Iterator[str]:
        """Defines, then starts."""
        assert isinstance(target.wanted, Network)
        mark = target.mark
        whole = Object("network", self.native_name(mark), mark.uuid, target.wanted, mark, made_for=str(mark.address))
        self.put(
            replace(
                whole,
                spec=replace(target.wanted, active=False),
                mark=replace(mark, applied=None),
                stage=Stage.DEFINED,
            )
        )
        yield "define"
        with self.world.changing(self.host) as state:
            _check_subnets(state, whole)
            state.put(whole)
        yield "start"

    def check_unused(self, state: HostState, item: Object, mark: Mark) -> None:
        """A network with a server on it stays."""
        for server in state.objects["server"].values():
            if any(nic in {item.name, f"network:{item.name}"} for nic in _networks(server)):
                raise Refused(f"network {item.name} is in use by server {server.name}")


def _check_subnets(state: HostState, network: Object) -> None:
    """Raises: Refused when an active network has one of the subnets, as libvirt does at the start."""
    for other in state.objects["network"].values():
        assert isinstance(other.spec, Network) and isinstance(network.spec, Network)
        if other.uuid == network.uuid or not other.spec.active:
            continue
        for mine in network.spec.subnets:
            if any(ip_network(mine.cidr).overlaps(ip_network(theirs.cidr)) for theirs in other.spec.subnets):
                raise Refused(f"subnet {mine.cidr} is in use by network {other.name}", f"subnets[{mine.cidr}]")


def _networks(server: Object) -> list[str]:
    """Native names of the networks that a server is on."""
    if not isinstance(server.spec, Server) or server.stage is Stage.PARTS:
        return []
    names = [nic.network for nic in server.spec.nics]
    return [f"{server.mark.stack}-{name}" for name in names] if server.mark else names
