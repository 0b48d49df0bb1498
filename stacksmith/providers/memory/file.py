"""A world in a file, shared by processes: each change is one atomic replacement of the file under a lock."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stacksmith.address import Address
from stacksmith.model.found import Mark, Resources
from stacksmith.model.hardware import hardware_of
from stacksmith.model.realised import Policy, from_data, to_data
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.memory.fault import Call, Effect, Fault
from stacksmith.providers.memory.world import DEFAULT_CAPACITY, KINDS, HostState, Object, Stage, World

FORMAT = 1


class FileWorld(World):
    """A world in the JSON file at ``path``, which anyone may edit: ``hosts.NAME.server.NATIVE_NAME.spec.ram_mib``.

    ``faults`` beside ``hosts`` is a list of faults to plant (``{"effect": "refused", "operation": "create"}``); each
    process counts its own. A file that is not there is an empty world; it is made at the first change. Raises, in
    every call: Refused when the file cannot be read.
    """

    def __init__(self, path: str, capacity: Resources = DEFAULT_CAPACITY) -> None:
        super().__init__(capacity)
        self._path = Path(path).absolute()
        self._seen: tuple[int, int, int] | None = None
        self._planted: list[JSON] = []

    def reach(self, call: Call, point: str, deadline: Deadline | None = None) -> None:
        """As in any world, with the faults that the file plants."""
        with self._lock:
            self._load()
        super().reach(call, point, deadline)

    @contextmanager
    def reading(self, host: str) -> Iterator[HostState]:
        """The host's state as the file has it."""
        with self._lock:
            self._load()
            yield self._host(host)

    @contextmanager
    def changing(self, host: str) -> Iterator[HostState]:
        """The host's state; the file is replaced when the block ends well, and untouched when it raises."""
        with self._lock, self._exclusive():
            self._load()
            try:
                yield self._host(host)
                self._save()
            except BaseException:
                self._seen = None  # what is in memory may be half changed: read it again
                self._hosts.clear()
                raise

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path.with_name(f"{self._path.name}.lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load(self) -> None:
        try:
            with open(self._path, "rb") as file:
                status = os.fstat(file.fileno())
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                if seen == self._seen:
                    return
                data = json.load(file)
            self._hosts = {name: _host(host) for name, host in data["hosts"].items()}
            self._plant(data.get("faults", []))
            self._seen = seen
        except FileNotFoundError:
            self._hosts, self._seen = {}, None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            raise Refused(f"cannot read world {self._path}: {cause}") from cause

    def _plant(self, faults: list[JSON]) -> None:
        if faults != self._planted:
            self._planted = faults
            self.faults = [Fault(**{**fault, "effect": Effect(fault["effect"])}) for fault in faults]

    def _save(self) -> None:
        hosts = ",\n".join(f"  {json.dumps(name)}: {_host_text(self._hosts[name])}" for name in sorted(self._hosts))
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        faults = f'"faults": {json.dumps(self._planted)}, ' if self._planted else ""
        fresh.write_text(f'{{"format": {FORMAT}, {faults}"hosts": {{\n{hosts}\n}}}}\n', encoding="utf-8")
        os.replace(fresh, self._path)
        status = self._path.stat()
        self._seen = (status.st_ino, status.st_mtime_ns, status.st_size)


def _host_text(state: HostState) -> str:
    """JSON with one object a line: easy to edit and to compare, and an object that did not change costs no work."""
    capacity = {name: getattr(state.capacity, name) for name in Resources.__slots__}
    parts = [f'   "capacity": {json.dumps(capacity)}']
    if state.made_of is not None:
        parts.append(f'   "hardware": {json.dumps(to_data(state.made_of))}')
    for kind in KINDS:
        lines = [f"    {json.dumps(name)}: {item.text}" for name, item in sorted(state.objects[kind].items())]
        parts.append(f'   "{kind}": {{' + ("\n" + ",\n".join(lines) + "\n   " if lines else "") + "}")
    return "{\n" + ",\n".join(parts) + "\n  }"


def _host(data: JSON) -> HostState:
    state = HostState(Resources(**data["capacity"]) if "capacity" in data else DEFAULT_CAPACITY)
    state.made_of = hardware_of(data["hardware"]) if "hardware" in data else None
    for kind in KINDS:
        for name, item in data.get(kind, {}).items():
            state.put(_object(kind, name, item))
    return state


def _object(kind: str, name: str, data: JSON) -> Object:
    mark = data.get("mark")
    return Object(
        kind,
        name,
        data["uuid"],
        from_data(kind, data["spec"]),
        mark and _mark(mark, data["uuid"]),
        from_data(kind, data["saved"]) if "saved" in data else None,
        Stage(data.get("stage", Stage.COMPLETE)),
        data.get("boots", 0),
        data.get("problem"),
        data.get("made_for", ""),
    )


def _mark(data: JSON, uuid: str) -> Mark:
    address = Address.parse(data["address"])
    return Mark(data["fleet"], data["stack"], address, uuid, data.get("applied"), Policy(**data.get("policy", {})))
