"""JSON data as YAML in block style: short, and the same in YAML 1.1 and 1.2."""

import json
import re
from collections.abc import Iterator

from stacksmith.model.types import JSON

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_UNPRINTABLE = re.compile(
    "[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)  # what YAML wants escaped and JSON does not
# Words that one version of YAML or the other reads as something else than text.
_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def yaml_text(data: JSON) -> str:
    """YAML of a mapping, a list or a scalar, ending in a newline. Text that could be read as another type is quoted."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: JSON) -> Iterator[str]:
    if isinstance(data, dict) and data:
        for key, item in data.items():
            yield from _entry(f"{_scalar(str(key))}:", item)
    elif isinstance(data, list) and data:
        for item in data:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(data)


def _entry(head: str, item: JSON) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        yield head
        yield from (f"  {line}" for line in _lines(item))
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(data: JSON) -> str:
    if isinstance(data, str):
        if _PLAIN.fullmatch(data) and data.lower() not in _RESERVED:
            return data
        # Text in JSON's quotes is text in YAML's double quotes too, escapes included.
        return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(data, ensure_ascii=False))
    return json.dumps(data)
