"""The steps of a plan, each from what is wanted and what was found."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from stacksmith.address import Address
from stacksmith.model.bare_metal import DISK, OTHER_DISKS
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Found, Snapshot
from stacksmith.model.node import ALL_DISKS, Node
from stacksmith.model.raid import deleted, fits, there
from stacksmith.model.realised import Image, Machine, Policy, Server, to_data
from stacksmith.model.record import Record
from stacksmith.model.types import JSON
from stacksmith.planner.build import Wanted
from stacksmith.planner.machine import found_on_disks
from stacksmith.planner.plan import Operation, Step

_SUPERSEDED = ".superseded-"


def create(wanted: Wanted, found: Found | None, reason: str, replaces: bool = False) -> Step:
    """A step that makes an object, or completes the half of it that was found."""
    return Step(
        id=f"{Operation.CREATE} {wanted.address}",
        operation=Operation.CREATE,
        address=wanted.address,
        host=wanted.host,
        uuid=wanted.uuid,
        reason=reason,
        wanted=wanted.spec,
        policy=wanted.policy,
        fingerprint=found.fingerprint if found is not None and not replaces else None,
        partial=found is not None and not replaces,
        replaces=replaces,
        depends_on=wanted.depends_on,
        wait_for=wanted.wait_for,
        limit_seconds=wanted.limit_seconds,
    )


def update(wanted: Wanted, found: Found, changes: tuple[Change, ...], impact: Impact) -> Step:
    """A step that changes an object in place."""
    causes = sorted({c.status.value for c in changes})
    return Step(
        id=f"{Operation.UPDATE} {wanted.address}",
        operation=Operation.UPDATE,
        address=wanted.address,
        host=found.host,
        uuid=wanted.uuid,
        reason={"change": "the stack changed", "drift": "the live object changed"}.get(causes[0], "both changed")
        if len(causes) == 1
        else "both changed",
        wanted=wanted.spec,
        before=to_data(found.spec),
        policy=wanted.policy,
        changes=changes,
        impact=impact,
        fingerprint=found.fingerprint,
        depends_on=wanted.depends_on,
        limit_seconds=wanted.limit_seconds,
    )


def migrate(wanted: Wanted, found: Found, source: str = "") -> Step:
    """A step that moves a server with its local disks to another host, or that ends the move of a volume with its
    server: the server's step brings the data along. ``source`` is where that came from, if ``found`` is there already.
    """
    source = source or found.host
    reason = f"it goes with its server from {source} to {wanted.host}"
    if isinstance(found.spec, Server):
        manner = "cold" if found.spec.power_state == "stopped" else "live"
        has_volumes = any(disk.source == "volume" for disk in found.spec.disks)
        disks = "its local disks and volumes" if has_volumes else "its local disks"
        reason = f"{manner} migration from {source} to {wanted.host}, with {disks}"
    return replace(
        create(wanted, found, reason),
        id=f"{Operation.MIGRATE} {wanted.address}",
        operation=Operation.MIGRATE,
        before=to_data(found.spec),
        impact=Impact.MIGRATE if isinstance(found.spec, Server) else Impact.NONE,
        partial=False,
        wait_for=None,
        source=source,
    )


def forget(address: Address, host: str, record: Record | None, reason: str) -> Step:
    """A step that drops a record and leaves the object."""
    return Step(
        id=f"{Operation.FORGET} {address}",
        operation=Operation.FORGET,
        address=address,
        host=host,
        uuid=record.uuid if record else "",
        reason=reason,
        before=record.applied if record else None,
    )


def delete(address: Address, host: str, found: Found, policy: Policy, reason: str) -> Step:
    """A step that removes an object and what belongs to it."""
    if policy.wipe:
        reason += f"; then its disks are wiped: {', '.join(map(' '.join, sorted(policy.wipe.items())))}"
    return Step(
        id=f"{Operation.DELETE} {address}",
        operation=Operation.DELETE,
        address=address,
        host=host,
        uuid=found.uuid,
        reason=reason,
        before=_there(found),
        policy=policy,
        impact=Impact.DATA_LOSS if policy.wipe else _loss(address, found),
        fingerprint=found.fingerprint,
        partial=found.partial,
    )


def _there(found: Found) -> JSON | None:
    """What is to go: of an image also the files of an upload that did not end."""
    if isinstance(found.spec, Image):
        return to_data(Image(tuple(dict.fromkeys((*found.spec.files, *found.begun)))))
    return to_data(found.spec) if found.spec is not None else None


def _loss(address: Address, found: Found) -> Impact:
    """What a delete takes with it."""
    if address.kind == "volume":
        is_begun = address.host is not None and found.partial  # of a move: the volume is elsewhere, whole
        return Impact.NONE if is_begun else Impact.DATA_LOSS
    is_there = not found.partial or (found.is_unsaved and address.host is None)
    if address.kind != "server" or not is_there:
        return Impact.NONE
    local = isinstance(found.spec, Server) and any(d.source in ("image", "blank") for d in found.spec.disks)
    return Impact.DATA_LOSS if local else Impact.REPLACE


def with_losses(steps: Iterable[Step], snapshot: Snapshot) -> list[Step]:
    """The steps; those that make a server on a node are data-loss where what the node holds is known to be lost."""
    every = list(steps)
    nodes = {snap.host: snap.facts for snap in snapshot.nodes}
    left = {
        step.host: str(step.address)
        for step in every
        if step.operation is Operation.DELETE and step.host in nodes and ALL_DISKS not in step.policy.wipe
    }
    return [
        _with_losses(step, nodes[step.host], left.get(step.host))
        if step.operation is Operation.CREATE and isinstance(step.wanted, Machine) and step.host in nodes
        else step
        for step in every
    ]


def _with_losses(step: Step, facts: Mapping[str, JSON], former: str | None) -> Step:
    """With a change for each RAID volume that is deleted for those that are declared, and for what disks hold: that of
    the ``former`` server, or what an earlier try to deploy has found in its way."""
    wanted = step.wanted
    assert isinstance(wanted, Machine)
    volumes = there(facts) if wanted.raid else []
    lost = [each for each in volumes if not any(fits(volume, each) for volume in wanted.raid)]
    changes = [
        Change(f"raid[{each.name}]", None, None, to_data(each), Status.CHANGE, Impact.DATA_LOSS, deleted(each))
        for each in lost
    ]
    for path, note in _disks_lost(facts, former, bool(lost)).items() if wanted.image else ():
        changes.append(Change(path, None, None, None, Status.CHANGE, Impact.DATA_LOSS, note))
    return replace(step, changes=tuple(changes), impact=Impact.DATA_LOSS) if changes else step


def _disks_lost(facts: Mapping[str, JSON], former: str | None, is_raid_new: bool) -> dict[str, str]:
    """What is lost for an image, by the path of its change."""
    found, lost = found_on_disks(facts), {}
    if "not-empty" in found:
        lost[DISK] = f"the root disk is written over: {found['not-empty']}"
    elif former is not None:
        lost[DISK] = f"the root disk is written over, with what {former} has on it"
    elif is_raid_new:
        lost[DISK] = "the root disk is written over, whatever it holds"
    if "other-disks" in found:
        lost[OTHER_DISKS] = f"a config drive is removed: {found['other-disks']}"
    return lost


def timed(steps: Iterable[Step], nodes: Mapping[str, Node]) -> list[Step]:
    """The steps; those that wipe disks have the time of a wipe."""
    return [
        replace(step, limit_seconds=nodes[step.host].wipe_seconds(whole=True))
        if step.operation is Operation.DELETE and step.policy.wipe and step.host in nodes
        else step
        for step in steps
    ]


def record_of(wanted: Wanted, found: Found) -> Record:
    """The record of an object that is ours and in sync, and that the store does not know, or not as whole."""
    applied = found.mark.applied if found.mark is not None else None
    applied = to_data(found.spec) if applied is None else applied
    return Record(wanted.address, found.host, found.uuid, applied, wanted.policy, True, wanted.depends_on)


def kept(wanted: Wanted, record: Record | None) -> Record | None:
    """The record of what is in sync, where it is not so: of a bare-metal server something is not declared any more, for
    BMCs keep no mark, or an update had not ended well."""
    if record is None:
        return None
    applied = to_data(wanted.spec) if isinstance(wanted.spec, Machine) else record.applied
    return None if (record.applied, record.begun) == (applied, None) else replace(record, applied=applied, begun=None)


def superseded(address: Address, checksum: str) -> Address:
    """The name under which files that an image no longer consists of are found and removed."""
    return Address(address.kind, f"{address.name}{_SUPERSEDED}{checksum.partition(':')[2][:8]}")


def is_superseded(address: Address) -> bool:
    """True for files that an image no longer consists of."""
    return address.kind == "image" and _SUPERSEDED in address.name
