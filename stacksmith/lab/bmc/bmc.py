"""One BMC: every request passes sign-in, the faults and quirks of its profile, and the rules of entity tags."""

import hashlib
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stacksmith.lab.bmc import attribute, bios, page, update
from stacksmith.lab.bmc.emulated import Emulated
from stacksmith.lab.bmc.machine import Machine
from stacksmith.lab.bmc.media import Media
from stacksmith.lab.bmc.message import ROOT, Answer, Request, collection, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.lab.bmc.session import OPEN, SESSIONS, Sessions
from stacksmith.lab.bmc.storage import Controller
from stacksmith.lab.bmc.task import Tasks
from stacksmith.model.types import JSON


class Bmc:
    """The BMC of one node; `answer` may be called by many threads."""

    def __init__(self, name: str, identity: str, emulator: Emulated, user: tuple[str, str], remembered: Path) -> None:
        self.name = name
        self.machine = Machine(emulator, identity, remembered)
        self._emulator = emulator
        self._sessions = Sessions(*user, remembered.with_suffix(".tokens"))
        self._media = Media(emulator, identity)
        self._tasks = Tasks()
        self._controller = Controller(self.machine, self._tasks)
        self._manager = f"{ROOT}/Managers/{identity}"
        self._count = itertools.count(1)
        self._turn = threading.Condition()
        self._running = 0
        self._job_at = -1e9  # when what makes it busy was asked for

    def answer(self, request: Request, behaviour: Behaviour) -> Answer | None:
        """The answer, late as the profile says; None: close the connection without one."""
        with self._turn:
            self._turn.wait_for(lambda: not behaviour.at_once or self._running < behaviour.at_once)
            self._running += 1
        try:
            if behaviour.latency:
                spread = behaviour.latency * behaviour.jitter
                time.sleep(max(0.0, behaviour.latency + random.uniform(-spread, spread)))
            return self._answer(request, behaviour)
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify()

    def _answer(self, request: Request, behaviour: Behaviour) -> Answer | None:
        number = next(self._count)
        if behaviour.drop_every and number % behaviour.drop_every == 0:
            return None
        refused = self._refuse(request, behaviour, number)
        answer = refused or self._checked(request, behaviour)
        if refused is None and request.is_write and not request.path.startswith(SESSIONS):
            if behaviour.answers_lost:
                return None
            time.sleep(behaviour.write_seconds)
        if behaviour.expands and answer.status == 200 and isinstance(answer.data, dict):
            if request.levels and behaviour.expands_collections and "Members" not in answer.data:
                return refusal(400, "Base.1.12.QueryNotSupportedOnResource", "The resource takes no query parameters")
            answer.data = self._expanded(answer.data, request.levels, behaviour)
        if answer.status == 200 and isinstance(answer.data, dict) and request.method == "GET":
            answer.data, answer.headers["ETag"] = _tagged(answer.data, behaviour)
        if behaviour.registries_compressed and answer.status == 200 and request.path.startswith(attribute.REGISTRIES):
            answer.headers["Content-Encoding"] = "gzip"
        return _odd(answer) if behaviour.odd_data else answer

    def _expanded(self, data: dict[str, JSON], levels: int, behaviour: Behaviour) -> dict[str, JSON]:
        """A page with the pages of its members, drives and settings in it, so many levels deep."""
        if levels <= 0:
            return data
        wanted = [name for name in ("Members", "Drives") if isinstance(data.get(name), list)]
        for name in wanted:
            pages = [self._route(Request("GET", entry["@odata.id"]), behaviour).data for entry in data[name]]
            data = {**data, name: [self._expanded(each, levels - 1, behaviour) for each in pages]}
        settings = data.get("@Redfish.Settings")
        if isinstance(settings, dict):
            place = settings["SettingsObject"]["@odata.id"]
            waiting = self._route(Request("GET", place), behaviour).data
            data = {**data, "@Redfish.Settings": {**settings, "SettingsObject": waiting}}
        return data

    def _refuse(self, request: Request, behaviour: Behaviour, number: int) -> Answer | None:
        """What stops a request whatever it is about."""
        if behaviour.fail_every and number % behaviour.fail_every == 0:
            return refusal(500, "Base.1.12.InternalError", "The request failed due to an internal error")
        refused = self._sessions.refuse(request, behaviour)
        if refused is not None or request.path in OPEN:
            return refused
        if time.monotonic() - self._job_at < behaviour.busy_after_job:
            return refusal(503, "IDRAC.2.8.SYS518", "iDRAC is currently unable to display any information")
        if behaviour.registries_compressed and request.path.startswith(f"{ROOT}/Registries/"):
            codings = request.headers.get("accept-encoding", "identity")
            if "gzip" not in codings:
                return refusal(406, "Base.1.12.GeneralError", "The resource is there in compressed form alone")
        if behaviour.few_rights and {"Storage", "FirmwareInventory"} & set(request.path.split("/")):
            return refusal(403, "Base.1.12.InsufficientPrivilege", "The user has no privilege for this resource")
        since_on = time.monotonic() - self.machine.switched_on
        if request.method == "PATCH" and since_on < behaviour.post:
            return refusal(400, "iLO.2.14.UnableToModifyDuringSystemPOST", "The value cannot change during POST")
        return None

    def _checked(self, request: Request, behaviour: Behaviour) -> Answer:
        """The answer to a request that may pass, if its entity tag is that of the resource as it is."""
        wanted = request.headers.get("if-match")
        if behaviour.etag_required and request.method == "PATCH" and wanted is None:
            return refusal(428, "Base.1.12.PreconditionRequired", "The request must name the entity tag in If-Match")
        if request.is_write and wanted is not None and wanted != "*":
            found = self._route(Request("GET", request.path, request.headers), behaviour)
            tag = _tagged(found.data, behaviour)[1] if found.status == 200 else None
            if tag is None or wanted != (tag.removeprefix("W/") if behaviour.etag_strong_alone else tag):
                return refusal(412, "Base.1.12.PreconditionFailed", "The ETag supplied did not match the resource")
        if request.method == "PATCH" and behaviour.writes_ignored:
            return Answer(200, {})
        answer = self._route(request, behaviour)
        if answer.status < 300 and request.is_write and ("/BIOS" in request.path or "InsertMedia" in request.path):
            self._job_at = time.monotonic() if behaviour.busy_after_job else -1e9
            if behaviour.tasks and "/BIOS" in request.path:
                return self._tasks.start(is_odd=True)
        return answer

    def _route(self, request: Request, behaviour: Behaviour) -> Answer:
        """The answer of whoever knows the path; the emulator's for all others."""
        own = (
            self._sessions.answer(request, behaviour)
            or self._media.answer(request, behaviour)
            or self._tasks.answer(request.path)
            or self._controller.answer(request, behaviour)
            or update.answer(self.machine, self._tasks, behaviour, request)
            or attribute.answer(request)
            or self._of_machine(request, behaviour)
        )
        return own or self._of_emulator(request, behaviour)

    def _of_machine(self, request: Request, behaviour: Behaviour) -> Answer | None:
        path = self.machine.path
        if (request.method, request.path) == ("POST", f"{path}/Actions/ComputerSystem.Reset"):
            return self.machine.reset(request.data.get("ResetType"), behaviour)
        if request.path.startswith(f"{path}/BIOS"):
            return bios.answer(self.machine, behaviour, request)
        if request.path.startswith(f"{path}/Memory") and request.method == "GET":
            return page.of_memory(self.machine, request.path)
        if request.method != "PATCH":
            return None
        if request.path == f"{path}/SecureBoot":
            return page.patch_secure_boot(self.machine, behaviour, request)
        if request.path == path or (behaviour.settings_uri and request.path == f"{path}/Settings"):
            with self.machine.lock:
                return page.patch_system(self.machine, behaviour, request)
        return None

    def _of_emulator(self, request: Request, behaviour: Behaviour) -> Answer:
        machine = self.machine
        if request.path == f"{ROOT}/Managers":
            return collection(request.path, "Manager", [self._manager])
        if behaviour.settings_uri and request.path == f"{machine.path}/Settings":
            request = Request(request.method, machine.path, request.headers)
        answer = self._emulator.call(request.method, request.path or "/", request.body)
        if answer.status >= 400 and not (isinstance(answer.data, dict) and "error" in answer.data):
            return refusal(answer.status, "Base.1.12.GeneralError", "The request could not be carried out")
        if answer.status != 200 or not isinstance(answer.data, dict):
            return answer
        if request.path.startswith(f"{machine.path}/Storage/1/Drives/"):
            return Answer(200, page.of_drive(answer.data, self.name), answer.headers)
        shape = self._shapes(behaviour).get(request.path)
        return Answer(200, shape(answer.data), answer.headers) if shape else answer

    def _shapes(self, behaviour: Behaviour) -> dict[str, Callable[[dict[str, JSON]], dict[str, JSON]]]:
        """What is done to pages of the emulator, by path."""
        machine = self.machine
        media = {"VirtualMedia": {"@odata.id": self._media.base(behaviour)}}
        storage = f"{machine.path}/Storage"
        return {
            ROOT: lambda data: page.of_root(data, behaviour),
            machine.path: lambda data: page.of_system(machine, behaviour, data, self.name),
            f"{machine.path}/SecureBoot": lambda data: page.of_secure_boot(machine, data),
            self._manager: lambda data: {**data, **media, "FirmwareVersion": machine.version("BMC")},
            storage: lambda data: self._controller.listed(data, behaviour),
            f"{storage}/1": lambda data: {key: value for key, value in data.items() if key != "Volumes"},
        }


def _tagged(data: dict[str, JSON], behaviour: Behaviour) -> tuple[dict[str, JSON], str]:
    """The page with its entity tag, and the tag."""
    if behaviour.etag == "empty":
        return data, '""'
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    tag = f'W/"{digest}"' if behaviour.etag == "weak" else f'"{digest}"'
    return {**data, "@odata.etag": tag}, tag


def _odd(answer: Answer) -> Answer:
    """What some BMCs make of a page."""
    if not isinstance(answer.data, dict):
        return answer
    for name, value in (("MACAddress", ""), ("PermanentMACAddress", ""), ("CapacityBytes", None)):
        if name in answer.data:
            answer.data[name] = value
    entries = answer.data.get("error", {}).get("@Message.ExtendedInfo")
    if isinstance(entries, list):
        answer.data["error"]["@Message.ExtendedInfo"] = entries[0]
    return answer
