"""Operations in flight on hosts: what this plan puts there, beside servers of other stacks that are being made."""

from collections.abc import Container, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.fleet import Fleet
from stacksmith.placement.filters import operations
from stacksmith.placement.host import IO_OPS, HostState, Inventory
from stacksmith.placement.request import Request
from stacksmith.planner.ledger import Ledger


def with_operations(fleet: Fleet, requests: Sequence[Request], chosen: Container[Address]) -> list[Request]:
    """The requests of servers that are made or moved, each of which is an operation on its host while it lasts.

    Those whose place is ``chosen`` already are let through, as are servers that Nova is told the host of.
    """
    if operations(fleet.scheduler, {}) is None:
        return list(requests)
    return [r if r.address in chosen else replace(r, amounts={**r.amounts, IO_OPS: 1}) for r in requests]


def with_limits(fleet: Fleet, ledger: Ledger, states: list[HostState]) -> list[HostState]:
    """The hosts with how many operations each may have, and how many other stacks have there."""
    return [_limited(state, operations(fleet.scheduler, state.metadata), ledger) for state in states]


def _limited(state: HostState, limit: Inventory | None, ledger: Ledger) -> HostState:
    if limit is None:
        return state
    used = {**state.used, IO_OPS: ledger.unfinished(state.name)}
    return replace(state, inventories={**state.inventories, IO_OPS: limit}, used=used)
