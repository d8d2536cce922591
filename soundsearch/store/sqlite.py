"""Connections to the SQLite file of an index, wherever it lies, and what SQLite's errors mean.

In: the path of the database. Out: an engine whose transactions begin where we say so; errors are
StoreErrors with the way out.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from soundsearch.descriptors import TO_OPEN_A_DATABASE, n_free, ran_out, too_many
from soundsearch.errors import StoreError

DATABASE = "soundsearch.db"
#: How long a statement waits for another process to finish its transaction.
BUSY_TIMEOUT_MS = 30_000
#: A disk with less room than this is a full one, where SQLite only says that it could not write.
FULL_BYTES = 1 << 20
#: The way out where the database itself is damaged.
RESTORE = f"restore {DATABASE} from a backup, or move it away and index again"


def engine_of(database: Path) -> Engine:
    """An engine for a database that is there, or is made at the first connection."""
    uri = f"file:{quote(os.fsencode(database.absolute()))}"
    if is_sealed(database):
        uri += "?mode=ro&immutable=1"
        connect = functools.partial(_connect, uri, wal=False)
    else:
        connect = functools.partial(_connect_with_or_without_room, uri)
    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "checkin")
    def let_go(connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry) -> None:
        if isinstance(connection, _Alone):
            record.invalidate()
            engine.dispose()  # what was opened beside it in this process shares its hold

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


class _Alone(sqlite3.Connection):
    """Keeps every other process out, so it is closed as soon as its transaction is over."""


def _connect_with_or_without_room(uri: str) -> sqlite3.Connection:
    """A connection beside those of other processes, or alone where that needs room on a full disk.

    Processes meet in a file beside the database (-shm), which may find no room, even for reading.
    A process that is alone keeps what would be in it in its own memory.
    """
    try:
        return _connect(uri)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_IOERR_SHM"):
            with contextlib.suppress(sqlite3.OperationalError):
                return _connect(f"{uri}?vfs=unix-excl", _Alone)
        raise


def _connect(
    uri: str, factory: type[sqlite3.Connection] = sqlite3.Connection, *, wal: bool = True
) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, factory=factory)
    try:
        connection.isolation_level = None  # transactions begin where we say so, in engine_of
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if wal:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_sealed(database: Path) -> bool:
    """Whether the index lies where nothing can be written and nobody is writing: a read-only disk.

    Readers of a database in WAL mode write beside it, and so would fail there.
    """
    effective = os.access in os.supports_effective_ids
    return (
        os.access(database, os.R_OK, effective_ids=effective)
        and not os.access(database.parent, os.W_OK, effective_ids=effective)
        and not database.with_name(f"{database.name}-wal").exists()
    )


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """SQLite's errors as StoreErrors that say what to do."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        said = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
        is_io_error = "I/O" in said
        could_not_open = is_io_error or "unable to open" in said
        if "full" in said or (could_not_open and _is_full(folder)):
            way_out = (
                "the disk is full; make room and run the command again, what was committed is kept"
            )
        elif could_not_open and n_free(TO_OPEN_A_DATABASE) < TO_OPEN_A_DATABASE:
            way_out = too_many()
        elif "readonly" in said or "unable to open" in said:
            way_out = (
                "the folder cannot be written; check its permissions or choose another --index"
            )
        elif "malformed" in said or "not a database" in said:
            way_out = f"the database is damaged; {RESTORE}"
        elif "no such" in said or "no column" in said:
            way_out = f"the database is not as soundsearch makes it; {RESTORE}"
        elif "locked" in said:
            way_out = "another process holds the database; try again when it has finished"
        elif is_io_error:
            way_out = "the disk fails; check it, then run: soundsearch verify"
        else:
            way_out = "run: soundsearch verify"
        raise StoreError(f"{folder}: {said}: {way_out}") from error


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return False


def cannot_write(folder: Path, error: OSError) -> str:
    """What to say of an index folder into which something could not be written."""
    if ran_out(error):
        return f"{folder}: {too_many()}"
    return f"{folder}: the index folder cannot be written ({error.strerror}); choose another with --index"
