"""Parts of tests of the state store."""

import os
from collections.abc import Callable

from stacksmith.address import Address
from stacksmith.model.realised import Policy
from stacksmith.model.record import Record
from stacksmith.state.process import this_process
from stacksmith.state.store import JournalEntry, Store

STACK = "shop"


def record(text: str, complete: bool = True, applied: object = None) -> Record:
    policy = Policy(protect=True, on_destroy="keep")
    needs = (Address.parse("network.lan@hv1"), Address.parse('volume.data["eu"]'))
    return Record(
        Address.parse(text), "hv1", "1b2c", applied or {"size_bytes": 1, "image": None}, policy, complete, needs
    )


def entry(text: str, run: str = "run-1", operation: str = "create") -> JournalEntry:
    return JournalEntry(run, STACK, f"{operation} {text}", operation, Address.parse(text), "hv1", "1b2c")


def leased(store: Store, run: str = "run-1") -> Store:
    holder = store.holder(STACK)
    if holder is not None:
        store.release(STACK, holder.run)
    store.acquire(STACK, this_process(run, "apply"), 60)
    return store


def in_child(work: Callable[[], None]) -> int:
    """Runs ``work`` in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1]
