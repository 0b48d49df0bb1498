"""An image on a node's disk by Redfish alone: no DHCP options, TFTP or control plane.

`deployer` is the sequence and what to call; `job` is what is wanted; `ramdisk` and `iso` make what the node boots;
`server` is what the node talks to while the run lasts; `guest/` runs on the node.
"""

from stacksmith.providers.redfish.deploy.deployer import Deployer
from stacksmith.providers.redfish.deploy.job import Cleaning, Job, Stage

__all__ = ["Cleaning", "Deployer", "Job", "Stage"]
