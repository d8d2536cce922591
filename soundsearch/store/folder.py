"""An index folder, opened or made: where reading and writing begin.

One SQLite database per index holds recordings, windows and their embeddings (blobs of little-endian
float32). Everything else in the folder can be made again from it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from pathlib import Path

from soundsearch.errors import StoreError
from soundsearch.store import migrations
from soundsearch.store.reader import Reader
from soundsearch.store.records import PinnedEncoder
from soundsearch.store.sqlite import Database
from soundsearch.store.sqlite_errors import cannot_write
from soundsearch.store.transaction import Transaction
from soundsearch.store.writer import Writer


class Store:
    """An opened index folder. Use `Store.open` or `Store.create`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = Database(folder)
        weakref.finalize(self, self._database.close)  # a store that nobody closed

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether there is an index in this folder; one killed while being made is none yet.

        Raises:
            StoreError: there is something else, or it cannot be read.
        """
        if not Database.may_exist(folder):
            return False
        with contextlib.closing(Database(folder)) as database, database.transaction() as connection:
            return database.version(connection) > 0

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open an existing index, bringing an older schema up to date.

        Raises:
            StoreError: there is no index, or it cannot be used.
        """
        if Database.may_exist(folder):
            store = cls(folder)
            if migrations.bring_up_to_date(store._database):
                return store
        raise StoreError(f"no index at {folder}; make one with: soundsearch index FOLDER")

    @classmethod
    def create(cls, folder: Path, encoder: PinnedEncoder) -> Store:
        """Open the index in this folder, making it first if there is none.

        Args:
            folder: made if it is not there.
            encoder: what a new index is pinned to; one that exists stays as it is.

        Raises:
            StoreError: the folder cannot be written, or what is in it cannot be used.
            IndexBusyError: another process makes it now.
        """
        if cls.exists(folder):
            return cls.open(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(cannot_write(folder, error)) from error
        store = cls(folder)
        database = store._database
        with database.lock(), database.transaction() as connection:
            if database.version(connection) == 0:  # nobody was faster
                migrations.create(database, connection)
                changes = Transaction(database, connection)
                changes.pin(encoder)
                changes.add_revision()
        return store

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """One consistent state to read, whatever a writer does meanwhile; it needs no lock.

        Raises:
            StoreError: the database cannot be read; raised in the block too.
        """
        with self._database.transaction() as connection:
            yield Reader(self._database, connection)

    def writer(self) -> Writer:
        """Take the writer's lock, to be used as a context manager that releases it.

        Raises:
            IndexBusyError: another process writes this index.
            StoreError: the folder cannot be written.
        """
        return Writer(self._database)

    def bytes_of_windows(self, n_windows: int, dim: int) -> int:
        """About how much room so many windows with embeddings of so many numbers take on disk."""
        return self._database.bytes_of_windows(n_windows, dim)

    def database_problems(self) -> list[str]:
        """What is damaged in the database as such, in words; its rows may still be odd.

        Raises:
            StoreError: it cannot be read for another reason, such as a full disk.
        """
        return self._database.problems()

    def damaged_words(self, *, is_locked: bool = False) -> list[str]:
        """What is damaged in the tables that find recordings by words, in words.

        Not looked for while another process writes, or where nothing can be written.

        Args:
            is_locked: whether the caller holds the writer's lock already.
        """
        if is_locked:
            return self._database.damaged_words()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._database.lock())
            except StoreError:
                return []
            return self._database.damaged_words()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
