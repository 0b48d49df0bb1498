"""What a fleet can still take of each flavor: text and JSON."""

from collections.abc import Iterator, Mapping, Sequence

from stacksmith.model.types import JSON
from stacksmith.placement.capacity import Capacity, Room
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table


def capacity_text(capacities: Mapping[str, Capacity], paint: Paint = PLAIN) -> str:
    """How many in all of each flavor, then a table of its hosts with why they take no more."""
    return "\n".join("\n".join(_flavor(name, each, paint)) + "\n" for name, each in capacities.items())


def _flavor(name: str, found: Capacity, paint: Paint) -> Iterator[str]:
    zones = ", ".join(f"{zone or 'no zone'} {_number(count)}" for zone, count in found.by_zone.items())
    listed = f" ({zones})" if any(found.by_zone) else ""
    yield f"{paint.bold}{name}{paint.reset}: {_number(found.total)} more{listed}"
    rows = [_cells(room) for room in found.rooms]
    yield from (f"  {line}" for line in table(("HOST", "ZONE", "MORE", "LIMIT", "WHY NO MORE"), rows, paint))


def _cells(room: Room) -> Sequence[str]:
    return room.host, room.availability_zone or "", _number(room.count), ", ".join(room.limits), room.reason


def _number(count: int | None) -> str:
    return "any number" if count is None else str(count)


def capacity_data(capacities: Mapping[str, Capacity]) -> JSON:
    """``{flavors: [{flavor, total, limits: {CLASS: hosts}, hosts: [{host, …, count, limits, reason}]}]}``.

    A number of null has no limit.
    """
    return {
        "flavors": [
            {
                "flavor": name,
                "total": found.total,
                "limits": dict(found.limits),
                "hosts": [_data(room) for room in found.rooms],
            }
            for name, found in capacities.items()
        ]
    }


def _data(room: Room) -> JSON:
    return {
        "host": room.host,
        "availability_zone": room.availability_zone,
        "count": room.count,
        "limits": list(room.limits),
        "reason": room.reason or None,
    }
