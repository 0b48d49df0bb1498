"""BIOS attributes: a change waits until the machine boots."""

import time

from stacksmith.lab.bmc.attribute import ATTRIBUTES, REGISTRY, in_force
from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.message import Answer, Request, link, refusal
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
    places = (path,) if behaviour.no_settings else (path, f"{path}/Settings")
    if request.path not in places:
        return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
    if request.method == "PATCH" and request.path != path:
        return _change(machine, behaviour, request.data)
    if request.method != "GET":
        return refusal(405, "Base.1.12.OperationNotAllowed", f"{request.method} is not allowed here")
    return Answer(200, _page(machine, behaviour, request.path, is_settings=request.path != path))


def _page(machine: Machine, behaviour: Behaviour, path: str, *, is_settings: bool) -> dict[str, JSON]:
    known = in_force(machine.state.bios)
    data: dict[str, JSON] = {
        "@odata.id": path,
        "@odata.type": "#Bios.v1_2_0.Bios",
        "Id": "Settings" if is_settings else "BIOS",
        "Name": "BIOS settings of the next boot" if is_settings else "BIOS settings",
        "Attributes": known,
        **({} if behaviour.no_registry else {"AttributeRegistry": REGISTRY}),
    }
    if is_settings:
        return {**data, "Attributes": {**({} if behaviour.apply_time_required else known), **machine.state.pending}}
    times = {} if behaviour.apply_time_unknown else {"SupportedApplyTimes": ["OnReset"]}
    settings = {"@odata.type": "#Settings.v1_3_0.Settings", "SettingsObject": link(f"{path}/Settings"), **times}
    actions = {"#Bios.ResetBios": {"target": f"{path}/Actions/Bios.ResetBios"}}
    return {**data, **({} if behaviour.no_settings else {"@Redfish.Settings": settings}), "Actions": actions}


def _change(machine: Machine, behaviour: Behaviour, body: dict[str, JSON]) -> Answer:
    time.sleep(behaviour.bios_seconds)
    attributes = body.get("Attributes")
    if not isinstance(attributes, dict):
        return refusal(400, "Base.1.12.PropertyMissing", "The property Attributes is required")
    for name, value in attributes.items():
        if name not in ATTRIBUTES:
            return refusal(400, "Base.1.12.PropertyUnknown", f"The property {name} is not known")
        fault = ATTRIBUTES[name].fault(value)
        if fault is not None:
            return fault
    if behaviour.apply_time_unknown and APPLY_TIME in body:
        return refusal(400, "Base.1.12.PropertyUnknown", f"The property {APPLY_TIME} is not known")
    secure_boot_too = "SecureBootStatus" in attributes or machine.state.secure_boot is not None
    if behaviour.boot_mode_by_bios and "BootMode" in attributes and secure_boot_too:
        return refusal(400, "IDRAC.2.8.SYS410", "BootMode and secure boot cannot change together")
    if behaviour.apply_time_required and APPLY_TIME not in body:
        return Answer(200, {})  # taken, and never applied
    with machine.lock:
        known = in_force(machine.state.bios)
        pending = {**machine.state.pending, **attributes}
        machine.state.pending = {name: value for name, value in pending.items() if known[name] != value}
        machine.save()
    return Answer(204)
