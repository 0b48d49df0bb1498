"""Nova's weighers by name: raw values over the hosts that take a unit, brought to 0 to 1, times their multipliers.

Sources: nova.weights.normalize, nova.scheduler.weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isinf
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.scheduler import WEIGHERS, SchedulerSpec
from stacksmith.placement.host import INSTANCES, IO_OPS, HostState, Inventory
from stacksmith.placement.site import Site
from stacksmith.placement.unit import Unit
from stacksmith.placement.weigher import DIGITS

CELL: Final = "HW_NUMA_ROOT"  # the trait of a provider below a host that is no device
MOST_DEVICES: Final = 100
IMAGE_MARK: Final = "image property "

Raw = Callable[[Site], float]
RawOfUnit = Callable[[Unit, Site], float]


@dataclass(frozen=True, slots=True)
class _Term:
    """One weigher: the least raw value there is (None: the least of the hosts'), its multiplier by host index.

    ``raw`` gives the raw value where it is the host's alone, ``of_unit`` where it depends on the unit.
    """

    name: str
    least: float | None
    multipliers: tuple[float, ...]
    raw: Raw | None = None
    of_unit: RawOfUnit | None = None


@dataclass(frozen=True, slots=True)
class Normalised:
    """The sum of nova's weighers. A host's score depends on which others take the unit; the only one has 0."""

    terms: tuple[_Term, ...]

    def scores(self, unit: Unit, sites: Sequence[Site]) -> list[float]:
        """The sums, rounded, so that equal hosts stay equal and the order of names decides."""
        totals = [0.0] * len(sites)
        if len(sites) < 2:
            return totals
        indices = [site.index for site in sites]
        for term, values in self._values(unit, sites):
            by_host = term.multipliers
            totals = [total + by_host[i] * value for total, i, value in zip(totals, indices, values, strict=True)]
        return [round(total, DIGITS) for total in totals]

    def words(self, unit: Unit, sites: Sequence[Site]) -> list[str]:
        """``weights RAM 1 × 0.875, CPU 2 × 1``: what is not 0."""
        if len(sites) < 2:
            return ["the only host that takes it"] * len(sites)
        parts: list[list[str]] = [[] for _ in sites]
        for term, values in self._values(unit, sites):
            for told, site, value in zip(parts, sites, values, strict=True):
                multiplier = term.multipliers[site.index]
                if value and multiplier:
                    told.append(f"{term.name.removesuffix('Weigher')} {multiplier:g} × {value:.3g}")
        return [f"weights {', '.join(told)}" if told else "all weights 0" for told in parts]

    def _values(self, unit: Unit, sites: Sequence[Site]) -> Iterator[tuple[_Term, list[float]]]:
        """The normalised values of each weigher for which they are not all 0."""
        columns = zip(*[site.raw or self._own(site) for site in sites], strict=True)
        for term in self.terms:
            of_unit = term.of_unit
            if of_unit is not None and not unit.joins:
                continue  # it has no group and no marks
            raw = list(next(columns)) if of_unit is None else [of_unit(unit, site) for site in sites]
            if values := _normal(raw, term.least):
                yield term, values

    def _own(self, site: Site) -> tuple[float, ...]:
        """The raw values that are the host's alone, kept until it changes."""
        site.raw = tuple(term.raw(site) for term in self.terms if term.raw is not None)
        return site.raw


def normalised(scheduler: SchedulerSpec, hosts: Sequence[HostState]) -> Normalised:
    """The fleet's weighers over these hosts, which are in order of their sites."""
    terms = []
    own = {**_RAW, "MetricsWeigher": (_metrics(scheduler), None)}
    for name, default in scheduler.weighers.items():
        sign = -1 if name == "BuildFailureWeigher" else 1  # its multiplier is that of a penalty
        multipliers = tuple(sign * _multiplier(host, WEIGHERS[name][0], default) for host in hosts)
        if not any(multipliers):
            continue
        if name in own:
            raw, least = own[name]
            terms.append(_Term(name, least, multipliers, raw=raw))
        else:
            terms.append(_Term(name, None, multipliers, of_unit=_of_unit(name, scheduler.image_props_weight_setting)))
    return Normalised(tuple(terms))


def _multiplier(host: HostState, option: str, default: float) -> float:
    """The smallest that the host's aggregates say, else the fleet's."""
    return min((float(value) for value in host.metadata.get(option, ())), default=default)


def _normal(raw: list[float], least: float | None) -> list[float]:
    """Values from 0 to 1, empty where all are 0.

    Equal ones are 0, but where the least is fixed they are shares of the most. What is not limited
    counts as the most of the others.
    """
    most = max(raw)
    if most == inf:
        most = max((value for value in raw if value != inf), default=1.0)
        raw = [min(value, most) for value in raw]
    low = min(raw)
    if least is not None:
        raw = raw if low >= least else [max(value, least) for value in raw]
        most, low = max(most, least), least
    width = most - low
    return [(value - low) / width for value in raw] if width else []


def _unlimited(inventory: Inventory | None) -> bool:
    return inventory is not None and isinf(inventory.capacity)


def _left(name: str) -> Raw:
    """Units that are neither reserved nor used, without regard to the ratio."""

    def raw(site: Site) -> float:
        inventory = site.host.inventories.get(name)
        if inventory is None or _unlimited(inventory):
            return 0.0 if inventory is None else inf
        return inventory.total - inventory.reserved - site.used.get(name, 0)

    return raw


def _cpus(site: Site) -> float:
    inventory = site.host.inventories.get("VCPU")
    if inventory is None or _unlimited(inventory):
        return 0.0 if inventory is None else inf
    return inventory.total * inventory.allocation_ratio - site.used.get("VCPU", 0)


def _version(site: Site) -> float:
    return float(site.host.capabilities.get("hypervisor_version") or 0)


def _devices(site: Site) -> float:
    """Fewer free devices weigh more: hosts with devices are kept for who asks for them, the fuller first."""
    devices = [part for part in site.host.parts if CELL not in part.traits and "DISK_GB" not in part.inventories]
    free = sum(inventory.total for part in devices for inventory in part.inventories.values())
    for used in (site.host.parts_used, *site.given):
        free -= sum(amount for part in devices for amount in used.get(part.uuid, {}).values())
    return float(MOST_DEVICES - min(free, MOST_DEVICES - 1))


def _instances(site: Site) -> float:
    return float(site.used.get(INSTANCES, 0))


def _operations(site: Site) -> float:
    return float(site.used.get(IO_OPS, 0))


def _metrics(scheduler: SchedulerSpec) -> Raw:
    """The sum of the metrics by their weights; of a host that lacks one what the fleet says for it."""
    setting, unknown = scheduler.metrics_weight_setting, scheduler.metrics_weight_of_unavailable

    def raw(site: Site) -> float:
        metrics = site.host.metrics
        if not setting.keys() <= metrics.keys():
            return unknown
        return sum(metrics[name] * weight for name, weight in setting.items())

    return raw


def _of_unit(name: str, setting: Mapping[str, float]) -> RawOfUnit:
    if name == "ImagePropertiesWeigher":
        return _image_props(setting)
    return _soft(1 if name == "ServerGroupSoftAffinityWeigher" else -1)


def _soft(wanted: int) -> RawOfUnit:
    """Members of the unit's soft groups of one sign: more weigh more for affinity, less for anti-affinity."""

    def raw(unit: Unit, site: Site) -> float:
        return float(sum(sign * site.members.get(group, 0) for group, sign in unit.soft if sign == wanted))

    return raw


def _image_props(setting: Mapping[str, float]) -> RawOfUnit:
    """How many servers of the stack on the host have equal image properties, each counted for every one."""

    def raw(unit: Unit, site: Site) -> float:
        total = 0.0
        for mark, _ in unit.joins:
            if mark.startswith(IMAGE_MARK):
                name = mark.removeprefix(IMAGE_MARK).partition("=")[0]
                total += site.members.get(mark, 0) * (setting.get(name, 0.0) if setting else 1.0)
        return total

    return raw


def image_marks(scheduler: SchedulerSpec, properties: Mapping[str, str]) -> tuple[str, ...]:
    """What a server with an image of these properties leaves on its host for others to be brought together."""
    if "ImagePropertiesWeigher" not in scheduler.weighers:
        return ()
    return tuple(f"{IMAGE_MARK}{name}={value}" for name, value in sorted(properties.items()))


_RAW: Final[Mapping[str, tuple[Raw, float | None]]] = {
    "RAMWeigher": (_left("MEMORY_MB"), 0.0),
    "CPUWeigher": (_cpus, 0.0),
    "DiskWeigher": (_left("DISK_GB"), 0.0),
    "HypervisorVersionWeigher": (_version, None),
    "PCIWeigher": (_devices, None),
    "NumInstancesWeigher": (_instances, None),
    "IoOpsWeigher": (_operations, None),
    "BuildFailureWeigher": (lambda site: float(site.host.failed_builds), None),
    "CrossCellWeigher": (lambda site: 0.0, None),
}
