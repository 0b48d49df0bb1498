"""The bare-metal nodes of a fleet: read all at once, inspected and switched one by one."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from stacksmith.diagnostics import Diagnostic, Faults, error, has_errors
from stacksmith.engine.contents import session_folder
from stacksmith.engine.inspection import inspections
from stacksmith.engine.options import Options, load
from stacksmith.engine.retry import retried
from stacksmith.frozen import dataclass
from stacksmith.model.fleet import Fleet
from stacksmith.model.load import LoadOptions, load_fleet
from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects, NodeFound, NodeInspection, NodeInventory, NodeSnapshot
from stacksmith.model.secret import NoSecret, secret
from stacksmith.providers.base import Deadline, ProviderError
from stacksmith.providers.bmc import Access, BmcSession, Unreachable
from stacksmith.providers.registry import open_bmc
from stacksmith.source import Span

AT_ONCE = 64  # BMCs; each takes no more requests at once than its node's `connections`
EVERYTHING = Aspects(secure_boot=True, pending=True, firmware=True, raid=True)
PARTS = {  # of it, each with what is asked for to have it
    "secure_boot": Aspects(secure_boot=True),
    "pending": Aspects(pending=True),
    "firmware": Aspects(firmware=True),
    "raid": Aspects(raid=True),
}
T = TypeVar("T")
BUSY_SECONDS = 20.0  # so long a BMC may say that it cannot tell just now (iDRAC does after each job)
INSPECT_REQUESTS = 10  # an inspection may take so many answers' time


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a fleet file."""

    fleet: Fleet
    fleet_path: Path
    environment: Mapping[str, str]
    state_place: Span | None = None

    @property
    def folder(self) -> Path:
        """Where relative paths of the fleet file start."""
        return self.fleet_path.parent

    def one(self, name: str) -> Node:
        """The node of this name. Raises: Faults."""
        if name not in self.fleet.nodes:
            hint = f"nodes: {', '.join(self.fleet.nodes)}" if self.fleet.nodes else "the fleet file has no nodes:"
            raise Faults((error("unknown-node", f"cannot find node {name!r} in fleet {self.fleet.fleet}", hint=hint),))
        return self.fleet.nodes[name]


def nodes(options: Options) -> Nodes:
    """The nodes of the fleet file that is given, or of the stack's. Raises: Faults."""
    if options.fleet is None:
        loaded = load(options)
        if loaded.stack is None:
            raise Faults([_with_fleet_hint(each) for each in loaded.diagnostics])
        return Nodes(loaded.stack.fleet, loaded.stack.fleet_path, options.environment, loaded.stack.state_place)
    fleet, diagnostics = load_fleet(options.fleet, LoadOptions(environment=options.environment))
    if fleet is None or has_errors(diagnostics):
        raise Faults(diagnostics)
    return Nodes(fleet, options.fleet.absolute(), options.environment)


def _with_fleet_hint(fault: Diagnostic) -> Diagnostic:
    """Of a folder without a stack: nodes are the fleet file's."""
    is_of_folder = fault.code == "file-missing" and fault.span is None
    return replace(fault, hint="name the fleet file: --fleet FILE, or a stack that has one") if is_of_folder else fault


def observe(of: Nodes) -> list[NodeSnapshot]:
    """Every node, each read in two requests; one that fails has an error. In order of name."""
    read = ask_each(of, lambda name: observe_one(of, name))
    return [NodeSnapshot(name, found, *_told(why)) for name, found, why in read]


def inspect_all(of: Nodes, *, refresh: bool = False) -> list[NodeInspection]:
    """What every node consists of; one that fails has an error. In order of name."""
    read = ask_each(of, lambda name: inspect(of, name, refresh=refresh))
    return [NodeInspection(name, found, *_told(why)) for name, found, why in read]


def _told(why: Diagnostic | None) -> tuple[str | None, str | None]:
    """Error and hint."""
    return (why.message, why.hint) if why is not None else (None, None)


def ask_each(of: Nodes, ask: Callable[[str], T]) -> list[tuple[str, T | None, Diagnostic | None]]:
    """Name, answer, and why there is none, of every node; all at once, in order of name. ``ask`` raises Faults."""

    def asked(name: str) -> tuple[str, T | None, Diagnostic | None]:
        if of.fleet.nodes[name].state == "failed":
            return name, None, _fault("marked failed in the fleet file", None)
        try:
            return name, ask(name), None
        except Faults as fault:
            return name, None, fault.diagnostics[0]

    with ThreadPoolExecutor(max(1, min(AT_ONCE, len(of.fleet.nodes)))) as pool:
        return list(pool.map(asked, sorted(of.fleet.nodes)))


