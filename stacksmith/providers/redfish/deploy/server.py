"""What BMCs and nodes talk to while a run lasts: ISOs by unguessable paths, images and config drives by token, events.

Nothing can be listed. Who lacks the token of a node changes nothing, and gets its ISO only who knows its path.
"""

import errno
import hmac
import os
import queue
import re
import secrets
import socket
import threading
from dataclasses import field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from stacksmith.frozen import dataclass
from stacksmith.model.deploy import split_listen
from stacksmith.providers.base import Refused

IDLE_SECONDS = 60.0
MOST_BODY_BYTES = 8192
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_EVENT = "event"


class State(StrEnum):
    """What a node says of itself."""

    STARTED = "started"
    PROGRESS = "progress"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """A node's word; `detail` is printable."""

    state: State
    step: str
    detail: str


@dataclass(slots=True)
class Offer:
    """What is offered to one node, and what it said."""

    path: str
    token: str = field(repr=False)
    iso: IO[bytes] | None = None
    image: Path | None = None
    config: bytes = field(default=b"", repr=False)
    events: "queue.SimpleQueue[Event]" = field(default_factory=queue.SimpleQueue)
    ended: State | None = None
    is_fetched: bool = False  # somebody who knows its path has asked for the ISO

    def take(self, event: Event) -> bool:
        """Notes the event; after the last one, only the same one again is taken, and not noted."""
        if self.ended:
            return event.state is self.ended
        if event.state in (State.DONE, State.FAILED):
            self.ended = event.state
        self.events.put(event)
        return True


class Server:
    """The server of a run; starts at construction. Raises: Refused when it cannot listen."""

    def __init__(self, listen: str) -> None:
        host, port = split_listen(listen)
        try:
            self._http = _Http((host, port), _Exchange)
        except OSError as fault:
            hint = "deploy.listen in the fleet file"
            if fault.errno == errno.EADDRINUSE:
                hint += ": another run may deploy from here; port 0 takes any that is free"
            raise Refused(f"cannot listen at {listen}: {fault.strerror or fault}", "deploy.listen", hint) from fault
        self.host, self.port = host, int(self._http.server_address[1])
        self._http.run = secrets.token_urlsafe(16)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def offer(self) -> Offer:
        """A new place, empty, with a path and a token of its own."""
        made = Offer(f"/{self._http.run}/{secrets.token_urlsafe(12)}", secrets.token_urlsafe(24))
        self._http.offers[made.path] = made
        return made

    def withdraw(self, offer: Offer) -> None:
        """Forgets the place; its ISO is closed, and with that gone."""
        self._http.offers.pop(offer.path, None)
        if offer.iso:
            offer.iso.close()

    def close(self) -> None:
        """Ends the server and all that it offers."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        for offer in list(self._http.offers.values()):
            self.withdraw(offer)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type["_Exchange"]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.offers: dict[str, Offer] = {}
        self.run = ""
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Binds without the look-up of a host name that the base class makes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away is no news: what it fetched is checked where it arrives."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: _Http

    def do_GET(self) -> None:
        self._drop_body()
        offer, name = self._find()
        if offer is None:
            return self._say(HTTPStatus.NOT_FOUND)
        if name == "iso":
            offer.is_fetched = True
            return self._send_file(offer.iso) if offer.iso else self._say(HTTPStatus.NOT_FOUND)
        if not self._is_signed(offer) or offer.ended:
            return self._say(HTTPStatus.FORBIDDEN)
        if name == "config" and offer.config:
            return self._send_bytes(offer.config)
        if name == "image" and offer.image:
            with offer.image.open("rb") as file:
                return self._send_file(file)
        return self._say(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            return self._say(HTTPStatus.LENGTH_REQUIRED)
        if int(length) > MOST_BODY_BYTES:
            self.close_connection = True
            return self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length))
        offer, name = self._find()
        if offer is None or name != _EVENT:
            return self._say(HTTPStatus.NOT_FOUND)
        if not self._is_signed(offer):
            return self._say(HTTPStatus.FORBIDDEN)
        event = event_of(body)
        if event is None:
            return self._say(HTTPStatus.BAD_REQUEST)
        return self._say(HTTPStatus.OK if offer.take(event) else HTTPStatus.FORBIDDEN)

    def _find(self) -> tuple[Offer | None, str]:
        """Whose path it is, and what of it: iso, image, config or event."""
        if self.path.endswith(".iso"):
            return self.server.offers.get(self.path.removesuffix(".iso")), "iso"
        path, _, name = self.path.rpartition("/")
        return self.server.offers.get(path), name

    def _is_signed(self, offer: Offer) -> bool:
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return hmac.compare_digest(given, f"Bearer {offer.token}".encode())

    def _drop_body(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True

    def _send_bytes(self, data: bytes) -> None:
        self._head(HTTPStatus.OK, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_file(self, file: IO[bytes]) -> None:
        size = os.fstat(file.fileno()).st_size
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        span = range_of(found[1], found[2], size) if found else (0, size)
        if span is None:
            return self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
        start, end = span
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if found:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._head(HTTPStatus.PARTIAL_CONTENT if found else HTTPStatus.OK, end - start, headers)
        if self.command != "HEAD":
            self.wfile.flush()
            with os.fdopen(os.dup(file.fileno()), "rb") as own:  # outlives a withdrawal
                self._send_part(own.fileno(), start, end)
        return None

    def _send_part(self, file: int, start: int, end: int) -> None:
        """The offset is given along: several callers read one file at the same time."""
        while start < end:
            chunk = os.pread(file, min(1 << 18, end - start), start)
            if not chunk:
                self.close_connection = True
                return
            self.connection.sendall(chunk)
            start += len(chunk)

    def _say(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self._head(status, 0, headers)

    def _head(self, status: HTTPStatus, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Paths are secrets here."""

    def version_string(self) -> str:
        return "stacksmith"


def range_of(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of ``bytes=first-last``; None when there are no such bytes."""
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    return (start, end) if start < end else None


def event_of(body: bytes) -> Event | None:
    """The event in a body: ``STATE STEP``, then lines of detail."""
    first, _, rest = body.decode(errors="replace").partition("\n")
    state, _, step = first.partition(" ")
    if state not in list(State):
        return None
    return Event(State(state), _printable(step), _printable(" ".join(rest.split())))


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())
