"""The report that GitLab's merge request widget reads: ``artifacts: reports: terraform: plan.json``."""

from stacksmith.model.types import JSON
from stacksmith.planner.plan import Operation, Plan


def gitlab_data(plan: Plan) -> JSON:
    """Numbers of resources by what happens to them."""
    return {
        "create": plan.count(Operation.CREATE),
        "update": plan.count(Operation.UPDATE),
        "delete": plan.count(Operation.DELETE),
    }
