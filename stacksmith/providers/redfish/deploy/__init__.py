"""An image on a node's disk by Redfish alone: no DHCP options, TFTP or control plane.

`deployer` is the sequence and what to call; `job` is what is wanted; `ramdisk` and `iso` make what the node boots;
`server` is what the node talks to while the run lasts; `guest/` runs on the node.
"""

from pathlib import Path

from stacksmith.model.fleet import Fleet
from stacksmith.providers.redfish.deploy.deployer import Deployer

__all__ = ["Deployer", "make_deployer"]


def make_deployer(fleet: Fleet, cache: Path) -> Deployer:
    """A deployer for the nodes of a fleet; ``cache`` keeps what can be made again and is not secret."""
    return Deployer(fleet.deploy, fleet.nodes, cache)
