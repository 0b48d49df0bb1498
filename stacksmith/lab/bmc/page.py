"""The pages of a system that the emulator lacks, or shows otherwise than a real BMC."""

from stacksmith.lab.bmc import boot
from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.message import ROOT, Answer, Request, collection, link, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.lab.bmc.session import SESSIONS
from stacksmith.model.types import JSON

UNKNOWN = "Base.1.12.PropertyUnknown"


def of_root(data: dict[str, JSON], behaviour: Behaviour) -> dict[str, JSON]:
    """The service root with its session service."""
    if behaviour.expands:
        query = {"NoLinks": True, "Links": True, "ExpandAll": True, "Levels": True, "MaxLevels": 3}
        data = {**data, "ProtocolFeaturesSupported": {"ExpandQuery": query}}
    service = {"SessionService": link(f"{ROOT}/SessionService"), "Tasks": link(f"{ROOT}/TaskService")}
    return {**data, **service, "Links": {"Sessions": link(SESSIONS)}, "Vendor": "stacksmith lab"}


def of_system(machine: Machine, behaviour: Behaviour, data: dict[str, JSON], name: str) -> dict[str, JSON]:
    """The system's page."""
    own: dict[str, JSON] = {
        "PowerState": machine.power_state(data["PowerState"], behaviour),
        "AssetTag": machine.state.asset_tag,
        "Boot": boot.shown(machine, behaviour, data["Boot"]),
        "SerialNumber": f"LAB{data['UUID'][:8].upper()}",
        "Model": "Lab node",
        "HostName": name,
        "Oem": {"Lab": {"BootedFrom": machine.booted_from}},
    }
    own["BiosVersion"] = machine.state.firmware.get("BIOS", data.get("BiosVersion"))
    if behaviour.storage_needs_power:
        is_far = machine.has_discovered(behaviour)
        own["BootProgress"] = {"LastState": "OSRunning" if is_far else "PCIResourceConfigStarted"}
    if behaviour.location_indicator:
        own["LocationIndicatorActive"] = data.get("IndicatorLED") == "Blinking"
        data = {key: value for key, value in data.items() if key != "IndicatorLED"}
    if behaviour.settings_uri:
        own["@Redfish.Settings"] = {"SettingsObject": link(f"{machine.path}/Settings")}
    if behaviour.media == "managers":
        data = {key: value for key, value in data.items() if key != "VirtualMedia"}
    return {**data, **own}


def patch_system(machine: Machine, behaviour: Behaviour, request: Request) -> Answer:
    """A change of the system: asset tag, indicator light, boot override. All of it, or nothing."""
    light = "LocationIndicatorActive" if behaviour.location_indicator else "IndicatorLED"
    known = {"AssetTag", light, "Boot"}
    whole = request.path.endswith("/Settings")
    for name in request.data:
        if name not in known:
            return refusal(400, UNKNOWN, f"The property {name} is not known")
    if not request.data:
        return refusal(400, "Base.1.12.MalformedJSON", "The request body must be an object with properties")
    if "Boot" in request.data:
        refused = boot.change(machine, behaviour, request.data["Boot"], whole=whole)
        if refused is not None:
            return refused
    if light in request.data:
        value = request.data[light]
        word = {True: "Blinking", False: "Off"}.get(value) if behaviour.location_indicator else value
        if machine.emulator.call("PATCH", machine.path, {"IndicatorLED": word}).status >= 300:
            return refusal(400, boot.NOT_IN_LIST, f"The value for the property {light} is not in the list")
    if "AssetTag" in request.data:
        machine.state.asset_tag = str(request.data["AssetTag"])
        machine.save()
    return Answer(204)


def of_secure_boot(machine: Machine, data: dict[str, JSON]) -> dict[str, JSON]:
    """Secure boot as it is, and as it will be after the next boot."""
    pending = machine.state.secure_boot
    return data if pending is None else {**data, "SecureBootEnable": pending}


def patch_secure_boot(machine: Machine, behaviour: Behaviour, request: Request) -> Answer:
    """A change of secure boot, for the next boot."""
    enable = request.data.get("SecureBootEnable")
    if not isinstance(enable, bool):
        return refusal(400, "Base.1.12.PropertyValueTypeError", "The property SecureBootEnable must be a boolean")
    if behaviour.boot_mode_by_bios and "BootMode" in machine.state.pending:
        return refusal(400, "IDRAC.2.8.SYS410", "BootMode and secure boot cannot change together")
    machine.state.secure_boot = enable
    machine.save()
    return Answer(204)


def serial_of(node: str, disk: str) -> str:
    """What the disk of a node says its serial number is: ``disk-bm1`` of sda, ``disk-bm1-b`` of sdb."""
    return f"disk-{node}" if disk == "sda" else f"disk-{node}-{disk[-1]}"


def of_drive(data: dict[str, JSON], node: str) -> dict[str, JSON]:
    """A drive with the serial number and the model that the machine itself reads."""
    return {**data, "SerialNumber": serial_of(node, str(data["Name"])), "Model": "QEMU HARDDISK"}


def of_memory(machine: Machine, path: str) -> Answer:
    """The machine's memory as one module."""
    module = f"{machine.path}/Memory/DIMM1"
    if path == f"{machine.path}/Memory":
        return collection(path, "Memory", [module])
    if path != module:
        return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {path}")
    size_gib = machine.emulator.call("GET", machine.path).data["MemorySummary"]["TotalSystemMemoryGiB"]
    data = {
        "@odata.id": path,
        "@odata.type": "#Memory.v1_9_0.Memory",
        "Id": "DIMM1",
        "Name": "DIMM 1",
        "CapacityMiB": size_gib * 1024,
        "MemoryDeviceType": "DDR4",
        "Status": {"State": "Enabled", "Health": "OK"},
    }
    return Answer(200, data)
