"""One BMC over HTTPS: sushy's connector, its errors in our words, and no more requests at once than it stands."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any, Final
from urllib.request import getproxies

import requests
from requests.utils import get_environ_proxies
from sushy import connector, exceptions

from stacksmith.frozen import dataclass
from stacksmith.model.node import Node
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable
from stacksmith.providers.redfish.fault import NotSigned, OtherTag, fault_of
from stacksmith.providers.redfish.leftover import leftovers
from stacksmith.providers.redfish.signin import SignIn

logging.getLogger("sushy").addHandler(logging.NullHandler())  # else its warnings go to stderr

PAGE_TRIES: Final = 3
ONCE: Final = {"server_side_retries_left": 0}  # of sushy, which sends again what some vendors refuse
HURRY_SECONDS: Final = 0.05  # with less left, a limit that passed was our own


@dataclass(frozen=True, slots=True)
class Request:
    """What a BMC is asked; ``read_seconds`` is how long the answer may take, where that is longer than for others."""

    method: str
    path: str
    body: JSON = field(default=None, repr=False)  # a sign-in holds the password
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    read_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a BMC answers; ``page`` is empty when it is no JSON object."""

    status: int
    page: Mapping[str, JSON]
    headers: Mapping[str, str]

    @property
    def task(self) -> str | None:
        """Where to ask for what the BMC does later."""
        return (self.headers.get("Location") or str(self.page.get("@odata.id") or "")) if self.status == 202 else None

    @property
    def tags(self) -> list[str]:
        """The entity tag as it is given, and as a strong one: only that may be compared (RFC 9110), not all know."""
        tag = str(self.headers.get("ETag") or self.page.get("@odata.etag") or "")
        return list(dict.fromkeys(each for each in (tag, tag.removeprefix("W/")) if each.strip('"')))


