"""Volumes that would be made anew: why they cannot be, and what to do instead."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact
from stacksmith.model.found import Found
from stacksmith.planner.disk import GIB
from stacksmith.planner.edge import attached
from stacksmith.planner.graph import matches
from stacksmith.planner.plan import Operation, Step


def refused_replacements(
    steps: Sequence[Step],
    found: Mapping[Address, Found],
    declared: Container[Address],
    replaces: Sequence[str],
) -> Iterator[tuple[str, str]]:
    """(step, cause) for each volume that nobody asked to replace, or that a server keeps meanwhile: no host deletes
    that. Those that are not ``declared`` come with their server."""
    holders = _holders(steps, found)
    for step in steps:
        if step.operation is not Operation.DELETE or not step.replaces or step.address.kind != "volume":
            continue
        asked, holder = any(matches(r, step.address) for r in replaces), holders.get(step.address)
        if asked and holder is None:
            continue
        key = "size" if step.address in declared else "volume_size"
        ways = [f"write `{key}: {-(-c.found // GIB)}` in the stack" for c in step.changes if c.path == "size_bytes"]
        if holder is not None and step.address in declared:
            ways.append(f"detach it first: take it out of the block_device_mapping of {holder} and apply")
        elif holder is not None:
            ways.append(f"--replace {holder} too")
        else:
            ways.append(f"--replace {step.address} asks for that, and loses its data")
        cause = (
            f"cannot replace {step.address}: {holder} has it" if asked else _not_in_place(step.address, step.changes)
        )
        yield step.id, f"{cause}; {', or '.join(ways)}"


def _not_in_place(address: Address, changes: Iterable[Change]) -> str:
    notes = "; ".join(change.note for change in changes if change.impact >= Impact.REPLACE)
    return f"cannot change {address} in place: {notes}"


def _holders(steps: Iterable[Step], found: Mapping[Address, Found]) -> dict[Address, Address]:
    """The server that has each volume until the end of the plan."""
    after = {s.address: s.wanted for s in steps if s.operation in (Operation.DELETE, Operation.UPDATE)}
    holders: dict[Address, Address] = {}
    for address, live in found.items():
        kept = attached(live.spec)
        if address in after:
            kept &= attached(after[address])
        holders |= dict.fromkeys(kept, address)
    return holders
