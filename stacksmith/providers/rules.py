"""What a change does to a guest: one table for every provider of virtual machines (rule 5).

Sources: which fields libvirt changes on a running domain or network, and which only at the next start
(virDomainSetVcpusFlags, virDomainSetMemoryFlags, virDomainAttachDeviceFlags, virNetworkUpdate).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from stacksmith.model.change import Change, Impact
from stacksmith.model.found import Found
from stacksmith.model.realised import Server
from stacksmith.model.types import JSON

Verdict = tuple[Impact, str]
Rule = Callable[[Change, Found, "re.Match[str]"], Verdict]

_HOTPLUG_BUSES = frozenset({"virtio", "scsi"})
_PCIE_MODELS = frozenset({"virtio", "e1000e"})
_KEYED = re.compile(r"(?P<field>[a-z_]+)(?:\[(?P<key>[^\]]*)\])?(?:\.(?P<rest>.+))?")


def impact(kind: str, change: Change, found: Found) -> Change:
    """The change with ``impact`` and ``note`` set. ``Impact.REPLACE`` or worse when it cannot be done in place.

    A change of the policy is one of the mark, and nothing to the guest. Facts of the found object refine the answer:
    ``actual`` (what the host filled in where nobody declared), ``max_vcpus``, ``max_ram_mib`` (of the running guest),
    ``config_drive_ejected``.
    """
    if change.path.startswith("policy."):
        return replace(change, impact=Impact.NONE, note="")
    match = _KEYED.match(change.path)
    assert match is not None
    worst, note = RULES[kind][match["field"]](change, found, match)
    is_off = isinstance(found.spec, Server) and found.spec.power_state == "stopped" and found.saved is None
    if worst is Impact.RESTART and is_off:
        return replace(change, impact=Impact.LIVE, note="")
    return replace(change, impact=worst, note=note)


def _live(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return Impact.LIVE, ""


def _restart(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return Impact.RESTART, "needs a restart"


def _next_boot(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return Impact.LIVE, "the guest's first-boot software has run already: it reads this when it is made anew"


def _firmware(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return Impact.REPLACE, "the disk is set up for the other firmware"


def _seldom_said(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    """A field that libvirt fills in when nobody declares it: declaring what is there changes nothing."""
    actual = _actual(found).get(match["field"])
    if actual is not None and change.wanted == actual:
        return Impact.NONE, "it is so already"
    return Impact.RESTART, "needs a restart"


def _actual(found: Found) -> Mapping[str, JSON]:
    actual = found.facts.get("actual")
    return actual if isinstance(actual, dict) else {}


def _amount(unit: str, maximum: str) -> Rule:
    def rule(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
        most = found.facts.get(maximum) or getattr(found.spec, maximum, None) or change.found
        if change.wanted > most:
            return Impact.RESTART, f"needs a restart: above the live maximum of {most}{unit}"
        if unit == "" and change.found is not None and change.wanted < change.found:
            return Impact.RESTART, "needs a restart: a running guest may not give up a vCPU"
        return Impact.LIVE, ""

    return rule


def _maximum(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    if change.wanted == found.facts.get(match["field"]):
        return Impact.NONE, "it is so already"
    return Impact.RESTART, "needs a restart: the most that a running guest can have is fixed at its start"


def _power(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    if change.wanted == "stopped":
        return Impact.RESTART, "the guest is shut down"
    if change.wanted == "paused":
        return Impact.LIVE, "the guest stands still"
    return Impact.LIVE, "the guest is started" if change.found == "stopped" else "the guest goes on"


def _disk(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    field = match["rest"]
    if field is None:
        return _whole_disk(change)
    if field == "size_bytes":
        if change.found is not None and change.wanted < change.found:
            return Impact.REPLACE, "a disk cannot shrink"
        return Impact.LIVE, "grows; the guest sees it at once"
    if field == "serial":
        serials = _actual(found).get("serials")
        if isinstance(serials, dict) and serials.get(match["key"]) == change.wanted:
            return Impact.NONE, "it is so already"
        return Impact.RESTART, "needs a restart"
    if field in {"bus", "boot_index", "device_type"}:
        return Impact.RESTART, "needs a restart"
    return Impact.REPLACE, "the disk's content is another"


def _is_hot_plugged(bus: str, device_type: str) -> bool:
    return bus in _HOTPLUG_BUSES and device_type == "disk"


def _whole_disk(change: Change) -> Verdict:
    if change.wanted is not None and change.found is not None:
        return _other_volume(change)
    disk = change.found if change.wanted is None else change.wanted
    note = ""
    if change.wanted is None:
        if disk["source"] in {"image", "blank"}:
            return Impact.DATA_LOSS, "the local disk is deleted with its data"
        note = "detached; its data is kept"
    elif disk["boot_index"] is not None:
        return Impact.RESTART, "needs a restart: what a guest boots from is told at its start"
    if not _is_hot_plugged(disk["bus"], disk["device_type"]):
        return Impact.RESTART, f"needs a restart: no hot plug of a {disk['device_type']} on {disk['bus']}"
    return Impact.LIVE, note


def _other_volume(change: Change) -> Verdict:
    sides = (change.wanted, change.found)
    if any(disk["boot_index"] is not None for disk in sides):
        return Impact.RESTART, "needs a restart: the guest boots from it"
    if not all(_is_hot_plugged(disk["bus"], disk["device_type"]) for disk in sides):
        return Impact.RESTART, "needs a restart: no hot plug of such a disk"
    return Impact.LIVE, "the volume is detached and the other attached; the data of both is kept"


def _nic(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    if match["rest"] != "network" and _is_of_old_slots(change, found, match):
        return (
            Impact.RESTART,
            "needs a restart: a q35 machine has no hot plug of such a model, only of virtio and e1000e",
        )
    if match["rest"] == "model":
        return Impact.LIVE, "the interface is unplugged and plugged in again"
    if match["rest"] == "network":
        return Impact.LIVE, "the interface is moved to the other network"
    return Impact.LIVE, "unplugged" if change.wanted is None else "plugged in"


def _is_of_old_slots(change: Change, found: Found, match: "re.Match[str]") -> bool:
    """True when an interface is, or shall be, of a model for PCI slots, where the machine's free ones are of PCIe."""
    machine = getattr(found.spec, "machine_type", None) or _actual(found).get("machine_type") or "q35"
    sides = (change.wanted, change.found)
    models = sides if match["rest"] == "model" else [side["model"] for side in sides if side]
    return "q35" in machine and not _PCIE_MODELS.issuperset(models)


