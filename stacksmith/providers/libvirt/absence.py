"""What is not on a host: one list answers for all the objects that are about to be made there."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from stacksmith.providers.libvirt.connection import Link

FRESH_SECONDS = 2.0


class Absence:
    """UUIDs that no object of a kind has, as of a list not older than ``FRESH_SECONDS``.

    What a create was begun for is looked at for itself from then on: the list may be older than the create.
    """

    def __init__(self, listed: Callable[[Any], Iterable[Any]], clock: Callable[[], float]) -> None:
        self._listed, self._clock = listed, clock
        self._present: frozenset[str] = frozenset()
        self._until = float("-inf")
        self._begun: set[str] = set()
        self._looking = threading.Lock()

    def is_absent(self, uuid: str, link: Link) -> bool:
        """True when there is no such object; False when there is, or may be. Runs inside a connection's thread."""
        with self._looking:  # one asks, the others wait for its answer
            if uuid in self._begun:
                return False
            if self._clock() > self._until:
                self._until = self._clock() + FRESH_SECONDS
                self._present = frozenset(each.UUIDString() for each in self._listed(link.connect))
            return uuid not in self._present

    def begin(self, uuid: str) -> None:
        """A create of it begins."""
        with self._looking:
            self._begun.add(uuid)
