"""One resource as it is, as it was applied and as it is wanted; and what the state store holds."""

from collections.abc import Iterable

from stacksmith.model.found import Found
from stacksmith.model.realised import to_data
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.planner.plan import Step
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.plan_json import change_data
from stacksmith.views.table import table


def resource_data(found: Found | None, applied: JSON, step: Step | None) -> JSON:
    """What is there (``found``), what was last applied, and the step that would change it; null where there is none.

    Without a step the resource is wanted as it was applied.
    """
    return {
        "found": None if found is None else _found(found),
        "applied": applied,
        "wanted": to_data(step.wanted) if step is not None and step.wanted is not None else applied,
        "step": None if step is None else {"id": step.id, "reason": step.reason, "impact": step.impact.word},
        "changes": [] if step is None else [change_data(change) for change in step.changes],
    }


def _found(found: Found) -> JSON:
    data = {
        "host": found.host,
        "name": found.name,
        "uuid": found.uuid,
        "fingerprint": found.fingerprint,
        "partial": found.partial,
        "problem": found.problem,
        "facts": dict(found.facts),
        "spec": _without_none(to_data(found.spec)),
    }
    return data if found.saved is None else {**data, "saved": _without_none(to_data(found.saved))}


def _without_none(data: JSON) -> JSON:
    if isinstance(data, dict):
        return {name: _without_none(item) for name, item in data.items() if item is not None}
    return [_without_none(item) for item in data] if isinstance(data, list) else data


def records_text(records: Iterable[Record], paint: Paint = PLAIN) -> str:
    """The table of ``state list``."""
    rows = [
        (str(each.address), each.host, each.uuid, "" if each.complete else "unfinished", _policy(each))
        for each in sorted(records, key=lambda record: record.address.order)
    ]
    return "\n".join(table(("RESOURCE", "HOST", "UUID", "STATE", "POLICY"), rows, paint)) + "\n"


def _policy(record: Record) -> str:
    words = ["protected"] if record.policy.protect else []
    words += ["kept on destroy"] if record.policy.on_destroy == "keep" else []
    return ", ".join([*words, "wiped on destroy"] if record.policy.wipe else words)


def record_data(record: Record) -> JSON:
    """One record as JSON data."""
    return {
        "address": str(record.address),
        "host": record.host,
        "uuid": record.uuid,
        "complete": record.complete,
        "policy": to_data(record.policy),
        "requires": [str(address) for address in record.requires],
        "applied": record.applied,
    }
