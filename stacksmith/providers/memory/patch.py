"""Changes applied to a spec, by their paths."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from stacksmith.model.change import Change
from stacksmith.model.realised import LIST_KEYS, Realised, from_data, to_data
from stacksmith.model.types import JSON

R = TypeVar("R", bound=Realised)
_ELEMENT = re.compile(r"(?P<list>[a-z_]+)\[(?P<key>.*?)\](?:\.(?P<rest>.+))?")


def patched(kind: str, spec: R, changes: Iterable[Change]) -> R:
    """``spec`` with every change's wanted value at its path (``disks[vdb].size_bytes``, ``metadata.role``).

    A wanted None removes an element of a list or a key of the metadata. Changes of the policy concern only the mark.
    """
    changes = [change for change in changes if not change.path.startswith("policy.")]
    if not changes:
        return spec
    data = to_data(spec)
    for change in changes:
        _set(data, change.path, change.wanted)
    return from_data(kind, data)  # type: ignore[return-value]


def _set(data: JSON, path: str, value: JSON) -> None:
    element = _ELEMENT.fullmatch(path)
    name, _, rest = path.partition(".")
    if element is not None:
        data[element["list"]] = _with_element(data[element["list"]], element, value)
    elif rest and isinstance(data[name], dict):
        _set_key(data[name], rest, value, declared=name == "metadata")
    else:
        data[name] = value


def _set_key(data: dict[str, JSON], key: str, value: JSON, declared: bool) -> None:
    if value is None and declared:
        data.pop(key, None)
    else:
        data[key] = value


def _with_element(elements: Sequence[JSON], match: re.Match[str], value: JSON) -> list[JSON]:
    key = LIST_KEYS[match["list"]]
    result = []
    for element in elements:
        if element[key] != match["key"]:
            result.append(element)
        elif match["rest"]:
            result.append({**element, match["rest"]: value})
        elif value is not None:
            result.append(value)
    if value is not None and not match["rest"] and all(e[key] != match["key"] for e in elements):
        result.append(value)
    return result


def in_order(spec: R, model: Realised | None) -> R:
    """``spec`` with the elements of its lists in the order that ``model`` has them, others after them."""
    if model is None or type(model) is not type(spec):
        return spec
    ordered: dict[str, Any] = {}
    for name in (f.name for f in fields(spec) if f.name in LIST_KEYS):
        key = LIST_KEYS[name]
        places = {getattr(e, key): place for place, e in enumerate(getattr(model, name))}
        ordered[name] = tuple(sorted(getattr(spec, name), key=lambda e: places.get(getattr(e, key), len(places))))
    return replace(spec, **ordered)
