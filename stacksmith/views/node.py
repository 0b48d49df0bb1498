"""Bare-metal nodes: a table, one node in words, and JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

from stacksmith.model.fleet import Fleet
from stacksmith.model.machine_identity import Identity, is_other
from stacksmith.model.node_found import Disk, NodeInspection, NodeInventory, NodeSnapshot, Power
from stacksmith.model.realised import RaidVolume
from stacksmith.model.types import JSON
from stacksmith.views.hint import hints
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table
from stacksmith.views.words import clean

GIB = 1024**3


class Tenancy(Protocol):
    """What the state store knows of a node: its state, how far and why, its server as ``stack/address``, whether
    that was adopted, and the machine that it was made on."""

    @property
    def state(self) -> str: ...

    @property
    def stage(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def server(self) -> str: ...

    @property
    def adopted(self) -> bool: ...

    @property
    def machine(self) -> Identity: ...


Tenancies = Mapping[str, Tenancy]


def nodes_text(fleet: Fleet, snapshots: Sequence[NodeSnapshot], tenancies: Tenancies, paint: Paint = PLAIN) -> str:
    """The table of ``stacksmith node list``, and what to type for the nodes that could not be read."""
    header = ("NODE", "STATE", "SERVER", "POWER", "CLASS", "ZONE", "BOOT", "MODEL", "SERIAL", "ASSET TAG", "ERROR")
    rows = []
    for each in snapshots:
        node, found, tenancy = fleet.nodes[each.node], each.found, tenancies[each.node]
        facts = (found.boot_mode, found.model, found.serial, found.asset_tag) if found else ("", "", "", "")
        power = found.power_state.value if found else "unknown"
        zone = node.availability_zone or ""
        server, said = tenancy.server, (f or "" for f in facts)
        state = _state(node.state, each, tenancy)
        rows.append((each.node, state, server, power, node.resource_class, zone, *said, each.error or ""))
    return "\n".join([*table(header, rows, paint), *_hints(snapshots, paint)]) + "\n"


def _hints(read: Sequence[NodeSnapshot] | Sequence[NodeInspection], paint: Paint) -> Iterator[str]:
    return hints(((each.node, each.hint or "") for each in read), paint)


def provision_state(each: NodeSnapshot, tenancy: Tenancy) -> str:
    """The node's state in Ironic's words, from what the store knows and what its BMC says."""
    if tenancy.state == "failed":
        return "clean failed" if tenancy.stage == "cleaning" else "deploy failed"
    if tenancy.state in ("deploying", "cleaning", "active"):
        return tenancy.state
    if tenancy.server:
        return "active"
    if each.found is None:
        return "enroll"
    return "available" if each.found.power_state is Power.OFF else "manageable"


def _state(said: str, each: NodeSnapshot, tenancy: Tenancy) -> str:
    """What the fleet file says when it keeps the node from servers, else the node's own."""
    if said != "enabled":
        return said
    state = provision_state(each, tenancy)
    if tenancy.state == "deploying" and tenancy.stage:
        return f"{state} ({tenancy.stage})"
    words = {
        "adopted": tenancy.adopted,
        "maintenance": _in_maintenance(tenancy),
        "another machine": _is_another_machine(each, tenancy),
    }
    more = [word for word, is_so in words.items() if is_so]
    return f"{state} ({', '.join(more)})" if more else state


def _in_maintenance(tenancy: Tenancy) -> bool:
    return "maintenance" in (tenancy.state, tenancy.stage)


def _is_another_machine(each: NodeSnapshot, tenancy: Tenancy) -> bool:
    return each.found is not None and is_other(tenancy.machine, each.found.identity)


def nodes_data(fleet: Fleet, snapshots: Sequence[NodeSnapshot], tenancies: Tenancies) -> JSON:
    """The same as JSON data."""
    return {"nodes": [node_data(fleet, each, tenancies[each.node]) for each in snapshots]}


def node_data(
    fleet: Fleet, each: NodeSnapshot, tenancy: Tenancy, untold: Mapping[str, str] | None = None
) -> dict[str, JSON]:
    """One node as JSON data; ``found`` is null when it could not be read. All of it was asked for where it is said
    what was not told, and why."""
    node = fleet.nodes[each.node]
    return {
        "node": each.node,
        "redfish": node.redfish,
        "state": node.state,
        "resource_class": node.resource_class,
        "traits": list(node.traits),
        "availability_zone": node.availability_zone,
        "provision_state": provision_state(each, tenancy),
        "maintenance": _in_maintenance(tenancy),
        "tenancy": {
            "state": tenancy.state,
            "stage": tenancy.stage,
            "reason": tenancy.reason,
            "server": tenancy.server or None,
            "adopted": tenancy.adopted,
            "another_machine": _is_another_machine(each, tenancy),
        },
        "found": _found(asdict(each.found), untold) if each.found else None,
        "error": each.error,
        "hint": each.hint,
        **({"untold": dict(untold)} if untold else {}),
    }


