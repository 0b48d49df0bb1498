"""BIOS attributes: a change waits until the machine boots."""

import time

from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.message import Answer, Request, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.model.types import JSON

APPLY_TIME = "@Redfish.SettingsApplyTime"


def answer(machine: Machine, behaviour: Behaviour, request: Request) -> Answer:
    """The answer to a request about the BIOS of a machine."""
    path = f"{machine.path}/BIOS"
    if (request.method, request.path) == ("POST", f"{path}/Actions/Bios.ResetBios"):
        machine.state.bios_reset, machine.state.pending = True, {}
        machine.save()
        return Answer(204)
    if request.path not in (path, f"{path}/Settings"):
        return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
    if request.method == "PATCH" and request.path != path:
        return _change(machine, behaviour, request.data)
    if request.method != "GET":
        return refusal(405, "Base.1.12.OperationNotAllowed", f"{request.method} is not allowed here")
    found = machine.emulator.call("GET", request.path)
    if request.path == path:
        found.data["@Redfish.Settings"]["SupportedApplyTimes"] = ["OnReset"]
    else:
        known = {} if behaviour.apply_time_required else found.data["Attributes"]
        found.data["Attributes"] = {**known, **machine.state.pending}
    return found


def _change(machine: Machine, behaviour: Behaviour, body: dict[str, JSON]) -> Answer:
    time.sleep(behaviour.bios_seconds)
    attributes = body.get("Attributes")
    if not isinstance(attributes, dict):
        return refusal(400, "Base.1.12.PropertyMissing", "The property Attributes is required")
    known = machine.emulator.call("GET", f"{machine.path}/BIOS").data["Attributes"]
    for name, value in attributes.items():
        if name not in known:
            return refusal(400, "Base.1.12.PropertyUnknown", f"The property {name} is not known")
        if not isinstance(value, str):
            return refusal(400, "Base.1.12.PropertyValueTypeError", f"The property {name} must be a string")
    if behaviour.boot_mode_by_bios and {"BootMode", "SecureBootStatus"} <= set(attributes):
        return refusal(400, "IDRAC.2.8.SYS410", "BootMode and SecureBootStatus cannot change together")
    if behaviour.apply_time_required and APPLY_TIME not in body:
        return Answer(200, {})  # taken, and never applied
    with machine.lock:
        pending = {**machine.state.pending, **attributes}
        machine.state.pending = {name: value for name, value in pending.items() if known[name] != value}
        machine.save()
    return Answer(204)
