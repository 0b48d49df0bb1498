"""Events of a run as JSON Lines."""

import re
from dataclasses import fields

from stacksmith.events import Event
from stacksmith.model.types import JSON

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def event_data(event: Event, sequence: int, timestamp: str) -> JSON:
    """``{sequence, time, type, …}``; type is the event's name in lower case (``step_done``), the rest its fields."""
    data: dict[str, JSON] = {
        "sequence": sequence,
        "time": timestamp,
        "type": _WORD.sub("_", type(event).__name__).lower(),
    }
    for field in fields(event):
        item = getattr(event, field.name)
        data[field.name] = str(item) if field.name == "address" else item
    return data
