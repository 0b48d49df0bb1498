"""Writes that share a transaction."""

import sqlite3
import threading
import time
from collections.abc import Callable

import pytest

from stacksmith.state.commit import Commits
from stacksmith.state.sqlite import SqliteDatabase


class Bank:
    """A connection with one table, and writers that all come while the connection is in use."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.execute("CREATE TABLE paid (who INTEGER UNIQUE NOT NULL)")
        self.commits, self.said = Commits(SqliteDatabase(self.db, None, time.time).transact), list[str]()
        self.db.set_trace_callback(self.said.append)

    def pay(self, *people: int) -> Callable[[sqlite3.Connection], int]:
        def work(db: sqlite3.Connection) -> int:
            for who in people:
                db.execute("INSERT INTO paid VALUES (?)", (who,))
            return sum(people)

        return work

    def at_once(self, *works: Callable[[sqlite3.Connection], int]) -> list[object]:
        """What each write gave or raised."""
        given: list[object] = [None] * len(works)

        def write(number: int) -> None:
            try:
                given[number] = self.commits.write(works[number])
            except Exception as fault:
                given[number] = type(fault)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(len(works))]
        with self.commits.turn:
            for thread in threads:
                thread.start()
            while len(self.commits._waiting) < len(works):
                time.sleep(0.001)
        for thread in threads:
            thread.join()
        return given

    @property
    def paid(self) -> set[int]:
        return {row[0] for row in self.db.execute("SELECT who FROM paid")}


@pytest.fixture
def bank() -> Bank:
    return Bank()


def test_writes_that_come_together_share_one_transaction(bank: Bank) -> None:
    assert bank.at_once(*(bank.pay(number) for number in range(20))) == list(range(20))
    assert bank.said.count("COMMIT") == 1
    assert bank.paid == set(range(20))


def test_write_that_fails_takes_back_its_own_part_only(bank: Bank) -> None:
    bank.commits.write(bank.pay(7))
    given = bank.at_once(bank.pay(1), bank.pay(2, 7), bank.pay(3))
    assert given == [1, sqlite3.IntegrityError, 3]
    assert bank.paid == {7, 1, 3}


def test_transaction_that_cannot_be_made_durable_fails_every_write_in_it(bank: Bank) -> None:
    bank.db.execute("PRAGMA foreign_keys = ON")
    bank.db.execute("CREATE TABLE debt (who REFERENCES paid (who) DEFERRABLE INITIALLY DEFERRED)")

    def owe(db: sqlite3.Connection) -> int:
        return db.execute("INSERT INTO debt VALUES (99)").rowcount

    # The foreign key is checked at COMMIT, which fails as it does on a full disk.
    assert bank.at_once(bank.pay(1), owe, bank.pay(2)) == [sqlite3.IntegrityError] * 3
    assert bank.paid == set()
    assert bank.commits.write(bank.pay(3)) == 3
    assert bank.paid == {3}
