"""What we wrote: one row per resource in the state store."""

from dataclasses import field

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.machine_identity import UNKNOWN, Identity
from stacksmith.model.realised import Policy
from stacksmith.model.types import JSON


@dataclass(frozen=True, slots=True)
class Record:
    """A resource as last applied. ``complete`` is False from the begin of its create until its end (a killed run).

    ``adopted``: it is a server that ran on its node before, and no image was written to that since. ``machine`` is the
    one that the node was then. ``begun`` is the data that an update was to bring which was killed, or
    failed; None when the last one ended well.
    """

    address: Address
    host: str
    uuid: str
    applied: JSON
    policy: Policy = field(default_factory=Policy)
    complete: bool = True
    requires: tuple[Address, ...] = ()  # what it was built on: deletes go in reverse
    adopted: bool = False
    machine: Identity = UNKNOWN
    begun: JSON = None
