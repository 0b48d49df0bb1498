"""A machine that is pages alone: its power is a word, and nothing ever boots. Hundreds of them fit in one process."""

import threading
import uuid
from typing import Final

from stacksmith.lab.bmc.message import ROOT, Answer, collection, link, refusal
from stacksmith.model.types import JSON

DISK_BYTES: Final = 4 * 1024**3
MEMORY_GIB: Final = 1
POWER: Final = {"On": "On", "ForceOn": "On", "ForceOff": "Off", "GracefulShutdown": "Off"}
LIGHTS: Final = ("Lit", "Blinking", "Off")


class Light:
    """See `emulated.Emulated`; the pages are those that sushy-tools' emulator has."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._path = f"{ROOT}/Systems/{identity}"
        self._manager = f"{ROOT}/Managers/{identity}"
        self._lock = threading.RLock()
        self._power, self._light, self._mode, self._target = "Off", "Off", "UEFI", "Hdd"
        self._secure_boot = False
        self._media: dict[str, str | None] = {"Cd": None, "Floppy": None}

    def call(self, method: str, path: str, body: JSON = None) -> Answer:
        data = body if isinstance(body, dict) else {}
        with self._lock:
            if method == "GET":
                page = self._page(path)
                return page or refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {path}")
            if path == f"{self._path}/Actions/ComputerSystem.Reset":
                self._power = POWER.get(str(data.get("ResetType")), self._power)
                return Answer(204)
            if path.startswith(f"{self._path}/VirtualMedia/"):
                slot = path.removeprefix(f"{self._path}/VirtualMedia/").partition("/")[0]
                self._media[slot] = data["Image"] if path.endswith("InsertMedia") else None
                return Answer(204)
            if path == f"{self._path}/SecureBoot":
                self._secure_boot = data["SecureBootEnable"]
                return Answer(204)
            return self._patch(data)

    def change(self, path: str, body: JSON, method: str = "PATCH") -> None:
        answer = self.call(method, path, body)
        if answer.status >= 400:
            raise RuntimeError(f"cannot change {path} to {body}: {answer.status}")

    def remove_media(self, name: str) -> None:
        """Nothing is kept of media."""

    def _patch(self, data: dict[str, JSON]) -> Answer:
        light, boot = data.get("IndicatorLED", self._light), data.get("Boot", {})
        if light not in LIGHTS:
            return refusal(400, "Base.1.12.PropertyValueNotInList", f"There is no {light}")
        self._light = light
        self._mode = boot.get("BootSourceOverrideMode", self._mode)
        self._target = boot.get("BootSourceOverrideTarget", self._target)
        return Answer(204)

    def _page(self, path: str) -> Answer | None:
        below = path.removeprefix(self._path) if path.startswith(self._path) else None
        if below is None:
            return self._service(path)
        makers = {"": self._system, "/SecureBoot": self._secure, "/EthernetInterfaces/1": self._card}
        if below in makers:
            return Answer(200, {"@odata.id": path, **makers[below]()})
        members = {"/EthernetInterfaces": ["1"], "/Storage": ["1"], "/VirtualMedia": ["Cd", "Floppy"]}
        if below in members:
            return collection(path, below[1:].removesuffix("s"), [f"{path}/{name}" for name in members[below]])
        if below == "/Storage/1":
            return Answer(
                200, {"@odata.id": path, "Id": "1", "Name": "Storage", "Drives": [link(f"{path}/Drives/sda")]}
            )
        if below == "/Storage/1/Drives/sda":
            drive = {"Id": "sda", "Name": "sda", "CapacityBytes": DISK_BYTES, "Protocol": "SATA"}
            return Answer(200, {"@odata.id": path, **drive})
        slot = below.removeprefix("/VirtualMedia/")
        return Answer(200, {"@odata.id": path, **self._slot(slot)}) if slot in self._media else None

    def _service(self, path: str) -> Answer | None:
        if path.rstrip("/") == ROOT:
            names = ("Systems", "Managers", "Registries", "UpdateService")
            return Answer(200, {"@odata.id": ROOT, "Id": "Root", **{name: link(f"{ROOT}/{name}") for name in names}})
        if path == f"{ROOT}/Systems":
            return collection(path, "ComputerSystem", [self._path])
        if path == self._manager:
            return Answer(200, {"@odata.id": path, "Id": self._identity, "Name": "BMC"})
        return None

    def _system(self) -> dict[str, JSON]:
        names = ("SecureBoot", "EthernetInterfaces", "Storage", "VirtualMedia", "Memory")
        return {
            "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
            "Id": self._identity,
            "Name": self._identity,
            "UUID": self._identity,
            "Manufacturer": "stacksmith",
            "PowerState": self._power,
            "IndicatorLED": self._light,
            "BiosVersion": "1.0.0",
            "Boot": {"BootSourceOverrideMode": self._mode, "BootSourceOverrideTarget": self._target},
            "ProcessorSummary": {"Count": 1},
            "MemorySummary": {"TotalSystemMemoryGiB": MEMORY_GIB},
            "Bios": link(f"{self._path}/BIOS"),
            **{name: link(f"{self._path}/{name}") for name in names},
            "Links": {"ManagedBy": [link(self._manager)]},
            "Actions": {"#ComputerSystem.Reset": {"target": f"{self._path}/Actions/ComputerSystem.Reset"}},
        }

    def _secure(self) -> dict[str, JSON]:
        current = "Enabled" if self._secure_boot else "Disabled"
        return {"Id": "SecureBoot", "SecureBootEnable": self._secure_boot, "SecureBootCurrentBoot": current}

    def _card(self) -> dict[str, JSON]:
        octets = uuid.UUID(self._identity).bytes[-5:]
        return {"Id": "1", "Name": "Network card", "MACAddress": ":".join(f"{each:02x}" for each in (6, *octets))}

    def _slot(self, slot: str) -> dict[str, JSON]:
        image = self._media[slot]
        kinds = ["CD", "DVD"] if slot == "Cd" else ["Floppy", "USBStick"]
        facts = {"Image": image, "ImageName": image or "", "Inserted": image is not None}
        return {"Id": slot, "Name": slot, "MediaTypes": kinds, **facts}
