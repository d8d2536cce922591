"""The SQLite file of an index: with `sqlite_words.py` and `sqlite_room.py` the only module that knows SQLite.

In: an index folder. Out: a `Database`, whose transactions begin where we say so and whose errors are
StoreErrors with the way out. Another kind of database offers what `Database` offers; tables and
statements are SQLAlchemy's.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.compiler import compiles

from soundsearch.errors import IndexBusyError, StoreError
from soundsearch.files import write_atomically
from soundsearch.store.backend import Window, unmatched_words
from soundsearch.store.records import Words
from soundsearch.store.schema import (
    NEVER_REUSED,
    Integer64,
    index_table,
    metadata,
    revisions_table,
)
from soundsearch.store.sqlite_errors import (
    DATABASE,
    RESTORE,
    WORD_TABLES,
    cannot_write,
    is_corrupt,
    translated,
)
from soundsearch.store.sqlite_room import BUSY_TIMEOUT_MS, LOG_BYTES, DiskRoom, pragma
from soundsearch.store.sqlite_words import WordIndex, add_functions

if TYPE_CHECKING:
    from soundsearch.encoder.bundle import EncoderBundle

LOCK = "writer.lock"
#: The mark of an index in the header of its file: "snds".
APPLICATION_ID = 0x736E6473
#: SQLite's pages, and what a row of windows takes beside its embedding, its entry in an index too.
PAGE_BYTES = 4096
WINDOW_BYTES = 64

#: What is searched by words: in `words` whole ones, alike in their stems; in `name_parts` any three
#: letters and more. The id of a row is that of its recording.
FULL_TEXT = (
    "CREATE VIRTUAL TABLE words USING fts5(name, folders, metadata, "
    "tokenize = 'porter unicode61 remove_diacritics 2')",
    "CREATE VIRTUAL TABLE name_parts USING fts5(name, tokenize = 'trigram')",
    "CREATE TRIGGER words_of_deleted AFTER DELETE ON recordings BEGIN "
    "DELETE FROM words WHERE rowid = old.id; DELETE FROM name_parts WHERE rowid = old.id; END",
)
#: How much a word counts in a name, in folder names and in metadata.
WORD_WEIGHTS = "4.0, 2.0, 2.0"
#: Shorter words are sought whole only: as parts they are in too many names.
SHORTEST_PART = 4

for _table in metadata.tables.values():
    if _table.info == NEVER_REUSED:  # SQLite gives a plain key out again
        _table.dialect_options["sqlite"]["autoincrement"] = True


@compiles(Integer64, "sqlite")
def _integer(type_: Integer64, compiler: Any, **_: object) -> str:
    return "INTEGER"  # of 64 bits, and the only type of a key that counts up


class Database(WordIndex, DiskRoom):
    """The database of one index folder; see `Backend`."""

    restore, is_server = RESTORE, False
    graph = None

    def __init__(self, folder: Path) -> None:
        self.folder, self.place, self.name = folder, folder, str(folder)
        self._path = folder / DATABASE
        self.is_sealed = _is_sealed(self._path)
        self.engine = _engine_of(self._path, self.is_sealed)

    @staticmethod
    def may_exist(folder: Path) -> bool:
        """Whether there is a file of a database. Raises StoreError where that cannot be seen."""
        try:
            (folder / DATABASE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StoreError(
                f"{folder}: the index folder cannot be read ({error.strerror}); "
                "check its permissions or choose another with --index"
            ) from error
        return True

    @contextlib.contextmanager
    def transaction(self, *, writes: bool = False) -> Iterator[Connection]:
        """One consistent state; what is changed is committed at the end, or rolled back on an error."""
        with translated(self.folder), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one writer. Raises IndexBusyError at once if another process is.

        The operating system drops the lock with the process, also when it is killed.
        """
        import filelock

        lock = filelock.FileLock(self.folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise IndexBusyError(
                f"{self.folder}: another soundsearch is writing this index; "
                "wait until it has finished (searching works meanwhile)"
            ) from error
        except OSError as error:
            raise StoreError(cannot_write(self.folder, error)) from error
        try:
            yield
        finally:
            lock.release()

    @staticmethod
    def bytes_of_windows(n_windows: int, dim: int) -> int:
        """About how much room windows take in the file: a page holds whole rows, if one fits."""
        row = 2 * dim + WINDOW_BYTES
        n_on_page = PAGE_BYTES // row
        return n_windows * (PAGE_BYTES // n_on_page if n_on_page else row + PAGE_BYTES // 8)

    def version(self, connection: Connection) -> int:
        """The schema version of the index in it, 0 if it is empty. Raises StoreError for all else."""
        if pragma(connection, "application_id") == APPLICATION_ID:
            return pragma(connection, "user_version")
        tables = _table_names(connection)
        if not tables:
            return 0
        if index_table.name in tables:
            raise StoreError(
                f"{self.folder}: this index was made by a development version of soundsearch, of a "
                "form that released versions do not read; index your folders again into another "
                "folder with --index (nothing in this one is changed)"
            )
        raise StoreError(
            f"{self._path}: not an index of soundsearch (it lacks the mark of one); "
            "move the file away or choose another --index"
        )

    def create_tables(self, connection: Connection) -> None:
        """Make all tables in an empty database."""
        metadata.create_all(connection)
        for statement in FULL_TEXT:
            connection.exec_driver_sql(statement)

    def put_encoder(self, connection: Connection, bundle: EncoderBundle) -> None:
        """Nothing: a folder beside the database holds its files."""

    def encoder_files(self, connection: Connection, only: str | None = None) -> dict[str, bytes]:
        """None: a folder beside the database holds them."""
        return {}

    def add_revision(self, connection: Connection, token: str) -> None:
        """Give the state that is written here a token of its own."""
        connection.execute(revisions_table.insert().values(token=token))

    def one_of(self, column: sa.ColumnElement[int], ids: Sequence[int]) -> sa.ColumnElement[bool]:
        """See `Backend`."""
        return column.in_(ids)

    def put_windows(self, connection: Connection, rows: Sequence[Window]) -> None:
        """Add windows, many in one go, which takes a third of the time of other statements."""
        if rows:
            connection.exec_driver_sql(
                "INSERT INTO windows (recording_id, start_s, end_s, embedding) VALUES (?, ?, ?, ?)",
                list(rows),
            )

    def put_words(self, connection: Connection, words: Mapping[int, Words | None]) -> None:
        """Store by which words recordings are found, by their ids, in place of those before.

        None: by none.
        """
        if not words:
            return
        for table in WORD_TABLES:
            statement = f"DELETE FROM {table} WHERE rowid = ?"
            connection.exec_driver_sql(statement, [(i,) for i in words])
        self.add_words(connection, {i: w for i, w in words.items() if w is not None})

    def add_words(self, connection: Connection, words: Mapping[int, Words]) -> None:
        """Store by which words recordings are found that have none yet, by their ids."""
        if words:
            connection.exec_driver_sql(
                "INSERT INTO words (rowid, name, folders, metadata) VALUES (?, ?, ?, ?)",
                [(i, w.name, w.folders, w.metadata) for i, w in words.items()],
            )
            connection.exec_driver_sql(
                "INSERT INTO name_parts (rowid, name) VALUES (?, ?)",
                [(i, w.file_name) for i, w in words.items()],
            )

    def words(self, connection: Connection, recording_id: int) -> Words | None:
        """By which words a recording is found; None: by none."""
        row = connection.exec_driver_sql(
            "SELECT words.name, folders, metadata, name_parts.name FROM words "
            "JOIN name_parts ON name_parts.rowid = words.rowid WHERE words.rowid = ?",
            (recording_id,),
        ).first()
        return None if row is None else Words(*row)

    def empty_words(self, connection: Connection) -> None:
        """Make the tables of words again, without a row."""
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS words_of_deleted")
        for table in WORD_TABLES:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        for statement in FULL_TEXT:
            connection.exec_driver_sql(statement)

    def word_problems(self, connection: Connection) -> list[str]:
        """Where the tables of words and the recordings disagree, in words."""
        made = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        lost = [name for name in (*WORD_TABLES, "words_of_deleted") if name not in made]
        if lost:
            return [f"the database lacks what finds recordings by their words: {', '.join(lost)}"]
        tables = (unmatched_words(connection, table, "rowid") for table in WORD_TABLES)
        return list(itertools.chain(*tables))

    def damaged_words(self) -> list[str]:
        """Tables of words that do not find what they hold, in words.

        The check is a write to SQLite, so the caller holds the lock; an index on a read-only disk is
        not checked for this.
        """
        if self.is_sealed:
            return []
        found: list[str] = []
        for table in WORD_TABLES:
            statement = f"INSERT INTO {table} ({table}) VALUES ('integrity-check')"
            with self.transaction() as connection:
                try:
                    connection.exec_driver_sql(statement)
                except sa.exc.DatabaseError as error:
                    if not is_corrupt(error.orig):
                        raise
                    found.append(f"table {table}: does not find what it holds ({error.orig})")
        return found

    def word_matches(self, connection: Connection, terms: Sequence[str]) -> sa.Subquery:
        """Recordings with any of these words, alike in their stems; see `_matches`."""
        return self._matches("words", terms, 3, WORD_WEIGHTS)

    def part_matches(self, connection: Connection, terms: Sequence[str]) -> sa.Subquery:
        """Recordings whose names contain any of these words, as a part of a word too."""
        return self._matches("name_parts", [t for t in terms if len(t) >= SHORTEST_PART], 1, "1.0")

    def _matches(
        self, table: str, terms: Sequence[str], n_columns: int, weights: str
    ) -> sa.Subquery:
        """Columns recording_id, score (higher is better) and text, in which FOUND finds the words.

        terms: letters and digits alone.
        """
        texts = " || ' ' || ".join(
            f"highlight({table}, {i}, char(2), char(3))" for i in range(n_columns)
        )
        statement = sa.text(
            f"SELECT rowid AS recording_id, -bm25({table}, {weights}) AS score, {texts} AS text "
            f"FROM {table} WHERE {table} MATCH :{table}"
        ).bindparams(**{table: " OR ".join(f'"{term}"' for term in terms) or '""'})
        return statement.columns(
            sa.column("recording_id", Integer64), sa.column("score", sa.Double), sa.column("text")
        ).subquery()

    def set_version(self, connection: Connection, version: int) -> None:
        """Mark the database as an index of this schema version."""
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")

    def back_up(self, version: int) -> None:
        """Copy the database as it is in this schema version, unless there is such a copy."""
        backup = self.folder / f"soundsearch-schema{version}.db"
        if backup.exists():
            return
        with (
            translated(self.folder),
            write_atomically(backup) as temporary,
            contextlib.closing(sqlite3.connect(temporary)) as copy,
            contextlib.closing(sqlite3.connect(self._path)) as original,
        ):
            original.backup(copy)

    def problems(self) -> list[str]:
        """What is damaged in the file, and which rows point at rows that are not there, in words."""
        found = []
        try:
            with self.transaction() as connection:
                for (text,) in connection.exec_driver_sql("PRAGMA integrity_check"):
                    if text != "ok" and "FTS5" not in text:  # see `damaged_words`
                        found.append(f"SQLite says: {text}")
                for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                    found.append(
                        f"row {row[1]} of {row[0]} points at a row of {row[2]} that is not there"
                    )
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, sa.exc.DBAPIError) or isinstance(
                cause, sa.exc.OperationalError
            ):
                raise  # busy, say, or on a full disk: no word about what is in it
            return found or [f"SQLite says: {cause.orig}"]  # damaged through
        return found

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _table_names(connection: Connection) -> set[str]:
    rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    return set(rows.scalars())


def _engine_of(database: Path, is_sealed: bool) -> Engine:
    """An engine for a database that is there, or is made at the first connection."""
    uri = f"file:{quote(os.fsencode(database.absolute()))}"
    if is_sealed:
        uri += "?mode=ro&immutable=1"
        connect = functools.partial(_connect, uri, wal=False)
    else:
        connect = functools.partial(_connect_even_on_a_full_disk, uri)
    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "checkin")
    def close_if_alone(connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry) -> None:
        if isinstance(connection, _Alone):
            record.invalidate()
            engine.dispose()  # what was opened beside it in this process shares its hold

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


class _Alone(sqlite3.Connection):
    """Keeps every other process out, so it is closed as soon as its transaction is over."""


def _connect_even_on_a_full_disk(uri: str) -> sqlite3.Connection:
    """A connection beside those of other processes; one that is alone where the disk is full.

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
        connection.isolation_level = None  # transactions begin where we say so, in _engine_of
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if wal:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        add_functions(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_sealed(database: Path) -> bool:
    """Whether the index lies where nothing can be written and nobody is writing: a read-only disk.

    Readers of a database in WAL mode write beside it, and so would fail there.
    """
    effective = os.access in os.supports_effective_ids
    return (
        os.access(database, os.R_OK, effective_ids=effective)
        and not os.access(database.parent, os.W_OK, effective_ids=effective)
        and not database.with_name(f"{database.name}-wal").exists()
    )