def _config_drive(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    if match["rest"] is None and change.wanted is not None and found.facts.get("config_drive_ejected"):
        return Impact.LIVE, "it is put in again"
    if match["rest"] is None and (change.wanted is None or change.found is None):
        return Impact.RESTART, "needs a restart: the drive comes, or goes, with one"
    return _next_boot(change, found, match)


def _volume_size(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    if change.found is not None and change.wanted < change.found:
        return Impact.DATA_LOSS, "a volume cannot shrink: it is made anew and its data is lost"
    return Impact.LIVE, "grows; a guest that has it sees it at once"


def _volume_anew(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return Impact.DATA_LOSS, "the volume is made anew and its data is lost"


def _link(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return Impact.RESTART, "the network is restarted: its guests lose their link for a moment"


def _subnet(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    if match["rest"] == "ranges":
        return Impact.LIVE, ""
    return _link(change, found, match)


def _active(change: Change, found: Found, match: "re.Match[str]") -> Verdict:
    return (Impact.LIVE, "the network is started") if change.wanted else _link(change, found, match)


# Every field of every kind has its rule here; a test holds that.
RULES: Mapping[str, Mapping[str, Rule]] = {
    "server": {
        "name": _next_boot,
        "vcpus": _amount("", "max_vcpus"),
        "ram_mib": _amount(" MiB", "max_ram_mib"),
        "description": _live,
        "max_vcpus": _maximum,
        "max_ram_mib": _maximum,
        "cpu_mode": _seldom_said,
        "cpu_sockets": _seldom_said,
        "cpu_cores": _seldom_said,
        "cpu_threads": _seldom_said,
        "machine_type": _seldom_said,
        "firmware": _firmware,
        "secure_boot": _firmware,
        "kernel": _restart,
        "ramdisk": _restart,
        "command_line": _restart,
        "disks": _disk,
        "nics": _nic,
        "config_drive": _config_drive,
        "power_state": _power,
        "autostart": _live,
        "metadata": _live,
        "tags": _live,
        "numa_cells": _restart,
        "page_size": _restart,
        "pci_devices": _restart,
    },
    "volume": {
        "size_bytes": _volume_size,
        "volume_type": _volume_anew,
        "format": _volume_anew,
        "image": _volume_anew,
    },
    "network": {
        "mode": _link,
        "bridge": _link,
        "mtu": _link,
        "domain": _link,
        "subnets": _subnet,
        "hosts": _live,
        "dns": _live,
        "active": _active,
        "autostart": _live,
    },
    "image": {"files": _live},
}
