"""What is known of resources that no plan can be made for."""

from collections.abc import Iterable, Iterator

from stacksmith.address import Address
from stacksmith.planner.plan import Deviation
from stacksmith.planner.view import View


def gone(unplanned: Iterable[Address], view: View) -> Iterator[Deviation]:
    """Those that were applied and are not there any more."""
    for address in sorted(unplanned):
        record = view.records.get(address)
        is_read = record is not None and record.host not in view.unreachable
        if record is not None and record.complete and is_read and address not in view.found:
            yield Deviation(address, record.host, missing=True)


def hidden(unplanned: Iterable[Address], view: View) -> list[Address]:
    """Those that were applied on hosts that cannot be read."""
    return [a for a in unplanned if a in view.records and view.records[a].host in view.unreachable]
