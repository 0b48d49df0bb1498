"""Whether what grows still fits its host: an existing server is not placed again, but it may not push others out."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from stacksmith.model.realised import Server, Volume, from_data
from stacksmith.placement.host import HostState
from stacksmith.planner.plan import Operation, Step

GIB = 2**30


def overgrown(steps: Sequence[Step], hosts: Iterable[HostState]) -> list[tuple[str, str]]:
    """(step id, cause) of each update that grows a server or a volume beyond what its host has left.

    ``hosts`` count what stays; servers and volumes that the plan creates are added here.
    """
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for step in steps:
        if step.operation is Operation.CREATE and not step.partial and not step.replaces:
            used[step.host].update(_amounts(step))
    states = {host.name: host for host in hosts}
    refused = []
    for step in steps:
        if step.operation is not Operation.UPDATE or step.host not in states:
            continue
        grown = {name: amount for name, amount in _growth(step).items() if amount > 0}
        used[step.host].update(grown)
        for name in grown:
            if cause := _short(states[step.host], name, used[step.host][name]):
                refused.append((step.id, f"{step.host} has no room: {cause}"))
    return refused


def _amounts(step: Step) -> dict[str, int]:
    if isinstance(step.wanted, Server):
        return _of_server(step.wanted)
    return {"DISK_GB": -(-step.wanted.size_bytes // GIB)} if isinstance(step.wanted, Volume) else {}


def _of_server(server: Server) -> dict[str, int]:
    """What a server takes of its host as a whole: whole CPUs are no VCPU, and large pages no MEMORY_MB."""
    pins = [pin for cell in server.numa_cells for pin in cell.pins]
    is_dedicated = len(set(pins)) == server.vcpus and all(len(pin) == 1 for pin in pins)
    return {"VCPU": 0 if is_dedicated else server.vcpus, "MEMORY_MB": 0 if server.page_size else server.ram_mib}


def _growth(step: Step) -> dict[str, int]:
    before, after = step.before or {}, _amounts(step)
    if isinstance(step.wanted, Server):
        was = from_data("server", before)
        assert isinstance(was, Server)
        return {name: after[name] - amount for name, amount in _of_server(was).items()}
    if isinstance(step.wanted, Volume):
        return {"DISK_GB": after["DISK_GB"] - -(-before["size_bytes"] // GIB)}
    return {}


def _short(host: HostState, name: str, more: int) -> str:
    inventory = host.inventories.get(name)
    if inventory is None:
        return ""
    used = host.used.get(name, 0)
    over = used + more - inventory.capacity
    return f"{name} {over:g} short (used {used} of {inventory.capacity:g}, {more} more wanted)" if over > 0 else ""
