"""Virtual media: the emulator's slots, under the rules of the profile."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from stacksmith.lab.bmc.emulated import Emulated
from stacksmith.lab.bmc.message import ROOT, Answer, Request, link, refusal
from stacksmith.lab.bmc.profile import Behaviour
from stacksmith.model.types import JSON

KVM = "RemoteKvm"
INSERT, EJECT = "VirtualMedia.InsertMedia", "VirtualMedia.EjectMedia"
PROTOCOL: Final = "TransferProtocolType"
WANTED: Final[Mapping[str, Sequence[str]]] = {
    "wants-protocol": (PROTOCOL,),
    "wants-all": (PROTOCOL, "TransferMethod", "UserName", "Password"),
}


class Media:
    """The virtual media of one BMC."""

    def __init__(self, emulator: Emulated, identity: str) -> None:
        self._emulator = emulator
        self._identity = identity
        self._real = f"{ROOT}/Systems/{identity}/VirtualMedia"
        self._ejecting: dict[str, tuple[float, JSON]] = {}  # since when an ejected slot looks full, and how

    def base(self, behaviour: Behaviour) -> str:
        """The path of the collection."""
        owner = "Managers" if behaviour.media == "managers" else "Systems"
        return f"{ROOT}/{owner}/{self._identity}/VirtualMedia"

    def answer(self, request: Request, behaviour: Behaviour) -> Answer | None:
        """The answer to what is about virtual media; None for other paths."""
        base = self.base(behaviour)
        if "/VirtualMedia" not in request.path:
            return None
        if request.path == base:
            return self._collection(base, behaviour)
        slot, _, action = request.path.removeprefix(f"{base}/").partition("/Actions/")
        if not request.path.startswith(f"{base}/") or slot not in ("Cd", "Floppy", KVM):
            return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
        if slot == KVM:
            return self._kvm(base, request)
        if request.method == "GET":
            return Answer(200, self._page(base, slot, behaviour))
        return self._write(request, behaviour, slot, action)

    def _write(self, request: Request, behaviour: Behaviour, slot: str, action: str) -> Answer:
        body = request.data
        if behaviour.media == "patch-only":
            if request.method != "PATCH" or "Inserted" not in body:
                return refusal(400, "Base.1.12.PropertyMissing", "Media is inserted by PATCH of Image and Inserted")
            return self._insert(slot, body, behaviour) if body["Inserted"] else self._eject(slot, behaviour)
        if (request.method, action) == ("POST", INSERT):
            return self._insert(slot, body, behaviour)
        if (request.method, action) == ("POST", EJECT):
            if behaviour.media == "strict-eject" and request.body is None:
                return refusal(400, "Base.1.12.MalformedJSON", "The request body must be an object")
            return self._eject(slot, behaviour)
        return refusal(405, "Base.1.12.OperationNotAllowed", f"{request.method} is not allowed here")

    def _insert(self, slot: str, body: dict[str, JSON], behaviour: Behaviour) -> Answer:
        if not behaviour.licensed:
            return refusal(403, "IDRAC.2.8.LIC501", "A required license is missing or expired: Virtual Media")
        if behaviour.media == "no-extras" and {"Inserted", "WriteProtected"} & set(body):
            return refusal(400, "Base.1.12.ActionParameterUnknown", "The parameter Inserted is not known")
        refused = _lacking(body, behaviour)
        if refused is not None:
            return refused
        if not str(body.get("Image", "")).startswith(("http://", "https://")):
            return refusal(400, "Base.1.12.ActionParameterValueFormatError", "The parameter Image must be a URL")
        if behaviour.says_again:
            words = f"The resource at the URI {body['Image']} is in a format not recognized by the service"
            return refusal(400, "Base.1.12.ResourceAtUriInUnknownFormat", words)
        if self._shown(slot, behaviour)["Inserted"]:
            return refusal(409, "Base.1.12.ResourceInUse", f"There is media in {slot}: eject it first")
        return self._emulator.call("POST", f"{self._real}/{slot}/Actions/{INSERT}", body)

    def _eject(self, slot: str, behaviour: Behaviour) -> Answer:
        before = self._emulator.call("GET", f"{self._real}/{slot}").data
        answer = self._emulator.call("POST", f"{self._real}/{slot}/Actions/{EJECT}", {})
        if before["Inserted"] and answer.status < 300:
            self._emulator.remove_media(str(before["ImageName"]).replace(".", "-"))
            self._ejecting[slot] = (time.monotonic() if behaviour.eject_seconds else -1e9, before)
        return answer

    def _shown(self, slot: str, behaviour: Behaviour) -> dict[str, JSON]:
        """The page of a slot: of one that was just ejected, as it was before."""
        since, before = self._ejecting.get(slot, (-1e9, None))
        is_late = time.monotonic() - since < behaviour.eject_seconds
        return dict(before if is_late else self._emulator.call("GET", f"{self._real}/{slot}").data)

    def _collection(self, base: str, behaviour: Behaviour) -> Answer:
        answer = self._emulator.call("GET", self._real)
        slots = [KVM] if behaviour.media == "kvm-only" else []
        members = [link(f"{base}/{slot}") for slot in [*slots, "Cd", "Floppy"]]
        answer.data |= {"@odata.id": base, "Members": members, "Members@odata.count": len(members)}
        return answer

    def _page(self, base: str, slot: str, behaviour: Behaviour) -> JSON:
        actions = {
            f"#{action}": {"target": f"{base}/{slot}/Actions/{action}"}
            for action in (() if behaviour.media == "patch-only" else (INSERT, EJECT))
        }
        return {**self._shown(slot, behaviour), "@odata.id": f"{base}/{slot}", "Actions": actions}

    def _kvm(self, base: str, request: Request) -> Answer:
        if request.method != "GET":
            return refusal(405, "Base.1.12.OperationNotAllowed", "This media is for the remote console alone")
        data = {
            "@odata.id": f"{base}/{KVM}",
            "@odata.type": "#VirtualMedia.v1_4_0.VirtualMedia",
            "Id": KVM,
            "Name": "Media of the remote console",
            "MediaTypes": ["CD", "DVD"],
            "ConnectedVia": "NotConnected",
            "Inserted": False,
            "Actions": {f"#{INSERT}": {"target": f"{base}/{KVM}/Actions/{INSERT}"}},
        }
        return Answer(200, data)


def _lacking(body: Mapping[str, JSON], behaviour: Behaviour) -> Answer | None:
    """The refusal of an insert that lacks what the BMC wants, one parameter at a time, or has it wrong."""
    for name in WANTED.get(behaviour.media, ()):
        if name not in body:
            words = f"The action {INSERT} requires the parameter {name} to be present in the request body."
            if behaviour.media == "wants-protocol":
                words = "The action requires a parameter that is not in the request body."
            return refusal(400, "Base.1.18.ActionParameterMissing", words, (INSERT, name))
    right = {PROTOCOL: str(body.get("Image")).partition(":")[0].upper(), "TransferMethod": "Stream"}
    wrong = [name for name in WANTED.get(behaviour.media, ()) if body[name] != right.get(name, body[name])]
    if not wrong:
        return None
    words = f"The value {body[wrong[0]]} for the parameter {wrong[0]} is not in the list of acceptable values."
    return refusal(400, "Base.1.18.ActionParameterValueNotInList", words)
