"""Servers of the memory provider."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.change import Impact
from stacksmith.model.found import Found, Mark
from stacksmith.model.naming import network_name, server_name
from stacksmith.model.realised import Disk, Network, Server
from stacksmith.providers.base import Contents, Deadline, Driver, Gone, ProviderError, Refused, Target
from stacksmith.providers.memory.driver import ObjectDriver
from stacksmith.providers.memory.fault import Call
from stacksmith.providers.memory.patch import in_order, patched
from stacksmith.providers.memory.volume import has_image, volume_user
from stacksmith.providers.memory.world import HostState, Object, Stage


class ServerDriver(ObjectDriver):
    """Servers: disks, then the definition with a mark that says unfinished, then the start."""

    kind = "server"

    def native_name(self, mark: Mark) -> str:
        """As libvirt's."""
        return server_name(mark.stack, mark.address)

    def check_free(self, state: HostState, target: Target, item: Object | None) -> None:
        """Raises: Refused when the name is taken, or an image, volume or network it stands on is not there."""
        super().check_free(state, target, item)
        assert isinstance(target.wanted, Server)
        self._check_ground(state, target.wanted, target.mark)

    def make(self, target: Target, contents: Contents) -> Iterator[str]:
        """Makes disks, defines, starts, waits."""
        wanted, mark = target.wanted, target.mark
        assert isinstance(wanted, Server)
        if wanted.config_drive is not None:
            contents.config_drive(mark.address, wanted.config_drive.digest)
        unfinished = replace(mark, applied=None)
        made_for = str(mark.address)
        item = Object("server", self.native_name(mark), mark.uuid, wanted, unfinished, made_for=made_for)
        if wanted.disks or wanted.config_drive is not None:
            self.put(replace(item, stage=Stage.PARTS))
            yield "disks"
        self.put(replace(item, spec=replace(wanted, power_state="stopped"), stage=Stage.DEFINED))
        yield "define"
        boots = int(wanted.power_state != "stopped")
        if boots:
            self.put(replace(item, stage=Stage.DEFINED, boots=1))
            yield "start"
            if target.wait_for is not None:
                yield "wait"
        self.put(replace(item, mark=mark, boots=boots))

    def remake(self, item: Object, target: Target, contents: Contents) -> Iterator[str]:
        """Changes what it can on the running guest; the rest by a restart if allowed, else saved for the next one."""
        before = item.spec
        assert isinstance(before, Server) and isinstance(target.wanted, Server)
        verdicts = self.judged(item, target)
        with self.world.reading(self.host) as state:
            self._check_ground(state, _after(before, target), target.mark)
        self._fetch(target, contents)
        late = {path for path, worst in verdicts if worst is Impact.RESTART}
        whole = _after(item.saved or before, target)
        whole = replace(whole, power_state=_after(before, target).power_state)
        marked = replace(item, mark=target.mark)
        if late and target.allowed < Impact.RESTART:
            if "power_state" in late:
                raise Refused("restart is not allowed: it stops the guest", "power_state")
            now = patched("server", before, (c for c in target.changes if c.path not in late))
            now = in_order(now, target.wanted)
            self.put(replace(marked, spec=now, saved=whole if whole != now else None))
            yield "define"
        elif late or before.power_state == "stopped" or whole.power_state == "stopped":
            yield from self._restart(item, marked, whole)
        else:
            now = _after(before, target)
            self.put(replace(marked, spec=now, saved=whole if item.saved and whole != now else None))
            yield "define"

    def _restart(self, item: Object, marked: Object, whole: Server) -> Iterator[str]:
        assert isinstance(item.spec, Server)
        if item.spec.power_state != "stopped":
            self.put(replace(item, spec=replace(item.spec, power_state="stopped")))
            yield "stop"
        boots = item.boots + (whole.power_state != "stopped")
        self.put(replace(marked, spec=whole, saved=None, boots=boots))
        yield "define"

    def migrate(self, target: Target, destination: Driver, contents: Contents, deadline: Deadline) -> Found:
        """Brings the server to the destination, another host of the same world, as it is."""
        if not isinstance(destination, ServerDriver) or destination.world is not self.world:
            raise Refused(f"{target.host} is not a host of this world")
        call = self.begin("migrate", target.mark, deadline)
        item, there = self._whole(self.host, target.mark), self._whole(destination.host, target.mark)
        if item is None and there is None:
            raise Gone(f"{target.mark.address} is neither on {self.host} nor on {destination.host}")
        if item is not None:
            self._bring(call, (item, self._attached(item)), target, destination, deadline)
        self.world.reach(call, "end", deadline)
        return destination._now(target.mark)

    def _bring(
        self,
        call: Call,
        what: tuple[Object, list[Object]],
        target: Target,
        destination: "ServerDriver",
        deadline: Deadline,
    ) -> None:
        item, carried = what
        assert isinstance(target.wanted, Server)
        local = replace(target.wanted, disks=tuple(d for d in target.wanted.disks if d.source != "volume"))
        with self.world.reading(destination.host) as state:
            destination.check_free(state, replace(target, wanted=local), destination.lookup(state, target.mark))
            for volume in carried:
                there = state.by_uuid("volume", volume.uuid)
                if there is not None and there.stage is not Stage.PARTS:
                    raise Refused(f"volume {volume.name} is on {destination.host}, too", "disks")
        for each in (*carried, item):
            destination.put(replace(each, stage=Stage.PARTS))
        self._reach_or_undo(call, deadline, destination, (item, *carried))
        with self.world.changing(self.host) as state:
            state.remove("server", item.name)
        if target.changes:  # bound to the parts of the other host
            item = replace(item, spec=patched("server", item.spec, target.changes), mark=target.mark)
        destination.put(item)
        for volume in carried:
            destination.put(replace(volume, stage=Stage.MOVED))

    def _attached(self, item: Object) -> list[Object]:
        """The volumes that the server has as disks."""
        assert isinstance(item.spec, Server) and item.mark is not None
        refs = {disk.ref for disk in item.spec.disks if disk.source == "volume"}
        prefix = f"ss.{item.mark.stack}."
        with self.world.reading(self.host) as state:
            return [v for v in volumes(state) if v.made_for in refs and v.name.startswith(prefix)]

    def _whole(self, host: str, mark: Mark) -> Object | None:
        with self.world.reading(host) as state:
            item = self.lookup(state, mark)
        return item if item is not None and item.stage is not Stage.PARTS else None

    def _reach_or_undo(
        self, call: Call, deadline: Deadline, destination: "ServerDriver", items: Iterable[Object]
    ) -> None:
        try:
            self.world.reach(call, "disks", deadline)
        except ProviderError:
            with self.world.changing(destination.host) as state:
                for item in items:
                    state.remove(item.kind, item.name)
            raise

    def unmake(self, item: Object) -> Iterator[str]:
        """Stops, undefines, deletes the local disks."""
        if item.stage is not Stage.PARTS:
            assert isinstance(item.spec, Server)
            if item.spec.power_state != "stopped":
                item = replace(item, spec=replace(item.spec, power_state="stopped"))
                self.put(item)
                yield "stop"
            self.put(replace(item, stage=Stage.PARTS))
            yield "undefine"
        with self.world.changing(self.host) as state:
            state.remove("server", item.name)
        yield "disks"

    def _fetch(self, target: Target, contents: Contents) -> None:
        """Gets the bytes of a new config drive."""
        assert isinstance(target.wanted, Server)
        drive = target.wanted.config_drive
        if drive is not None and any(c.path.startswith("config_drive") for c in target.changes):
            contents.config_drive(target.mark.address, drive.digest)

    def _check_ground(self, state: HostState, wanted: Server, mark: Mark) -> None:
        for disk in wanted.disks:
            self._check_disk(state, disk, mark)
        for role in ("kernel", "ramdisk"):
            checksum = getattr(wanted, role)
            if checksum is not None and not has_image(state, checksum):
                raise Refused(f"{role} {checksum} is not on {self.host}", role)
        for nic in wanted.nics:
            if ":" in nic.network:
                continue
            name = network_name(mark.stack, Address("network", nic.network))
            item = state.objects["network"].get(name)
            if item is None or not isinstance(item.spec, Network) or not item.spec.active:
                raise Refused(f"network {name} is not active on {self.host}", f"nics[{nic.mac}].network")

    def _check_disk(self, state: HostState, disk: Disk, mark: Mark) -> None:
        path = f"disks[{disk.device}].ref"
        if disk.source == "image" and not has_image(state, disk.ref or ""):
            raise Refused(f"image {disk.ref} is not on {self.host}", path)
        if disk.source != "volume":
            return
        if not any(v.made_for == disk.ref and v.name.startswith(f"ss.{mark.stack}.") for v in volumes(state)):
            raise Refused(f"{disk.ref} is not on {self.host}", path)
        user = volume_user(state, mark, disk.ref or "")
        if user is not None and user.uuid != mark.uuid:
            raise Refused(f"{disk.ref} is attached to server {user.name}", path)


def volumes(state: HostState) -> list[Object]:
    """Whole volumes of the host."""
    return [item for item in state.objects["volume"].values() if item.stage in (Stage.COMPLETE, Stage.MOVED)]


def _after(spec: object, target: Target) -> Server:
    assert isinstance(spec, Server)
    return in_order(patched("server", spec, target.changes), target.wanted)
