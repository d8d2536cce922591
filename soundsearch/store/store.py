"""An index, opened or made: where reading and writing begin.

It lies in a folder, where one SQLite database holds recordings, windows and their embeddings, and
all else can be made again from it. Or it lies in a PostgreSQL database, which holds all.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from soundsearch.errors import StoreError
from soundsearch.paths import DatabaseUrl
from soundsearch.store import migrations
from soundsearch.store.backend import Backend, InPlace, Place
from soundsearch.store.reader import Reader
from soundsearch.store.records import PinnedEncoder
from soundsearch.store.sqlite import Database
from soundsearch.store.sqlite_errors import cannot_write
from soundsearch.store.transaction import Transaction
from soundsearch.store.writer import Writer

if TYPE_CHECKING:
    from soundsearch.encoder.bundle import EncoderBundle


class Store(InPlace):
    """An opened index. Use `Store.open` or `Store.create`.

    Attributes:
        place: Its folder, or the address of its database.
        name: The same as messages name it, without a password.
        restore: The way out where it is damaged.
        has_graph: Whether the database itself finds nearest windows.
    """

    def __init__(self, place: Place) -> None:
        self._database = _database_at(place)
        self.place, self.name = self._database.place, self._database.name
        self.restore = self._database.restore
        self.has_graph = self._database.graph is not None
        weakref.finalize(self, self._database.close)  # a store that nobody closed

    @classmethod
    def exists(cls, place: Place) -> bool:
        """Whether there is an index in this place; one killed while being made is none yet.

        Raises:
            StoreError: there is something else, or it cannot be read.
        """
        if not _may_exist(place):
            return False
        with (
            contextlib.closing(_database_at(place)) as database,
            database.transaction() as connection,
        ):
            return database.version(connection) > 0

    @classmethod
    def open(cls, place: Place) -> Store:
        """Open an existing index, bringing an older schema up to date.

        Raises:
            StoreError: there is no index, or it cannot be used.
        """
        if _may_exist(place):
            store = cls(place)
            if migrations.bring_up_to_date(store._database):
                return store
        raise StoreError(f"no index at {place}; make one with: soundsearch index FOLDER")

    @classmethod
    def create(
        cls, place: Place, encoder: PinnedEncoder, bundle: EncoderBundle | None = None
    ) -> Store:
        """Open the index in this place, making it first if there is none.

        Args:
            place: a folder is made if it is not there; a database must be.
            encoder: what a new index is pinned to; one that exists stays as it is.
            bundle: the files of this encoder, which a database carries; None for none.

        Raises:
            StoreError: the place cannot be written, or what is in it cannot be used.
            IndexBusyError: another process makes it now.
        """
        if cls.exists(place):
            return cls.open(place)
        if isinstance(place, Path):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(cannot_write(place, error)) from error
        store = cls(place)
        database = store._database
        with database.lock(), database.transaction(writes=True) as connection:
            if database.version(connection) == 0:  # nobody was faster
                migrations.create(database, connection)
                changes = Transaction(database, connection)
                changes.pin(encoder)
                if bundle is not None:
                    changes.put_encoder(bundle)
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

    def encoder(self) -> PinnedEncoder:
        """The encoder that the index is pinned to now. Raises StoreError as `snapshot`."""
        with self.snapshot() as reader:
            return reader.encoder()

    def writer(self) -> Writer:
        """Take the writer's lock, to be used as a context manager that releases it.

        Raises:
            IndexBusyError: another process writes this index.
            StoreError: the folder cannot be written.
        """
        return Writer(self._database)

    def size_bytes(self) -> int:
        """Bytes of all that the index holds.

        Of a folder: of its files; those that a running index run takes away do not count.
        """
        if not isinstance(self.place, Path):
            return self._database.sizes()[1]
        n_bytes = 0
        for inside, _, names in os.walk(self.place):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    n_bytes += os.lstat(os.path.join(inside, name)).st_size
        return n_bytes

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


def _may_exist(place: Place) -> bool:
    return isinstance(place, DatabaseUrl) or Database.may_exist(place)


def _database_at(place: Place) -> Backend:
    """The database of an index. Raises StoreError where what speaks to it is not installed."""
    if isinstance(place, Path):
        return Database(place)
    found: Backend = _module_of_postgres(place).Database(place)
    return found


def drop_database(place: DatabaseUrl) -> None:
    """Delete an index that lies in a database, if it is there."""
    with contextlib.closing(_module_of_postgres(place).Database(place)) as database:
        database.drop()


def _module_of_postgres(place: DatabaseUrl) -> ModuleType:
    try:
        from soundsearch.store import postgres
    except ImportError as error:
        raise StoreError(
            f"{place}: an index in PostgreSQL needs psycopg ({error}); install it with: "
            "pip install 'soundsearch[postgres]'"
        ) from error
    return postgres
