"""HTTPS in front of the BMCs: one port each, one thread that waits at all of them, one thread a connection."""

import gzip
import json
import logging
import re
import selectors
import socket
import ssl
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from stacksmith.lab.bmc.bmc import Bmc
from stacksmith.lab.bmc.message import Answer, Request, refusal
from stacksmith.lab.bmc.profile import Choice
from stacksmith.model.types import JSON

IDLE_SECONDS = 30.0
log = logging.getLogger(__name__)


class Port(ThreadingHTTPServer):
    """One BMC's port. The TLS handshake is in the connection's own thread, so that a slow caller delays nobody."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], bmc: Bmc, choice: Choice, context: ssl.SSLContext) -> None:
        self.bmc = bmc
        self.choice = choice
        self._context = context
        super().__init__(address, Exchange)

    def server_bind(self) -> None:
        """Bind without the look-up of a host name that the base class makes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]  # type: ignore[assignment]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        request.settimeout(IDLE_SECONDS)
        try:
            with self._context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except (OSError, ssl.SSLError) as error:
            log.debug("%s: %s", self.bmc.name, error)


class Exchange(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = 1 << 16  # one packet for head and body: two would wait for each other's acknowledgement
    disable_nagle_algorithm = True
    server: Port

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        try:
            body: JSON = json.loads(raw) if raw else None
        except ValueError:
            self._send(refusal(400, "Base.1.12.MalformedJSON", "The request body is not JSON"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        path, _, query = self.path.partition("?")
        request = Request(self.command, path.rstrip("/"), headers, body, levels_of(query))
        try:
            answer = self.server.bmc.answer(request, self.server.choice.of(self.server.bmc.name))
        except Exception:
            log.exception("%s: %s %s", self.server.bmc.name, request.method, request.path)
            answer = refusal(500, "Base.1.12.InternalError", "The request failed due to an internal error")
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer)

    do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = do_GET

    def _send(self, answer: Answer) -> None:
        body = b"" if answer.data is None or answer.status == 204 else json.dumps(answer.data).encode()
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.compress(body)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("OData-Version", "4.0")
        if self.close_connection:
            self.send_header("Connection", "close")
        if body:
            self.send_header("Content-Type", "application/json")
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.info("%s: %s", self.server.bmc.name, format % args)

    def version_string(self) -> str:
        return "BMC"


def levels_of(query: str) -> int:
    """How many levels $expand asks for: 2 of ``$expand=.($levels=2)``, 0 when it is not there."""
    wanted = dict(parse_qsl(query)).get("$expand")
    if wanted is None:
        return 0
    found = re.search(r"\$levels=(\d+)", wanted)
    return int(found[1]) if found else 1


def context_of(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or later with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def serve(ports: Sequence[Port]) -> None:
    """Take connections at all ports, for ever."""
    with selectors.DefaultSelector() as selector:
        for port in ports:
            port.timeout = 0
            selector.register(port.socket, selectors.EVENT_READ, port)
        while True:
            for key, _ in selector.select():
                key.data.handle_request()
