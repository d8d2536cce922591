"""The room that the SQLite file of an index and the log beside it take on disk.

A part of `Database`: with `sqlite.py` and `sqlite_words.py` the only module that knows SQLite.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from sqlalchemy.engine import Connection, Engine

from soundsearch.errors import StoreError
from soundsearch.store.sqlite_errors import DATABASE, translated

#: How long a statement waits for another process to finish its transaction.
BUSY_TIMEOUT_MS = 30_000
#: The log beside the database (-wal) is cut to this size after a larger transaction.
LOG_BYTES = 32 << 20


class DiskRoom:
    """How much room there is, and giving it back."""

    folder: Path
    engine: Engine

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file that nothing fills, and of all of it."""
        with translated(self.folder), self.engine.begin() as connection:
            names = ("freelist_count", "page_count", "page_size")
            n_free, n_pages, page_bytes = (pragma(connection, name) for name in names)
        return n_free * page_bytes, n_pages * page_bytes

    def compact(self) -> None:
        """Write the file anew without the room that nothing fills: all of it, or nothing is changed.

        Raises:
            StoreError: the disk has too little room for it, or it cannot be written.
        """
        needed, free = self.sizes()[1], shutil.disk_usage(self.folder).free
        if free < needed:
            raise StoreError(
                f"{self.folder}: giving back disk room takes up to {needed / 1e6:,.0f} MB for a "
                f"while, {free / 1e6:,.0f} MB are free"
            )
        with self._outside_transactions() as connection:
            connection.execute("VACUUM")
        self.trim_log(0)

    def trim_log(self, to_bytes: int | None = None) -> None:
        """Empty the log beside the database if it is larger than this, unless somebody reads of it.

        to_bytes: LOG_BYTES if it is not given.
        """
        try:
            n_bytes = (self.folder / f"{DATABASE}-wal").stat().st_size
        except OSError:  # there is none
            return
        if n_bytes <= (LOG_BYTES if to_bytes is None else to_bytes):
            return
        with self._outside_transactions() as connection:
            connection.execute("PRAGMA busy_timeout = 0")  # a reader may go on for long
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    @contextlib.contextmanager
    def _outside_transactions(self) -> Iterator[sqlite3.Connection]:
        with translated(self.folder), contextlib.closing(self.engine.raw_connection()) as pooled:
            yield cast(sqlite3.Connection, pooled.driver_connection)


def pragma(connection: Connection, name: str) -> int:
    """A setting or a count of SQLite's that is a number."""
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
