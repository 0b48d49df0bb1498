"""What a host is made of: NUMA cells, large pages, PCI devices and CPU traits; and what a guest holds of it."""

import re
from collections.abc import Iterable

from stacksmith.frozen import dataclass
from stacksmith.model.realised import Server
from stacksmith.model.types import JSON

_PART = re.compile(r"(\^?)([0-9]{1,5})(?:-([0-9]{1,5}))?")
MOST_CPU = 8191


@dataclass(frozen=True, slots=True)
class Cell:
    """A NUMA cell of a host: the numbers of its CPUs, its memory, and how many pages of each large size (KiB) it has.

    The memory of the large pages is part of ``memory_mib``.
    """

    id: int
    cpus: tuple[int, ...] = ()
    memory_mib: int = 0
    pages: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI device of a host. ``address`` is ``0000:81:00.1``, the ids are four hexadecimal digits."""

    address: str
    vendor_id: str
    product_id: str
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The storage of a volume type that is not where the host's own disks are; -1 GiB where it is not made yet."""

    volume_type: str
    total_gib: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """The parts of a host; none are known of one that was not read. ``traits`` are the CPU's and the hypervisor's."""

    cells: tuple[Cell, ...] = ()
    devices: tuple[PciDevice, ...] = ()
    traits: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()


@dataclass(frozen=True, slots=True)
class CellUse:
    """What a guest holds of one NUMA cell of its host; ``cell`` is None for large pages of a cell that nobody named.

    ``page_size_kib`` is 0 where the memory is in ordinary pages.
    """

    cell: int | None
    vcpus: int
    memory_mib: int
    page_size_kib: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """What a guest or volume holds of the parts of its host. ``pins``: the CPUs that each pinned vCPU may run on.

    ``disks`` are GiB by volume type.
    """

    cells: tuple[CellUse, ...] = ()
    pins: tuple[tuple[int, ...], ...] = ()
    devices: tuple[str, ...] = ()
    disks: tuple[tuple[str, int], ...] = ()

    @property
    def large_pages_mib(self) -> int:
        """Memory that is in large pages, and so not of what MEMORY_MB counts."""
        return sum(use.memory_mib for use in self.cells if use.page_size_kib)


NO_HARDWARE = Hardware()
NOTHING_HELD = Holding()


def hardware_of(data: JSON) -> Hardware:
    """The hardware that ``to_data`` wrote. Raises: ValueError when a value has the wrong type."""
    from pydantic import TypeAdapter

    made: Hardware = TypeAdapter(Hardware).validate_python(data)
    return made


def holding(server: Server) -> Holding:
    """What a server holds of its host by its own spec."""
    if not server.numa_cells and not server.pci_devices:
        return NOTHING_HELD
    page = page_kib(server.page_size) if server.page_size else 0
    bound = [cell for cell in server.numa_cells if cell.host_cell is not None or page]
    uses = tuple(CellUse(cell.host_cell, len(cell.vcpus), cell.ram_mib, page) for cell in bound)
    return Holding(uses, tuple(pin for cell in server.numa_cells for pin in cell.pins), server.pci_devices)


def cpu_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list as ``0-3,^1,8``, in order. Raises: ValueError for anything else."""
    chosen: set[int] = set()
    dropped: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is neither a CPU nor a range of them")
        first, last = int(match[2]), int(match[3] or match[2])
        if last < first or last > MOST_CPU:
            raise ValueError(f"{part!r} is not a range of CPUs from 0 to {MOST_CPU}")
        (dropped if match[1] else chosen).update(range(first, last + 1))
    return tuple(sorted(chosen - dropped))


def cpu_list(numbers: Iterable[int]) -> str:
    """The shortest list of CPU numbers: ``0-3,8``."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def page_kib(words: str) -> int:
    """The size in KiB of what ``page_words`` wrote."""
    return int(words[:-1]) * {"K": 1, "M": 2**10, "G": 2**20}[words[-1]]


def device_class(vendor_id: str, product_id: str) -> str:
    """The resource class that Nova makes from the ids of a PCI device: ``CUSTOM_PCI_8086_10ED``."""
    return f"CUSTOM_PCI_{vendor_id}_{product_id}".upper()


def page_class(size_kib: int) -> str:
    """The resource class that counts large pages of a size: ``CUSTOM_HUGEPAGES_2M``."""
    return f"CUSTOM_HUGEPAGES_{page_words(size_kib)}"


def page_words(size_kib: int) -> str:
    """A page size in words: ``2M``, ``1G``, ``64K``."""
    for unit, size in (("G", 2**20), ("M", 2**10)):
        if size_kib % size == 0:
            return f"{size_kib // size}{unit}"
    return f"{size_kib}K"
