"""What a flavor asks of the parts of its host: NUMA cells, whole CPUs, large pages, devices. In Nova's extra specs."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from stacksmith.frozen import dataclass
from stacksmith.model.fleet import PciAlias
from stacksmith.model.hardware import cpu_numbers, page_words
from stacksmith.model.kinds.flavor import FlavorSpec

LARGE_KIB = 2048  # what hw:mem_page_size=large means
MOST_DEVICES = 32
FLAT = frozenset({"VCPU", "MEMORY_MB", "DISK_GB"})
_SIZE = re.compile(r"([0-9]{1,9})\s*([kKMGT]?)(?:i?[bB])?")
_POWERS = {"": 0, "k": 0, "K": 0, "M": 1, "G": 2, "T": 3}  # Nova: a number without a unit is KiB
_GROUP_KEY = re.compile(r"(resources|trait)(_[A-Za-z0-9_-]+|[0-9]*):([A-Z0-9_]+)")


@dataclass(frozen=True, slots=True)
class GuestCell:
    """A NUMA cell of the guest: the numbers of its vCPUs, and its memory."""

    vcpus: tuple[int, ...]
    ram_mib: int


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """One device: its class, and the traits it must have and must not have. ``name`` is that of a granular group."""

    name: str
    resource_class: str
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of the parts. ``page_size`` as ``2M``, empty for ordinary pages.

    is_dedicated: every vCPU gets a CPU of its own. is_near: the devices must be in the guest's cell.
    """

    cells: tuple[GuestCell, ...] = ()
    is_dedicated: bool = False
    page_size: str = ""
    devices: tuple[DeviceGroup, ...] = ()
    is_near: bool = False

    def __bool__(self) -> bool:
        return bool(self.cells or self.devices)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an extra spec cannot be carried out."""

    key: str
    cause: str
    hint: str | None = None


@dataclass(slots=True)
class _Reader:
    """Reads the extra specs of one flavor and keeps what is wrong with them."""

    flavor: FlavorSpec
    faults: list[Fault] = field(default_factory=list)

    def say(self, key: str) -> str | None:
        return self.flavor.extra_specs.get(key)

    def fault(self, key: str, cause: str, hint: str | None = None) -> None:
        self.faults.append(Fault(key, cause, hint))


def demand(flavor: FlavorSpec, aliases: Mapping[str, PciAlias]) -> tuple[Demand, tuple[Fault, ...]]:
    """The demand of a flavor and what is wrong with it; values are taken to have passed their patterns."""
    reader = _Reader(flavor)
    page_kib = _page_kib(reader)
    is_dedicated = reader.say("hw:cpu_policy") == "dedicated"
    asks_cells = reader.say("hw:numa_nodes") or is_dedicated or page_kib is not None
    cells = tuple(_cells(reader)) if asks_cells else ()
    if not asks_cells:
        for key in _numbered(flavor):
            reader.fault(key, "it says nothing without hw:numa_nodes")
    if cells and (flavor.max_vcpus or flavor.max_ram):
        key = next(k for k in ("hw:numa_nodes", "hw:cpu_policy", "hw:mem_page_size") if reader.say(k))
        reader.fault(key, "a guest with NUMA cells cannot grow without a restart", "take max_vcpus and max_ram out")
    for cell in cells:
        if page_kib and cell.ram_mib * 1024 % page_kib:
            whole = f"{cell.ram_mib} MiB of a cell are no whole number of pages of {page_words(page_kib)}"
            reader.fault("hw:mem_page_size", whole)
            break
    devices = (*_alias_devices(reader, aliases), *_grouped_devices(reader))
    wanted = Demand(cells, is_dedicated, page_words(page_kib) if page_kib else "", devices)
    return replace(wanted, is_near=_is_near(reader, wanted)), tuple(reader.faults)


def _page_kib(reader: _Reader) -> int | None:
    """The size of large pages, 0 for ordinary ones, None when nothing is said."""
    text = reader.say("hw:mem_page_size")
    if text is None:
        return None
    if text in ("small", "any", "large"):
        return LARGE_KIB if text == "large" else 0
    match = _SIZE.fullmatch(text)
    size = int(match[1]) << 10 * _POWERS[match[2]] if match else 0
    if size & (size - 1) or not 4 <= size <= 2**24:
        reader.fault("hw:mem_page_size", f"{text!r} is no size of pages", "as 2MB or 1GB")
        return None
    return 0 if size == 4 else size


def _numbered(flavor: FlavorSpec) -> list[str]:
    return [key for key in flavor.extra_specs if key.startswith(("hw:numa_cpus.", "hw:numa_mem."))]


def _cells(reader: _Reader) -> Iterator[GuestCell]:
    """The cells: as evenly divided as Nova divides, or as ``hw:numa_cpus.N`` and ``hw:numa_mem.N`` say."""
    flavor, count = reader.flavor, int(reader.say("hw:numa_nodes") or 1)
    if not 1 <= count <= flavor.vcpus:
        reader.fault("hw:numa_nodes", f"{flavor.vcpus} vCPUs cannot be in {count} NUMA cells, each has at least one")
        return
    if _numbered(flavor):
        yield from _said_cells(reader, count)
        return
    for amount, word in ((flavor.vcpus, "vCPUs"), (flavor.ram, "MiB of memory")):
        if amount % count:
            hint = "say which are where with hw:numa_cpus.N and hw:numa_mem.N"
            reader.fault("hw:numa_nodes", f"{amount} {word} cannot be divided evenly over {count} NUMA cells", hint)
            return
    each = flavor.vcpus // count
    for place in range(count):
        yield GuestCell(tuple(range(place * each, (place + 1) * each)), flavor.ram // count)


def _said_cells(reader: _Reader, count: int) -> Iterator[GuestCell]:
    flavor, wanted = reader.flavor, {f"hw:numa_{part}.{n}" for part in ("cpus", "mem") for n in range(count)}
    if missing := sorted(wanted - flavor.extra_specs.keys()):
        reader.fault("hw:numa_nodes", f"{' and '.join(missing)} must be said too")
        return
    for key in _numbered(flavor):
        if key not in wanted:
            reader.fault(key, f"there are only {count} NUMA cells, from 0")
            return
    try:
        cpus = [cpu_numbers(flavor.extra_specs[f"hw:numa_cpus.{n}"]) for n in range(count)]
    except ValueError as cause:
        reader.fault("hw:numa_cpus.0", str(cause))
        return
    ram = [int(flavor.extra_specs[f"hw:numa_mem.{n}"]) for n in range(count)]
    if sorted(cpu for cell in cpus for cpu in cell) != list(range(flavor.vcpus)) or not all(cpus):
        reader.fault("hw:numa_cpus.0", f"the cells do not have each of the {flavor.vcpus} vCPUs once")
    elif sum(ram) != flavor.ram or not all(ram):
        reader.fault("hw:numa_mem.0", f"the cells have {sum(ram)} MiB, the flavor {flavor.ram}")
    else:
        yield from map(GuestCell, cpus, ram)


def _alias_devices(reader: _Reader, aliases: Mapping[str, PciAlias]) -> Iterator[DeviceGroup]:
    key = "pci_passthrough:alias"
    for item in filter(None, (reader.say(key) or "").split(",")):
        name, _, count = item.strip().rpartition(":")
        alias = aliases.get(name)
        if alias is None:
            known = ", ".join(sorted(aliases)) or "none"
            reader.fault(key, f"the fleet has no PCI alias {name!r} (it has {known})", "pci_aliases of the fleet file")
        elif not 1 <= int(count) <= MOST_DEVICES:
            reader.fault(key, f"{count} is not a number of devices from 1 to {MOST_DEVICES}")
        else:
            word = re.sub("[^A-Za-z0-9-]", "_", name)[:40]
            for number in range(int(count)):
                yield DeviceGroup(f"_{word}_{number}", alias.device_class, frozenset(alias.traits))


def _grouped_devices(reader: _Reader) -> Iterator[DeviceGroup]:
    """The devices of ``resources:CLASS``, and of ``resources1:CLASS`` with its ``trait1:`` conditions."""
    amounts: dict[str, dict[str, str]] = defaultdict(dict)
    traits: dict[str, dict[str, str]] = defaultdict(dict)
    for key, value in reader.flavor.extra_specs.items():
        if match := _GROUP_KEY.fullmatch(key):
            (amounts if match[1] == "resources" else traits)[match[2]][match[3]] = value
    for suffix in sorted(amounts.keys() | traits.keys()):
        wanted = {name: value for name, value in amounts[suffix].items() if suffix or name not in FLAT}
        if suffix and not wanted:
            reader.fault(f"trait{suffix}:{min(traits[suffix])}", f"there is no resources{suffix}: that it is about")
        if not suffix or len(wanted) == 1:
            yield from _of_class(reader, suffix, wanted, traits[suffix] if suffix else {})
        elif wanted:
            key = f"resources{suffix}:{max(wanted)}"
            reader.fault(key, "a numbered group is one device, which has one class", "put it in a group of its own")


def _of_class(
    reader: _Reader, suffix: str, wanted: Mapping[str, str], traits: Mapping[str, str]
) -> Iterator[DeviceGroup]:
    for name, value in sorted(wanted.items()):
        key, count = f"resources{suffix}:{name}", int(value)
        if not name.startswith("CUSTOM_") or name.startswith("CUSTOM_HUGEPAGES_"):
            hint = "NUMA cells, pages and whole CPUs: hw:numa_nodes, hw:mem_page_size, hw:cpu_policy"
            reader.fault(key, f"{name} cannot be given to a guest this way: only classes of devices can", hint)
        elif count > (1 if suffix else MOST_DEVICES):
            most = "a numbered group is one device" if suffix else f"at most {MOST_DEVICES} devices can be asked for"
            reader.fault(key, f"{most}, not {count}")
        else:
            required, forbidden = (frozenset(t for t, v in traits.items() if v == w) for w in ("required", "forbidden"))
            names = [suffix] if suffix else [f"_{name}_{number}" for number in range(count)]
            for group in names[:count]:
                yield DeviceGroup(group[:64], name, required, forbidden)


def _is_near(reader: _Reader, wanted: Demand) -> bool:
    """True for policy required; without one a device may be in any cell."""
    key = "hw:pci_numa_affinity_policy"
    policy = reader.say(key)
    if policy is None:
        return False
    if policy != "required":
        reader.fault(
            key, f"policy {policy} is not carried out: only required is", "without it a device may be anywhere"
        )
    elif len(wanted.cells) != 1:
        reader.fault(key, f"a device can be near one NUMA cell, the guest has {len(wanted.cells)}")
    return policy == "required"
