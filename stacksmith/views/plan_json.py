"""A plan as JSON in Terraform's shape, with a key ``stacksmith`` for what Terraform has no word for.

Shape: https://developer.hashicorp.com/terraform/internals/json-format (plan representation).
"""

from collections.abc import Iterable

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact
from stacksmith.model.found import Unmanaged
from stacksmith.model.types import JSON
from stacksmith.placement.verdict import Clash, Conflict, Constraint, Optimum, Placement, Relaxation
from stacksmith.planner.aim import Evenness, Outcome
from stacksmith.planner.plan import Deviation, Plan, Step
from stacksmith.views import block, path
from stacksmith.views.action import Action, ResourceAction, resource_actions

FORMAT_VERSION = "1.2"

_ACTIONS = {
    Action.CREATE: ["create"],
    Action.UPDATE: ["update"],
    Action.REPLACE: ["delete", "create"],
    Action.DELETE: ["delete"],
    Action.MIGRATE: ["update"],
    Action.FORGET: ["forget"],
}


def plan_data(plan: Plan, timestamp: str) -> JSON:
    """The JSON data of a plan. ``timestamp`` is RFC 3339, of when it was made. Sensitive values are null."""
    resources = [(action.address, _resource(plan, action)) for action in resource_actions(plan)]
    resources += [(each.address, _unchanged(each.address)) for each in plan.unchanged]
    return {
        "format_version": FORMAT_VERSION,
        "timestamp": timestamp,
        "applyable": bool(plan.steps) and not plan.refusals,
        "complete": not plan.unreachable and not plan.unknown,
        "errored": False,
        "planned_values": {
            "outputs": {name: {"sensitive": False, "value": plan.outputs[name]} for name in sorted(plan.outputs)}
        },
        "resource_changes": [data for _, data in sorted(resources, key=lambda pair: pair[0].order)],
        "resource_drift": [
            _drift(each) for each in sorted(plan.deviations, key=lambda deviation: deviation.address.order)
        ],
        "checks": [],
        "stacksmith": _own(plan),
    }


def change_data(change: Change) -> JSON:
    """One field's difference with where it came from and what it does."""
    values = {"wanted": change.wanted, "applied": change.applied, "found": change.found}
    return {
        "path": change.path,
        "status": change.status.value,
        "impact": change.impact.word,
        "note": change.note,
        "saved_only": change.saved_only,
        "sensitive": change.sensitive,
        **(dict.fromkeys(values) if change.sensitive else values),
    }


def deviation_data(deviation: Deviation) -> JSON:
    """One deviating object."""
    return {
        "address": str(deviation.address),
        "host": deviation.host,
        "missing": deviation.missing,
        "problem": deviation.problem,
        "changes": [change_data(change) for change in deviation.changes],
    }


def unmanaged_data(each: Unmanaged) -> JSON:
    """One object that is not this stack's."""
    return {
        "kind": each.kind,
        "host": each.host,
        "name": each.name,
        "uuid": each.uuid,
        "owner": each.owner,
        "detail": each.detail,
    }


def placement_data(placement: Placement) -> JSON:
    """One server's place with every host's verdict; of one without a place also what conflicts and would help."""
    data: dict[str, JSON] = {
        "address": str(placement.address),
        "host": placement.host,
        "kept": placement.kept,
        "cause": placement.cause,
        "hint": placement.hint,
        "verdicts": [
            {"host": v.host, "fits": v.fits, "reason": v.reason, "score": v.score} for v in placement.verdicts
        ],
    }
    if placement.host is None:
        data["conflict"] = None if placement.conflict is None else _conflict(placement.conflict)
        data["relaxations"] = [_relaxation(each) for each in placement.relaxations]
        data["clash"] = None if placement.clash is None else _clash(placement.clash)
    return data


def _conflict(conflict: Conflict) -> JSON:
    return {
        "beside": conflict.beside.value,
        "usable_hosts": conflict.usable,
        "smallest": conflict.smallest,
        "constraints": [
            {**_constraint(t.constraint), "words": t.words, "met_by": list(t.hosts)} for t in conflict.terms
        ],
    }


def _relaxation(relaxation: Relaxation) -> JSON:
    remedies: list[JSON] = [{**_constraint(c.constraint), "words": c.words} for c in relaxation.remedies]
    return {"host": relaxation.host, "hosts_alike": relaxation.like, "remedies": remedies}


def _clash(clash: Clash) -> JSON:
    return {
        "addresses": [str(address) for address in clash.addresses],
        "constraints": [_constraint(each) for each in clash.constraints],
        "irreducible": clash.irreducible,
        "smallest": clash.smallest,
    }


def _constraint(constraint: Constraint) -> dict[str, JSON]:
    return {"rule": constraint.rule, "subject": constraint.subject, "about": constraint.about}


