"""A line between a store and its PostgreSQL server, on which things happen."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Line:
    """A socket between a store and its server, at which ``at`` can happen when the store sends ``word``."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.server, self.folder, self.word = server / ".s.PGSQL.5432", folder, b""
        self.at: Callable[[socket.socket, socket.socket, bytes], None] | None = None
        self.passed = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self.server))
                self._ends += [near, far]
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if asking and self.at is not None and self.word in data:
                    self.passed += 1
                    happens, self.at = self.at, None
                    happens(source, target, data)
                else:
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._ends):
            end.close()


def breaks(source: socket.socket, target: socket.socket, data: bytes) -> None:
    """The connection ends before the server hears anything."""
    source.shutdown(socket.SHUT_RDWR)
    target.shutdown(socket.SHUT_RDWR)


def answer_lost(source: socket.socket, target: socket.socket, data: bytes) -> None:
    """The server hears all, does it, and its answer reaches nobody."""
    source.shutdown(socket.SHUT_RDWR)
    target.sendall(data)
    time.sleep(0.3)


def through(line: Line, url: str) -> str:
    return f"{url.partition('?')[0]}?host={line.folder}"
