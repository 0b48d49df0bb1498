"""Three trees compared field by field: wanted, applied and found (rule 4)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stacksmith.model.change import Change, Status
from stacksmith.model.found import Found
from stacksmith.model.realised import LIST_KEYS, to_data
from stacksmith.model.types import JSON
from stacksmith.planner.build import Wanted
from stacksmith.planner.machine import declared, declared_only
from stacksmith.planner.view import View

# Applied data that is not known: nothing was recorded, so what differs is a change, never drift.
UNKNOWN: Any = object()

# Fields that every server states: None is that it has none.
_STATED = frozenset({"config_drive"})


def differences(wanted: Wanted, found: Found, view: View) -> list[Change]:
    """How what was found differs from what is wanted, in spec (live, then saved) and policy. Equal objects cost one
    comparison. What an update was changing that did not end well is no conflict: nobody else changed it."""
    policy = view.policy(wanted.address)
    changes: list[Change] = []
    if found.spec is None:
        return changes
    spec = declared_only(wanted.spec, found.spec)
    if wanted.spec != spec or found.saved is not None:
        record = view.records.get(wanted.address)
        applied = found.mark.applied if found.mark else record.applied if record and record.complete else None
        applied = UNKNOWN if applied is None else declared(wanted.spec, applied)
        want = to_data(wanted.spec)
        changes = compare(want, applied, to_data(spec))
        if found.saved is not None:
            live = {c.path for c in changes}
            saved = compare(want, applied, to_data(declared_only(wanted.spec, found.saved)))
            changes += [replace(c, saved_only=True) for c in saved if c.path not in live]
        if record is not None and record.begun is not None:
            own = [c.path for c in compare(declared(wanted.spec, record.begun), UNKNOWN, applied)]
            changes = [_as_ours(change, own) for change in changes]
    if policy is not None and policy != wanted.policy:
        before = to_data(policy)
        changes += [replace(c, path=f"policy.{c.path}") for c in compare(to_data(wanted.policy), before, before)]
    return changes


def _as_ours(change: Change, own: list[str]) -> Change:
    is_ours = change.status is Status.CONFLICT and _is_within(change.path, own)
    return replace(change, status=Status.CHANGE) if is_ours else change


def _is_within(path: str, others: list[str]) -> bool:
    """Whether it is one of them, or of a part of it or a whole: ``raid[system]`` of ``raid[system].level``."""
    return any(
        path == other or path.startswith((f"{other}.", f"{other}[")) or other.startswith(f"{path}.") for other in others
    )


def compare(wanted: JSON, applied: JSON, found: JSON) -> list[Change]:
    """The differences between wanted and found data, each with its status; a wanted None is not declared,
    but for a config drive.

    Elements of keyed lists (disks, NICs, …) are matched by key whatever their order; an element that only one side
    has is one change at ``disks[vdc]`` with None for absence, and so is a device whose volume is another.
    """
    return list(_walk("", wanted, applied, found))


def _walk(path: str, wanted: JSON, applied: JSON, found: JSON) -> Iterator[Change]:
    if wanted == found:
        return
    if isinstance(wanted, dict) and isinstance(found, dict) and not _is_other_volume(path, wanted, found):
        known = applied if isinstance(applied, dict) else UNKNOWN if applied is UNKNOWN else {}
        yield from _fields(path, wanted, known, found)
    elif isinstance(wanted, list) and isinstance(found, list) and (key := LIST_KEYS.get(path.rpartition(".")[2])):
        yield from _elements(path, key, wanted, applied, found)
    else:
        yield Change(path, wanted, None if applied is UNKNOWN else applied, found, _status(wanted, applied, found))


def _is_other_volume(path: str, wanted: dict[str, JSON], found: dict[str, JSON]) -> bool:
    volumes = path.startswith("disks[") and wanted.get("source") == found.get("source") == "volume"
    return volumes and bool(wanted["ref"] != found["ref"])


def _fields(path: str, wanted: JSON, applied: JSON, found: JSON) -> Iterator[Change]:
    declared = path.rpartition(".")[2] == "metadata"
    for name in dict.fromkeys([*wanted, *found]):
        want, have = wanted.get(name), found.get(name)
        if want is None and not declared and name not in _STATED:
            continue
        # A field that a later release added was never applied: no drift.
        before = UNKNOWN if applied is UNKNOWN else applied.get(name, None if declared else UNKNOWN)
        yield from _walk(f"{path}.{name}" if path else name, want, before, have)


def _elements(path: str, key: str, wanted: JSON, applied: JSON, found: JSON) -> Iterator[Change]:
    wants, haves = ({e[key]: e for e in side} for side in (wanted, found))
    befores = UNKNOWN if applied is UNKNOWN else {e[key]: e for e in applied or ()}
    for name in dict.fromkeys([*wants, *haves]):
        before = UNKNOWN if befores is UNKNOWN else befores.get(name)
        yield from _walk(f"{path}[{name}]", wants.get(name), before, haves.get(name))


def _status(wanted: JSON, applied: JSON, found: JSON) -> Status:
    if applied is UNKNOWN or applied == found:
        return Status.CHANGE
    return Status.DRIFT if applied == wanted else Status.CONFLICT