def observe_one(of: Nodes, name: str) -> NodeFound:
    """One node, in two requests. Raises: Faults."""
    seconds = _answers(of.one(name), 1)
    return _asked(of, name, lambda bmc, until: bmc.observe(until), seconds)


def observe_whole(of: Nodes, name: str) -> tuple[NodeFound, Mapping[str, str]]:
    """One node with all that a stack can declare of it: what waits for its next boot, firmware and RAID volumes too;
    and why, of the ``PARTS`` that its BMC does not tell. Raises: Faults."""
    seconds = _answers(of.one(name), INSPECT_REQUESTS)
    with open_bmc_of(of, name) as bmc:
        try:
            return patiently(lambda until: bmc.observe(until, EVERYTHING), seconds), {}
        except Unreachable:
            raise
        except ProviderError:
            found = patiently(bmc.observe, seconds)
        untold = {}
        for part, aspects in PARTS.items():
            try:
                more = bmc.observe(Deadline(time.monotonic() + seconds, time.monotonic), aspects)
            except ProviderError as fault:
                untold[part] = str(fault)
            else:
                names = (part, "secure_boot_next") if part == "secure_boot" else (part,)
                found = replace(found, **{each: getattr(more, each) for each in names})
        return found, untold


def inspect(of: Nodes, name: str, *, refresh: bool = False) -> NodeInventory:
    """What the node consists of, as it was kept unless ``refresh``; its settings as they are. Raises: Faults."""
    seconds = _answers(of.one(name), INSPECT_REQUESTS)
    kept = inspections(of.environment)

    def remembered(found: NodeFound) -> NodeInventory | None:
        return None if refresh else kept.find(found)

    inventory = _asked(of, name, lambda bmc, until: bmc.inspect(until, remembered), seconds)
    kept.keep(inventory)
    return inventory


def switch(of: Nodes, name: str, *, off: bool, on: bool, hard: bool = False) -> None:
    """Switch a node off, on, or first off and then on: a reset of its own is not always one. Raises: Faults."""
    seconds = of.one(name).power_timeout_seconds

    def act(bmc: BmcSession, until: Deadline) -> None:
        if off:
            bmc.switch_off(hard, until)
        if on:
            bmc.switch_on(Deadline(until.clock() + seconds, until.clock))

    with open_bmc_of(of, name) as bmc:
        act(bmc, Deadline(time.monotonic() + seconds, time.monotonic))


def _answers(node: Node, count: int) -> float:
    return node.connect_timeout_seconds + node.read_timeout_seconds * count


def _asked(of: Nodes, name: str, ask: Callable[[BmcSession, Deadline], T], seconds: float) -> T:
    with open_bmc_of(of, name) as bmc:
        return patiently(lambda until: ask(bmc, until), seconds)


def patiently(ask: Callable[[Deadline], T], seconds: float) -> T:
    """What a BMC answers, asked again while it is busy; not when there is no way to it."""
    halted = threading.Event()
    clock = time.monotonic

    def once() -> T:
        try:
            return ask(Deadline(clock() + seconds, clock))
        except Unreachable:
            halted.set()
            raise

    return retried(once, Deadline(clock() + BUSY_SECONDS, clock), halted, lambda cause, attempt, wait: None)


@contextmanager
def open_bmc_of(of: Nodes, name: str) -> Iterator[BmcSession]:
    """A session with a node's BMC, whose faults become diagnostics."""
    access = access_to(of, name)
    with provider_faults(), closing(open_bmc(name, of.one(name), access.password, access.ca, access.sessions)) as bmc:
        yield bmc


def access_to(of: Nodes, name: str) -> Access:
    """How a node's BMC is opened. Raises: Faults."""
    node = of.one(name)
    ca = str(of.folder / node.ca) if node.ca else None
    if ca and not Path(ca).is_file():
        raise Faults((_fault(f"cannot use {ca}: there is no such file", "name the authority's file in ca:"),))
    try:
        password = secret(node.password, of.environment, of.folder)
    except NoSecret as fault:
        raise Faults((_fault(f"cannot sign in to {name}: {fault}", fault.hint),)) from None
    return Access(password, ca, sessions=session_folder(of.environment))


@contextmanager
def provider_faults() -> Iterator[None]:
    """Makes diagnostics of what BMCs and their providers raise."""
    try:
        yield
    except ProviderError as fault:
        raise Faults((_fault(str(fault), fault.hint),)) from fault


def _fault(message: str, hint: str | None) -> Diagnostic:
    return error("node", message, hint=hint)
