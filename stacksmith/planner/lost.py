"""Parts of its host that a server holds and that the host does not offer it any more."""

from collections.abc import Iterator, Sequence

from stacksmith.model.demand import Demand, DeviceGroup
from stacksmith.model.hardware import CellUse, Holding, cpu_list
from stacksmith.placement.host import HostState
from stacksmith.placement.tree.provider import Provider
from stacksmith.planner.layout import Layout, cell_uuid, device_uuid
from stacksmith.planner.offence import NAMED, listed


def lost(wanted: Demand, holds: Holding, layout: Layout, state: HostState) -> Iterator[tuple[str, str]]:
    """(what, why) of each part. What a server holds and its flavor does not ask for is drift, and not told here."""
    parts = {part.uuid: part for part in state.parts}
    if wanted.devices:
        for address in holds.devices:
            reason = _of_device(wanted, address, layout, parts.get(device_uuid(layout.host, address)))
            if reason:
                yield f"PCI device {address}", f"PCI device {address} {reason}"
    if wanted.cells:
        for use in holds.cells:
            if use.cell is not None and cell_uuid(layout.host, use.cell) not in parts:
                yield f"NUMA cell {use.cell}", _of_cell(use, layout)
    if wanted.is_dedicated:
        yield from _of_cpus(holds, layout)


def _of_device(wanted: Demand, address: str, layout: Layout, part: Provider | None) -> str:
    if part is None:
        others = [each for each, _ in layout.devices]
        told = f" ({listed(others, NAMED)})" if others else ""
        return f"is not offered by {layout.host}, which offers {len(others)}{told}"
    if any(_suits(part, each) for each in wanted.devices):
        return ""
    asked = sorted({_words(each.resource_class, each.required, each.forbidden) for each in wanted.devices})
    return f"is {_words(dict(layout.devices)[address], part.traits)}; its flavor asks for {' or '.join(asked)}"


def _suits(part: Provider, group: DeviceGroup) -> bool:
    is_class = group.resource_class in part.inventories
    return is_class and group.required <= part.traits and not group.forbidden & part.traits


def _words(name: str, traits: frozenset[str], without: frozenset[str] = frozenset()) -> str:
    told = [f"with {' and '.join(sorted(traits))}"] if traits else []
    told += [f"without {' and '.join(sorted(without))}"] if without else []
    return " ".join((name, *told))


def _of_cell(use: CellUse, layout: Layout) -> str:
    bound = f"{use.vcpus} vCPUs and {use.memory_mib:,} MiB are bound to it"
    has = _counted([number for number, _ in layout.cells])
    return f"NUMA cell {use.cell} is not there on {layout.host}, which has {has}; {bound}"


def _of_cpus(holds: Holding, layout: Layout) -> Iterator[tuple[str, str]]:
    other = {cpu for pin in holds.pins for cpu in pin}.difference(layout.dedicated)
    if other:
        are = f"CPU {cpu_list(other)} is" if len(other) == 1 else f"CPUs {cpu_list(other)} are"
        has = _counted(layout.dedicated)
        yield "cpu_dedicated_set", f"{are} its own and not of cpu_dedicated_set of {layout.host}, which has {has}"


def _counted(numbers: Sequence[int]) -> str:
    return f"{len(numbers)} ({cpu_list(numbers)})" if numbers else "none"
