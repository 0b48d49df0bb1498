"""Paths of changes inside JSON data: ``disks[vdb].size_bytes``."""

import re

from stacksmith.model.realised import LIST_KEYS
from stacksmith.model.types import JSON

_PART = re.compile(r'\.?([^.\[\]]+)|\["?([^\]]*?)"?\]')


def parts(path: str) -> list[str | int]:
    """Keys and indices of a path: ``["disks", "vdb", "size_bytes"]``."""
    found = (match[1] if match[1] is not None else match[2] for match in _PART.finditer(path))
    return [int(part) if part.isdecimal() else part for part in found]


def masked(data: JSON, path: str, mask: JSON) -> JSON:
    """The data with the value at ``path`` replaced by ``mask``; as it is when nothing is there."""
    return _masked(data, parts(path), "", mask)


def _masked(data: JSON, keys: list[str | int], name: str, mask: JSON) -> JSON:
    if not keys:
        return data if data is None else mask
    if isinstance(data, dict):
        return _masked_key(data, keys, mask)
    if isinstance(data, list):
        field = LIST_KEYS.get(name)
        return [
            _masked(item, keys[1:], "", mask)
            if (index == keys[0] if field is None else isinstance(item, dict) and item.get(field) == keys[0])
            else item
            for index, item in enumerate(data)
        ]
    return data


def _masked_key(data: dict[str, JSON], keys: list[str | int], mask: JSON) -> JSON:
    # A key may hold dots itself (metadata), so the longest run of parts that is a key counts.
    for length in range(len(keys), 0, -1):
        key = ".".join(str(part) for part in keys[:length])
        if key in data:
            return {**data, key: _masked(data[key], keys[length:], key, mask)}
    return data
