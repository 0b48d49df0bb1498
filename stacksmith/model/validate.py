"""Data against a spec: pydantic's errors in our words, each at its key or value."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stacksmith.address import Address
from stacksmith.model.document import DataPath
from stacksmith.model.findings import Findings, did_you_mean
from stacksmith.model.near import nearest
from stacksmith.model.scalar import shorten
from stacksmith.model.spec import Spec
from stacksmith.model.stack import Where
from stacksmith.model.types import JSON

S = TypeVar("S", bound=Spec)

# Words of OpenStack that will have a meaning: better refused in plain words than as a spelling mistake.
LATER: Final = frozenset({"security_groups"})
# What other programs call keys of ours, where the spelling does not tell.
OTHER_WORDS: Final = {"memory": "ram", "mem": "ram", "cpu": "vcpus", "cores": "vcpus", "key_name": "keypair"}

_TRUTHS: Final = dict.fromkeys(("yes", "on", "y", "true"), "true") | dict.fromkeys(("no", "off", "n", "false"), "false")
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_RANGE: Final = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "greater_than": "more than {gt}",
    "less_than": "less than {lt}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entries",
}


def validate(
    model: type[S], data: JSON, address: Address | str, where: Where, findings: Findings, source: JSON = None
) -> S | None:
    """The spec of ``data``, or None with every fault found in it reported.

    ``source`` is the data before its expressions were evaluated: a number that one gave where text is wanted, as
    ``metadata: {place: "{{ index }}"}``, becomes text.
    """
    try:
        return model.model_validate(data)
    except ValidationError as fault:
        details = fault.errors(include_url=False, include_context=True)
    if source is not None and any(_to_text(detail, data, source) for detail in details):
        return validate(model, data, address, where, findings)
    _report(model, _by_path(details, data), address, where, findings)
    return None


def check_shape(model: type[Spec], data: JSON, address: Address | str, where: Where, findings: Findings) -> None:
    """Reports what is wrong in data whose expressions could not be evaluated, whatever they would give."""
    try:
        model.model_validate(data)
    except ValidationError as fault:
        groups = _by_path(fault.errors(include_url=False, include_context=True), data)
        sure = {path: group for path, group in groups.items() if _is_sure(path, group, data)}
        _report(model, sure, address, where, findings)


def _is_sure(path: DataPath, group: Sequence[ErrorDetails], data: JSON) -> bool:
    if group[0]["type"] in ("extra_forbidden", "missing"):
        return True
    for part in path:
        data = _part(data, part)
    return not _has_expression(data)


def _has_expression(data: JSON) -> bool:
    if isinstance(data, dict | list):
        return any(map(_has_expression, data.values() if isinstance(data, dict) else data))
    return isinstance(data, str) and "{{" in data


def _report(
    model: type[Spec],
    groups: Mapping[DataPath, Sequence[ErrorDetails]],
    address: Address | str,
    where: Where,
    findings: Findings,
) -> None:
    if findings.is_full:
        findings.error("too-many", f"cannot read {address}", where())
        return
    name = address if isinstance(address, Address) else None
    misspelt = {(path[:-1], _meant(model, path)) for path, group in groups.items() if _is_unknown(group)}
    for path, group in groups.items():
        code, cause, hint, at_key = _words(model, path, group)
        if code == "missing-key" and (path[:-1], path[-1]) in misspelt:
            continue  # said already, at the key that means it
        label = f"{address}{_dotted(path[:-1] if code in ('missing-key', 'unknown-key') else path)}"
        findings.error(code, f"cannot read {label}: {cause}", where(path, key=at_key), hint, name)


def _to_text(detail: ErrorDetails, data: JSON, source: JSON) -> bool:
    """Writes a number as text in ``data`` where an expression gave it and text is wanted; whether it did."""
    path = _data_path(detail, data)
    value = detail["input"]
    if detail["type"] != "string_type" or not isinstance(value, int | float) or not path:
        return False
    for part in path[:-1]:
        data = data[part]
        source = _part(source, part)
    if not isinstance(_part(source, path[-1]), str):
        return False
    data[path[-1]] = found(value)
    return True


def _part(source: JSON, part: str | int) -> JSON:
    """What ``source`` has at ``part``, None when it has nothing."""
    if isinstance(source, dict):
        return source.get(part)
    return source[part] if isinstance(source, list) and isinstance(part, int) and part < len(source) else None


def _by_path(details: Sequence[ErrorDetails], data: JSON) -> dict[DataPath, list[ErrorDetails]]:
    """Errors by the path in the data; of a union's branches only those that go deepest."""
    groups: dict[DataPath, list[ErrorDetails]] = {}
    for detail in details:
        groups.setdefault(_data_path(detail, data), []).append(detail)
    parents = {path[:depth] for path in groups for depth in range(len(path))}
    return {path: group for path, group in groups.items() if path not in parents or not _is_shape(group)}


def _is_shape(group: Sequence[ErrorDetails]) -> bool:
    """True when all that is said is that the value is of another branch of a union."""
    return all(detail["type"] in _EXPECTED or detail["type"] == "literal_error" for detail in group)


