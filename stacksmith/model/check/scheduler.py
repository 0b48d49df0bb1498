"""What the fleet says about scheduling: names that are known, options and metadata that something reads."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.fleet import Fleet
from stacksmith.model.scheduler import (
    FILTERS,
    METADATA_FILTERS,
    MULTIPLIERS,
    OPTION_FILTERS,
    REFUSED_FILTERS,
    TENANTS,
    WEIGHERS,
    SchedulerSpec,
)
from stacksmith.model.stack import Where
from stacksmith.model.validate import found

_COUNTS: Final = ("max_instances_per_host", "max_io_ops_per_host")
_MULTIPLIER: Final = "_weight_multiplier"
NOT_NEGATIVE: Final = ("PCIWeigher", "ServerGroupSoftAffinityWeigher", "ServerGroupSoftAntiAffinityWeigher")


def check_scheduler(fleet: Fleet, where: Where, findings: Findings) -> None:
    """Reports faults of ``scheduler`` and of the aggregates' metadata, and warns of what has no effect."""
    scheduler = fleet.scheduler
    _check_names("filter", "enabled_filters", scheduler.enabled_filters, (FILTERS, REFUSED_FILTERS), where, findings)
    names = scheduler.weight_classes or ()
    _check_names("weigher", "weight_classes", names, (tuple(WEIGHERS), {}), where, findings)
    _check_options(scheduler, where, findings)
    for number, name in enumerate(scheduler.isolated_hosts):
        if name not in fleet.hosts:
            place = where(("scheduler", "isolated_hosts", number))
            message = f"cannot use fleet.scheduler: there is no host {found(name)}"
            findings.error("unknown-reference", message, place, did_you_mean(name, fleet.hosts, "hosts"))
    _check_metrics(fleet, where, findings)
    for name, aggregate in fleet.aggregates.items():
        for key, value in aggregate.metadata.items():
            _check_metadata((name, key, value), scheduler, where, findings)


def _check_names(  # a kind of names, where they are given, and what is known of them
    kind: str,
    option: str,
    names: Sequence[str],
    known: tuple[Sequence[str], Mapping[str, str]],
    where: Where,
    findings: Findings,
) -> None:
    taken, refused = known
    for number, name in enumerate(names):
        place = where(("scheduler", option, number))
        if name in refused:
            message = f"cannot use fleet.scheduler: {name}: {refused[name]}"
            findings.error("bad-scheduler", message, place, f"take it out of {option}")
        elif name not in taken:
            message = f"cannot use fleet.scheduler: there is no {kind} {found(name)}"
            findings.error("bad-scheduler", message, place, did_you_mean(name.rpartition(".")[2], taken, f"{kind}s"))


def _check_options(scheduler: SchedulerSpec, where: Where, findings: Findings) -> None:
    for option, filters in OPTION_FILTERS.items():
        if option in scheduler.model_fields_set and not set(filters) & {
            *scheduler.enabled_filters,
            *scheduler.weighers,
        }:
            place = where(("scheduler", option), key=True)
            message = f"fleet.scheduler.{option} has no effect: {' or '.join(filters)} is not enabled"
            wanting = "weight_classes" if filters[0] in WEIGHERS else "enabled_filters"
            findings.warning("no-effect", message, place, f"add {filters[0]} to {wanting}")
    for option, weigher in (MULTIPLIERS | {"image_props_weight_setting": "ImagePropertiesWeigher"}).items():
        if option in scheduler.model_fields_set and weigher not in scheduler.weighers:
            message = f"fleet.scheduler.{option} has no effect: {weigher} is not enabled"
            hint = f"add {weigher} to weight_classes"
            findings.warning("no-effect", message, where(("scheduler", option), key=True), hint)


def _check_metrics(fleet: Fleet, where: Where, findings: Findings) -> None:
    """Nova's MetricsWeigher raises for a host without a metric that is required; it is told before."""
    scheduler = fleet.scheduler
    weighs, filters = "MetricsWeigher" in scheduler.weighers, "MetricsFilter" in scheduler.enabled_filters
    known = sorted({name for host in fleet.hosts.values() for name in host.metrics})
    for metric in scheduler.metrics_weight_setting if weighs or filters else ():
        if metric not in known:
            place = where(("scheduler", "metrics_weight_setting", metric), key=True)
            message = f"cannot use fleet.scheduler: no host has metric {found(metric)}"
            hint = did_you_mean(metric, known, "metrics") if known else "write it into metrics: of each host"
            findings.error("unknown-reference", message, place, hint)
            continue
        for name, host in fleet.hosts.items() if scheduler.metrics_required and weighs and not filters else ():
            if host.state == "enabled" and metric not in host.metrics:
                message = f"cannot use fleet.hosts.{name}: it has no metric {found(metric)}, which the weights are for"
                hint = "write it into metrics:, enable MetricsFilter, or set metrics_required: false"
                findings.error("bad-scheduler", message, where(("hosts", name, "metrics")), hint)


def _check_metadata(entry: tuple[str, str, str], scheduler: SchedulerSpec, where: Where, findings: Findings) -> None:
    """One (aggregate, key, value)."""
    name, key, value = entry
    place = where(("aggregates", name, "metadata", key))
    for cause, hint in _faults(key, value):
        message = f"cannot use fleet.aggregates.{name}.metadata.{key}: {cause}"
        findings.error("bad-aggregate", message, place, hint)
    wanted = "AggregateMultiTenancyIsolation" if key.startswith(TENANTS) else METADATA_FILTERS.get(key)
    if wanted is not None and wanted not in scheduler.enabled_filters:
        message = f"fleet.aggregates.{name}.metadata.{key} has no effect: {wanted} is not enabled"
        findings.warning("no-effect", message, place, f"add {wanted} to scheduler.enabled_filters")
    weigher = MULTIPLIERS.get(key)
    if weigher is not None and weigher not in scheduler.weighers:
        message = f"fleet.aggregates.{name}.metadata.{key} has no effect: {weigher} is not enabled"
        findings.warning("no-effect", message, place, f"add {weigher} to scheduler.weight_classes")


def _faults(key: str, value: str) -> Iterator[tuple[str, str | None]]:
    if key.startswith(TENANTS) and not all(part.strip() for part in value.split(",")):
        yield f"expected names of stacks, with commas between them, found {found(value)}", None
    elif key in _COUNTS and not (value.isascii() and value.isdigit() and len(value) < 10):
        yield f"expected a whole number, found {found(value)}", None
    elif key.endswith(_MULTIPLIER):
        if key not in MULTIPLIERS:
            yield f"no weigher has {key}", did_you_mean(key, MULTIPLIERS, "multipliers")
        elif not _is_number(value):
            yield f"expected a number, found {found(value)}", None
        elif MULTIPLIERS[key] in NOT_NEGATIVE and float(value) < 0:
            yield f"expected at least 0, found {value}", None
    elif key.startswith("trait:") and value != "required":
        yield f"expected 'required', found {found(value)}", "a trait keeps the aggregate for servers that require it"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
