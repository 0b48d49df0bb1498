"""Threads that can be left behind: a call that never returns must not hold up the run or the program's end."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Daemon threads that do what they are given, made as they are needed. Used from one thread."""

    def __init__(self, do: Callable[[T], None]) -> None:
        self._do, self._idle, self._threads = do, 0, 0
        self._given: SimpleQueue[T | None] = SimpleQueue()

    def give(self, work: T) -> None:
        """Starts ``work`` at once, on an idle thread or a new one."""
        if self._idle:
            self._idle -= 1
        else:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"step-{self._threads}", daemon=True).start()
        self._given.put(work)

    def freed(self) -> None:
        """Says that a thread has come to the end of its work."""
        self._idle += 1

    def close(self) -> None:
        """Lets the threads end once they have done what they do."""
        for _ in range(self._threads):
            self._given.put(None)

    def _serve(self) -> None:
        while (work := self._given.get()) is not None:
            self._do(work)