class Connection:
    """A BMC with at most ``connections`` requests at once.

    Nothing that changes it is sent twice, except what it did not carry out for the signature or the entity tag.
    ``writes`` counts what was sent to change it and not refused: it may be carried out, whatever was answered.
    """

    def __init__(self, name: str, node: Node, password: str, ca: str | None, sessions: Path | None = None) -> None:
        self.name = name
        self._node = node
        self._verify = ca or (_authorities() if node.verify else False)
        self._proxies = get_environ_proxies(node.redfish) if getproxies() else {}
        self._sign_in = SignIn(name, node, password, self._exchange, leftovers(sessions) if sessions else None)
        self.writes = 0
        self._is_closed = False
        self._bursts = 0
        self._lock = Lock()
        self._idle: LifoQueue[Any] = LifoQueue()
        for _ in range(node.connections):
            self._idle.put(self._link())

    def get(self, path: str, deadline: Deadline) -> Mapping[str, JSON]:
        """A page. Raises: Gone when there is none; Unreachable, Transient, Refused, TimedOut."""
        for left in reversed(range(PAGE_TRIES)):  # a page is safe to ask for again, and among many one is easily lost
            try:
                page = self.look(path, deadline).page
                break
            except (Unreachable, NotNow):
                raise
            except Transient:
                if not left:
                    raise
        if not page:
            raise Transient(f"cannot read {path} of {self.name}: the answer is not a JSON object")
        return page

    def look(self, path: str, deadline: Deadline) -> Answer:
        """A page asked for once, which may be empty, as those of tasks are. Raises: as ``get``."""
        return self._ask(Request("GET", path), deadline)

    @contextmanager
    def burst(self) -> Iterator[None]:
        """Connections stay open from one page to the next while many are read; some BMCs choke on those that last."""
        with self._lock:
            self._bursts += 1
        try:
            yield
        finally:
            with self._lock:
                self._bursts -= 1
            self._hang_up()

    def _hang_up(self) -> None:
        """Closes what is open and not in use; a connector opens it again."""
        idle = []
        with suppress(Empty):
            while not self._bursts:
                idle.append(self._idle.get_nowait())
        for link in idle:
            link.close()
            self._idle.put(link)

    def post(self, path: str, body: JSON, deadline: Deadline, read_seconds: float = 0.0) -> Answer:
        """An action, or a new member of a collection; sent once.

        Raises: NotNow when the BMC will take it later; as ``get``. TimedOut and Transient leave open whether it
        happened.
        """
        return self._ask(Request("POST", path, body, read_seconds=read_seconds), deadline)

    def patch(self, path: str, body: JSON, deadline: Deadline, read_seconds: float = 0.0) -> Answer:
        """A change of a page, with its entity tag where the BMC wants one. Raises: as ``post``."""
        request = Request("PATCH", path, body, read_seconds=read_seconds)
        try:
            return self._ask(request, deadline)
        except OtherTag as fault:
            refused = fault
        for tag in self.look(path, deadline).tags:
            try:
                return self._ask(replace(request, headers={"If-Match": tag}), deadline)
            except OtherTag as fault:
                refused = fault
        raise refused

    def delete(self, path: str, deadline: Deadline) -> Answer:
        """Deletes a resource. Raises: as ``post``."""
        return self._ask(Request("DELETE", path), deadline)

    def close(self) -> None:
        """Ends the session, and closes what is not in use; a request that still waits closes its own."""
        self._is_closed = True
        self._sign_in.close()
        try:
            while True:
                self._idle.get_nowait().close()
        except Empty:
            return

    def _ask(self, request: Request, deadline: Deadline) -> Answer:
        if self._is_closed:
            raise Unreachable(f"cannot ask {self.name}: its connection is closed")
        try:
            link = self._idle.get(timeout=deadline.seconds)
        except Empty:
            raise TimedOut(f"cannot ask {self.name}: other requests to its BMC take too long") from None
        is_refused = False
        try:
            token = self._sign_in.sign(link, deadline)
            try:
                return self._sent(link, request, deadline)
            except NotSigned:
                if not self._sign_in.renews(token):
                    raise
            self._sign_in.sign(link, deadline)
            return self._sent(link, request, deadline)
        except (Refused, NotNow, OtherTag, Gone, Unreachable):
            is_refused = True
            raise
        finally:
            self.writes += request.method != "GET" and not is_refused
            self._idle.put(link)

    def _exchange(
        self, method: str, path: str, body: JSON, signature: Mapping[str, str], deadline: Deadline
    ) -> tuple[Mapping[str, str], Mapping[str, JSON]]:
        """See signin.Exchange; by a connector of its own, since those in use are signed."""
        link = self._link()
        try:
            answer = self._sent(link, Request(method, path, body, signature), deadline)
        finally:
            link.close()
        return answer.headers, answer.page

    def _sent(self, link: Any, request: Request, deadline: Deadline) -> Answer:
        """One request, sent once."""
        path = request.path
        if not deadline.seconds:
            raise TimedOut(f"cannot ask {self.name} for {path}: the time is over")
        limits = (
            min(self._node.connect_timeout_seconds, deadline.seconds),
            min(max(self._node.read_timeout_seconds, request.read_seconds), deadline.seconds),
        )
        headers = dict(request.headers)
        if request.method != "GET":
            link.close()  # a connection that was kept may just have ended: what cannot be sent twice gets a new one
        elif self._bursts:
            headers["Connection"] = "keep-alive"
        send = {"GET": link.get, "POST": link.post, "PATCH": link.patch, "DELETE": link.delete}[request.method]
        try:
            answer = send(path, data=request.body, headers=headers, timeout=limits, **ONCE)
        except exceptions.SushyError as fault:
            if deadline.seconds < HURRY_SECONDS and isinstance(fault.__context__, requests.exceptions.Timeout):
                raise TimedOut(f"cannot ask {self.name} for {path}: no answer in the time that was left") from fault
            found = fault_of(self.name, path, fault, self._sign_in.secrets)
            if isinstance(found, Unreachable):
                found.hint = f"it was asked at {self._node.redfish}, from redfish: in the fleet file"
            raise found from fault
        try:
            page = answer.json()
        except ValueError:
            page = None
        return Answer(answer.status_code, page if isinstance(page, dict) else {}, answer.headers)

    def _link(self) -> Any:
        """A connector that makes one attempt for each request: what may be sent again is decided by who knows it.

        requests would search the environment for proxies, and ``~/.netrc`` for passwords, at each request.
        """
        link = connector.Connector(self._node.redfish, verify=self._verify, server_side_retries=1)
        session: requests.Session = link._session
        session.trust_env, session.proxies = False, dict(self._proxies)
        return link


def _authorities() -> str | bool:
    """What BMCs are held to where their node names no authority: as requests has it, what the environment says."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
