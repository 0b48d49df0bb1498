"""Who may ask: basic authentication and sessions, of which a BMC has few."""

import base64
import binascii
import hmac
import os
import secrets
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from stacksmith.frozen import dataclass
from stacksmith.lab.bmc.message import ROOT, Answer, Request, collection, refusal
from stacksmith.lab.bmc.profile import Behaviour

SESSIONS = f"{ROOT}/SessionService/Sessions"
OPEN = frozenset({"", "/redfish", ROOT})


@dataclass(slots=True)
class Session:
    """A session; `used` is the time of its last request."""

    number: int
    token: str
    used: float
    created: str


class Sessions:
    """The sign-in of one BMC with one user.

    Every token that is handed out is a line of the file ``tokens``, so that a search for secrets knows them all.
    """

    def __init__(self, username: str, password: str, tokens: Path) -> None:
        self._username = username
        self._password = password
        self._tokens = tokens
        self._sessions: dict[str, Session] = {}
        self._count = 0
        self._lock = threading.Lock()

    def refuse(self, request: Request, behaviour: Behaviour) -> Answer | None:
        """The refusal of a request that nobody signed; None when it may pass."""
        with self._lock:
            return self._refuse(request, behaviour)

    def answer(self, request: Request, behaviour: Behaviour) -> Answer | None:
        """The answer of the session service; None when the path is not its own."""
        with self._lock:
            return self._answer(request, behaviour)

    def _refuse(self, request: Request, behaviour: Behaviour) -> Answer | None:
        self._expire(behaviour)
        if request.path in OPEN or (request.method == "POST" and request.path == SESSIONS):
            return None
        token = request.headers.get("x-auth-token")
        if token is not None:
            session = next((s for s in self._sessions.values() if hmac.compare_digest(s.token, token)), None)
            if session is not None:
                session.used = time.monotonic()
                return None
        elif not behaviour.basic_refused and self._is_user(*_basic(request)):
            return None
        answer = refusal(401, "Base.1.12.NoValidSession", "There is no valid session for the request")
        answer.headers["WWW-Authenticate"] = 'Basic realm="bmc"'
        return answer

    def _answer(self, request: Request, behaviour: Behaviour) -> Answer | None:
        if request.path == f"{ROOT}/SessionService":
            data = {
                "@odata.id": request.path,
                "@odata.type": "#SessionService.v1_1_8.SessionService",
                "Id": "SessionService",
                "Name": "Session Service",
                "ServiceEnabled": True,
                "SessionTimeout": int(behaviour.session_seconds),
                "Sessions": {"@odata.id": SESSIONS},
            }
            return Answer(200, data)
        if request.path == SESSIONS:
            return self._create(request, behaviour) if request.method == "POST" else self._list()
        if not request.path.startswith(f"{SESSIONS}/"):
            return None
        key = request.path.removeprefix(f"{SESSIONS}/")
        if key not in self._sessions:
            return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
        if request.method == "DELETE":
            del self._sessions[key]
            return Answer(204)
        return Answer(200, self._page(key))

    def _list(self) -> Answer:
        return collection(SESSIONS, "Session", [f"{SESSIONS}/{key}" for key in self._sessions])

    def _create(self, request: Request, behaviour: Behaviour) -> Answer:
        if behaviour.says_again:
            words = f"The value '{request.data.get('Password')}' for the property Password is of a different format"
            return refusal(400, "Base.1.12.PropertyValueFormatError", words)
        if not self._is_user(str(request.data.get("UserName")), str(request.data.get("Password"))):
            return refusal(401, "Base.1.12.ResourceAtUriUnauthorized", "The user name or the password is wrong")
        if len(self._sessions) >= behaviour.sessions:
            return refusal(503, "IDRAC.2.8.RAC0218", "The maximum number of user sessions is reached")
        self._count += 1
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        session = Session(self._count, secrets.token_hex(16), time.monotonic(), created)
        key = str(self._count)
        self._sessions[key] = session
        self._note(session.token)
        return Answer(201, self._page(key), {"X-Auth-Token": session.token, "Location": f"{SESSIONS}/{key}"})

    def _note(self, token: str) -> None:
        descriptor = os.open(self._tokens, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{token}\n".encode())
        finally:
            os.close(descriptor)

    def _page(self, key: str) -> dict[str, str]:
        return {
            "@odata.id": f"{SESSIONS}/{key}",
            "@odata.type": "#Session.v1_5_0.Session",
            "Id": key,
            "Name": f"Session {key}",
            "UserName": self._username,
            "CreatedTime": self._sessions[key].created,
        }

    def _expire(self, behaviour: Behaviour) -> None:
        oldest = time.monotonic() - behaviour.session_seconds
        self._sessions = {key: session for key, session in self._sessions.items() if session.used >= oldest}

    def _is_user(self, username: str, password: str) -> bool:
        given, known = f"{username}:{password}".encode(), f"{self._username}:{self._password}".encode()
        return hmac.compare_digest(given, known)


def _basic(request: Request) -> tuple[str, str]:
    kind, _, code = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        username, _, password = base64.b64decode(code, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return username, password
