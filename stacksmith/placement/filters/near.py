"""SimpleCIDRAffinityFilter: hosts near an address."""

from ipaddress import ip_address, ip_network

from stacksmith.frozen import dataclass
from stacksmith.placement.host import HostState
from stacksmith.placement.refusal import Refusal, refused

NAME = "SimpleCIDRAffinityFilter"


@dataclass(frozen=True, slots=True)
class NearAddress:
    """The host's address is in a network."""

    network: str

    def refusal(self, host: HostState) -> Refusal | None:
        """Names both addresses."""
        help = f"give {host.name} a host_ip in {self.network}, or ask for another network"
        if not host.host_ip:
            reason = f"near {self.network}: no address is known of it, neither host_ip nor in its URI"
            return refused(NAME, reason, help)
        if ip_address(host.host_ip) in ip_network(self.network):
            return None
        return refused(NAME, f"near {self.network}: its address {host.host_ip} is not in it", help)
