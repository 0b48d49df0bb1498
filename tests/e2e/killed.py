"""An apply that kills itself at the k-th write of its journal; tests start it by ``Forked``.

With the name of a host, what is applied is the plan that empties it.
"""

import os
import signal
from pathlib import Path
from typing import Any

import libvirt

from stacksmith.engine import session
from stacksmith.engine import store as store_of_stack
from stacksmith.model.change import Impact
from stacksmith.planner.aim import Aim


class Killer:
    """A store whose k-th journal write is this process's last act: a begin is written first, an end is not."""

    def __init__(self, store: Any, at: int) -> None:
        self._store, self._left = store, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def begin(self, *words: Any, **more: Any) -> None:
        self._store.begin(*words, **more)
        self._tick()

    def end(self, *words: Any, **more: Any) -> None:
        self._tick()
        self._store.end(*words, **more)

    def _tick(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def main(at: int, stack: Path, fleet: Path, *drained: str) -> int:
    options = session.Options(stack=stack, fleet=fleet)
    made = session.rebalance(options, Aim(frozenset(drained))).plan if drained else session.plan(options).plan
    if at:
        real = store_of_stack.open_store
        store_of_stack.open_store = lambda *words, **more: Killer(real(*words, **more), at)  # type: ignore[assignment]
    return session.apply(options, made, lambda event: None, session.ApplyOptions(allowed=Impact.MIGRATE)).exit_status


def main_at_call(call: str, stack: Path, fleet: Path) -> int:
    """An apply that kills itself when a call of libvirt, ``virNetwork.create`` say, has returned."""
    kind, _, name = call.partition(".")
    real = getattr(getattr(libvirt, kind), name)

    def last(*words: Any) -> None:
        real(*words)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(getattr(libvirt, kind), name, last)
    return main(0, stack, fleet)
