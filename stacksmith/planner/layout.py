"""Where what an object takes of its host is counted: at the host as a whole, or at a provider below it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from stacksmith.frozen import dataclass
from stacksmith.model.fleet import Host, PciSpec
from stacksmith.model.found import Found, HostSnapshot, Unmanaged
from stacksmith.model.hardware import NOTHING_HELD, CellUse, Holding, PciDevice, cpu_numbers, device_class, page_class
from stacksmith.model.realised import Machine

THREADS, CELL_MEMORY = "NUMA_THREAD", "NUMA_MEMORY_MB"
WHOLE_CPU = "CUSTOM_CPU"  # one CPU that is given whole: claims name it, so that no two stacks give the same one

# Units by the uuid of a provider, then by class; no zeros.
Taken = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Layout:
    """What of a host is counted where.

    ``dedicated``: the CPUs that are given whole, which VCPU does not count; ``cells``: those of them that each NUMA
    cell has, by its number; ``devices``: the class of each device on offer, by address; ``apart``: the provider of
    each volume type that DISK_GB of the host does not count.
    """

    host: str
    dedicated: tuple[int, ...] = ()
    cells: tuple[tuple[int, tuple[int, ...]], ...] = ()
    devices: tuple[tuple[str, str], ...] = ()
    apart: tuple[tuple[str, str], ...] = ()


def layout_of(host: Host, snap: HostSnapshot) -> Layout:
    """The layout of a host as it was read."""
    dedicated = dedicated_cpus(host)
    return Layout(
        snap.host,
        tuple(sorted(dedicated)),
        tuple((cell.id, tuple(cpu for cpu in cell.cpus if cpu in dedicated)) for cell in snap.hardware.cells),
        tuple((device.address, pci_class(spec, device)) for device, spec in offered(host, snap)),
        tuple((name, storage_uuid(host, snap.host, name)) for name in host.volume_types_apart),
    )


def taken(guest: Found | Unmanaged, layout: Layout) -> Taken:
    """What one object takes of its host and of what is below it.

    CPUs of its own, large pages, and volumes of types that are apart are not counted at the host.
    """
    if isinstance(guest, Found) and isinstance(guest.spec, Machine):
        return {layout.host: {guest.spec.resource_class: 1}}
    usage, holds = guest.usage, guest.holds
    memory = usage.memory_mib - (holds.large_pages_mib if holds.cells else 0)
    amounts = {"VCPU": usage.vcpus, "MEMORY_MB": memory, "DISK_GB": usage.disk_gib}
    if holds is NOTHING_HELD or holds == NOTHING_HELD:
        own = {name: n for name, n in amounts.items() if n > 0}
        return {layout.host: own} if own else {}
    apart = dict(layout.apart)
    amounts["VCPU"] -= len(_whole(holds, layout))
    amounts["DISK_GB"] -= sum(gib for name, gib in holds.disks if name in apart)
    return _bare({layout.host: amounts, **parts_taken(holds, layout)})


def parts_taken(holds: Holding, layout: Layout) -> Taken:
    """What is taken of the providers below a host: what is bound. What floats is counted at the host alone."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    whole = _whole(holds, layout)
    for use in holds.cells:
        first = min((number for number, _ in layout.cells), default=0)
        cell = first if use.cell is None else use.cell
        found[cell_uuid(layout.host, cell)].update(_cell_amounts(use, bool(whole)))
    for cpu in sorted({cpu for pin in whole for cpu in pin}):
        found[cpu_uuid(layout.host, cpu)][WHOLE_CPU] += 1
        for number, cpus in layout.cells:
            found[cell_uuid(layout.host, number)]["PCPU"] += cpu in cpus
    classes, apart = dict(layout.devices), dict(layout.apart)
    for address in filter(classes.__contains__, holds.devices):
        found[device_uuid(layout.host, address)][classes[address]] += 1
    for name, gib in holds.disks:
        if name in apart:
            found[apart[name]]["DISK_GB"] += gib
    return _bare({uuid: dict(amounts) for uuid, amounts in found.items()})


def _bare(amounts: Taken) -> Taken:
    bare = {uuid: {name: n for name, n in each.items() if n > 0} for uuid, each in amounts.items()}
    return {uuid: each for uuid, each in bare.items() if each}


def _whole(holds: Holding, layout: Layout) -> list[tuple[int, ...]]:
    """The vCPUs that are on CPUs of their own, by what they are pinned to."""
    dedicated = frozenset(layout.dedicated)
    return [pin for pin in holds.pins if dedicated.issuperset(pin)] if dedicated else []


def _cell_amounts(use: CellUse, is_pinned: bool) -> dict[str, int]:
    """What a guest takes of a cell, but for the CPUs that are its own."""
    threads = 0 if is_pinned or use.cell is None else use.vcpus
    if use.page_size_kib:
        return {THREADS: threads, page_class(use.page_size_kib): -(-use.memory_mib * 1024 // use.page_size_kib)}
    return {THREADS: threads, CELL_MEMORY: use.memory_mib}


def cell_uuid(host: str, cell: int) -> str:
    """The uuid of the provider of a NUMA cell. No host has a name with a slash."""
    return f"{host}/numa{cell}"


def cpu_uuid(host: str, cpu: int) -> str:
    """The uuid of the provider of a CPU that is given whole; only claims know it."""
    return f"{host}/cpu{cpu}"


def cpu_of(uuid: str) -> int | None:
    """The number of the CPU whose provider has this uuid, None for another provider."""
    found = re.fullmatch("[^/]+/cpu([0-9]+)", uuid)
    return int(found[1]) if found else None


def device_uuid(host: str, address: str) -> str:
    """The uuid of the provider of a PCI device."""
    return f"{host}/{address}"


def pool_uuid(host: str, volume_type: str) -> str:
    """The uuid of the provider of a volume type's storage."""
    return f"{host}/pool_{volume_type}"


def storage_uuid(host: Host, name: str, volume_type: str) -> str:
    """The uuid of the provider of a volume type that a host of this name has apart: its own pool or a shared one."""
    shared = host.volume_types[volume_type].shared
    return shared_uuid(shared) if shared is not None else pool_uuid(name, volume_type)


def shared_uuid(storage: str) -> str:
    """The uuid, and name, of the provider of a storage that several hosts see. No host has a name with a colon."""
    return f"shared:{storage}"


def provider_name(uuid: str) -> str:
    """The name of a provider, as Nova makes them: ``hv1_numa0``."""
    return uuid.replace("/", "_", 1)


def host_of(uuid: str) -> str:
    """The host that a provider is, or is part of; a shared storage is part of none and answers itself."""
    return uuid.partition("/")[0]


def dedicated_cpus(host: Host) -> frozenset[int]:
    """The CPUs that are given whole."""
    return frozenset(cpu_numbers(host.cpu_dedicated_set) if host.cpu_dedicated_set else ())


def pci_class(spec: PciSpec, device: PciDevice) -> str:
    """The resource class of a device: as the fleet file says, or made from its ids as Nova makes it."""
    return spec.resource_class or device_class(device.vendor_id, device.product_id)


def offered(host: Host, snap: HostSnapshot) -> Iterator[tuple[PciDevice, PciSpec]]:
    """Each device with the first entry of the fleet file that is about it."""
    for device in snap.hardware.devices:
        spec = next((spec for spec in host.pci if spec.offers(device)), None)
        if spec is not None:
            yield device, spec
