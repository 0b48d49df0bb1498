"""The state store that a stack's fleet names, opened; what is wrong with it is told at its place in the fleet file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from stacksmith.diagnostics import Diagnostic, Faults, error
from stacksmith.model.fleet import Fleet
from stacksmith.model.secret import NoSecret, secret
from stacksmith.model.state import StateSpec
from stacksmith.source import Span
from stacksmith.state.store import Store, open_store


class OfFleet(Protocol):
    """What has a fleet file: a stack, or the nodes of a fleet."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def fleet_path(self) -> Path: ...

    @property
    def state_place(self) -> Span | None: ...


@contextmanager
def opened(stack: OfFleet, environment: Mapping[str, str], read_only: bool) -> Iterator[Store]:
    """The store of the stack's fleet, closed at the end. ``environment`` is where a password's ``env`` is looked up.

    Raises: Faults when it cannot be opened.
    """
    spec = stack.fleet.state or f"sqlite:///.stacksmith/{stack.fleet.fleet}.db"
    if isinstance(spec, str):
        spec = StateSpec(url=spec, password=None)
    folder = stack.fleet_path.parent
    try:
        password = secret(spec.password, environment, folder) if spec.password else None
        store = open_store(spec.url, folder, read_only, password)
    except NoSecret as fault:
        broken = error("state-access", f"cannot open the state store: {fault}", hint=fault.hint)
        raise Faults([_placed(broken, stack)]) from None
    except Faults as faults:
        raise Faults([_placed(each, stack) for each in faults.diagnostics]) from faults
    try:
        yield store
    finally:
        store.close()


def _placed(fault: Diagnostic, stack: OfFleet) -> Diagnostic:
    place = stack.state_place
    if place is None or fault.span is not None:
        return fault
    lines = stack.fleet_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return replace(fault, span=place, snippet=lines[place.line - 1] if place.line <= len(lines) else None)
