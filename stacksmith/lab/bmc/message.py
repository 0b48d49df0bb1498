"""What a BMC is asked and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from stacksmith.frozen import dataclass
from stacksmith.model.types import JSON

ROOT = "/redfish/v1"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; `path` has no trailing slash, header names are in lower case, `body` is parsed JSON or None.

    `levels` says how deep the pages that a page leads to are wanted in it ($expand, DSP0266).
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: JSON = None
    levels: int = 0

    @property
    def data(self) -> dict[str, JSON]:
        """The body, empty when it is not an object."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def is_write(self) -> bool:
        return self.method not in ("GET", "HEAD")


@dataclass(slots=True)
class Answer:
    """An HTTP answer with a JSON body, or none."""

    status: int
    data: JSON = None
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, message_id: str, message: str, arguments: Sequence[str] = ()) -> Answer:
    """An error as Redfish words it (DSP0266, error responses)."""
    entry: JSON = {"MessageId": message_id, "Message": message, "Severity": "Critical"}
    if arguments:
        entry["MessageArgs"] = list(arguments)
    return Answer(status, {"error": {"code": message_id, "message": message, "@Message.ExtendedInfo": [entry]}})


def link(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def collection(path: str, kind: str, members: list[str]) -> Answer:
    """A collection of these members, each a path."""
    data = {
        "@odata.id": path,
        "@odata.type": f"#{kind}Collection.{kind}Collection",
        "Name": f"{kind} collection",
        "Members@odata.count": len(members),
        "Members": [link(member) for member in members],
    }
    return Answer(200, data)