def optimum_data(optimum: Optimum) -> JSON:
    """How good a joint placement is, with its bound."""
    return {
        "opened": optimum.opened,
        "opened_at_least": optimum.opened_at_least,
        "missed": optimum.missed,
        "missed_at_least": optimum.missed_at_least,
        "proven": optimum.proven,
        "stopped_after_seconds": optimum.stopped_after,
    }


def outcome_data(outcome: Outcome) -> JSON:
    """What a rebalance comes to."""
    return {
        "is_fewest": outcome.is_fewest,
        "not_reached": list(outcome.left),
        "tolerance": outcome.tolerance,
        "before": _evenness(outcome.before),
        "after": _evenness(outcome.after),
    }


def _evenness(each: Evenness | None) -> JSON:
    if each is None:
        return None
    shares: JSON = dict(each.shares)
    return {"resource_class": each.resource_class, "zone": each.zone, "shares": shares, "spread": each.spread}


def _head(address: Address) -> dict[str, JSON]:
    head: dict[str, JSON] = {
        "address": str(address),
        "mode": "managed",
        "type": address.kind,
        "name": address.name,
        "provider_name": "stacksmith",
    }
    return head if address.key is None else {**head, "index": address.key}


def _resource(plan: Plan, action: ResourceAction) -> JSON:
    before = action.before
    after = _after(action)
    sensitive = [change.path for change in action.changes if change.sensitive]
    for each in sensitive:
        before, after = path.masked(before, each, None), path.masked(after, each, None)
    change: dict[str, JSON] = {
        "actions": _ACTIONS[action.action],
        "before": None if action.action is Action.CREATE else before,
        "after": after,
        "after_unknown": {},
        "before_sensitive": _flags(sensitive),
        "after_sensitive": _flags(sensitive),
    }
    if action.action is Action.REPLACE:
        forced = [each for each in action.changes if each.impact >= Impact.REPLACE]
        change["replace_paths"] = [path.parts(each.path) for each in forced]
    data = {**_head(action.address), "change": change}
    reason = _reason(plan, action)
    return data if reason is None else {**data, "action_reason": reason}


def _after(action: ResourceAction) -> JSON:
    if action.action is Action.DELETE:
        return None
    if action.action is Action.FORGET and action.step.wanted is None:
        return action.before
    wanted = block.data_of(action.step.wanted)
    if action.action is Action.UPDATE and isinstance(action.before, dict) and isinstance(wanted, dict):
        # What was not declared is left alone.
        return {**action.before, **{name: item for name, item in wanted.items() if item is not None}}
    return wanted


def _flags(paths: Iterable[str]) -> JSON:
    return {block.top(each): True for each in paths}


def _reason(plan: Plan, action: ResourceAction) -> str | None:
    if action.action is Action.REPLACE:
        return "replace_because_cannot_update" if action.changes else "replace_by_request"
    if action.action is Action.DELETE and not plan.destroy:
        return "delete_because_no_resource_config"
    return None


def _unchanged(address: Address) -> JSON:
    change: JSON = {"actions": ["no-op"], "before": None, "after": None, "after_unknown": {}}
    return {**_head(address), "change": change}


def _drift(deviation: Deviation) -> JSON:
    shown = [change for change in deviation.changes if not change.sensitive]
    hidden = [change.path for change in deviation.changes if change.sensitive]
    change: JSON = {
        "actions": ["delete"] if deviation.missing else ["update"],
        "before": {change.path: change.applied for change in shown},
        "after": None if deviation.missing else {change.path: change.found for change in shown},
        "after_unknown": {},
        "before_sensitive": _flags(hidden),
        "after_sensitive": _flags(hidden),
    }
    return {**_head(deviation.address), "change": change}


def _own(plan: Plan) -> JSON:
    return {
        "format_version": plan.format_version,
        "fleet": plan.fleet,
        "stack": plan.stack,
        "destroy": plan.destroy,
        "impact": plan.impact.word,
        "steps": [_step(step) for step in plan.steps],
        "deviations": [deviation_data(each) for each in plan.deviations],
        "placements": [placement_data(each) for each in plan.placements],
        "optimum": None if plan.optimum is None else optimum_data(plan.optimum),
        **({} if plan.outcome is None else {"outcome": outcome_data(plan.outcome)}),
        "refusals": [{"step": step, "cause": cause} for step, cause in plan.refusals],
        "unmanaged": [unmanaged_data(each) for each in plan.unmanaged],
        "unreachable": [{"host": host, "error": error} for host, error in plan.unreachable],
        "unknown": [str(address) for address in plan.unknown],
        "unchanged": [{"address": str(each.address), "host": each.host} for each in plan.unchanged],
    }


def _step(step: Step) -> JSON:
    return {
        "id": step.id,
        "operation": step.operation.value,
        "address": str(step.address),
        "host": step.host,
        **({"source": step.source} if step.source else {}),
        "uuid": step.uuid,
        "reason": step.reason,
        "impact": step.impact.word,
        "fingerprint": step.fingerprint,
        "replaces": step.replaces,
        "partial": step.partial,
        "requires": list(step.requires),
        "changes": [change_data(change) for change in step.changes],
    }
