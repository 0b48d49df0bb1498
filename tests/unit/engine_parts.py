"""Parts of engine tests: steps on the memory provider's world, and a run over them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stacksmith.address import Address, identity
from stacksmith.engine.run import RunOptions, run
from stacksmith.events import Event
from stacksmith.model.change import Impact
from stacksmith.model.found import HostSnapshot, Mark
from stacksmith.model.realised import Image, ImageFile, Network, Realised, Server, Volume, to_data
from stacksmith.model.report import Outcome, Report
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.base import Deadline, Driver, Scope, Session
from stacksmith.providers.memory.session import MemorySession
from stacksmith.providers.memory.world import World
from stacksmith.state.process import this_process
from stacksmith.state.sqlite import SqliteStore
from stacksmith.state.store import Store

FLEET, STACK = "lab", "shop"
GIB = 2**30


def uuid_of(address: Address, generation: int = 0) -> str:
    return identity(FLEET, STACK, address, generation)


def step(operation: Operation, text: str, wanted: Realised | None = None, **more: object) -> Step:
    """A step on the resource ``text`` (``volume.a``), on hv1 unless told."""
    address = Address.parse(text)
    parts = {"host": "hv1", "uuid": uuid_of(address), "reason": "test", **more}
    return Step(f"{operation} {address}", operation, address, wanted=wanted, **parts)  # type: ignore[arg-type]


def create(text: str, wanted: Realised | None = None, **more: object) -> Step:
    return step(Operation.CREATE, text, wanted or shape(text), **more)


def delete(text: str, **more: object) -> Step:
    return step(Operation.DELETE, text, **{"impact": Impact.DATA_LOSS, **more})


def shape(text: str) -> Realised:
    """Something small of the kind that the address names."""
    address = Address.parse(text)
    match address.kind:
        case "volume":
            return Volume(size_bytes=GIB)
        case "network":
            return Network(mode="isolated")
        case "image":
            return Image((ImageFile("disk", "sha256:" + "a" * 64, "qcow2"),))
        case _:
            return Server(name=address.label, vcpus=1, ram_mib=128)


class AnyContents:
    """Bytes that nobody looks at."""

    def config_drive(self, server: Address, digest: str) -> Mapping[str, bytes]:
        return {}

    def image_file(self, checksum: str) -> Path:
        return Path("unread")


@dataclass
class OtherSession:
    """A host with drivers of a test's own."""

    host: str
    drivers: Mapping[str, Driver]
    read: HostSnapshot = field(default_factory=lambda: HostSnapshot("hv1"))
    closed: bool = False

    def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
        return self.read

    def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """A world with a store, and runs over it. ``events`` are those of all runs so far; ``drivers`` are used in place
    of the world's; without ``lease`` a run does not take it."""

    world: World = field(default_factory=World)
    store: Store = field(default_factory=lambda: SqliteStore.open(None))
    hosts: tuple[str, ...] = ("hv1", "hv2")
    events: list[Event] = field(default_factory=list)
    runs: int = 0
    drivers: Mapping[str, Driver] | None = None
    lease: bool = True

    @property
    def sessions(self) -> dict[str, Session]:
        if self.drivers is not None:
            return {host: OtherSession(host, self.drivers) for host in self.hosts}
        return {host: MemorySession(self.world, host, read_only=False) for host in self.hosts}

    def run(self, *steps: Step, sink: Callable[[Event], None] | None = None, **options: object) -> Report:
        """Takes the lease, runs the steps as a plan, gives the lease back."""
        self.runs += 1
        name = f"run-{self.runs}"
        if self.lease:
            self.store.acquire(STACK, this_process(name, "apply"), 60)
        try:
            settings = RunOptions(name, **options)  # type: ignore[arg-type]
            plan = Plan(FLEET, STACK, steps)
            return run(plan, self.sessions, self.store, AnyContents(), sink or self.events.append, settings)
        finally:
            self.store.release(STACK, name)

    def seen(self, address: str, host: str = "hv1") -> dict[str, object]:
        """What a plan would know of a live object: its fingerprint and its data."""
        name = Address.parse(address)
        mark = Mark(FLEET, STACK, name, uuid_of(name), to_data(shape(address)))
        found = self.sessions[host].drivers[name.kind].read(mark)
        assert found is not None
        return {"fingerprint": found.fingerprint, "before": to_data(found.spec)}

    def recorded(self) -> dict[str, bool]:
        """Addresses in the store, and whether each is complete."""
        return {str(record.address): record.complete for record in self.store.records(STACK)}

    def named(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def outcomes(report: Report) -> dict[str, Outcome]:
    return {result.step: result.outcome for result in report.results}


def all_of(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.id for step in steps)


def requires(one: Step, *others: Step) -> Step:
    return replace(one, requires=all_of(others))
