"""The step by which a server, or a volume with it, gets to another host, or by which a move that was cut off ends."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.change import Change, Impact
from stacksmith.model.found import ABANDONED, MOVING, Found
from stacksmith.model.realised import Server
from stacksmith.planner.build import Wanted
from stacksmith.planner.part import changes_with_host
from stacksmith.planner.plan import Step
from stacksmith.planner.step import migrate
from stacksmith.planner.view import View


def migrates(wanted: Wanted, found: Found, view: View, moving: Collection[Address]) -> bool:
    """True for a server that is to move, a volume of one, and either when its move has not ended."""
    if wanted.address.kind == "volume":
        return found.host != wanted.host or MOVING in found.facts
    if found.host == wanted.host:
        return view.left(wanted.address) is not None
    return wanted.address in moving


def move(wanted: Wanted, found: Found, changes: Sequence[Change], view: View) -> tuple[Step, list[str]]:
    """The step that moves it, or that ends a move: from where a copy was left, else from where it was recorded; and
    why it cannot be made."""
    if found.host != wanted.host:
        step = migrate(wanted, found)
    else:
        left, record = view.left(wanted.address), view.records.get(wanted.address)
        step = migrate(wanted, left or found, "" if left is not None or record is None else record.host)
        changes = [c for c in changes if c.path != "autostart"]  # libvirt does not bring it along: the end sets it
    if ABANDONED in found.facts:
        changes = [c for c in changes if c.path != "power_state"]  # the migration paused it, and lets it go on
    with_host = [replace(c, impact=Impact.MIGRATE, note="") for c in changes if changes_with_host(c)]
    others = [c.path for c in changes if not changes_with_host(c)]
    causes = []
    if others:
        causes.append(f"it would change with its host: {', '.join(others)}")
    if isinstance(found.spec, Server) and found.spec.pci_devices and found.spec.power_state != "stopped":
        causes.append("a running server cannot take its PCI devices along: stop it first")
    if found.host != wanted.host and MOVING in found.facts:
        causes.append(f"its move to {found.host} has not ended: apply that first")
    return replace(step, changes=tuple(with_host)), causes
