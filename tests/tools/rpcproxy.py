"""A proxy in front of libvirtd's socket that counts remote procedure calls and can lengthen the round trip.

In a test:

    with RpcProxy(host.socket, tmp_path / "proxy", rtt_seconds=0.02) as proxy:
        connection = libvirt.open(f"qemu+unix:///system?socket={proxy.socket}")
        ...
        assert proxy.take().writes == {}

As a command: `python tests/tools/rpcproxy.py REAL_SOCKET PROXY_SOCKET [RTT_MILLISECONDS]` prints what it counted when
it is interrupted. Half of the round trip is added each way and calls in flight overlap, as on a long wire.
"""

import argparse
import contextlib
import math
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

REMOTE_PROGRAM, QEMU_PROGRAM = 0x20008086, 0x20008087
CALL, REPLY, CALL_WITH_FDS, REPLY_WITH_FDS = 0, 1, 4, 5  # virNetMessageType, libvirt's src/rpc/virnetprotocol.x
HEADER = struct.Struct(">IIIiiIi")  # length, program, version, procedure, type, serial, status
PROCEDURES = [
    line
    for line in (Path(__file__).parent / "remote_procedures.txt").read_text().split("\n")
    if line and line[0] != "#"
]
READ_WORDS = {
    *("auth", "get", "list", "lookup", "num", "is", "has", "stats", "peek", "addresses", "supports", "compare"),
    *("baseline", "register", "deregister", "unregister"),
}
READ_NAMES = {
    *("connect_open", "connect_close", "connect_find_storage_pool_sources", "connect_domain_xml_from_native"),
    *("connect_domain_xml_to_native", "domain_snapshot_current", "domain_screenshot", "storage_vol_download"),
}


def name_of(program: int, procedure: int) -> str:
    """The procedure's name, as in remote_protocol.x without its prefix; a number where it is not known."""
    if program == REMOTE_PROGRAM and 1 <= procedure <= len(PROCEDURES):
        return PROCEDURES[procedure - 1]
    return f"{program:#x}:{procedure}"


def is_write(name: str) -> bool:
    """Whether the procedure may change anything on the host; one that is not known to read counts as a write."""
    words = name.split("_")
    return name not in READ_NAMES and ("set" in words or not READ_WORDS.intersection(words))


@dataclass(frozen=True, slots=True)
class Counts:
    """What went through the proxy: calls by procedure name, those that began while another had no answer yet,
    connections, bytes."""

    calls: Mapping[str, int] = field(default_factory=dict)
    overlapping: int = 0
    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    @property
    def writes(self) -> dict[str, int]:
        """The calls that may have changed something, by name."""
        return {name: count for name, count in sorted(self.calls.items()) if is_write(name)}


class RpcProxy:
    """Listens on `socket` as long as the context lasts; every client gets its own connection to `real`."""

    def __init__(self, real: Path, listen: Path, rtt_seconds: float = 0.0) -> None:
        self.socket = listen
        self.sent: Callable[[str], object] = _ignore  # told the name of each call just before it goes on to `real`
        self.swallows_after: float = math.inf  # of a connection's bytes on their way to `real`; what follows is lost
        self._real = real
        self._delay = rtt_seconds / 2
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._unanswered = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        self.socket.unlink(missing_ok=True)
        self._server.bind(str(self.socket))
        self._server.listen(64)
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        self._server.close()
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self.socket.unlink(missing_ok=True)

    def counts(self) -> Counts:
        """What went through since the start or the last `take`."""
        with self._lock:
            return self._counted()

    def take(self) -> Counts:
        """What `counts` says, and start again from nothing."""
        with self._lock:
            counts = self._counted()
            self._calls.clear()
            self._sums.clear()
        return counts

    def _counted(self) -> Counts:
        return Counts(dict(self._calls), **self._sums)

    def _start(self, task: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=task, args=arguments, name="rpcproxy", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            try:
                server.connect(str(self._real))
            except OSError:
                return
            with self._lock:
                self._sums["connections"] += 1
                self._open += [client, server]
            pumps = [self._start(self._pump, client, server, True), self._start(self._pump, server, client, False)]
            for pump in pumps:
                pump.join()
            with self._lock:
                self._open.remove(client)
                self._open.remove(server)

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        outbox: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        sender = self._start(_send, outbox, target)
        passed = 0
        with contextlib.suppress(OSError):
            for frame in _frames(source):
                passed += len(frame)
                self._note(frame, up)  # first: who has the answer finds the call counted
                if not up or passed <= self.swallows_after:
                    outbox.put((time.monotonic() + self._delay, frame))
        outbox.put((time.monotonic() + self._delay, b""))
        sender.join()

    def _note(self, frame: bytes, up: bool) -> None:
        _, program, _, procedure, kind, _, _ = HEADER.unpack_from(frame)
        is_known = program in (REMOTE_PROGRAM, QEMU_PROGRAM)
        is_call = is_known and up and kind in (CALL, CALL_WITH_FDS)
        with self._lock:
            self._sums["bytes_up" if up else "bytes_down"] += len(frame)
            if is_call:
                self._calls[name_of(program, procedure)] += 1
                self._sums["overlapping"] += self._unanswered > 0
                self._unanswered += 1
            elif is_known and not up and kind in (REPLY, REPLY_WITH_FDS):
                self._unanswered -= 1
        if is_call:
            self.sent(name_of(program, procedure))


def _ignore(_: str) -> None:
    """Nobody wants to know."""


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Whole messages: a length of four bytes that counts itself, then the rest."""
    pending = bytearray()
    while data := source.recv(1 << 16):
        pending += data
        while len(pending) >= HEADER.size:
            length = int.from_bytes(pending[:4], "big")
            if len(pending) < length:
                break
            yield bytes(pending[:length])
            del pending[:length]


def _send(outbox: "queue.SimpleQueue[tuple[float, bytes]]", target: socket.socket) -> None:
    while True:
        due, frame = outbox.get()
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            if not frame:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(frame)
        except OSError:
            return


def main() -> int:
    """Serve until interrupted, then print the counts, writes marked with an asterisk."""
    parser = argparse.ArgumentParser(description="Count libvirt's remote procedure calls through a proxy socket.")
    parser.add_argument("real", type=Path)
    parser.add_argument("listen", type=Path)
    parser.add_argument("rtt_milliseconds", type=float, nargs="?", default=0.0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with RpcProxy(options.real, options.listen, options.rtt_milliseconds / 1000) as proxy:
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        counts = proxy.counts()
    for name, number in sorted(counts.calls.items()):
        print(f"{number:7} {'*' if is_write(name) else ' '} {name}")
    print(
        f"{counts.total:7} calls, {counts.connections} connections, {counts.bytes_up} B up, {counts.bytes_down} B down"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
