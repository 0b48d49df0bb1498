"""JSON as this program writes it."""

import json
import re

from stacksmith.model.types import JSON

_OBEYED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def json_text(data: JSON) -> str:
    """Indented JSON with a newline at its end; text stays readable, order is the data's own."""
    return _escaped(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"


def json_line(data: JSON) -> str:
    """One line of JSON Lines."""
    return _escaped(json.dumps(data, separators=(",", ":"), ensure_ascii=False)) + "\n"


def _escaped(text: str) -> str:
    """The same JSON without what JSON leaves as it is and a terminal obeys."""
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
