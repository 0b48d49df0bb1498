"""A world: the live state of many hosts, in memory; ``file`` keeps one in a file."""

import hashlib
import json
import marshal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from stacksmith.frozen import dataclass
from stacksmith.model.found import Mark, Resources
from stacksmith.model.hardware import Cell, Hardware
from stacksmith.model.realised import Realised, content, to_data
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, TimedOut
from stacksmith.providers.memory.fault import Call, Effect, Fault, Hook

DEFAULT_CAPACITY = Resources(vcpus=32, memory_mib=131072, disk_gib=2000)
UNMARKED = frozenset({"volume", "image"})
KINDS = ("image", "network", "server", "volume")


class Stage(StrEnum):
    """How much of an object there is."""

    PARTS = "parts"  # disks without their server, an upload that was cut off
    DEFINED = "defined"  # known to the host, not finished by the apply that made it
    MOVED = "moved"  # a volume that its server brought; what it left is not removed yet
    COMPLETE = "complete"


@dataclass(frozen=True)
class Object:
    """A live object. ``mark`` is None on unmanaged ones; that of a volume is only its owner, which its name tells.

    ``saved`` is the persistent definition when it differs from the live one. ``boots`` counts starts of the guest.
    ``made_for`` is the address it was first made for: for tests to name it by, never shown by the provider.
    """

    kind: str
    name: str
    uuid: str
    spec: Realised
    mark: Mark | None = None
    saved: Realised | None = None
    stage: Stage = Stage.COMPLETE
    boots: int = 0
    problem: str | None = None
    made_for: str = ""

    @property
    def shown_mark(self) -> Mark | None:
        """The mark that a reader sees: parts of a server, volumes and image files have no room for one."""
        return None if self.stage is Stage.PARTS or self.kind in UNMARKED else self.mark

    @cached_property
    def fingerprint(self) -> str:
        """Changes with all that a host would show, and with nothing else."""
        mark = self.shown_mark
        owner = mark and [mark.fleet, mark.stack, str(mark.address), mark.applied, content(mark.policy)]
        state = [self.stage.value, self.problem]
        shown = [self.name, self.uuid, content(self.spec), content(self.saved), owner, state]
        # Faster than JSON; version 0 writes equal data as equal bytes, whatever is interned or shared.
        return hashlib.sha256(marshal.dumps(shown, 0)).hexdigest()[:32]

    @cached_property
    def text(self) -> str:
        """The object as JSON, in one line."""
        data: dict[str, JSON] = {"uuid": self.uuid, "stage": self.stage.value, "spec": to_data(self.spec)}
        if self.saved is not None:
            data["saved"] = to_data(self.saved)
        if self.mark is not None:
            mark = self.mark
            owner = {"fleet": mark.fleet, "stack": mark.stack, "address": str(mark.address)}
            data["mark"] = {**owner, "applied": mark.applied, "policy": to_data(mark.policy)}
        optional = {"boots": self.boots, "problem": self.problem, "made_for": self.made_for}
        return json.dumps(data | {name: value for name, value in optional.items() if value}, ensure_ascii=False)


