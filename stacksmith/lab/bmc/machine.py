"""The machine behind a BMC: its power, what it boots from, and the settings that wait for the next boot."""

import threading
import time
from pathlib import Path

from stacksmith.lab.bmc import state
from stacksmith.lab.bmc.emulated import Emulated
from stacksmith.lab.bmc.message import ROOT, Answer, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.model.types import JSON

RESETS = ("On", "ForceOn", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "Nmi")
SHUTDOWN_SECONDS = 120.0
NOT_IN_LIST = "Base.1.12.ActionParameterValueNotInList"
BMC_VERSION = "1.4.2"
CONFLICT = "Base.1.12.ActionParameterValueConflict"
ALREADY = "Base.1.12.GeneralError"


class Machine:
    """One machine. Every method is one step under the BMC's lock, so that a poll never sees half a reset."""

    def __init__(self, emulator: Emulated, identity: str, remembered: Path) -> None:
        self.emulator = emulator
        self.path = f"{ROOT}/Systems/{identity}"
        self.state = state.load(remembered)
        self.lock = threading.RLock()
        self.switched_on = self.switched_off = -1e9
        self.booted_from = ""  # at the last boot: Hdd, Cd, …
        self._remembered = remembered
        self._settling = ("", -1e9)  # a state on the way, and since when

    def save(self) -> None:
        state.save(self.state, self._remembered)

    def is_on(self) -> bool:
        return bool(self.emulator.call("GET", self.path).data["PowerState"] == "On")

    def has_discovered(self, behaviour: Behaviour) -> bool:
        """Whether the firmware knows what storage there is."""
        return time.monotonic() - self.switched_on > behaviour.storage_seconds

    def power_state(self, found: str, behaviour: Behaviour) -> str:
        """The power state to show: the real one once it has settled."""
        word, since = self._settling
        return word if time.monotonic() - since < behaviour.settle else found

    def version(self, name: str) -> str:
        """The version of firmware that runs."""
        known = BMC_VERSION if name == "BMC" else str(self.emulator.call("GET", self.path).data["BiosVersion"])
        return self.state.firmware.get(name, known)

    def install(self, name: str, version: str, *, at_once: bool) -> bool:
        """Has the firmware run now, or from the next boot on; whether it runs."""
        with self.lock:
            (self.state.firmware if at_once else self.state.staged)[name] = version
            self.save()
        return at_once

    def reset(self, kind: object, behaviour: Behaviour) -> Answer:
        """Carry a reset out."""
        with self.lock:
            if kind not in RESETS:
                return refusal(400, NOT_IN_LIST, f"The value {kind} for the parameter ResetType is not in the list")
            refused = self._refuse(str(kind), behaviour)
            if refused is not None:
                return refused
            if kind in ("On", "ForceOn"):
                return self._boot(behaviour)
            if kind == "ForceRestart":
                self._off("ForceOff", behaviour)
                return self._boot(behaviour)
            if kind == "ForceOff":
                return self._off("ForceOff", behaviour)
            if kind == "Nmi" or behaviour.graceful_ignored:
                return Answer(204)
            if kind == "GracefulRestart":
                threading.Thread(target=self._boot_once_off, args=(behaviour,), daemon=True).start()
            return self._off("GracefulShutdown", behaviour)

    def _refuse(self, kind: str, behaviour: Behaviour) -> Answer | None:
        is_on = self.is_on()
        since_off = time.monotonic() - self.switched_off
        on_its_way = self.power_state("", behaviour)
        if on_its_way:
            return refusal(409, CONFLICT, f"The machine is {on_its_way}")
        if kind in ("On", "ForceOn") and not is_on and since_off < behaviour.on_after_off:
            return refusal(409, CONFLICT, "The value On for ResetType conflicts with the state of the machine")
        if kind in ("On", "ForceOn") and is_on:
            return refusal(behaviour.already_status, ALREADY, "The machine is on already")
        if kind not in ("On", "ForceOn") and not is_on:
            return refusal(behaviour.already_status, ALREADY, "The machine is off already")
        if kind != "ForceOff" and time.monotonic() - self.switched_on < behaviour.post:
            return refusal(400, "iLO.2.14.InvalidOperationForSystemState", "The operation is not possible during POST")
        return None

    def _boot(self, behaviour: Behaviour) -> Answer:
        """Switch on: the settings that waited are applied, and a boot override of one boot is used up."""
        self._apply(behaviour)
        target = self._boot_target(behaviour)
        if target != "Hdd":  # emulated firmware cannot be told to stop in its setup: it looks for a network, in vain
            self._boot_from("Pxe" if target == "BiosSetup" else target)
        answer = self._post("On")
        if answer.status < 300:
            self.switched_on, self.booted_from = time.monotonic(), target
            self._settling = ("PoweringOn", self.switched_on if behaviour.settle else -1e9)
            if behaviour.apply_seconds:
                timer = threading.Timer(behaviour.apply_seconds, self._apply_bios)
                timer.daemon = True
                timer.start()
            if target != "Hdd":
                self._boot_from("Hdd")  # what is defined now counts from the next boot
            if self.state.override.enabled == "Once":
                self.state.override = state.Override()
            self.save()
        return answer

    def _boot_target(self, behaviour: Behaviour) -> str:
        """Where the machine will boot from; from the disk when the override names a drive that is empty."""
        override = self.state.override
        target = {"UsbCd": "Cd", "UefiHttp": "Pxe", "None": "Hdd"}.get(override.target, override.target)
        if override.enabled == "Disabled":
            return "Pxe" if behaviour.network_first else "Hdd"
        if target in ("Cd", "Floppy"):
            slot = self.emulator.call("GET", f"{self.path}/VirtualMedia/{target}").data
            return target if slot["Inserted"] else "Hdd"
        return target

    def _boot_from(self, target: str) -> None:
        self.emulator.change(self.path, {"Boot": {"BootSourceOverrideTarget": target}})

    def _apply(self, behaviour: Behaviour) -> None:
        """Apply what waited for a boot."""
        mode = {"Uefi": "UEFI", "Bios": "Legacy"}.get(str(self.state.pending.get("BootMode")))
        if behaviour.boot_mode_by_bios and mode:
            self.emulator.change(self.path, {"Boot": {"BootSourceOverrideMode": mode}})
        self.state.firmware |= self.state.staged
        if self.state.secure_boot is not None:
            self.emulator.change(f"{self.path}/SecureBoot", {"SecureBootEnable": self.state.secure_boot})
        self.state.secure_boot, self.state.staged = None, {}
        if not behaviour.apply_seconds:
            self._apply_bios()

    def _apply_bios(self) -> None:
        """Bring the attributes that waited into force, as firmware does while it starts."""
        with self.lock:
            self.state.bios = {**({} if self.state.bios_reset else self.state.bios), **self.state.pending}
            self.state.bios_reset, self.state.pending = False, {}
            self.save()

    def _off(self, kind: str, behaviour: Behaviour) -> Answer:
        answer = self._post(kind)
        if kind == "ForceOff":
            self.switched_on, self.switched_off = -1e9, time.monotonic()
            self._settling = ("PoweringOff", self.switched_off if behaviour.settle else -1e9)
        return answer

    def _boot_once_off(self, behaviour: Behaviour) -> None:
        """The second half of a graceful restart: the machine goes off by itself, or stays as it is."""
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.5)
            with self.lock:
                if not self.is_on():
                    self._boot(behaviour)
                    return

    def _post(self, kind: str) -> Answer:
        body: JSON = {"ResetType": kind}
        return self.emulator.call("POST", f"{self.path}/Actions/ComputerSystem.Reset", body)
