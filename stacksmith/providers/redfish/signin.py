"""Who asks a BMC: its user with every request, or one session for all of a run, ended when the run is over."""

import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import field
from threading import Lock
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from stacksmith.frozen import dataclass
from stacksmith.model.node import LostRef, Node
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, ProviderError, Refused
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish.fault import NotSigned
from stacksmith.providers.redfish.leftover import Leftovers, Opened, is_same

SESSIONS: Final = "/redfish/v1/SessionService/Sessions"  # where DSP0266 lets everybody ask for a session
CLOSE_SECONDS, CLOSE_ATTEMPTS = 10.0, 4
CLOSE_TRY_SECONDS = 4.0  # so long one answer is waited for


def _user_name(name: str, node: Node) -> str:
    """The user of the BMC. Raises: Refused when a reference to the name leads nowhere."""
    match node.username:
        case str(text):
            return text
        case LostRef(cause=cause, hint=hint):
            raise Refused(f"cannot sign in to {name}: {cause}", "username", hint)
        case reference:
            raise AssertionError(f"nobody followed {reference}")


class Exchange(Protocol):
    """Sends one request that these headers alone sign; answers with the headers, and the page."""

    def __call__(
        self, method: str, path: str, body: JSON, signature: Mapping[str, str], deadline: Deadline
    ) -> tuple[Mapping[str, str], Mapping[str, JSON]]: ...


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the BMC, and where it is deleted."""

    token: str = field(repr=False)
    path: str

    @property
    def signature(self) -> Mapping[str, str]:
        return {"X-Auth-Token": self.token}


class SignIn:
    """Signs the requests of one BMC; its methods may be called from several threads at once.

    With ``leftovers`` it ends what killed runs have left at the BMC, when it opens a session of its own.
    """

    def __init__(
        self, name: str, node: Node, password: str, exchange: Exchange, leftovers: Leftovers | None = None
    ) -> None:
        self._name = name
        self._bmc = node.redfish
        self._user = (_user_name(name, node), password)
        self._exchange = exchange
        self._leftovers = leftovers
        self._may_change = node.auth == "auto"
        self._by_session = node.auth == "session"
        self._session: Session | None = None
        self._is_closed = False
        self._lock = Lock()

    @property
    def secrets(self) -> Sequence[str]:
        """What must not be in any message, whatever the BMC says again of what it was sent."""
        session, signature = self._session, b64encode(":".join(self._user).encode()).decode()
        return [self._user[1], signature, *([session.token] if session else [])]

    def sign(self, link: Any, deadline: Deadline) -> str | None:
        """Makes a connector sign what it sends; the token it does it with, None for user and password.

        Raises: NotSigned; NotNow when the BMC has no session left; Unreachable after ``close``; as requests do.
        """
        with self._lock:
            if self._is_closed:
                raise Unreachable(f"cannot ask {self._name}: its connection is closed")
            if not self._by_session:
                link.set_http_basic_auth(*self._user)
                return None
            if self._session is None:
                self._session = self._signed_in(deadline)
            link.set_http_session_auth(self._session.token)
            return self._session.token

    def renews(self, used: str | None) -> bool:
        """Whether a request that was not carried out, for its signature, may be signed anew and sent again."""
        with self._lock:
            if used is None:  # some BMCs are told to take no basic authentication
                self._by_session = self._by_session or self._may_change
                return self._by_session
            if self._session is not None and self._session.token == used:
                self._ended(self._session.path)
                self._session = None
            return True

    def close(self) -> None:
        """Ends the session; asked again when the answer is lost, for a BMC has few."""
        with self._lock:
            self._is_closed, session = True, self._session
            self._session = None
        if session is None:
            return
        deadline = Deadline(time.monotonic() + CLOSE_SECONDS, time.monotonic)
        for attempt in range(CLOSE_ATTEMPTS):
            try:
                limit = Deadline(min(deadline.at, time.monotonic() + CLOSE_TRY_SECONDS), time.monotonic)
                self._exchange("DELETE", session.path, None, session.signature, limit)
                return self._ended(session.path)
            except (Gone, NotSigned):  # it has ended by itself
                return self._ended(session.path)
            except (Refused, Unreachable):
                return
            except ProviderError:
                time.sleep(min(0.2 * 2**attempt, deadline.seconds))

    def _signed_in(self, deadline: Deadline) -> Session:
        left = self._leftovers.left(self._bmc) if self._leftovers else []
        try:
            session = self._opened(deadline)
        except NotNow:  # the table is full, it may be of what they have left
            user = b64encode(":".join(self._user).encode()).decode()
            if not any([self._ends(each, {"Authorization": f"Basic {user}"}, deadline) for each in left]):
                raise
            return self._opened(deadline)
        for each in left:
            if each.path != session.path:
                self._ends(each, session.signature, deadline)
        return session

    def _ends(self, left: Opened, signature: Mapping[str, str], deadline: Deadline) -> bool:
        """Whether a session that a killed run left is ended now; not when its path is another session's by now."""
        try:
            _, page = self._exchange("GET", left.path, None, signature, deadline)
            if is_same(left, page):
                self._exchange("DELETE", left.path, None, signature, deadline)
            self._ended(left.path)
        except Gone:
            self._ended(left.path)
        except ProviderError:
            return False  # the next run tries again
        return True

    def _ended(self, path: str) -> None:
        if self._leftovers:
            self._leftovers.ended(self._bmc, path)

    def _opened(self, deadline: Deadline) -> Session:
        body: JSON = {"UserName": self._user[0], "Password": self._user[1]}
        try:
            headers, page = self._exchange("POST", SESSIONS, body, {}, deadline)
        except NotNow as fault:
            hint = "end sessions at the BMC, wait until they expire, or say auth: basic"
            raise NotNow(
                f"cannot sign in to the BMC of {self._name}: its session table is full: {fault}", "auth", hint
            ) from fault
        except (Gone, Refused) as fault:
            if isinstance(fault, NotSigned):
                raise
            hint = "say auth: basic"
            raise Refused(
                f"cannot sign in to the BMC of {self._name}: it opens no sessions: {fault}", "auth", hint
            ) from fault
        token, path = headers.get("X-Auth-Token"), headers.get("Location") or page.get("@odata.id")
        if not token or not path:
            raise Refused(f"cannot sign in to the BMC of {self._name}: its session has no token or no path", "auth")
        session = Session(str(token), urlsplit(str(path)).path)
        if self._leftovers:
            self._leftovers.opened(Opened(self._bmc, session.path, self._user[0], str(page.get("CreatedTime") or "")))
        return session