@dataclass(slots=True)
class HostState:
    """One host: objects by kind and native name. Changed only inside ``World.changing``."""

    capacity: Resources = DEFAULT_CAPACITY
    made_of: Hardware | None = None
    objects: dict[str, dict[str, Object]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    _names: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def hardware(self) -> Hardware:
        """What it is made of; of a host of which nothing was said, one cell with all there is."""
        cpus = tuple(range(self.capacity.vcpus))
        return self.made_of or Hardware((Cell(0, cpus, self.capacity.memory_mib),))

    def put(self, item: Object) -> Object:
        """Stores the object under its name, in place of one with the same uuid."""
        self.remove(item.kind, self._names.get((item.kind, item.uuid), item.name))
        self.objects[item.kind][item.name] = item
        self._names[item.kind, item.uuid] = item.name
        return item

    def remove(self, kind: str, name: str) -> None:
        """Forgets the object, if there is one."""
        gone = self.objects[kind].pop(name, None)
        if gone is not None:
            self._names.pop((kind, gone.uuid), None)

    def by_uuid(self, kind: str, uuid: str) -> Object | None:
        """The object with this uuid."""
        name = self._names.get((kind, uuid))
        return None if name is None else self.objects[kind][name]


class World:
    """The live state of many hosts, safe to use from several threads.

    A host comes to be, empty, when it is first named. ``calls`` is what the hosts were asked, in order; ``hooks`` and
    ``faults`` meet each call outside the lock.
    """

    def __init__(self, capacity: Resources = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.calls: list[Call] = []
        self.hooks: list[Hook] = []
        self.faults: list[Fault] = []
        self._hosts: dict[str, HostState] = {}
        self._lock = threading.RLock()

    @property
    def writes(self) -> list[Call]:
        """The calls that may have changed a host."""
        return [call for call in self.calls if call.writes]

    def reach(self, call: Call, point: str, deadline: Deadline | None = None) -> None:
        """Lets hooks and faults meet ``call`` at ``point``. Raises: what they raise; TimedOut past the deadline."""
        if point == "begin":
            self.calls.append(call)
        for hook in tuple(self.hooks):
            hook(call, point)
        with self._lock:
            fault = next((fault for fault in self.faults if fault.strikes(call, point)), None)
        if fault is not None and fault.effect is not Effect.HANG:
            raise fault.error()
        if deadline is not None and fault is not None:
            threading.Event().wait(deadline.seconds)
        if deadline is not None and (fault is not None or not deadline.seconds):
            raise TimedOut(f"no answer from {call.host} in time")

    @contextmanager
    def reading(self, host: str) -> Iterator[HostState]:
        """The host's state, held still while the block runs."""
        with self._lock:
            yield self._host(host)

    @contextmanager
    def changing(self, host: str) -> Iterator[HostState]:
        """The host's state, to change while the block runs."""
        with self._lock:
            yield self._host(host)

    def _host(self, host: str) -> HostState:
        if host not in self._hosts:
            self._hosts[host] = HostState(self.capacity)
        return self._hosts[host]

    def objects(self, host: str) -> list[Object]:
        """Everything on the host, in order of kind and name."""
        with self.reading(host) as state:
            return [state.objects[kind][name] for kind in KINDS for name in sorted(state.objects[kind])]

    def object(self, host: str, address: str) -> Object:
        """The object that was made for ``address`` (``server.web[0]``), or has its name (``server.legacy``).

        Raises: KeyError when there is none.
        """
        with self.reading(host) as state:
            return _named(state, address)

    def set_capacity(self, host: str, capacity: Resources) -> None:
        """What the host has from now on."""
        with self.changing(host) as state:
            state.capacity = capacity

    def set_hardware(self, host: str, hardware: Hardware) -> None:
        """What the host is made of from now on."""
        with self.changing(host) as state:
            state.made_of = hardware

    def edit(self, host: str, address: str, change: Callable[[Any], Realised], saved: bool = False) -> Object:
        """Changes an object behind everybody's back, as an operator would; ``saved``: its persistent definition only.

        Raises: KeyError when there is no such object.
        """
        with self.changing(host) as state:
            item = _named(state, address)
            after = change((item.saved or item.spec) if saved else item.spec)
            if saved:
                return state.put(replace(item, saved=after if after != item.spec else None))
            return state.put(replace(item, spec=after))

    def remove(self, host: str, address: str) -> None:
        """Removes an object behind everybody's back. Raises: KeyError when there is no such object."""
        with self.changing(host) as state:
            item = _named(state, address)
            state.remove(item.kind, item.name)

    def add_unmanaged(self, host: str, kind: str, name: str, spec: Realised, uuid: str = "") -> Object:
        """Adds an object that nobody of ours made."""
        digest = hashlib.sha256(f"{host}/{kind}/{name}".encode()).hexdigest()
        with self.changing(host) as state:
            return state.put(Object(kind, name, uuid or f"{digest[:8]}-0000-4000-8000-{digest[8:20]}", spec))


def _named(state: HostState, address: str) -> Object:
    kind, _, name = address.partition(".")
    for item in state.objects[kind].values():
        if item.made_for == address:
            return item
    return state.objects[kind][name]
