"""Resources that no plan can be made for: why, and what is known of them."""

from collections.abc import Iterable, Iterator

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Severity
from stacksmith.model.stack import Stack
from stacksmith.placement.verdict import Placement
from stacksmith.planner.plan import Deviation
from stacksmith.planner.schedule import Moving, kept_zone
from stacksmith.planner.view import View


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


def no_valid_host(stack: Stack, placement: Placement, moving: Moving | None) -> Diagnostic:
    """The fault of a server that found no host, with a verdict for each."""
    resource = stack.resources.get(placement.address)
    notes = [f"{v.host}: {v.reason}" for v in placement.verdicts]
    if moving is not None and resource is not None and (zone := kept_zone(stack, resource, moving.host)):
        notes.append(
            f"its config drive told the guest its zone, {zone}: it leaves it only with config_drive: nocloud or false"
        )
    return Diagnostic(
        Severity.ERROR,
        "no-valid-host",
        f"cannot place {placement.address}: {placement.cause}",
        span=resource.where() if resource else None,
        hint=placement.hint,
        address=placement.address,
        notes=tuple((note, None) for note in notes),
    )
