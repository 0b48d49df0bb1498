"""The tables of the store, as numbered migrations: step N brings schema N-1 to N; one that shipped stays."""

import re
import sqlite3

from stacksmith.state.database import Connection

APPLICATION_ID = 0x53544D53  # "STMS": tells a state file from any other SQLite file

MIGRATIONS = (
    """
    CREATE TABLE record (
        stack TEXT NOT NULL, address TEXT NOT NULL, host TEXT NOT NULL, uuid TEXT NOT NULL,
        complete INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (stack, address)
    ) WITHOUT ROWID;
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY, run TEXT NOT NULL, stack TEXT NOT NULL, step TEXT NOT NULL, operation TEXT NOT NULL,
        address TEXT NOT NULL, host TEXT NOT NULL, uuid TEXT NOT NULL,
        began REAL NOT NULL, ended REAL, outcome TEXT, cause TEXT NOT NULL DEFAULT '',
        UNIQUE (run, step)
    );
    CREATE INDEX journal_open ON journal (stack, address) WHERE ended IS NULL;
    CREATE INDEX journal_stack ON journal (stack, id);
    CREATE TABLE lease (
        stack TEXT PRIMARY KEY, run TEXT NOT NULL, command TEXT NOT NULL, user TEXT NOT NULL, host TEXT NOT NULL,
        pid INTEGER NOT NULL, machine TEXT NOT NULL, started TEXT NOT NULL, since REAL NOT NULL, expires REAL NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE consumer (
        uuid TEXT PRIMARY KEY, stack TEXT NOT NULL, generation INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE allocation (
        consumer TEXT NOT NULL, provider TEXT NOT NULL, resource_class TEXT NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY (consumer, provider, resource_class)
    ) WITHOUT ROWID;
    CREATE INDEX allocation_provider ON allocation (provider, resource_class, amount);
    """,
    """
    ALTER TABLE consumer ADD COLUMN name TEXT NOT NULL DEFAULT '';
    CREATE INDEX consumer_name ON consumer (stack, name);
    """,
    """
    CREATE TABLE node (
        name TEXT PRIMARY KEY, state TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL, stack TEXT NOT NULL,
        uuid TEXT NOT NULL, since REAL NOT NULL
    ) WITHOUT ROWID;
    """,
)


def version(connection: sqlite3.Connection) -> int:
    """The number of the schema that the file has; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_ours(connection: sqlite3.Connection) -> bool:
    """True for a state file and for one without any table.

    The tables are looked for first: who makes them in this moment sets the id with them.
    """
    if not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
        return True
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


def migrate(connection: sqlite3.Connection, newest: int | None = None) -> None:
    """Brings the file to the newest schema, or to ``newest``; each migration is one transaction, and two programs may
    try at once."""
    wanted = len(MIGRATIONS) if newest is None else newest
    while version(connection) < wanted:
        connection.execute("BEGIN IMMEDIATE")
        try:
            have = version(connection)
            if have < wanted:
                for statement in MIGRATIONS[have].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {have + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


# PostgreSQL's words for SQLite's; text compares by its bytes, as it does there.
_POSTGRES = (
    (r"\) WITHOUT ROWID", ")"),
    (r"\bINTEGER PRIMARY KEY\b", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bREAL\b", "DOUBLE PRECISION"),
    (r"\buser TEXT\b", '"user" TEXT'),
    (r"\bTEXT\b", 'TEXT COLLATE "C"'),
)


def migrate_postgres(db: Connection, have: int) -> None:
    """Brings the database from schema ``have`` to the newest, inside the caller's transaction."""
    if have == 0:
        db.execute("CREATE TABLE stacksmith_state (version BIGINT NOT NULL)")
        db.execute("INSERT INTO stacksmith_state VALUES (0)")
    for step in MIGRATIONS[have:]:
        for statement in filter(str.strip, step.split(";")):
            db.execute(_for_postgres(statement))
    db.execute("UPDATE stacksmith_state SET version = ?", (max(have, len(MIGRATIONS)),))


def _for_postgres(statement: str) -> str:
    for ours, theirs in _POSTGRES:
        statement = re.sub(ours, theirs, statement)
    return statement
