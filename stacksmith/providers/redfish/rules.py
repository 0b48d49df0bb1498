"""What a change does to a server on a bare-metal node (rule 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from stacksmith.model.bare_metal import field_of
from stacksmith.model.change import Change, Impact
from stacksmith.model.fleet import Host
from stacksmith.model.found import Found
from stacksmith.model.raid import changed, deleted, there
from stacksmith.model.realised import Machine, Realised

_LIVE: Final = (Impact.LIVE, "")
_RECORD: Final = (Impact.NONE, "")  # no BMC keeps it
_RESTART: Final = (Impact.RESTART, "takes effect at a restart of the node")
_ANEW: Final = (Impact.DATA_LOSS, "the root disk is written anew")

# Every field of a machine has its rule here; a test holds that.
RULES: Final[Mapping[str, tuple[Impact, str]]] = {
    "name": _RECORD,
    "resource_class": (Impact.REPLACE, "it is another class of node"),
    "description": _RECORD,
    "image": _ANEW,
    "boot_iso": (Impact.DATA_LOSS, "the node is started from it, and what it does to the disks is its own affair"),
    "config_drive": (Impact.RESTART, "the node is started to have its config drive written; its image stays"),
    "power_state": _LIVE,
    "boot_mode": _RESTART,
    "secure_boot": _RESTART,
    "bios": _RESTART,
    "firmware": (Impact.RESTART, "updated from its image; takes effect at a restart of the node"),
    "firmware_images": _RECORD,
    "raid": (Impact.DATA_LOSS, "RAID volumes are deleted with what is on them, and the root disk is written anew"),
    "indicator_led": _LIVE,
    "asset_tag": _LIVE,
    "metadata": _RECORD,
    "tags": _RECORD,
}


class RedfishRules:
    """See providers.base.ProviderRules."""

    name = "redfish"

    def impact(self, kind: str, change: Change, found: Found) -> Change:
        """What the change does to the node; one that is off needs no restart."""
        if change.path.startswith("policy."):
            return replace(change, impact=Impact.NONE, note="")
        worst, note = RULES[field_of(change)]
        if field_of(change) == "config_drive" and isinstance(found.spec, Machine):
            if not found.spec.image:  # nothing is written, or an ISO boots, which is given none
                worst, note = _RECORD
            elif found.spec.config_drive is None:
                worst, note = Impact.DATA_LOSS, "the disk has no place for a config drive: the image is written anew"
        if field_of(change) == "raid":
            note = _volume(change, found)
        if change.path == "power_state":
            worst, note = _power(change)
        is_off = isinstance(found.spec, Machine) and found.spec.power_state == "stopped"
        if worst is Impact.RESTART and is_off:
            worst, note = Impact.LIVE, "takes effect when the node is switched on"
        return replace(change, impact=worst, note=note)

    def check(self, kind: str, wanted: Realised, host: Host) -> Sequence[tuple[str, str]]:
        """Nothing: what a node takes only its BMC knows."""
        return ()


def _volume(change: Change, found: Found) -> str:
    """What a change of a RAID volume loses: what is in a volume of its name, or on the drives of a new one, and what an
    image is written on or an ISO does, which come again after it."""
    named = changed([change])
    lost = [deleted(each) for each in there(found.facts) if each.name in named]
    if isinstance(found.spec, Machine) and found.spec.boot_iso:
        lost.append(RULES["boot_iso"][1])
    elif isinstance(found.spec, Machine) and found.spec.image:
        lost.append(_ANEW[1])
    return ", and ".join(lost or ["what is on its drives is lost"])


def _power(change: Change) -> tuple[Impact, str]:
    if change.wanted == "stopped":
        return Impact.RESTART, "the node is shut down"
    return Impact.LIVE, "the node is switched on"
