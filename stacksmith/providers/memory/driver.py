"""What the drivers of the memory provider share: the same steps as libvirt's, taken on a world."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from stacksmith.model.change import Impact
from stacksmith.model.found import Found, Mark
from stacksmith.providers.base import Contents, Deadline, Gone, Refused, Stale, Target
from stacksmith.providers.memory.fault import Call
from stacksmith.providers.memory.found import found, leases
from stacksmith.providers.memory.patch import in_order, patched
from stacksmith.providers.memory.world import HostState, Object, Stage, World
from stacksmith.providers.rules import impact


def owned(item: Object, mark: Mark) -> bool:
    """True when the object is of the mark's stack."""
    return item.mark is not None and (item.mark.fleet, item.mark.stack) == (mark.fleet, mark.stack)


class WorldDriver:
    """A driver on a world. Reads and writes are calls, in which a fault can strike."""

    kind: ClassVar[str]

    def __init__(self, world: World, host: str, read_only: bool) -> None:
        self.world, self.host, self.read_only = world, host, read_only

    def begin(self, operation: str, mark: Mark, deadline: Deadline | None = None) -> Call:
        """The call, logged. Raises: Refused when it writes and the session may not."""
        call = Call(self.host, operation, self.kind, str(mark.address))
        if self.read_only and call.writes:
            raise Refused(f"cannot {operation} {mark.address}: the session is read-only")
        self.world.reach(call, "begin", deadline)
        return call

    def put(self, item: Object) -> None:
        """Stores the object."""
        with self.world.changing(self.host) as state:
            state.put(item)


class ObjectDriver(WorldDriver, ABC):
    """A driver; kinds fill in what makes them different.

    Each ``make``, ``remake`` and ``unmake`` changes the world part by part and gives the name of a part when it is
    done: there a fault can strike, and what was done stays done.
    """

    def read(self, mark: Mark) -> Found | None:
        """The object now, or None."""
        self.begin("read", mark)
        with self.world.reading(self.host) as state:
            item = self.lookup(state, mark)
            return found(item, mark.address, self.host, leases(state)) if item and owned(item, mark) else None

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Finds or makes; completes what a killed run left."""
        call = self.begin("create", target.mark, deadline)
        with self.world.reading(self.host) as state:
            item = self.lookup(state, target.mark)
            self.check_free(state, target, item)
        if item is None or item.stage is not Stage.COMPLETE:
            for part in self.make(target, contents):
                self.world.reach(call, part, deadline)
        elif item.mark is not None and item.mark != target.mark:
            self.put(replace(item, mark=target.mark))
        self.world.reach(call, "end", deadline)
        return self._now(target.mark)

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Applies ``target.changes``; what would interrupt the guest worse than ``target.allowed`` is only saved."""
        call = self.begin("update", target.mark, deadline)
        item = self._mine(target)
        if item is None:
            raise Gone(f"{self.kind} {self.native_name(target.mark)} does not exist")
        if item.stage is not Stage.COMPLETE:
            raise Stale(f"{self.kind} {item.name} is only half made")
        for part in self.remake(item, target, contents):
            self.world.reach(call, part, deadline)
        self.world.reach(call, "end", deadline)
        return self._now(target.mark)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Removes the object and what belongs to it; nothing to remove is success."""
        call = self.begin("delete", target.mark, deadline)
        item = self._mine(target)
        if item is not None:
            with self.world.reading(self.host) as state:
                self.check_unused(state, item, target.mark)
            for part in self.unmake(item):
                self.world.reach(call, part, deadline)
        self.world.reach(call, "end", deadline)

    @abstractmethod
    def native_name(self, mark: Mark) -> str:
        """The object's name on the host."""

    def lookup(self, state: HostState, mark: Mark) -> Object | None:
        """The object with the mark's identity, whoever owns it."""
        return state.by_uuid(self.kind, mark.uuid)

    def check_free(self, state: HostState, target: Target, item: Object | None) -> None:
        """Raises: Refused when the name or the identity is another's, or something it stands on is not there."""
        holder = item or state.objects[self.kind].get(self.native_name(target.mark))
        if holder is not None and (item is None or not owned(holder, target.mark)):
            owner = f"stack {holder.mark.fleet}/{holder.mark.stack}" if holder.mark else "no stack of ours"
            raise Refused(f"{self.kind} {holder.name} exists already and belongs to {owner}", "name")

    @abstractmethod
    def make(self, target: Target, contents: Contents) -> Iterator[str]:
        """Makes the object."""

    def remake(self, item: Object, target: Target, contents: Contents) -> Iterator[str]:
        """Makes the changes."""
        late = {path for path, worst in self.judged(item, target) if worst > target.allowed}
        now = [change for change in target.changes if change.path not in late]
        spec = in_order(patched(self.kind, item.spec, now), target.wanted)
        whole = in_order(patched(self.kind, item.saved or item.spec, target.changes), target.wanted)
        saved = whole if whole != spec and (late or item.saved) else None
        self.put(replace(item, spec=spec, saved=saved, mark=target.mark))
        yield "define"

    def judged(self, item: Object, target: Target) -> list[tuple[str, Impact]]:
        """Path and impact of each change. Raises: Refused when one cannot be made in place, or destroys data
        that may not be destroyed."""
        seen = found(item, target.mark.address, self.host, {})
        changes = [impact(self.kind, change, seen) for change in target.changes]
        for change in changes:
            if change.impact is Impact.REPLACE or (change.impact is Impact.DATA_LOSS and self.kind == "volume"):
                raise Refused(f"cannot change {change.path} in place: {change.note}", change.path)
            if change.impact > max(target.allowed, Impact.RESTART):
                raise Refused(f"{change.impact.word} is not allowed: {change.note}", change.path)
        return [(change.path, change.impact) for change in changes]

    def check_unused(self, state: HostState, item: Object, mark: Mark) -> None:
        """Raises: Refused when something uses the object."""

    def unmake(self, item: Object) -> Iterator[str]:
        """Removes the object."""
        with self.world.changing(self.host) as state:
            state.remove(self.kind, item.name)
        yield "undefine"

    def _mine(self, target: Target) -> Object | None:
        """The object, None when there is none. Raises: Refused when another's, Stale when not as just read."""
        with self.world.reading(self.host) as state:
            item = self.lookup(state, target.mark)
        if item is None:
            return None
        if not owned(item, target.mark):
            raise Refused(f"{self.kind} {item.name} carries no mark of {target.mark.fleet}/{target.mark.stack}")
        if target.found is not None and item.fingerprint != target.found.fingerprint:
            raise Stale(f"{self.kind} {item.name} changed since it was read")
        return item

    def _now(self, mark: Mark) -> Found:
        with self.world.reading(self.host) as state:
            item = self.lookup(state, mark)
            if item is None:
                raise Gone(f"{self.kind} {self.native_name(mark)} went away")
            return found(item, mark.address, self.host, leases(state))