def _data_path(detail: ErrorDetails, data: JSON) -> DataPath:
    """``loc`` without the names pydantic adds for unions and keys; a missing key stays as the last part."""
    path: list[str | int] = []
    for part in detail["loc"]:
        if part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data)):
            data = data[part]
        elif not (detail["type"] == "missing" and part == detail["loc"][-1]):
            continue
        path.append(part)
    return tuple(path)


def _is_unknown(group: Sequence[ErrorDetails]) -> bool:
    return group[0]["type"] == "extra_forbidden"


def _meant(model: type[Spec], path: DataPath) -> str | None:
    choices = keys_at(model, path[:-1])
    other = OTHER_WORDS.get(str(path[-1]))
    if other in choices:
        return other
    return nearest(str(path[-1]), choices)


def _words(model: type[Spec], path: DataPath, group: Sequence[ErrorDetails]) -> tuple[str, str, str | None, bool]:
    """Code, cause, hint, and whether it is about the key; of a union the branch that has the shape of the value."""
    first = next((detail for detail in group if not _is_shape([detail])), group[0])
    kind = first["type"]
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), keys_at(model, path[:-1]), model.MERGE_HINT)
    if kind == "missing":
        return "missing-key", f"key {path[-1]!r} is missing", None, False
    if kind in _RANGE:
        allowed = _RANGE[kind].format(**first.get("ctx", {}))
        return "out-of-range", f"expected {allowed}, found {found(first['input'])}", None, False
    if _is_shape(group):
        code, cause, hint, about_key = _wrong_type(group)
        return code, cause, _mapping_hint(model, path, group) or hint, about_key
    if kind == "string_pattern_mismatch":
        pattern = first["ctx"]["pattern"]
        return "wrong-value", f"{found(first['input'])} does not match {pattern}", None, False
    if kind == "value_error":
        error = first["ctx"]["error"]
        return "wrong-value", str(error), getattr(error, "hint", None), False
    return "wrong-value", first["msg"], None, False


def _wrong_type(group: Sequence[ErrorDetails]) -> tuple[str, str, str | None, bool]:
    value = group[0]["input"]
    literals = [detail["ctx"]["expected"] for detail in group if detail["type"] == "literal_error"]
    kinds = [_EXPECTED[detail["type"]] for detail in group if detail["type"] in _EXPECTED]
    expected = " or ".join(dict.fromkeys([*kinds, *literals]))
    code = "wrong-value" if literals and isinstance(value, str) else "wrong-type"
    hint = next((hint for detail in group if (hint := _type_hint(value, detail["type"]))), None)
    if hint is None and literals and isinstance(value, str):
        hint = did_you_mean(value, [word.strip("'") for word in literals[0].replace(" or ", ", ").split(", ")])
    return code, f"expected {expected}, found {found(value)}", hint, False


def _type_hint(value: Any, kind: str) -> str | None:
    if kind == "string_type" and isinstance(value, int | float):
        return f'write "{found(value)}" in quotes'
    if kind == "bool_type" and str(value).lower() in _TRUTHS:
        return f"write {_TRUTHS[str(value).lower()]}, without quotes"
    if kind in ("int_type", "float_type") and isinstance(value, str) and value.isdigit():
        return "write the number without quotes"
    if kind == "list_type" and isinstance(value, str):
        return f"write [{shorten(value)}]"
    return None


def _mapping_hint(model: type[Spec], path: DataPath, group: Sequence[ErrorDetails]) -> str | None:
    """How a mapping, or a list of them, is written that was given as the value of its only required key."""
    value, kinds = group[0]["input"], {detail["type"] for detail in group}
    required = [key for kind in kinds_at(model, path) for key, info in kind.model_fields.items() if info.is_required()]
    if not isinstance(value, str) or len(required) != 1:
        return None
    mapping = f"{{{required[0]}: {shorten(value)}}}"
    return f"write [{mapping}]" if "list_type" in kinds else f"write {mapping}"


def _unknown_key(key: str, choices: Sequence[str], merge_hint: str) -> tuple[str, str, str | None, bool]:
    if key in LATER:
        return "unknown-key", f"{key!r} is not supported yet", "take it out for now", True
    if key == "<<":
        return "unknown-key", "'<<' is not part of YAML 1.2", merge_hint, True
    if OTHER_WORDS.get(key) in choices:
        return "unknown-key", f"unknown key {key!r}", f"it is called {OTHER_WORDS[key]!r} here", True
    return "unknown-key", f"unknown key {shorten(key)!r}", did_you_mean(key, choices, "keys"), True


def found(value: Any) -> str:
    """A value as the file has it, short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(shorten(value))
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else shorten(str(value))


def _dotted(path: DataPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" for part in path)


def keys_at(model: type[BaseModel], path: DataPath) -> list[str]:
    """The keys allowed at a path of a spec."""
    return sorted({name for kind in kinds_at(model, path) for name in kind.model_fields})


def kinds_at(model: type[BaseModel], path: DataPath) -> Sequence[type[BaseModel]]:
    """What a mapping at a path of a spec may be."""
    kinds: Sequence[type[BaseModel]] = [model]
    for part in path:
        if isinstance(part, str):
            kinds = [kind for owner in kinds for kind in _inside(owner, part)]
    return kinds


@cache
def _inside(owner: type[BaseModel], name: str) -> tuple[type[BaseModel], ...]:
    info = owner.model_fields.get(name)
    return tuple(_models(info.annotation)) if info is not None else (owner,)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
