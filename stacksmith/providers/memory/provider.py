"""The memory provider: hosts that are data, in this process (``memory:NAME``) or in a file (``memory:///PATH``)."""

import threading
from collections.abc import Sequence
from urllib.parse import parse_qsl

from stacksmith.model.change import Change
from stacksmith.model.fleet import Host
from stacksmith.model.found import Found, Resources
from stacksmith.model.realised import Realised
from stacksmith.providers import rules
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.memory.fault import Call
from stacksmith.providers.memory.file import FileWorld
from stacksmith.providers.memory.session import MemorySession
from stacksmith.providers.memory.world import DEFAULT_CAPACITY, World

_worlds: dict[str, World] = {}
_lock = threading.Lock()
_AMOUNTS = ("vcpus", "memory_mib", "disk_gib")


def world(uri: str) -> World:
    """The world of a URI, the same one every time: ``memory:NAME`` lives with the process, ``memory:///PATH`` in a
    file (``memory://PATH`` is relative to the working directory).

    ``?vcpus=32&memory_mib=131072&disk_gib=2000`` is what each new host of it has. Raises: Refused for a bad URI.
    """
    key, _, query = uri.partition("?")
    scheme, _, rest = key.partition(":")
    path = rest.removeprefix("//")
    if scheme != "memory" or not path:
        raise Refused(f"cannot open {uri!r}: expected memory:NAME or memory:///PATH/world.json")
    capacity = _capacity(uri, query)
    with _lock:
        if key not in _worlds:
            _worlds[key] = FileWorld(path, capacity) if rest != path else World(capacity)
        return _worlds[key]


def forget(uri: str) -> None:
    """Drops the world of this process; a file stays."""
    with _lock:
        _worlds.pop(uri.partition("?")[0], None)


def _capacity(uri: str, query: str) -> Resources:
    amounts = {name: getattr(DEFAULT_CAPACITY, name) for name in _AMOUNTS}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in amounts or not text.isascii() or not text.isdigit():
            raise Refused(f"cannot open {uri!r}: {name}={text} is not one of {', '.join(_AMOUNTS)} with a number")
        amounts[name] = int(text)
    return Resources(**amounts)


class MemoryProvider:
    """Hosts that are data."""

    name = "memory"

    def impact(self, kind: str, change: Change, found: Found) -> Change:
        """As on libvirt."""
        return rules.impact(kind, change, found)

    def check(self, kind: str, wanted: Realised, host: Host) -> Sequence[tuple[str, str]]:
        """Nothing that a host of data could not do."""
        return ()

    def open(self, name: str, host: Host, read_only: bool, deadline: Deadline) -> MemorySession:
        """A session on host ``name`` of the world that ``host.libvirt`` names."""
        here = world(host.libvirt)
        here.reach(Call(name, "open"), "begin", deadline)
        return MemorySession(here, name, read_only, host.volume_types_apart)
