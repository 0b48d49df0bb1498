"""The boot override of a system: what is shown, and what a change of it must hold."""

from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.message import Answer, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.lab.bmc.state import Override
from stacksmith.model.types import JSON

ENABLED, TARGET, MODE = "BootSourceOverrideEnabled", "BootSourceOverrideTarget", "BootSourceOverrideMode"
MODES = ("UEFI", "Legacy")
NOT_IN_LIST = "Base.1.12.PropertyValueNotInList"


def shown(machine: Machine, behaviour: Behaviour, found: dict[str, JSON]) -> dict[str, JSON]:
    """The Boot object, from the emulator's one."""
    override = machine.state.override
    return {
        ENABLED: override.enabled,
        f"{ENABLED}@Redfish.AllowableValues": list(_enabled(behaviour)),
        TARGET: override.target,
        f"{TARGET}@Redfish.AllowableValues": list(_targets(behaviour)),
        MODE: found.get(MODE),
        f"{MODE}@Redfish.AllowableValues": list(MODES),
    }


def change(machine: Machine, behaviour: Behaviour, boot: dict[str, JSON], *, whole: bool) -> Answer | None:
    """Take a change of the override over; the refusal when it breaks a rule. `whole`: every key must be there."""
    refused = _refuse(behaviour, boot, whole)
    if refused is not None:
        return refused
    override = machine.state.override
    enabled = boot.get(ENABLED, "Once" if TARGET in boot and override.enabled == "Disabled" else override.enabled)
    target = boot.get(TARGET, override.target)
    machine.state.override = Override() if enabled == "Disabled" else Override(enabled, target)
    mode = boot.get(MODE)
    if mode is None and behaviour.enabled_required and TARGET in boot:
        mode = "Legacy"  # what such a BMC falls back to
    if mode is not None and mode != machine.emulator.call("GET", machine.path).data["Boot"].get(MODE):
        machine.emulator.change(machine.path, {"Boot": {MODE: mode}})
    machine.save()
    return None


def _refuse(behaviour: Behaviour, boot: dict[str, JSON], whole: bool) -> Answer | None:
    if behaviour.settings_uri and not whole:
        return refusal(400, "Base.1.12.PropertyNotWritable", "The property Boot is written in the settings resource")
    needed = (ENABLED, TARGET, MODE) if whole else (ENABLED,) if behaviour.enabled_required else ()
    for name in needed:
        if name not in boot:
            return refusal(400, "Base.1.12.PropertyMissing", f"The property {name} is required")
    if MODE in boot and behaviour.boot_mode_by_bios:
        return refusal(
            400, "Base.1.12.PropertyNotWritable", f"The property {MODE} is read only: it is a BIOS attribute"
        )
    allowed = {ENABLED: _enabled(behaviour), TARGET: _targets(behaviour), MODE: MODES}
    for name, value in boot.items():
        if name not in allowed:
            return refusal(400, "Base.1.12.PropertyUnknown", f"The property {name} is not known")
        if value not in allowed[name]:
            return refusal(400, NOT_IN_LIST, f"The value {value} for the property {name} is not in the list")
    return None


def _enabled(behaviour: Behaviour) -> tuple[str, ...]:
    refused = {"Continuous": behaviour.continuous_refused, "Once": behaviour.once_refused}
    return tuple(each for each in ("Disabled", "Once", "Continuous") if not refused.get(each))


def _targets(behaviour: Behaviour) -> tuple[str, ...]:
    return ("None", "Pxe", "UsbCd" if behaviour.usb_cd else "Cd", "Hdd", "BiosSetup")
