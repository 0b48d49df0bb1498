"""Host aggregates: the zone and the metadata that a host has from them, and their faults."""

from collections.abc import Mapping
from typing import Final

from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.fleet import Fleet, Host
from stacksmith.model.stack import Where
from stacksmith.model.validate import found

ZONE: Final = "availability_zone"


def zone_of(fleet: Fleet, host: Host) -> str | None:
    """The host's zone: its own, else that of the first of its aggregates that has one."""
    zones = (aggregate.availability_zone for name in host.aggregates if (aggregate := fleet.aggregates.get(name)))
    return host.availability_zone or next(filter(None, zones), None)


def metadata_of(fleet: Fleet, host: Host) -> Mapping[str, tuple[str, ...]]:
    """What the host's aggregates say, by key, in the order the host names them; the zone is a key too, as in Nova."""
    values: dict[str, list[str]] = {}
    for name in dict.fromkeys(host.aggregates):
        aggregate = fleet.aggregates.get(name)
        if aggregate is None:
            continue
        zone = {ZONE: aggregate.availability_zone} if aggregate.availability_zone else {}
        for key, value in (aggregate.metadata | zone).items():
            values.setdefault(key, []).append(value)
    return {key: tuple(given) for key, given in values.items()}


def check_aggregates(fleet: Fleet, where: Where, findings: Findings) -> None:
    """Reports names of aggregates that are not there, zones that differ, and metadata without meaning."""
    for name, host in fleet.hosts.items():
        _check_host(name, host, fleet, where, findings)
    for name, aggregate in fleet.aggregates.items():
        if ZONE in aggregate.metadata:
            message = f"cannot use fleet.aggregates.{name}: the zone is no metadata here"
            place = where(("aggregates", name, "metadata", ZONE), key=True)
            findings.error("bad-aggregate", message, place, f"write availability_zone: beside metadata: of {name}")


def _check_host(name: str, host: Host, fleet: Fleet, where: Where, findings: Findings) -> None:
    if host.state == "enabled" and host.state_reason is not None:
        message = f"cannot use fleet.hosts.{name}: an enabled host needs no state_reason"
        hint = "set state: to disabled, drain or failed, or take the reason out"
        findings.error("wrong-value", message, where(("hosts", name, "state_reason")), hint)
    zones = {"the host": host.availability_zone} if host.availability_zone else {}
    for number, given in enumerate(host.aggregates):
        place = where(("hosts", name, "aggregates", number))
        aggregate = fleet.aggregates.get(given)
        if aggregate is None and fleet.aggregates:
            message = f"cannot use fleet.hosts.{name}: there is no aggregate {found(given)}"
            findings.error("unknown-reference", message, place, did_you_mean(given, fleet.aggregates, "aggregates"))
        if aggregate is None or aggregate.availability_zone is None:
            continue
        other, zone = next(iter(zones.items()), ("", aggregate.availability_zone))
        zones.setdefault(f"aggregate {given}", aggregate.availability_zone)
        if zone != aggregate.availability_zone:
            cause = f"{other} is in zone {zone}, aggregate {given} in {aggregate.availability_zone}"
            message = f"cannot use fleet.hosts.{name}: {cause}: a host is in one zone"
            findings.error("bad-aggregate", message, place, "let them agree, or take the host out of one")
