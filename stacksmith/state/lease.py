"""Holds a stack's lease: waits for it, renews it from a thread, gives it back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event as Flag
from threading import Thread

from stacksmith.diagnostics import Faults
from stacksmith.events import Event, LockWaiting
from stacksmith.frozen import dataclass
from stacksmith.state.store import Holder, Locked, Store

SECONDS = 60.0  # a dead holder's lease is free after this
POLL_SECONDS = 0.5
REPORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for another run (``--lock-timeout``), and how time passes."""

    seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


PATIENCE = Patience()


@contextmanager
def held(
    store: Store,
    stack: str,
    holder: Holder,
    sink: Callable[[Event], None],
    lost: Callable[[str], None],
    patience: Patience = PATIENCE,
) -> Iterator[None]:
    """Holds the lease while the block runs. ``lost`` is called once, from another thread, with the reason when it
    cannot be kept. Raises: Locked when another run still holds it after ``patience.seconds``."""
    wait_for(store, stack, holder, sink, patience)
    ended = Flag()
    heart = Thread(target=_beat, args=(store, stack, holder.run, ended, lost), name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join(SECONDS)
        with suppress(Faults):  # then it expires by itself
            store.release(stack, holder.run)


def wait_for(store: Store, stack: str, holder: Holder, sink: Callable[[Event], None], patience: Patience) -> None:
    """Takes the lease, waiting while another run has it; an event says so at once and every 10 s."""
    began = patience.clock()
    reported: float | None = None
    while True:
        try:
            store.acquire(stack, holder, SECONDS)
            return
        except Locked as locked:
            waited = patience.clock() - began
            if waited >= patience.seconds:
                raise
            if reported is None or waited - reported >= REPORT_SECONDS:
                sink(LockWaiting(str(locked.holder), waited))
                reported = waited
        patience.sleep(min(POLL_SECONDS, patience.seconds - waited))


def _beat(store: Store, stack: str, run: str, ended: Flag, lost: Callable[[str], None]) -> None:
    """Renews four times in the life of a lease, so that a store that is busy for a while does not lose it."""
    kept = time.monotonic()
    while not ended.wait(SECONDS / 4):
        try:
            if not store.renew(stack, run, SECONDS):
                lost("the lease was lost: another run took it")
                return
            kept = time.monotonic()
        except Faults as faults:
            if time.monotonic() - kept >= SECONDS:
                lost(f"the lease was lost: {faults}")
                return
