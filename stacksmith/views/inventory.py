"""Every resource of a stack with where it is and how it is."""

from collections.abc import Mapping

from stacksmith.address import Address
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.types import JSON
from stacksmith.planner.plan import Plan
from stacksmith.views.action import resource_actions
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table


def inventory_text(plan: Plan, snapshot: Snapshot, paint: Paint = PLAIN) -> str:
    """The table of ``stacksmith show``: how each resource is, and what its host says of it."""
    found = _found(snapshot)
    rows = [
        (str(address), host, status, _addresses(found.get(address)), found[address].name if address in found else "")
        for address, (host, status) in sorted(_states(plan).items(), key=lambda item: item[0].order)
    ]
    return "\n".join(table(("RESOURCE", "HOST", "STATUS", "ADDRESSES", "NAME"), rows, paint)) + "\n"


def inventory_data(plan: Plan, snapshot: Snapshot) -> JSON:
    """The same as JSON data."""
    found = _found(snapshot)
    return {
        "resources": [
            {
                "address": str(address),
                "host": host,
                "status": status,
                "name": found[address].name if address in found else None,
                "uuid": found[address].uuid if address in found else None,
                "facts": dict(found[address].facts) if address in found else {},
            }
            for address, (host, status) in sorted(_states(plan).items(), key=lambda item: item[0].order)
        ]
    }


def _found(snapshot: Snapshot) -> Mapping[Address, Found]:
    return {found.address: found for host in snapshot.places for found in host.found}


def _states(plan: Plan) -> dict[Address, tuple[str, str]]:
    """(host, status) by address: in sync, to <action>, drifted, missing, unusable, unknown."""
    states = {each.address: (each.host, "in sync") for each in plan.unchanged}
    states |= {address: ("", "unknown") for address in plan.unknown}
    states |= {each.address: (each.step.host, f"to {each.action}") for each in resource_actions(plan)}
    for each in plan.deviations:
        status = "missing" if each.missing else "unusable" if each.problem else "drifted"
        states[each.address] = (each.host, status)
    return states


def _addresses(found: Found | None) -> str:
    by_mac = found.facts.get("addresses") if found is not None else None
    return ", ".join(str(ip) for ips in by_mac.values() for ip in ips) if isinstance(by_mac, dict) else ""
