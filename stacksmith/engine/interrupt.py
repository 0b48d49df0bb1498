"""A request to stop: from a signal, or from a lease that was lost."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 0.3  # a wrapper that forwards Ctrl-C, which the terminal sent to everybody, delivers it twice


class Stop:
    """Once it is requested, no step is started. Safe to request from a signal handler: it takes no lock."""

    def __init__(self) -> None:
        self.cause = ""
        self.signal: int | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        """True once it was requested."""
        return bool(self.cause)

    def request(self, cause: str, signal_number: int | None = None) -> None:
        """Asks to stop; the first cause is kept."""
        if self.requested:
            return
        self.signal, self.cause = signal_number, cause
        for listener in tuple(self._listeners):
            listener()

    def sleep(self, seconds: float) -> None:
        """Sleeps, as a wait for another run does. Raises: SystemExit with 128 + the signal when one came."""
        time.sleep(seconds)
        if self.signal is not None:
            raise SystemExit(128 + self.signal)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` once it is requested, in whatever thread; it must take no lock."""
        self._listeners.append(listener)
        if self.requested:
            listener()


@contextmanager
def interruptible(stop: Stop, leave: Callable[[int], None] = os._exit) -> Iterator[None]:
    """SIGINT and SIGTERM request the stop; a second one leaves at once with 128 + its number, which is as harmless
    as SIGKILL. Outside the main thread signals stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: float | None = None

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            stop.request(signal.Signals(number).name, number)
        elif time.monotonic() - first > ECHO_SECONDS:
            leave(128 + number)

    before = {number: signal.signal(number, take) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
