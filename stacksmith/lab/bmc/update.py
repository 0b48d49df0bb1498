"""Firmware: its versions, and updates from a URL. An image is a text, whose first line is a name and a version."""

import time
import urllib.request
from typing import Final

from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.message import ROOT, Answer, Request, collection, link, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.lab.bmc.task import Outcome, Tasks
from stacksmith.model.types import JSON

SERVICE: Final = f"{ROOT}/UpdateService"
FIRMWARE: Final = f"{SERVICE}/FirmwareInventory"
UPDATE: Final = f"{SERVICE}/Actions/UpdateService.SimpleUpdate"
FETCH_SECONDS, LARGEST = 30.0, 1024
NAMES: Final = ("BIOS", "BMC")


def answer(machine: Machine, tasks: Tasks, behaviour: Behaviour, request: Request) -> Answer | None:
    """The answer to what is about firmware; None for other paths."""
    if (request.method, request.path) == ("POST", UPDATE):
        return _update(machine, tasks, behaviour, request.data)
    if request.method != "GET" or not request.path.startswith(SERVICE):
        return None
    if request.path == SERVICE:
        return Answer(200, _service())
    if request.path == FIRMWARE:
        return collection(FIRMWARE, "SoftwareInventory", [f"{FIRMWARE}/{name}" for name in NAMES])
    name = request.path.removeprefix(f"{FIRMWARE}/")
    if name not in NAMES:
        return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
    data: dict[str, JSON] = {
        "@odata.id": request.path,
        "@odata.type": "#SoftwareInventory.v1_4_0.SoftwareInventory",
        "Id": name,
        "Name": f"{name} firmware",
        "Version": machine.version(name),
        "Updateable": True,
        "RelatedItem": [link(machine.path)],
        "Status": {"State": "Enabled", "Health": "OK"},
    }
    return Answer(200, data)


def _service() -> dict[str, JSON]:
    action = {
        "target": UPDATE,
        "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"],
        "Targets@Redfish.AllowableValues": [f"{FIRMWARE}/{name}" for name in NAMES],
    }
    return {
        "@odata.id": SERVICE,
        "@odata.type": "#UpdateService.v1_8_0.UpdateService",
        "Id": "UpdateService",
        "Name": "Update service",
        "ServiceEnabled": True,
        "FirmwareInventory": link(FIRMWARE),
        "Actions": {"#UpdateService.SimpleUpdate": action},
    }


def _update(machine: Machine, tasks: Tasks, behaviour: Behaviour, body: dict[str, JSON]) -> Answer:
    url, targets = str(body.get("ImageURI", "")), body.get("Targets") or []
    if not url.startswith(("http://", "https://")):
        return refusal(400, "Base.1.12.ActionParameterValueFormatError", "The parameter ImageURI must be a URL")
    if not set(targets) <= {f"{FIRMWARE}/{name}" for name in NAMES}:
        return refusal(400, "Base.1.12.ActionParameterValueNotInList", "The value for the parameter Targets is unknown")
    if tasks.is_busy:
        return refusal(409, "Base.1.12.ResourceInUse", "An update is still running")

    def install() -> Outcome:
        with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as file:
            words = file.read(LARGEST).decode(errors="replace").split("\n")[0].split()
        if len(words) != 2 or words[0] not in NAMES or (targets and f"{FIRMWARE}/{words[0]}" not in targets):
            return Outcome(False, "Update.1.0.ApplyFailed", f"The image of {url} is not for this device")
        time.sleep(behaviour.update_seconds)
        if machine.install(*words, at_once=behaviour.firmware_at_once or words[0] == "BMC"):
            return Outcome(True, "Update.1.0.UpdateSuccessful", f"{words[0]} has been updated")
        return Outcome(True, "Update.1.0.AwaitToActivate", f"{words[0]} is updated at the next boot")

    return tasks.start(install, is_odd=behaviour.tasks)
