"""Makes, changes and removes the server of a bare-metal node, by its BMC alone."""

import hashlib
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from stacksmith.model.bare_metal import DISK, OTHER_DISKS, deployed, field_of
from stacksmith.model.change import Impact
from stacksmith.model.found import WARNING, Found, Mark
from stacksmith.model.node import ALL_DISKS, Node
from stacksmith.model.node_found import NodeFound, Power
from stacksmith.model.raid import changed
from stacksmith.model.realised import Machine, to_data
from stacksmith.providers.base import Contents, Deadline, Gone, ProviderError, Refused, Stale, Target, TimedOut
from stacksmith.providers.bmc import BmcSession, Deployer, NeedsPower, NextBoot, Occupant
from stacksmith.providers.deployment import IN_THE_WAY, LATER, RAMDISK, UNTOUCHED, Cleaning, Job, Stage, held
from stacksmith.providers.redfish.boots import POLL_SECONDS, SETTINGS, Boots, is_up, machine_of, within
from stacksmith.providers.redfish.pins import Pins
from stacksmith.providers.redfish.progress import RESTART, Progress

_WAITING: Final = ("boot_mode", "secure_boot", "bios")  # fields that a restart brings into force
_QCOW2: Final = b"QFI\xfb"


class Place(Protocol):
    """The node that the driver works on."""

    host: str
    occupant: Occupant | None

    def read(self, deadline: Deadline) -> Found | None:
        """The server now."""


