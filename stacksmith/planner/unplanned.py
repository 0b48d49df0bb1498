"""Resources that no plan can be made for: why, and what is known of them."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.stack import Resource, Stack
from stacksmith.placement.refusal import NOT_REACHABLE
from stacksmith.placement.relax import OTHER_ZONE
from stacksmith.placement.verdict import Placement, Verdict
from stacksmith.planner.plan import Deviation
from stacksmith.planner.schedule import Moving, kept_zone, zone_told
from stacksmith.planner.view import View

UNREAD: Final = "host-unread"


def gone(unplanned: Iterable[Address], view: View) -> Iterator[Deviation]:
    """Those that were applied and are not there any more."""
    for address in sorted(unplanned):
        record = view.records.get(address)
        is_read = record is not None and record.host not in view.unreachable
        if record is not None and record.complete and is_read and address not in view.found:
            yield Deviation(address, record.host, missing=True)


def hidden(unplanned: Iterable[Address], view: View) -> list[Address]:
    """Those that were applied on hosts that cannot be read."""
    return [a for a in unplanned if a in view.records and view.records[a].host in view.unreachable]


def no_valid_host(stack: Stack, placement: Placement, moving: Moving | None, avoid: Collection[str] = ()) -> Diagnostic:
    """The fault of a server that found no host, with a verdict for each; ``avoid`` are hosts that it must leave."""
    resource = stack.resources.get(placement.address)
    unread = _unread(resource, placement)
    if unread:
        return _not_read(resource, placement.address, unread)
    notes, hint = [f"{v.host}: {v.reason}" for v in placement.verdicts], placement.hint
    if moving is not None and resource is not None:
        zone = kept_zone(stack, resource, moving.host)
        if zone is not None and zone != _asked_zone(resource):
            notes.append(zone_told(zone))
            other = OTHER_ZONE.format(subject=zone or "none")
            leave = f"let it leave availability zone {zone or 'none'} with config_drive: nocloud or false"
            hint = hint and hint.replace(other, leave)
        hint = _with_zone(stack, resource, moving.host, avoid, hint)
    return Diagnostic(
        Severity.ERROR,
        "no-valid-host",
        f"cannot place {placement.address}: {placement.cause}",
        span=resource.where() if resource else None,
        hint=hint,
        address=placement.address,
        notes=tuple((note, None) for note in notes),
    )


def _asked_zone(resource: Resource) -> str | None:
    return resource.spec.availability_zone if isinstance(resource.spec, ServerSpec) else None


def _unread(resource: Resource | None, placement: Placement) -> list[Verdict]:
    """The verdicts of hosts that alone are in question for a server, with why they were not read: the one that it is
    pinned to, or all. Empty when any of them was read."""
    pinned = resource.spec.host if resource is not None and isinstance(resource.spec, ServerSpec) else None
    asked = [verdict for verdict in placement.verdicts if pinned in (None, verdict.host)]
    told = [
        replace(each, reason=each.reason.removeprefix(f"{NOT_REACHABLE}: "))
        for each in asked
        if each.reason.startswith(f"{NOT_REACHABLE}: ")
    ]
    return told if len(told) == len(asked) else []


def _not_read(resource: Resource | None, address: Address, unread: list[Verdict]) -> Diagnostic:
    """The fault of a server whose hosts were not read."""
    names = ", ".join(verdict.host for verdict in unread)
    return Diagnostic(
        Severity.ERROR,
        UNREAD,
        f"cannot place {address}: {unread[0].host} could not be read: {unread[0].reason}",
        span=resource.where() if resource else None,
        hint=f"plan again once {names} can be read",
        address=address,
        notes=tuple((f"{each.host}: {each.reason}", None) for each in unread[1:]),
    )


def _with_zone(stack: Stack, resource: Resource, host: str, avoid: Collection[str], hint: str | None) -> str | None:
    """The hint of a server that is bound to the zone of a host, first with what it takes to stay in it."""
    hosts, spec = stack.fleet.hosts, resource.spec
    zone = hosts[host].availability_zone
    if zone is None or not isinstance(spec, ServerSpec) or spec.host is not None:
        return hint
    is_bound = zone in (spec.availability_zone, kept_zone(stack, resource, host))
    if not is_bound or any(h.availability_zone == zone for name, h in hosts.items() if name not in avoid):
        return hint
    others = f"; or {hint}" if hint and len(avoid) < len(hosts) else ""
    return f"add a host in availability zone {zone}{others}"
