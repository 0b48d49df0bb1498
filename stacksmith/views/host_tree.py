"""The provider trees of hosts: what every part has of each resource class, and what is used of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stacksmith.model.types import JSON
from stacksmith.placement.host import UNLIMITED, HostState, Inventory
from stacksmith.placement.tree.provider import Provider
from stacksmith.placement.wording import number
from stacksmith.planner.layout import provider_name
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table

_HEADER = ("PROVIDER", "CLASS", "TOTAL", "RESERVED", "RATIO", "USED", "FREE", "ERROR")


def tree_text(states: Sequence[HostState], paint: Paint = PLAIN) -> str:
    """The table of ``stacksmith hosts --tree``: a line for each class of each provider, parts below their whole.

    Storages that hosts share come last, each once.
    """
    rows = [row for state in states for row in _rows(state)]
    rows += [row for part, used, _ in _shared(states) for row in _lines(0, part, used)]
    return "\n".join(table(_HEADER, rows, paint)) + "\n"


def tree_data(states: Sequence[HostState]) -> JSON:
    """``{hosts: [{host, state, error, providers: [{name, parent, traits, inventories}]}], shared: [provider, hosts]}``.

    A shared provider has the traits that any of its hosts gives it.
    """
    return {
        "hosts": [
            {
                "host": state.name,
                "state": state.state,
                "error": None if state.reachable else state.problem or "not reachable",
                "providers": [_data(provider, used) for _, provider, used in _walk(state)] if state.reachable else [],
            }
            for state in states
        ],
        "shared": [{**_data(part, used), "hosts": list(hosts)} for part, used, hosts in _shared(states)],
    }


def _walk(state: HostState) -> Iterator[tuple[int, Provider, Mapping[str, int]]]:
    """(depth, provider, what is used of it), parents first."""
    aggregates = state.aggregates.union(*(part.aggregates for part in state.parts if part.parent is None))
    yield 0, Provider(state.name, state.name, None, state.inventories, state.traits, aggregates), state.used
    depths = {state.name: 0}
    waiting = [part for part in state.parts if part.parent == state.name][::-1]
    while waiting:
        part = waiting.pop()
        depths[part.uuid] = depths[part.parent or state.name] + 1
        yield depths[part.uuid], part, state.parts_used.get(part.uuid, {})
        waiting += [child for child in state.parts if child.parent == part.uuid][::-1]


def _rows(state: HostState) -> Iterator[Sequence[str]]:
    if not state.reachable:
        yield (state.name, "", "", "", "", "", "", state.problem or "not reachable")
        return
    for depth, provider, used in _walk(state):
        yield from _lines(depth, provider, used)


def _lines(depth: int, provider: Provider, used: Mapping[str, int]) -> Iterator[Sequence[str]]:
    name = "· " * depth + provider.name
    for resource_class, inventory in provider.inventories.items() or (("", Inventory(0)),):
        yield (name, *_cells(resource_class, inventory, used.get(resource_class, 0)), "")
        name = ""


def _shared(states: Sequence[HostState]) -> Iterator[tuple[Provider, Mapping[str, int], Sequence[str]]]:
    """(provider, what is used of it, its hosts) of each storage that hosts share."""
    users: dict[str, list[tuple[HostState, Provider]]] = {}
    for state in states:
        for part in state.parts:
            if part.parent is None:
                users.setdefault(part.uuid, []).append((state, part))
    for uuid, found in sorted(users.items()):
        traits = frozenset[str]().union(*(part.traits for _, part in found))
        yield replace(found[0][1], traits=traits), found[0][0].parts_used[uuid], [state.name for state, _ in found]


def _cells(resource_class: str, inventory: Inventory, used: int) -> Sequence[str]:
    if not resource_class:
        return ("", "", "", "", "", "")
    is_known = inventory.total != UNLIMITED
    return (
        resource_class,
        f"{inventory.total:,}" if is_known else "?",
        f"{inventory.reserved:,}",
        f"{inventory.allocation_ratio:g}",
        f"{used:,}",
        number(inventory.capacity - used) if is_known else "?",
    )


def _data(provider: Provider, used: Mapping[str, int]) -> JSON:
    return {
        "name": provider.name,
        "parent": provider_name(provider.parent) if provider.parent is not None else None,
        "traits": sorted(provider.traits),
        "aggregates": sorted(provider.aggregates),
        "inventories": {
            name: {
                "total": None if inventory.total == UNLIMITED else inventory.total,
                "reserved": inventory.reserved,
                "allocation_ratio": inventory.allocation_ratio,
                "used": used.get(name, 0),
            }
            for name, inventory in provider.inventories.items()
        },
    }
