"""A RAID controller with drives of its own, which are in no machine: volumes are made and deleted in memory."""

from collections.abc import Callable
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.message import Answer, Request, collection, link, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.lab.bmc.task import Outcome, Tasks
from stacksmith.model.types import JSON

CONTROLLER: Final = "RAID.1"
RAW: Final = "raw"
DRIVE_BYTES: Final = 480_103_981_056
STRIPE_BYTES: Final = 64 * 1024**2  # a capacity is cut to it
LEVELS: Final[dict[str, tuple[int, Callable[[int], int]]]] = {  # least drives; how many of so many hold data
    "RAID0": (1, lambda count: count),
    "RAID1": (2, lambda count: 1),
    "RAID5": (3, lambda count: count - 1),
    "RAID6": (4, lambda count: count - 2),
    "RAID10": (4, lambda count: count // 2),
}


@dataclass(frozen=True, slots=True)
class Controller:
    """The controller of one machine; it does one task at a time."""

    machine: Machine
    tasks: Tasks

    @property
    def path(self) -> str:
        return f"{self.machine.path}/Storage/{CONTROLLER}"

    def answer(self, request: Request, behaviour: Behaviour) -> Answer | None:
        """The answer to what is about the controller; None for other paths, and where there is none."""
        if not behaviour.raid_drives or not request.path.startswith(self.path):
            return None
        if self._is_hidden(behaviour):
            return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
        drives = {f"{self.path}/Drives/{name}": name for name in self._drives(behaviour)}
        if request.path in drives:
            return Answer(200, self._drive(request.path, drives[request.path], behaviour))
        if request.path == self.path:
            return Answer(200, self._page(list(drives)))
        if request.path == f"{self.path}/Volumes":
            if request.method == "POST":
                return self._create(request.data, behaviour)
            return self._volumes(request.path, behaviour)
        if request.path == f"{self.path}/Volumes/{RAW}" and behaviour.raid_strict:
            raw = {"@odata.id": request.path, "Id": RAW, "Name": "Bay3", "VolumeType": "RawDevice", "RAIDType": None}
            allowed = request.method == "GET"
            return Answer(200, raw) if allowed else refusal(405, "Base.1.12.OperationNotAllowed", "It is no volume")
        for volume in self.machine.state.volumes:
            if request.path == f"{self.path}/Volumes/{volume['Id']}":
                return self._delete(volume, behaviour) if request.method == "DELETE" else Answer(200, dict(volume))
        return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")

    def listed(self, data: dict[str, JSON], behaviour: Behaviour) -> dict[str, JSON]:
        """The collection of the machine's storage, with the controller."""
        members = [*data["Members"], *([link(self.path)] if behaviour.raid_drives else [])]
        shown = [] if self._is_hidden(behaviour) else members
        return {**data, "Members": shown, "Members@odata.count": len(shown)}

    def _is_hidden(self, behaviour: Behaviour) -> bool:
        return behaviour.storage_needs_power and not (self.machine.is_on() and self.machine.has_discovered(behaviour))

    def _volumes(self, path: str, behaviour: Behaviour) -> Answer:
        """The collection; a strict controller shows a drive that is in no volume as one, as many do."""
        names = [*([RAW] if behaviour.raid_strict else []), *(each["Id"] for each in self.machine.state.volumes)]
        answer = collection(path, "Volume", [f"{path}/{name}" for name in names])
        if behaviour.raid_strict:
            times = {"SupportedValues": ["Immediate", "OnReset"][behaviour.raid_at_boot :]}
            answer.data["@Redfish.OperationApplyTimeSupport"] = times
        return answer

    def _drives(self, behaviour: Behaviour) -> list[str]:
        return [f"Bay{number}" for number in range(behaviour.raid_drives)]

    def _page(self, drives: list[str]) -> dict[str, JSON]:
        return {
            "@odata.id": self.path,
            "@odata.type": "#Storage.v1_8_0.Storage",
            "Id": CONTROLLER,
            "Name": "RAID controller",
            "StorageControllers": [{"MemberId": "0", "Name": "RAID controller", "SupportedRAIDTypes": list(LEVELS)}],
            "Drives": [link(drive) for drive in drives],
            "Volumes": link(f"{self.path}/Volumes"),
        }

    def _drive(self, path: str, name: str, behaviour: Behaviour) -> dict[str, JSON]:
        return {
            "@odata.id": path,
            "@odata.type": "#Drive.v1_8_0.Drive",
            "Id": name,
            "Name": "Secondary Storage Device" if behaviour.raid_names_alike else name,
            "SerialNumber": f"S{name}",
            "CapacityBytes": DRIVE_BYTES,
            "MediaType": "SSD",
            "Protocol": "SAS",
        }

    def _refuse(self, behaviour: Behaviour) -> Answer | None:
        if not behaviour.licensed:
            return refusal(403, "IDRAC.2.8.LIC501", "A required license is missing or expired: Storage")
        if self.tasks.is_busy:
            return refusal(409, "Base.1.12.ResourceInUse", "A job of the controller is still running")
        return None

    def _create(self, body: dict[str, JSON], behaviour: Behaviour) -> Answer:
        level, drives = body.get("RAIDType"), [each["@odata.id"] for each in body.get("Links", {}).get("Drives", ())]
        refused = self._refuse(behaviour)
        if refused is not None:
            return refused
        if behaviour.raid_strict and "Name" in body:
            return refusal(400, "Base.1.12.PropertyNotWritable", "The property Name is read only")
        if behaviour.raid_strict and body.get("@Redfish.OperationApplyTime") != "Immediate":
            return refusal(400, "Base.1.12.PropertyMissing", "The property @Redfish.OperationApplyTime is required")
        known = {f"{self.path}/Drives/{name}" for name in self._drives(behaviour)}
        is_whole = (
            len(set(drives)) == len(drives) and set(drives) <= known and not (level == "RAID10" and len(drives) % 2)
        )
        if level not in LEVELS or len(drives) < LEVELS[level][0] or not is_whole:
            return refusal(400, "Base.1.12.PropertyValueNotInList", f"The value {level} for RAIDType is not possible")
        whole = LEVELS[level][1](len(drives)) * DRIVE_BYTES
        size, used = body.get("CapacityBytes") or whole, self._used(drives)
        if size > whole - used:
            return refusal(400, "Storage.1.0.InsufficientSpace", "There is not so much room on the drives")
        volume: dict[str, JSON] = {
            "@odata.type": "#Volume.v1_6_0.Volume",
            "Name": body.get("Name", f"Volume {self.machine.state.volume_count}"),
            **({"DisplayName": body["DisplayName"]} if "DisplayName" in body else {}),
            "RAIDType": level,
            "CapacityBytes": size // STRIPE_BYTES * STRIPE_BYTES,
            "Links": {"Drives": [link(drive) for drive in drives]},
        }

        def make() -> Outcome:
            with self.machine.lock:
                self.machine.state.volume_count += 1
                key = str(self.machine.state.volume_count)
                own = {"@odata.id": f"{self.path}/Volumes/{key}", "Id": key}
                self.machine.state.volumes.append({**own, **volume})
                self.machine.save()
            return Outcome()

        if behaviour.raid_seconds:
            return self.tasks.start(make, behaviour.raid_seconds, is_odd=behaviour.tasks)
        make()
        return Answer(
            201, dict(self.machine.state.volumes[-1]), {"Location": self.machine.state.volumes[-1]["@odata.id"]}
        )

    def _delete(self, volume: dict[str, JSON], behaviour: Behaviour) -> Answer:
        refused = self._refuse(behaviour)
        if refused is not None:
            return refused

        def remove() -> Outcome:
            with self.machine.lock:
                self.machine.state.volumes.remove(volume)
                self.machine.save()
            return Outcome()

        if behaviour.raid_seconds:
            return self.tasks.start(remove, behaviour.raid_seconds, is_odd=behaviour.tasks)
        remove()
        return Answer(204)

    def _used(self, drives: list[str]) -> int:
        return sum(
            volume["CapacityBytes"]
            for volume in self.machine.state.volumes
            if {each["@odata.id"] for each in volume["Links"]["Drives"]} & set(drives)
        )
