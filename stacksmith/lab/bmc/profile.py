"""How a BMC behaves: latency, faults and the quirks of real ones. A profile is data; several add up."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from stacksmith.frozen import dataclass

Etag = Literal["strong", "weak", "empty"]
Media = Literal[
    "standard", "managers", "kvm-only", "patch-only", "no-extras", "strict-eject", "wants-protocol", "wants-all"
]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Everything that can differ between BMCs. Times are in seconds; the defaults are those of a BMC without quirks.

    What a BMC begins under a time lasts as long as it has that time: another behaviour may end it.
    """

    latency: float = 0.0
    jitter: float = 0.0  # share of the latency that it varies by, up and down
    at_once: int = 0  # requests answered at the same time, the others wait; 0: no limit
    drop_every: int = 0  # every so many requests the connection is closed without an answer; 0: never
    fail_every: int = 0  # every so many requests the answer is 500; 0: never
    sessions: int = 8
    session_seconds: float = 1800.0
    etag: Etag = "strong"
    settle: float = 0.0  # PoweringOn and PoweringOff last this long
    already_status: int = 409  # of a reset to the state that is
    on_after_off: float = 0.0  # On is refused so long after an off
    post: float = 0.0  # settings are refused so long after an on
    busy_after_job: float = 0.0  # everything is 503 so long after a job was made
    graceful_ignored: bool = False
    registries_compressed: bool = False
    continuous_refused: bool = False
    once_refused: bool = False
    enabled_required: bool = False  # of a boot override; the mode is lost when the target is set without it
    usb_cd: bool = False  # virtual media boots as UsbCd, not as Cd
    settings_uri: bool = False  # a boot override goes whole to the system's settings resource
    writes_ignored: bool = False
    media: Media = "standard"
    eject_seconds: float = 0.0
    apply_time_required: bool = False  # else a BIOS change makes no job; the pending area shows changes alone
    apply_seconds: float = 0.0  # how long after an on BIOS attributes are in force
    bios_seconds: float = 0.0  # how long a write of BIOS attributes takes
    tasks: bool = False  # BIOS writes are tasks
    boot_mode_by_bios: bool = False  # not by the boot override, nor together with secure boot
    odd_data: bool = False
    licensed: bool = True
    expands: bool = False  # takes $expand, and says so
    expands_collections: bool = False  # and refuses it of other pages
    etag_required: bool = False  # of every PATCH
    etag_strong_alone: bool = False  # a tag is taken as a strong one alone, also where a weak one is shown
    network_first: bool = False  # without an override the network comes before the disk
    basic_refused: bool = False  # sessions alone are taken
    apply_time_unknown: bool = False  # of a BIOS change
    no_registry: bool = False  # of BIOS attributes
    location_indicator: bool = False  # in place of IndicatorLED
    answers_lost: bool = False  # writes are carried out, and not answered
    write_seconds: float = 0.0  # how long after a write was carried out its answer comes
    raid_drives: int = 0  # of a RAID controller; 0: there is none
    raid_seconds: float = 0.0  # how long the task of a volume takes; 0: it is no task
    raid_strict: bool = False  # names volumes by DisplayName, wants to know when, shows a single drive as a volume
    raid_at_boot: bool = False  # a strict one makes volumes at a boot alone
    storage_needs_power: bool = False  # no storage is shown of a machine that is off,
    storage_seconds: float = 1.0  # and so long after an on
    raid_names_alike: bool = False  # all drives have one name, and only serial numbers tell them apart
    update_seconds: float = 0.0  # how long an update takes
    firmware_at_once: bool = False  # else the BIOS is updated at the next boot
    few_rights: bool = False  # of the user: storage and firmware are not for it
    no_settings: bool = False  # BIOS attributes are shown, and cannot be set
    says_again: bool = False  # sessions and media are refused, with what was sent


