"""Values and counts as people read them."""

import json
import re
from collections.abc import Sequence

from stacksmith.model.change import Impact
from stacksmith.model.types import JSON

UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
LISTED = 10  # names told before the rest is only counted
SENSITIVE = "(sensitive value)"
_MIB = 2**20
_CHECKSUM = re.compile(r"((?:sha256:|sha512:)?[0-9a-f]{12})[0-9a-f]{52,}")
# C0 and C1 controls and the marks that turn the direction of text: a name on a host must not drive the terminal.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SIMPLE = re.compile(r"[\w ./:@+,=%-]*", re.ASCII)

IMPACTS = {
    Impact.NONE: "does not touch the guest",
    Impact.LIVE: "live",
    Impact.RESTART: "restarts the guest",
    Impact.MIGRATE: "moves the guest to another host",
    Impact.REBUILD: "rebuilds the guest's disk",
    Impact.REPLACE: "ends the guest",
    Impact.DATA_LOSS: "loses data",
}


def clean(text: str) -> str:
    """The text without control characters, newlines and tabs excepted: safe to print on a terminal."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def line(text: str) -> str:
    """The text as part of one line: runners of pipelines obey a line that begins with ``::``."""
    return clean(text.replace("\r\n", "\n").replace("\n", "\\n"))


def size(amount_bytes: int) -> str:
    """A size in the largest unit that gives at most two decimals: ``20 GiB``, ``1.5 GiB``; else also in bytes."""
    for unit, factor in UNITS:
        if abs(amount_bytes) >= factor:
            if amount_bytes % factor == 0:
                return f"{amount_bytes // factor} {unit}"
            if amount_bytes * 100 % factor == 0:
                return f"{amount_bytes / factor:.2f}".rstrip("0") + f" {unit}"
            return f"{amount_bytes / factor:.2f} {unit} ({amount_bytes} bytes)"
    return f"{amount_bytes} B"


def rounded(amount_bytes: int) -> str:
    """A size for a table, to one decimal: ``2.9 GiB``; ``0``."""
    for unit, factor in UNITS:
        if amount_bytes >= factor:
            return f"{amount_bytes / factor:.1f}".removesuffix(".0") + f" {unit}"
    return str(amount_bytes)


def label(name: str) -> str:
    """A field's name or path without its unit, which the value shows: ``ram_mib`` is ``ram``."""
    return name.removesuffix("_bytes").removesuffix("_mib")


def value(name: str, data: JSON) -> str:
    """The value of the field ``name`` (or of the path that ends in it) on one line."""
    if isinstance(data, str):
        return text(data)
    if data is None:
        return "(none)"
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, int):
        return size(data) if name.endswith("_bytes") else size(data * _MIB) if name.endswith("_mib") else str(data)
    if isinstance(data, dict):
        inner = ", ".join(f"{line(label(key))} = {value(key, item)}" for key, item in data.items() if item is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(data, list | tuple):
        return "[" + ", ".join(value("", item) for item in data) + "]"
    return str(data)


def text(data: str) -> str:
    """Text in double quotes, controls escaped; of a checksum the first twelve digits."""
    if _SIMPLE.fullmatch(data):
        checksum = _CHECKSUM.fullmatch(data) if len(data) >= 64 else None
        return f'"{checksum[1]}…"' if checksum else f'"{data}"'
    return clean(json.dumps(data, ensure_ascii=False))


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 host``, ``2 hosts``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def few(names: Sequence[str]) -> str:
    """The names, the first ten of many: ``a, b and 3 more``."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def percent(share: float) -> str:
    """A share to one decimal: ``12.5 %``, ``50 %``."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def duration(seconds: float) -> str:
    """``3s``, ``1m20s``, ``1h5m0s``."""
    total = int(seconds)
    minutes, rest = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