class MachineDriver:
    """See providers.base.Driver. Its one object is the node itself, with what was written to its root disk."""

    def __init__(self, place: Place, bmc: BmcSession, node: Node, deployer: Deployer | None) -> None:
        self._place, self._bmc, self._node, self._deployer = place, bmc, node, deployer
        self._restarted: Machine | None = None  # an update that is called again does not restart the node again
        self._sent: dict[str, str] = {}  # updates of firmware, as Progress has them
        self._pins = Pins(place.host, bmc)
        self._boots = Boots(place.host, bmc, node.power_timeout_seconds)
        self._warning = ""  # of what was deployed

    def read(self, mark: Mark) -> Found | None:
        """The server that is recorded here, if it is this one."""
        found = self._place.read(Deadline(time.monotonic() + self._node.timeout_seconds, time.monotonic))
        return found if found is not None and found.uuid == mark.uuid else None

    def create(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Firmware and settings first, so that the boot into the ramdisk brings them into force, then the image, then
        the rest."""
        wanted = machine_of(target)
        progress, self._boots.tell = Progress(target, self._sent), target.progress
        self._boots.end_between(progress, deadline)
        seen = self._bmc.observe(deadline)
        if target.found is None and not target.stage and seen.power_state is not Power.OFF:
            hint = f"stacksmith node adopt {self._place.host} {target.mark.address}, or switch it off"
            raise Refused(f"{self._place.host} is {seen.power_state}, and nothing says what it runs", hint=hint)
        job = self._job(target, contents)  # an image that is not there stops it before anything is touched
        is_on = is_up(seen, progress)
        self._prepare(target, job, progress, deadline)
        if job is not None:
            self._deploy(target, job, progress, deadline)
        elif _is_in_ramdisk(target):  # of an image that is not wanted any more
            self._boots.leave_ramdisk(deadline)
        elif is_on and not self._is_in_force(wanted, deadline):
            self._boots.restart_half_made(target, progress, deadline)
        paths = {*_WAITING, "firmware"} if wanted.firmware else set(_WAITING)
        return self._finish(wanted, paths, progress, deadline)

    def _is_in_force(self, wanted: Machine, deadline: Deadline) -> bool:
        return _in_force(wanted, set(_WAITING), self._bmc.observe(deadline, SETTINGS))

    def _prepare(self, target: Target, job: Job | None, progress: Progress, deadline: Deadline) -> None:
        """All settings. The server is on the node, half made, from the first one that may have changed it."""
        wanted, before = machine_of(target), self._bmc.writes
        half = Occupant(target.mark.address, target.mark.uuid, to_data(wanted), complete=False)
        try:
            self._pins.bring(wanted, set(wanted.firmware), progress, deadline)
            self._set_waiting(target, set(_WAITING), progress, deadline)
            self._set_raid(target, job, progress, deadline)
            self._set_live(wanted, deadline)
        except ProviderError:
            if self._bmc.writes > before:
                self._place.occupant = half
            raise
        self._place.occupant = half

    def update(self, target: Target, contents: Contents, deadline: Deadline) -> Found:
        """Everything that waits for a boot is written before the one restart that brings it into force."""
        wanted = machine_of(target)
        paths = {field_of(change) for change in target.changes}
        progress, self._boots.tell = Progress(target, self._sent), target.progress
        self._boots.end_between(progress, deadline)
        seen = self._bmc.observe(deadline)
        names = {change.path.removeprefix("firmware.") for change in target.changes}
        job = self._job(target, contents) if paths & deployed(wanted) else None
        if job is not None and job.iso is not None and target.allowed < Impact.DATA_LOSS:
            raise Refused("the node would be started from its ISO", "boot_iso", "--allow data-loss")
        is_on = is_up(seen, progress)
        self._pins.bring(wanted, names & wanted.firmware.keys(), progress, deadline)
        self._set_waiting(target, paths, progress, deadline)
        if "raid" in paths:
            self._set_raid(target, job, progress, deadline)
        self._set_live(wanted, deadline)
        if job is not None:
            self._deploy_anew(target, job, progress, deadline)
        elif _is_in_ramdisk(target):  # of an image that is not wanted any more
            self._boots.leave_ramdisk(deadline)
        elif is_on and paths.intersection((*_WAITING, "firmware")):
            if self._restarted != wanted:
                self._boots.restart(target, progress, deadline)
            self._restarted = wanted
        return self._finish(wanted, paths, progress, deadline)

    def delete(self, target: Target, deadline: Deadline) -> None:
        """Switches the node off, takes media out, and wipes what its policy names; what is on other disks stays."""
        there = self._place.occupant
        before = there.applied if there is not None and isinstance(there.applied, dict) else {}
        if before.get("power_state") is not None or target.found is None or target.found.partial:
            self._bmc.switch_off(_is_in_ramdisk(target), self._boots.limit(deadline))
        with suppress(Refused, Gone):  # a BMC without a licence for media has none in
            self._bmc.eject_media(deadline)
        self._wipe(target, deadline)
        self._place.occupant = None

    def _wipe(self, target: Target, deadline: Deadline) -> None:
        for way in sorted(set(target.policy.wipe.values())):
            disks = tuple(sorted(disk for disk, how in target.policy.wipe.items() if how == way and disk != ALL_DISKS))
            cleaning = Cleaning(self._place.host, target.mark.uuid, disks, whole=way == "whole")
            assert self._deployer is not None
            limit = within(self._node.wipe_seconds(whole=cleaning.whole), deadline)
            self._deployer.clean(self._bmc, cleaning, target.progress, limit)

    def _set_waiting(self, target: Target, paths: set[str], progress: Progress, deadline: Deadline) -> None:
        wanted = machine_of(target)
        if "bios" in paths and wanted.bios:
            if faults := self._bmc.check_bios(wanted.bios, deadline):
                name, cause = faults[0]
                raise Refused(f"BIOS attribute {name}: {cause}", f"bios.{name}", "node show lists what there is")
            self._bmc.set_bios(wanted.bios, deadline)
        mode = wanted.boot_mode if "boot_mode" in paths else None
        secure = wanted.secure_boot if "secure_boot" in paths else None
        if mode is not None or secure is not None:
            self._set_boot(target, mode, secure, progress, deadline)

    def _set_raid(self, target: Target, job: Job | None, progress: Progress, deadline: Deadline) -> None:
        """From the first change of a volume on, what is to be on the disk is written anew, by whichever run."""
        wanted = machine_of(target)
        if not wanted.raid:
            return

        def begins() -> None:
            if job is not None:
                key = _key(job.checksum, wanted)
                progress.reached(Stage.RAID, key, progress.of_disk(key, not _is_new(target))[1])

        doomed = changed(target.changes) if target.allowed >= Impact.DATA_LOSS else ()
        try:
            return self._bmc.set_raid(wanted.raid, deadline, doomed, begins)
        except NeedsPower:
            self._boots.restart(target, progress, deadline, "setup", is_on=False)
        faults = partial(self._bmc.check_raid, wanted.raid, deadline)
        with suppress(TimedOut):  # then the next lines say what is missing
            self._boots.wait_until(lambda seen: not faults(), "the RAID controllers", deadline)
        try:
            self._bmc.set_raid(wanted.raid, deadline, doomed, begins)
        except Stale:  # the next plan sees the volumes of a node that is on
            raise
        except ProviderError:
            self._boots.end_between(progress, deadline)
            raise
        self._bmc.switch_off(True, self._boots.limit(deadline))  # also where a killed run has noted another restart
        self._boots.end_between(progress, deadline)

    def _set_live(self, wanted: Machine, deadline: Deadline) -> None:
        """What is set at once: before any boot, for while a machine starts, some BMCs take no changes for minutes."""
        if wanted.indicator_led is not None:
            self._bmc.set_indicator_led(wanted.indicator_led, deadline)
        if wanted.asset_tag is not None:
            self._bmc.set_asset_tag(wanted.asset_tag, deadline)

    def _set_boot(
        self, target: Target, mode: str | None, secure: bool | None, progress: Progress, deadline: Deadline
    ) -> None:
        """With a boot between, where the BMC takes one of the two at a time: that of a new server runs nothing of what
        is on its disks, where the firmware can be told so."""
        try:
            return self._bmc.set_boot(mode, secure, deadline)
        except NextBoot:
            is_on = is_up(self._bmc.observe(deadline), progress)
        self._boots.restart(target, progress, deadline, "setup" if _is_new(target) else "disk", is_on=is_on)
        self._boots.wait_until(lambda seen: not seen.pending, "what waited for the boot", deadline)
        self._bmc.set_boot(mode, secure, deadline)
        self._boots.end_between(progress, deadline)  # what waits now is for the boot to come

    def _deploy_anew(self, target: Target, job: Job, progress: Progress, deadline: Deadline) -> None:
        """What runs is asked to end first; a deploy that is refused before anything is written leaves the node running
        what it ran."""
        if not _is_in_ramdisk(target):
            self._bmc.switch_off(False, self._boots.limit(deadline))
        before, _ = progress.of_disk(_key(job.checksum, machine_of(target)), is_there=True)
        try:
            self._deploy(target, job, progress, deadline)
        except Refused as refusal:
            if refusal.path in UNTOUCHED:
                if before == Stage.NOTHING:  # no earlier run wrote anything either
                    progress.reached(before, "", "")
                limit = self._boots.limit(deadline)
                self._bmc.switch_off(True, limit)
                self._bmc.switch_on(limit)
                progress.drop(RESTART)
            raise

    def _job(self, target: Target, contents: Contents) -> Job | None:
        """What is to be on the disk, or booted once; None when neither is. Raises: Refused for an image that is not
        there, or another than its checksum says."""
        wanted, drive = machine_of(target), {}
        if not wanted.image and not wanted.boot_iso:
            return None
        if self._deployer is None:
            raise Refused("nothing can be deployed: the node was opened to be read")
        if wanted.config_drive is not None:
            drive = dict(contents.config_drive(target.mark.address, wanted.config_drive.digest))
        image = contents.image_file(wanted.image) if wanted.image else None
        return Job(
            node=self._place.host,
            uuid=target.mark.uuid,
            image=image,
            checksum=wanted.image or wanted.boot_iso or "",
            format=_format(image) if image else "raw",
            iso=contents.image_file(wanted.boot_iso) if wanted.boot_iso else None,
            config_drive=drive,
            root_device=self._node.root_device,
            overwrite=target.allowed >= Impact.DATA_LOSS and _loses(target, DISK),
            clears_others=target.allowed >= Impact.DATA_LOSS and (not _is_new(target) or _loses(target, OTHER_DISKS)),
            boot_mode=wanted.boot_mode,
            secure_boot=wanted.secure_boot,
        )

    def _deploy(self, target: Target, job: Job, progress: Progress, deadline: Deadline) -> None:
        assert self._deployer is not None
        key = _key(job.checksum, machine_of(target))
        stage, life = progress.of_disk(key, not _is_new(target))
        wanted = replace(job, life=life or LATER)
        try:
            warning = self._deployer.deploy(
                self._bmc, wanted, target.progress, lambda at: progress.reached(at, key, life), stage, deadline
            )
        except Refused as refusal:
            if refusal.path in IN_THE_WAY and _is_new(target):  # the next plan says what would be lost
                progress.send(*held(refusal.path, str(refusal).partition(f"{refusal.path}: ")[2]))
            raise
        progress.drop(*IN_THE_WAY)
        self._warning = warning or self._warning  # a call that is made again writes nothing

    def _finish(self, wanted: Machine, paths: set[str], progress: Progress, deadline: Deadline) -> Found:
        """The power; then the server as it is read back, once ``paths`` are in force."""
        limit = self._boots.limit(deadline)
        if wanted.power_state == "running":
            self._boots.switch_on(wanted, limit)
        elif wanted.power_state == "stopped":
            self._bmc.switch_off(False, limit)
        progress.drop(RESTART)
        if paths.intersection((*_WAITING, "firmware")) and self._is_on(wanted, limit):
            try:
                self._boots.wait_until(
                    lambda seen: self._pins.check(wanted, seen) and _in_force(wanted, paths, seen),
                    "the settings",
                    deadline,
                    "firmware" in paths,
                )
            except ProviderError:
                progress.drop()  # the boot did not bring them
                raise
        before = self._place.occupant
        assert before is not None
        self._place.occupant = replace(before, applied=to_data(wanted), complete=True)
        found = self._read_back(self._boots.limit(deadline))
        return replace(found, facts={**found.facts, WARNING: self._warning}) if self._warning else found

    def _is_on(self, wanted: Machine, limit: Deadline) -> bool:
        """Whether what waits for a boot comes now; where the power is left to others, the node says it."""
        if wanted.power_state is not None:
            return wanted.power_state == "running"
        return self._bmc.observe(limit).power_state in (Power.ON, Power.POWERING_ON)

    def _read_back(self, limit: Deadline) -> Found:
        """The server now: one slow answer among those of a node that just started is none of the step's end."""
        while True:
            try:
                found = self._place.read(limit)
            except TimedOut:
                if limit.seconds < POLL_SECONDS:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                assert found is not None
                return found


def _is_in_ramdisk(target: Target) -> bool:
    """Whether what runs, if anything, is a deployment's ramdisk, which hears no power button."""
    return target.stage.partition(" ")[0] in RAMDISK


def _is_new(target: Target) -> bool:
    """Whether nobody has had the server yet."""
    return target.found is None or target.found.partial


def _loses(target: Target, path: str) -> bool:
    """Whether the step itself may lose what disks hold: another one's leave is not its own, and a new server loses only
    what its plan has told."""
    told = [change for change in target.changes if change.impact >= Impact.DATA_LOSS]
    return any(change.path == path for change in told) if _is_new(target) else bool(told)


def _in_force(wanted: Machine, paths: set[str], seen: NodeFound) -> bool:
    """Whether those of ``paths`` that only a boot brings are so."""
    return (
        ("bios" not in paths or all(seen.bios.get(name) == value for name, value in wanted.bios.items()))
        and ("boot_mode" not in paths or wanted.boot_mode in (None, seen.boot_mode))
        and ("secure_boot" not in paths or wanted.secure_boot in (None, seen.secure_boot))
        and ("firmware" not in paths or wanted.firmware.items() <= seen.firmware.items())
    )


def _key(checksum: str, wanted: Machine) -> str:
    """Names what is to be on the disk."""
    drive = wanted.config_drive.digest if wanted.config_drive else ""
    return hashlib.sha256(f"{checksum} {drive}".encode()).hexdigest()[:12]


def _format(image: Path) -> str:
    with image.open("rb") as file:
        return "qcow2" if file.read(len(_QCOW2)) == _QCOW2 else "raw"