def _found(data: dict[str, JSON], untold: Mapping[str, str] | None = None) -> JSON:
    """Without what was not told, or is not asked of every node: nothing there would look like none."""
    if untold is None:
        return {name: value for name, value in data.items() if value or name not in ("raid", "firmware", "pending")}
    return {name: value for name, value in data.items() if name not in untold}


def node_text(each: NodeSnapshot, tenancy: Tenancy, untold: Mapping[str, str], paint: Paint = PLAIN) -> str:
    """One node that was read in words, with its RAID volumes, firmware and BIOS attributes, and those that wait for its
    next boot; and why its BMC does not tell some of it."""
    found = each.found
    assert found is not None
    known = {
        "state": _state("enabled", each, tenancy),
        "stage": tenancy.stage,
        "reason": tenancy.reason,
        "server": tenancy.server,
    }
    blocks: dict[str, Iterable[tuple[str, object]]] = {
        "raid": [(volume.name, _volume(volume)) for volume in found.raid or ()],
        "firmware": found.firmware.items(),
        "bios": found.bios.items(),
        "bios at the next boot": found.pending.items(),
    }
    told = {key: value for key, value in asdict(found).items() if key not in ("raid", "firmware", "bios", "pending")}
    facts = [(key, value) for key, value in {**known, **told}.items() if value not in (None, "")]
    untold = {**({"raid": "not shown while it is off, or starts"} if found.raid is None else {}), **untold}
    facts += [(part, f"not told: {cause}") for part, cause in untold.items()]
    more = [_block(title, list(block), paint) for title, block in blocks.items() if block]
    return _block(each.node, facts, paint) + "".join(more)


def _volume(volume: RaidVolume) -> str:
    size = f" {volume.size_bytes / GIB:.1f} GiB" if volume.size_bytes else ""
    drives = f" on {', '.join(volume.drives)}" if volume.drives else ""
    return f"{volume.level}{size}{drives}"


def inspections_text(inspections: Sequence[NodeInspection], paint: Paint = PLAIN) -> str:
    """What nodes consist of, in words, one below the other; then what to type for those that could not be read."""
    blocks = [
        _block(each.node, _parts(each.inventory) if each.inventory else [("error", each.error)], paint)
        for each in inspections
    ]
    return "".join(blocks) + "".join(f"{each}\n" for each in _hints(inspections, paint))


def inspections_data(inspections: Sequence[NodeInspection]) -> JSON:
    """The same as JSON data; ``inventory`` is null when the node could not be read."""
    nodes = [asdict(each) for each in inspections]
    for node in nodes:
        if node["inventory"]:
            node["inventory"]["found"] = _found(node["inventory"]["found"])
    return {"nodes": nodes}


def _parts(inventory: NodeInventory) -> list[tuple[str, object]]:
    """Words and values; some BMCs give all disks of a node one name."""
    found = inventory.found
    facts: list[tuple[str, object]] = [
        ("manufacturer", found.manufacturer),
        ("model", found.model),
        ("serial", found.serial),
        ("cpus", inventory.cpus or "not told"),
        ("memory", f"{inventory.memory_mib} MiB" if inventory.memory_mib else "not told"),
        *((f"disk {disk.name}", _disk(disk)) for disk in inventory.disks),
        *((f"nic {nic.name}", nic.mac) for nic in inventory.nics),
        *((f"firmware {each}", version) for each, version in inventory.firmware.items()),
    ]
    return [(key, value) for key, value in facts if value]


def _disk(disk: Disk) -> str:
    size = f"{disk.size_bytes / GIB:.1f} GiB" if disk.size_bytes else "size not told"
    serial = f"serial {disk.serial}" if disk.serial else ""
    return " ".join(filter(None, (size, disk.media_type, disk.model, serial)))


def _block(title: str, facts: Sequence[tuple[str, object]], paint: Paint) -> str:
    width = max((len(key) for key, _ in facts), default=0)
    lines = [f"{paint.bold}{title}{paint.reset}"]
    lines += [f"  {clean(key).ljust(width)}  {clean(str(value))}" for key, value in facts]
    return "\n".join(lines) + "\n"
