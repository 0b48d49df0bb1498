"""Which servers are bare metal: Nova's rule, a flavor that asks for one unit of a node's resource class."""

import re
from typing import Final

from stacksmith.model.change import Change
from stacksmith.model.fleet import Fleet
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.realised import Machine
from stacksmith.model.stack import Resource, Stack

_KEY: Final = re.compile(r"resources:(CUSTOM_[A-Z0-9_]+)")
ALWAYS: Final = "CUSTOM_BAREMETAL"  # a class so called is of nodes, in a fleet without such a node too
ON_DISK: Final = ("image", "boot_iso", "config_drive")  # what a deployment that was cut off leaves open
DISK: Final = "disk"  # the path of a change that tells what of the root disk is lost for a new server,
OTHER_DISKS: Final = "other-disks"  # and of other disks
_DEPLOYED: Final = frozenset({"image", "boot_iso", "raid"})
MAINTENANCE: Final = "maintenance"  # the state of a node that its operator keeps from servers


def node_class(flavor: FlavorSpec, fleet: Fleet) -> str | None:
    """The class of the node that a flavor asks for as a whole; None for a flavor of virtual machines."""
    if not flavor.extra_specs:
        return None
    classes = {node.resource_class for node in fleet.nodes.values()}
    for key in flavor.extra_specs:
        match = _KEY.fullmatch(key)
        if match and (match[1] in classes or match[1].startswith(ALWAYS)):
            return match[1]
    return None


def class_of(stack: Stack, resource: Resource) -> str | None:
    """The class of the node that a resource asks for; None for all that is no bare-metal server."""
    spec = resource.spec
    if not isinstance(spec, ServerSpec):
        return None
    flavor = stack.flavors.get(spec.flavor)
    return node_class(flavor, stack.fleet) if flavor is not None else None


def deployed(machine: Machine) -> frozenset[str]:
    """The fields whose change needs a boot from media. What boots from an ISO is given no config drive."""
    return _DEPLOYED if machine.boot_iso else _DEPLOYED | {"config_drive"}


def field_of(change: Change) -> str:
    """The field of a machine that a change is of: ``raid`` of ``raid[0].drives``."""
    return change.path.partition(".")[0].partition("[")[0]