PROFILES: Mapping[str, Mapping[str, object]] = {
    # the numbers are those of docs/bmc-profiles.md
    "powering-states": {"settle": 2.0},  # 1
    "already-400": {"already_status": 400},  # 2
    "on-after-off": {"on_after_off": 3.0},  # 3
    "post": {"post": 3.0},  # 4
    "busy-after-job": {"busy_after_job": 2.0},  # 5
    "graceful-ignored": {"graceful_ignored": True},  # 6
    "etag-weak": {"etag": "weak"},  # 7
    "etag-empty": {"etag": "empty"},  # 7
    "etag-weak-refused": {"etag": "weak", "etag_required": True, "etag_strong_alone": True},  # 7
    "registries-compressed": {"registries_compressed": True},  # 8
    "no-continuous": {"continuous_refused": True},  # 9
    "no-once": {"once_refused": True},  # 9
    "network-first": {"continuous_refused": True, "network_first": True},  # 9
    "enabled-required": {"enabled_required": True, "usb_cd": True},  # 10
    "settings-uri": {"settings_uri": True},  # 11
    "writes-ignored": {"writes_ignored": True},  # 12
    "media-managers": {"media": "managers"},  # 13
    "media-kvm-only": {"media": "kvm-only"},  # 13
    "media-patch-only": {"media": "patch-only"},  # 13
    "media-no-extras": {"media": "no-extras"},  # 13
    "media-strict-eject": {"media": "strict-eject"},  # 13
    "media-wants-protocol": {"media": "wants-protocol"},  # 13
    "media-wants-all": {"media": "wants-all"},  # 13
    "slow-eject": {"eject_seconds": 2.0},  # 14
    "apply-time": {"apply_time_required": True},  # 15
    "late-bios": {"apply_seconds": 2.0},  # 15
    "slow-bios": {"bios_seconds": 3.0},  # 16
    "few-sessions": {"sessions": 1},  # 17
    "tasks": {"tasks": True},  # 18
    "boot-mode-by-bios": {"boot_mode_by_bios": True},  # 19
    "odd-data": {"odd_data": True},  # 20
    "no-licence": {"licensed": False},  # 21
    "expand": {"expands": True},
    "expand-collections": {"expands": True, "expands_collections": True},
    "etag-required": {"etag_required": True},  # 7
    "basic-refused": {"basic_refused": True},  # 17
    "no-apply-time": {"apply_time_unknown": True},  # 15
    "no-registry": {"no_registry": True},
    "location-indicator": {"location_indicator": True},
    "raid": {"raid_drives": 4, "raid_seconds": 0.3},
    "raid-strict": {"raid_drives": 4, "raid_seconds": 0.3, "raid_strict": True},  # 18
    "storage-needs-power": {"raid_drives": 4, "raid_seconds": 0.3, "storage_needs_power": True},
    "raid-at-boot": {"raid_drives": 4, "raid_strict": True, "raid_at_boot": True},
    "raid-names-alike": {"raid_drives": 4, "raid_names_alike": True},  # 20
    "firmware-at-once": {"firmware_at_once": True},
    "few-rights": {"few_rights": True},
    "no-settings": {"no_settings": True},
    # faults
    "slow": {"latency": 0.5, "jitter": 0.5, "at_once": 2},
    "drops": {"drop_every": 3},
    "fails": {"fail_every": 3},
    "answers-lost": {"answers_lost": True},
    "slow-writes": {"write_seconds": 3.0},
    "short-sessions": {"session_seconds": 1.0},
    "says-again": {"says_again": True},
}
FIELDS = frozenset(field.name for field in dataclasses.fields(Behaviour))


def behaviour(profiles: Sequence[str], more: Mapping[str, float] | None = None) -> Behaviour:
    """The behaviour of these profiles together, the later over the earlier, and of single values over them.

    Raises:
        KeyError: a profile or a field does not exist.
    """
    fields: dict[str, object] = {}
    for name in profiles:
        fields |= PROFILES[name]
    for name, value in (more or {}).items():
        if name not in FIELDS:
            raise KeyError(name)
        fields[name] = value
    return Behaviour(**fields)  # type: ignore[arg-type]


class Choice:
    """The behaviours of the farm's BMCs, read from a file again each time that it is written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Behaviour] = {}

    def of(self, node: str) -> Behaviour:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return Behaviour()
        if (found.st_mtime_ns, found.st_ino) != self._stamp:
            entries = json.loads(self._path.read_text())
            self._known = {name: behaviour(entry["profiles"], entry["more"]) for name, entry in entries.items()}
            self._stamp = (found.st_mtime_ns, found.st_ino)
        return self._known.get(node, Behaviour())
