"""Drift as JSON."""

from collections.abc import Collection

from stacksmith.address import Address
from stacksmith.model.types import JSON
from stacksmith.planner.plan import Plan
from stacksmith.views.drift_text import pending
from stacksmith.views.plan_json import deviation_data, unmanaged_data


def drift_data(plan: Plan, timestamp: str, unplanned: Collection[Address] = ()) -> JSON:
    """What ``drift`` found; lists are empty, never absent. ``unplanned``: no plan can be made for these."""
    return {
        "format_version": "1.0",
        "timestamp": timestamp,
        "fleet": plan.fleet,
        "stack": plan.stack,
        "complete": not plan.unreachable and not plan.unknown,
        "drift": [deviation_data(each) for each in plan.deviations],
        "pending": pending(plan, unplanned),
        "unmanaged": [unmanaged_data(each) for each in plan.unmanaged],
        "unreachable": [{"host": host, "error": error} for host, error in plan.unreachable],
        "unknown": [str(address) for address in plan.unknown],
        "in_sync": [str(each.address) for each in plan.unchanged],
    }
