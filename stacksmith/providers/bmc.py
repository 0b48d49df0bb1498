"""What reaches bare-metal nodes: a session per BMC. The faults are those of every provider (``providers/base.py``)."""

from typing import Protocol

from stacksmith.model.node_found import NodeFound, NodeInventory
from stacksmith.providers.base import Deadline, Transient


class Unreachable(Transient):
    """No connection to the BMC: nothing was asked of it."""


class NotNow(Transient):
    """The BMC refuses for the state that it or its machine is in: it is busy, or just switching."""


class BmcSession(Protocol):
    """An open BMC. Its methods may be called from several threads at once; none is sent twice by itself."""

    def observe(self, deadline: Deadline) -> NodeFound:
        """What can drift, in two requests. Raises: Unreachable, Transient, Refused, TimedOut."""

    def inspect(self, deadline: Deadline) -> NodeInventory:
        """What the node consists of, in as many requests as it has parts. Raises: as ``observe``."""

    def switch_on(self, deadline: Deadline) -> None:
        """Returns once the node is on. Safe to repeat. Raises: Refused, TimedOut, Unreachable."""

    def switch_off(self, hard: bool, deadline: Deadline) -> None:
        """Returns once the node is off: the guest is asked first, and after half of the time power is cut; with
        ``hard`` at once. Safe to repeat. Raises: Refused, TimedOut, Unreachable."""

    def close(self) -> None:
        """Gives the connections back."""
