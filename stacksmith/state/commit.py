"""Group commit: writes that come while one is being made durable share the next transaction, and its one fsync."""

from collections.abc import Callable
from threading import Lock, RLock
from typing import Generic, TypeVar

from stacksmith.state.database import Connection

T = TypeVar("T")


class Commits:
    """Writes from many threads through one connection, whose ``transact`` does one function in a transaction, more
    than once if it must. ``turn`` is held while the connection is used, for reads too."""

    def __init__(self, transact: Callable[[Callable[[Connection], None]], None]) -> None:
        self.turn = RLock()
        self._transact = transact
        self._waiting: list[_Write[object]] = []
        self._joining = Lock()

    def write(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns, once what it wrote is durable. Raises: what it raises, having written nothing."""
        mine = _Write(work)
        with self._joining:
            self._waiting.append(mine)  # type: ignore[arg-type]
        with self.turn:
            if not mine.over:  # nobody who had the turn before took it along
                with self._joining:
                    together, self._waiting = self._waiting, []
                self._commit(together)
        return mine.result()

    def _commit(self, together: "list[_Write[object]]") -> None:
        def work(db: Connection) -> None:
            for one in together:
                one.try_on(db)

        try:
            self._transact(work)
        except BaseException as fault:
            for one in together:
                one.fault = one.fault or fault
        finally:
            for one in together:
                one.over = True


class _Write(Generic[T]):
    """One caller's part of a transaction: undone alone when it fails."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work, self.over = work, False
        self.fault: BaseException | None = None
        self._given: list[T] = []

    def try_on(self, db: Connection) -> None:
        """Does it, anew when it is called again. Raises: the database's error when all of the transaction is lost."""
        self.fault = None
        self._given.clear()
        db.execute("SAVEPOINT part")
        try:
            self._given.append(self._work(db))
        except Exception as fault:
            self.fault = fault
            db.execute("ROLLBACK TO SAVEPOINT part")
        db.execute("RELEASE SAVEPOINT part")

    def result(self) -> T:
        if self.fault is not None:
            raise self.fault
        return self._given[0]
