"""One BMC over HTTPS: sushy's connector, its errors in our words, and no more requests at once than it stands."""

import logging
from collections.abc import Callable, Mapping
from queue import Empty, LifoQueue
from typing import Any, Final, TypeVar

import requests
from sushy import connector, exceptions

from stacksmith.model.node import Node
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable

logging.getLogger("sushy").addHandler(logging.NullHandler())  # else its warnings go to stderr

# Messages of refusals that pass by themselves, without the version that vendors put before them.
NOT_NOW: Final = (
    "InvalidOperationForSystemState",  # HPE, while the machine starts
    "UnableToModifyDuringSystemPOST",
    "ActionParameterValueConflict",  # iDRAC 10, just after an off
    "SYS518",  # iDRAC, after each job
    "RAC0218",  # its sessions are all in use
    "ResourceInUse",
    "ServiceTemporarilyUnavailable",
)
HURRY_SECONDS: Final = 0.05  # with less left, a limit that passed was our own
T = TypeVar("T")


class Connection:
    """A BMC with at most ``connections`` requests at once."""

    def __init__(self, name: str, node: Node, password: str, ca: str | None) -> None:
        self.name = name
        self._node = node
        self._idle: LifoQueue[Any] = LifoQueue()
        for _ in range(node.connections):
            # One attempt for each request: what may be sent again is decided by who knows what it does.
            link = connector.Connector(node.redfish, verify=ca or node.verify, server_side_retries=1)
            link.set_http_basic_auth(node.username, password)
            self._idle.put(link)

    def get(self, path: str, deadline: Deadline) -> Mapping[str, JSON]:
        """A page. Raises: Gone when there is none; Unreachable, Transient, Refused, TimedOut."""
        try:
            answer = self._get(path, deadline)
        except (Unreachable, NotNow):
            raise
        except Transient:  # a page is safe to ask for again, and among many one is easily lost
            answer = self._get(path, deadline)
        try:
            page = answer.json()
        except ValueError:
            page = None
        if not isinstance(page, dict):
            raise Transient(f"cannot read {path} of {self.name}: the answer is not a JSON object")
        return page

    def _get(self, path: str, deadline: Deadline) -> Any:
        return self._ask(path, lambda link, limits: link.get(path, timeout=limits), deadline)

    def post(self, path: str, body: JSON, deadline: Deadline) -> None:
        """An action, sent once. Raises: NotNow when the BMC will take it later; as ``get``.

        TimedOut and Transient leave open whether it happened.
        """
        self._ask(path, lambda link, limits: link.post(path, data=body, timeout=limits), deadline)

    def patch(self, path: str, body: JSON, deadline: Deadline) -> None:
        """A change of a page, with its entity tag where it has one; safe to repeat. Raises: as ``post``."""
        etag = str(self.get(path, deadline).get("@odata.etag") or "")
        tag = etag if etag.strip('W/"') else None
        self._ask(path, lambda link, limits: link.patch(path, data=body, etag=tag, timeout=limits), deadline)

    def close(self) -> None:
        """Closes what is not in use; a request that still waits closes its own when it is done with."""
        try:
            while True:
                self._idle.get_nowait().close()
        except Empty:
            return

    def _ask(self, path: str, ask: Callable[[Any, tuple[float, float]], T], deadline: Deadline) -> T:
        try:
            link = self._idle.get(timeout=deadline.seconds)
        except Empty:
            raise TimedOut(f"cannot ask {self.name}: other requests to its BMC take too long") from None
        if not deadline.seconds:
            self._idle.put(link)
            raise TimedOut(f"cannot ask {self.name} for {path}: the time is over")
        limits = (
            min(self._node.connect_timeout_seconds, deadline.seconds),
            min(self._node.read_timeout_seconds, deadline.seconds),
        )
        try:
            return ask(link, limits)
        except exceptions.SushyError as fault:
            if deadline.seconds < HURRY_SECONDS and isinstance(fault.__context__, requests.exceptions.Timeout):
                raise TimedOut(f"cannot ask {self.name} for {path}: no answer in the time that was left") from fault
            raise self._fault(path, fault) from fault
        finally:
            self._idle.put(link)

    def _fault(self, path: str, fault: exceptions.SushyError) -> ProviderError:
        if isinstance(fault, exceptions.HTTPError):
            return self._refusal(path, fault)
        cause = fault.__context__
        if isinstance(cause, requests.exceptions.SSLError):
            hint = "name the authority that signed its certificate: ca: FILE"
            return Refused(f"cannot trust the BMC of {self.name}: {_innermost(cause)}", "ca", hint)
        if isinstance(cause, requests.exceptions.ConnectTimeout):
            return Unreachable(f"cannot reach the BMC of {self.name}: no connection in time")
        if isinstance(cause, requests.exceptions.Timeout):
            return TimedOut(f"cannot ask {self.name} for {path}: no answer in time")
        if isinstance(cause, requests.exceptions.ConnectionError) and "NewConnectionError" in repr(cause):
            return Unreachable(f"cannot reach the BMC of {self.name}: {_innermost(cause)}")
        return Transient(f"cannot ask {self.name} for {path}: {_innermost(cause or fault)}")

    def _refusal(self, path: str, fault: exceptions.HTTPError) -> ProviderError:
        identifiers, words = messages(fault)
        cause = f"{fault.status_code} {words or 'without a reason'}"
        if fault.status_code == 401:
            hint = "check username and password of the node in the fleet file"
            return Refused(f"cannot sign in to the BMC of {self.name}: {cause}", "password", hint)
        text = f"cannot use {path} of {self.name}: {cause}"
        if fault.status_code == 404:
            return Gone(text)
        if fault.status_code == 409 or any(word in NOT_NOW for word in identifiers):
            return NotNow(text)
        return Transient(text) if fault.status_code >= 500 else Refused(text)


def messages(fault: exceptions.HTTPError) -> tuple[list[str], str]:
    """The ids of a refusal's messages without registry and version, and their texts; BMCs send a list or one alone."""
    entries = fault.extended_info if isinstance(fault.extended_info, list) else [fault.extended_info]
    entries = [entry for entry in entries if isinstance(entry, dict)]
    identifiers = [str(entry.get("MessageId") or "").rpartition(".")[2] for entry in entries]
    texts = [str(entry["Message"]) for entry in entries if entry.get("Message")] or [str(fault.detail or "")]
    return identifiers, "; ".join(dict.fromkeys(filter(None, texts)))


def _innermost(fault: BaseException) -> str:
    """What the system said, at the bottom of the errors that libraries put around it."""
    reason = fault
    while True:
        inner = getattr(reason, "reason", None) or (reason.args[-1] if reason.args else None)
        if not isinstance(inner, BaseException) or inner is reason:
            break
        reason = inner
    system = reason.__cause__ or reason.__context__ or reason
    if isinstance(system, OSError) and system.strerror:
        return system.strerror
    return str(reason).rpartition(": ")[2] or type(reason).__name__
