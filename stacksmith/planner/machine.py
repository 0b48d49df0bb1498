"""Servers on bare-metal nodes: what they are to be, and which node each new one gets."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from stacksmith.address import Address
from stacksmith.diagnostics import Diagnostic, Faults, Severity, error
from stacksmith.model.bare_metal import MAINTENANCE, class_of, deployed, field_of
from stacksmith.model.change import Change, Impact, Status
from stacksmith.model.found import Found, HostSnapshot, Snapshot
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.node import Node
from stacksmith.model.raid import as_applied
from stacksmith.model.realised import Machine, Nic, Policy, RaidVolume, Realised
from stacksmith.model.record import Record
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.types import JSON
from stacksmith.placement.allocate import allocate
from stacksmith.placement.host import HostState, Inventory
from stacksmith.placement.request import Goal, Group, Request
from stacksmith.placement.tree.provider import Consumer
from stacksmith.placement.verdict import Placement
from stacksmith.planner.asking import Asking
from stacksmith.planner.drive import config_drive, server_label
from stacksmith.planner.ledger import Ledger
from stacksmith.planner.plan import Operation, Plan, Step
from stacksmith.providers.deployment import in_the_way

GIB = 2**30
TENANT: Final = "tenant"  # the server of another stack that has a node by the state store, there too
_BOOTED: Final = frozenset({"boot_mode", "secure_boot", "firmware"})  # which may take a boot, of a node that is off too
NOTE: Final = "note"  # what the state store says of a node, in the facts of its snapshot: state and reason


def machine(stack: Stack, resource: Resource, uuid: str, node: Node) -> Machine:
    """The server as it is to be on this node."""
    spec = resource.spec
    assert isinstance(spec, ServerSpec)
    image = stack.images[spec.image] if spec.image else None
    checksum = stack.image_files[spec.image]["disk"].checksum if spec.image else None
    is_iso = image is not None and image.format == "iso"
    said, properties = spec.bare_metal, image.properties if image else {}
    secure = stack.flavors[spec.flavor].extra_specs.get("os:secure_boot") or properties.get("os_secure_boot")
    boot_mode = (said.boot_mode if said else None) or properties.get("hw_firmware_type")
    declared = said.secure_boot if said else None
    raid = said.raid if said else []
    return Machine(
        name=server_label(resource),
        resource_class=node.resource_class,
        description=spec.description,
        image=None if is_iso else checksum,
        boot_iso=checksum if is_iso else None,
        # An ISO is the stack's own: it is given no config drive, and a change of one is no cause to boot it again.
        config_drive=None
        if is_iso or checksum is None
        else config_drive(stack, resource, uuid, machine_nics(spec), node.availability_zone),
        power_state=None if spec.power_state == "unmanaged" else spec.power_state,
        boot_mode=boot_mode,
        secure_boot={"required": True, "disabled": False}.get(secure or "") if declared is None else declared,
        bios=dict(said.bios) if said else {},
        firmware={name: each.version for name, each in said.firmware.items()} if said else {},
        firmware_images={n: each.image for n, each in said.firmware.items() if each.image} if said else {},
        raid=tuple(RaidVolume(v.name, v.raid_type, tuple(v.drives), v.size * GIB if v.size else None) for v in raid),
        indicator_led=said.indicator_led if said else None,
        asset_tag=said.asset_tag.strip() if said and said.asset_tag is not None else None,
        metadata=dict(spec.metadata),
        tags=tuple(sorted(spec.tags)),
    )


def machine_nics(spec: ServerSpec) -> tuple[Nic, ...]:
    """The cards of the node that the server names; the checks see to it that each has its MAC."""
    return tuple(Nic((nic.mac or "").lower(), nic.network) for nic in spec.networks)


def machine_policy(spec: ServerSpec) -> Policy:
    """What the store keeps of a server on a node."""
    return Policy(protect=spec.protect, wipe=dict(spec.bare_metal.wipe) if spec.bare_metal else {})


def declared_only(wanted: Realised, found: Realised) -> Realised:
    """The found machine without RAID volumes when none is declared: they are left alone; those that are as declared as
    they are declared, for a killed run may have made them."""
    if isinstance(wanted, Machine) and isinstance(found, Machine) and found.raid:
        return replace(found, raid=as_applied(wanted.raid, found.raid) if wanted.raid else ())
    return found


def declared(wanted: Realised, applied: JSON) -> JSON:
    """What was applied to a machine, without what was not declared then: what that was before is no drift."""
    if not isinstance(wanted, Machine) or not isinstance(applied, dict):
        return applied
    return {name: value for name, value in applied.items() if name == "config_drive" or value not in (None, [])}


def as_adopted(changes: list[Change], record: Record | None) -> list[Change]:
    """The changes, of which one of the config drive of an adopted server loses the system that ran before: its disk has
    no place for a config drive."""
    if record is None or not record.adopted:
        return changes
    note = "it was adopted, and has no config drive: the image is written over what runs there"
    return [
        replace(each, impact=Impact.DATA_LOSS, note=note)
        if field_of(each) == "config_drive" and each.impact > Impact.NONE
        else each
        for each in changes
    ]


def check_staying(stack: Stack, machines: Mapping[Address, Resource], fixed: Mapping[Address, str]) -> None:
    """Passes when every server may be on the node that it is on: none moves to another. Raises: Faults."""
    faults = []
    for address, resource in machines.items():
        name, spec = fixed.get(address, ""), resource.spec
        if name not in stack.fleet.nodes:
            continue
        assert isinstance(spec, ServerSpec)
        wanted, there = class_of(stack, resource), stack.fleet.nodes[name].resource_class
        if wanted == there and spec.host in (None, name):
            continue
        cause, field = f"which is {there}, and flavor {spec.flavor} asks for {wanted}", "flavor"
        if wanted == there:
            cause, field = f"and host: pins it to {spec.host}", "host"
        message = f"cannot place {address}: it is on {name}, {cause}, but no server moves to another node"
        hint = f"stacksmith destroy --target {address}, then apply, makes it anew; its disks there are kept"
        faults.append(error("no-valid-host", message, resource.where((field,)), hint, address=address))
    if faults:
        raise Faults(faults)


def place_machines(
    stack: Stack, ledger: Ledger, machines: Mapping[Address, Resource], leaving: Iterable[Found]
) -> tuple[tuple[Placement, ...], dict[Address, Request]]:
    """A node for each new server, and what was asked for it. ``leaving`` is what this plan takes off its node."""
    if not machines:
        return (), {}
    requests = [_request(stack, resource) for resource in machines.values()]
    states = node_states(stack, ledger.snapshot, ledger.consumers, leaving)
    groups = {n: Group(n, g.policy, g.max_server_per_host) for n, g in stack.server_groups.items()}
    return allocate(requests, states, groups, goal=Goal()).placements, {r.address: r for r in requests}


def _request(stack: Stack, resource: Resource) -> Request:
    spec, wanted = resource.spec, class_of(stack, resource)
    assert isinstance(spec, ServerSpec) and wanted is not None
    question = Asking(stack).of(spec)
    return Request(
        resource.address,
        {wanted: 1},
        required=question.required,
        forbidden=question.forbidden,
        availability_zone=spec.availability_zone,
        host=spec.host,
        group=spec.group,
    )


def node_states(
    stack: Stack, snapshot: Snapshot, consumers: Iterable[Consumer], leaving: Iterable[Found]
) -> list[HostState]:
    """The nodes that were read as placement sees them: each is one unit of its class, free or in use.

    A node is in use when a server is on it, when another stack has claimed it, and when it is on though nothing says
    what it runs.
    """
    gone = {found.host for found in leaving}
    claimed: dict[str, dict[str, int]] = {}
    for consumer in consumers:
        for name in consumer.allocations if consumer.owner != stack.name else ():
            claimed.setdefault(name, {})[consumer.owner] = 1
    return [
        _state(snap, stack.fleet.nodes[snap.host], claimed.get(snap.host, {}), gone)
        for snap in snapshot.nodes
        if snap.host in stack.fleet.nodes
    ]


def _state(snap: HostSnapshot, node: Node, claimed: Mapping[str, int], gone: set[str]) -> HostState:
    name, tenant = node.resource_class, snap.facts.get(TENANT)
    is_used = bool(snap.found and snap.host not in gone) or bool(claimed) or bool(tenant)
    if tenant:  # which says more than that it has claimed it
        claimed = {}
    state, reason, help = _availability(snap, node, is_used)
    return HostState(
        name=snap.host,
        inventories={name: Inventory(1)},
        used={name: 1} if is_used else {},
        traits=frozenset(node.traits),
        availability_zone=node.availability_zone,
        state=state,
        state_reason=reason,
        state_help=help,
        reachable=snap.error is None,
        problem=snap.error or "",
        claimed={name: claimed} if claimed else {},
    )


def _availability(snap: HostSnapshot, node: Node, is_used: bool) -> tuple[str, str, str]:
    """The state by the fleet file, by the store's note, and by what runs there though nobody knows it; with the reason
    and what would help."""
    note, name = snap.facts.get(NOTE), snap.host
    if isinstance(tenant := snap.facts.get(TENANT), list):
        return "disabled", str(tenant[0]), str(tenant[1])
    if node.state != "enabled" or is_used:
        return node.state, "", ""
    if isinstance(note, dict):
        is_kept = note["state"] == MAINTENANCE
        help = f"stacksmith node maintenance {name} off" if is_kept else f"stacksmith node release {name}"
        return "disabled", f"{note['state']}: {note['reason']}" if note.get("reason") else str(note["state"]), help
    if snap.unmanaged:
        return "disabled", snap.unmanaged[0].detail, help_with_unknown(name)
    return "enabled", "", ""


def maintained(steps: Iterable[Step], snapshot: Snapshot) -> list[tuple[str, str]]:
    """(step id, cause) of what would disturb a node in maintenance; deployments to one Ironic refuses too. What a
    killed run has begun on one is not ended either: that may take a boot."""
    kept = in_maintenance_now(snapshot)
    begun = {name for name, note in _notes(snapshot).items() if note.get("stage")}
    return [
        (step.id, in_maintenance(step.host, kept[step.host]))
        for step in steps
        if step.host in kept and (disturbs(step) or (step.host in begun and is_update(step)))
    ]


def in_maintenance_now(snapshot: Snapshot) -> dict[str, str]:
    """The nodes that are in maintenance, each with the reason that was given, or none."""
    notes = _notes(snapshot).items()
    return {name: str(note.get("reason") or "") for name, note in notes if note["state"] == MAINTENANCE}


def _notes(snapshot: Snapshot) -> dict[str, dict[str, JSON]]:
    return {snap.host: note for snap in snapshot.nodes if isinstance(note := snap.facts.get(NOTE), dict)}


def left_alone(changes: list[Change], host: str, kept: Container[str]) -> list[Change]:
    """The changes without that of the power of a node in maintenance, where somebody has switched it: it is not
    compared. What the stack asks anew of its power is a change, and refused."""
    if host not in kept:
        return changes
    return [each for each in changes if each.path != "power_state" or each.status is not Status.DRIFT]


def powers_left(stack: Stack, plan: Plan, snapshot: Snapshot) -> Iterator[Diagnostic]:
    """A warning for each server whose power is not as wanted, and stays so, for its node is in maintenance."""
    kept, ending = in_maintenance_now(snapshot), {s.address for s in plan.steps if s.operation is Operation.DELETE}
    for found in (each for snap in snapshot.nodes if snap.host in kept for each in snap.found):
        resource = stack.resources.get(found.address)
        if resource is None or found.address in ending or not isinstance(found.spec, Machine):
            continue
        assert isinstance(resource.spec, ServerSpec)
        if resource.spec.power_state not in ("unmanaged", found.spec.power_state):
            why = in_maintenance(found.host, kept[found.host])
            text = f"{found.address} stays {found.spec.power_state}: {why}"
            place = resource.where(("power_state",))
            yield Diagnostic(Severity.WARNING, "power-left", text, place, address=found.address)


def found_on_disks(facts: Mapping[str, JSON]) -> dict[str, str]:
    """What deployments that failed have found on the disks of a node, and would not lose, by their steps."""
    note = facts.get(NOTE)
    return in_the_way(str(note.get("stage") or "")) if isinstance(note, dict) else {}


def help_with_unknown(node: str) -> str:
    """What to type about a machine that is on though nobody knows what it runs."""
    return f"stacksmith node adopt {node} SERVER, when it runs what is wanted, or stacksmith node power {node} off"


def is_deployment(step: Step) -> bool:
    """Whether the step makes a server on a node, or writes disks of it anew."""
    wanted = step.wanted
    if not isinstance(wanted, Machine):
        return False
    fields = {field_of(change) for change in step.changes}
    is_written = "raid" in fields or (fields & deployed(wanted) and (wanted.image or wanted.boot_iso))
    return step.operation is Operation.CREATE or bool(is_written)


def is_update(step: Step) -> bool:
    """Whether the step changes a server that is on a node."""
    return step.operation is Operation.UPDATE and isinstance(step.wanted, Machine)


def disturbs(step: Step) -> bool:
    """Whether the step deploys to a node, wipes it, switches it or has it booted. To destroy a server is none of it:
    that it ends is what was asked for."""
    if step.operation is Operation.DELETE:
        return bool(step.policy.wipe)
    if is_deployment(step):
        return True
    fields = {field_of(change) for change in step.changes}
    is_booted = step.impact >= Impact.RESTART or bool(fields & _BOOTED)
    return is_update(step) and ("power_state" in fields or is_booted)


def writes_image(step: Step) -> bool:
    """Whether the step writes the root disk of a server that is there anew."""
    lost = {field_of(change) for change in step.changes if change.impact >= Impact.DATA_LOSS}
    return isinstance(step.wanted, Machine) and bool(lost & deployed(step.wanted))


def in_maintenance(node: str, reason: str) -> str:
    """Why a node is left alone, with what ends it."""
    why = f": {reason}" if reason else ""
    return f"{node} is in maintenance{why} (stacksmith node maintenance {node} off ends it)"


def only_compared(spec: Realised, changes: Iterable[Change]) -> list[str]:
    """Why these changes cannot be made: firmware that is not as pinned, and that no image is named of."""
    if not isinstance(spec, Machine):
        return []
    names = [c.path.removeprefix("firmware.") for c in changes if c.path.startswith("firmware.")]
    names = [name for name in names if name in spec.firmware and name not in spec.firmware_images]
    return [
        f"firmware {name} is only compared: no image is named that brings it to {spec.firmware[name]}" for name in names
    ]
