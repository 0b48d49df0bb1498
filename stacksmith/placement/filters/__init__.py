"""Nova's filters by name: what each asks of hosts for one request.

Each filter is made into conditions of a request, which hold no matter what else a batch brings. What does change
while a batch is placed is elsewhere: ComputeFilter and zones always hold, server groups are rules of units, the
numbers of servers and of operations in flight are inventories, ``INSTANCES`` and ``IO_OPS``, of which each server takes
one, and a query about what is used is asked at the moment of placing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.check.extra_spec import AGGREGATE_SCOPE
from stacksmith.model.query import Query
from stacksmith.model.scheduler import SchedulerSpec
from stacksmith.placement.filters.aggregate import ExtraSpecs, FlavorNames, ImageProperties, Isolation, Tenants
from stacksmith.placement.filters.capability import Capabilities, is_steady
from stacksmith.placement.filters.image import PROPERTIES, VERSION, IsolatedHosts, Runs, canonical
from stacksmith.placement.filters.metric import Metrics
from stacksmith.placement.filters.near import NearAddress
from stacksmith.placement.filters.query import Queried
from stacksmith.placement.host import UNLIMITED, Inventory
from stacksmith.placement.refusal import Condition, Momentary


@dataclass(frozen=True, slots=True)
class Asked:
    """What filters know of a server. ``traits`` are those it requires; ``image`` is None for one without.

    ``tenant`` is whose it is. Its hints give ``query``, and ``near``: a network that its host's address is to be in.
    """

    flavor: str
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    tenant: str = ""
    query: Query | None = None
    near: str = ""


def conditions(scheduler: SchedulerSpec, asked: Asked) -> tuple[Condition, ...]:
    """The conditions of one server, in order of the filters' names; aggregates kept for a trait always hold."""
    made: list[Condition] = [Isolation(asked.traits)]
    for name in sorted(set(scheduler.enabled_filters) & _MAKERS.keys()):
        made += _MAKERS[name](scheduler, asked)
    return tuple(made)


def instances(scheduler: SchedulerSpec, metadata: Mapping[str, tuple[str, ...]]) -> Inventory | None:
    """How many servers a host with this metadata may have; the smallest number wins, None when nothing counts them."""
    return _limited(scheduler, metadata, "NumInstances", "max_instances_per_host")


def operations(scheduler: SchedulerSpec, metadata: Mapping[str, tuple[str, ...]]) -> Inventory | None:
    """How many operations a host with this metadata may have in flight, as ``instances``."""
    return _limited(scheduler, metadata, "IoOps", "max_io_ops_per_host")


def _limited(
    scheduler: SchedulerSpec, metadata: Mapping[str, tuple[str, ...]], what: str, option: str
) -> Inventory | None:
    """By the filters and the weigher that have ``what`` in their names, and the option that both filters read."""
    of_fleet: int = getattr(scheduler, option)
    limits = []
    if f"{what}Filter" in scheduler.enabled_filters:
        limits.append(of_fleet)
    if f"Aggregate{what}Filter" in scheduler.enabled_filters:
        limits.append(min((int(value) for value in metadata.get(option, ())), default=of_fleet))
    if limits:
        return Inventory(min(limits))
    asks = f"{what}Weigher" in scheduler.weighers or "JsonFilter" in scheduler.enabled_filters
    return Inventory(UNLIMITED) if asks else None


def queries(scheduler: SchedulerSpec, asked: Asked) -> tuple[Momentary, ...]:
    """What one server asks whose answer the batch may change; what is steady is a condition."""
    found: list[Momentary] = []
    if asked.query is not None and "JsonFilter" in scheduler.enabled_filters:
        found += [each for each in [Queried(asked.query)] if not each.is_steady]
    if "ComputeCapabilitiesFilter" in scheduler.enabled_filters:
        found += _of_capabilities(asked, steady=False)
    return tuple(found)


def _query(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    if asked.query is not None and (asks := Queried(asked.query)).is_steady:
        yield asks


def _near(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    if asked.near:
        yield NearAddress(asked.near)


def _tenants(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    yield Tenants(asked.tenant)


def _metrics(scheduler: SchedulerSpec, _: Asked) -> Iterator[Condition]:
    if scheduler.metrics_weight_setting:
        yield Metrics(tuple(scheduler.metrics_weight_setting))


def _extra_specs(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    wanted = []
    for key, value in sorted(asked.extra_specs.items()):
        scope, colon, name = key.partition(":")
        if not colon or scope == AGGREGATE_SCOPE:
            wanted.append((name if colon else key, value))
    if wanted:
        yield ExtraSpecs(tuple(wanted))


def _image_isolation(scheduler: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    namespace = scheduler.aggregate_image_properties_isolation_namespace
    prefix = namespace + scheduler.aggregate_image_properties_isolation_separator if namespace else ""
    told = tuple((key, value) for key, value in sorted(asked.properties.items()) if key.startswith(prefix) and value)
    if told:
        yield ImageProperties(told)


def _flavor_names(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    yield FlavorNames(asked.flavor)


def _capabilities(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    yield from _of_capabilities(asked, steady=True)


def _of_capabilities(asked: Asked, steady: bool) -> Iterator[Capabilities]:
    """What extra specs ask of capabilities, of those that change with what is on a host or of the others."""
    wanted = []
    for key, value in sorted(asked.extra_specs.items()):
        scope, *path = key.split(":")
        if (not path or scope == "capabilities") and is_steady(tuple(path or [key])) == steady:
            wanted.append((tuple(path or [key]), value, bool(path)))
    if wanted:
        yield Capabilities(tuple(wanted))


def _runs(_: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    wanted = tuple(canonical(asked.properties.get(name, "")) for name in PROPERTIES)
    version = asked.properties.get(VERSION, "")
    if any(wanted) or version:
        yield Runs(wanted, version)


def _isolated_hosts(scheduler: SchedulerSpec, asked: Asked) -> Iterator[Condition]:
    hosts = frozenset(scheduler.isolated_hosts)
    yield IsolatedHosts(
        hosts, asked.image in scheduler.isolated_images, scheduler.restrict_isolated_hosts_to_isolated_images
    )


_MAKERS: Final[Mapping[str, Callable[[SchedulerSpec, Asked], Iterator[Condition]]]] = {
    "AggregateImagePropertiesIsolation": _image_isolation,
    "AggregateInstanceExtraSpecsFilter": _extra_specs,
    "AggregateMultiTenancyIsolation": _tenants,
    "AggregateTypeAffinityFilter": _flavor_names,
    "ComputeCapabilitiesFilter": _capabilities,
    "ImagePropertiesFilter": _runs,
    "IsolatedHostsFilter": _isolated_hosts,
    "JsonFilter": _query,
    "MetricsFilter": _metrics,
    "SimpleCIDRAffinityFilter": _near,
}
