"""The tables of an index, and the steps that bring an older database up to date."""

from __future__ import annotations

import os
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection


class FilePath(sa.types.TypeDecorator[str]):
    """A path as text; bytes that are no UTF-8 are kept as they are, as a blob.

    What is stored depends on the name's bytes alone, not on the locale that Python runs in.
    """

    impl = sa.Text
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[str | None], str | bytes | None]:
        """From Python to SQLite."""
        return lambda path: None if path is None else stored_path(path)

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[str | bytes | None], str | None]:
        """From SQLite to Python."""
        return lambda stored: None if stored is None else _path_of(stored)


def stored_path(path: str) -> str | bytes:
    """A path as the database holds it."""
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _path_of(stored: str | bytes) -> str:
    return os.fsdecode(stored if isinstance(stored, bytes) else stored.encode())


class PlainText(sa.types.TypeDecorator[str]):
    """Text from anywhere, such as a message of a library: what SQLite takes ill is escaped.

    These are lone surrogates, which are no UTF-8, and NUL, which ends a text for some of its functions.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """From Python to SQLite."""
        if value is None:
            return None
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def is_path(column: sa.Column[str], path: str) -> sa.ColumnElement[bool]:
    """Whether a column holds this path; older rows hold some as blobs that are now text."""
    stored = stored_path(path)
    raw = sa.type_coerce(column, sa.types.NullType)
    forms = [stored, stored.encode()] if isinstance(stored, str) else [stored]
    return sa.or_(*(raw == sa.literal(form) for form in forms))


metadata = sa.MetaData()
index_table = sa.Table(  # one row
    "index_info",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("encoder_name", PlainText, nullable=False),
    sa.Column("encoder_version", PlainText, nullable=False),
    sa.Column("encoder_fingerprint", sa.Text, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)
revisions_table = sa.Table(  # one row per transaction
    "revisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token", sa.Text, nullable=False),
)
roots_table = sa.Table(
    "roots",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", FilePath, nullable=False),
    sa.Column("added_at", sa.Text, nullable=False),
)
recordings_table = sa.Table(
    "recordings",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("root_id", sa.Integer, nullable=False),
    sa.Column("relative_path", FilePath, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.LargeBinary),
    sa.Column("duration_s", sa.Float),
    sa.Column("sample_rate", sa.Integer),
    sa.Column("n_channels", sa.Integer),
    sa.Column("format", PlainText),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cause", PlainText),
    sa.Column("error", PlainText),
    sa.Column("indexed_at", sa.Text, nullable=False),
)
windows_table = sa.Table(
    "windows",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("recording_id", sa.Integer, nullable=False),
    sa.Column("start_s", sa.Float, nullable=False),
    sa.Column("end_s", sa.Float, nullable=False),
    sa.Column("embedding", sa.LargeBinary, nullable=False),
)

skipped_table = sa.Table(  # files that were not read, by root and ending
    "skipped_endings",
    metadata,
    sa.Column("root_id", sa.Integer, primary_key=True),
    sa.Column("ending", FilePath, primary_key=True),
    sa.Column("n_files", sa.Integer, nullable=False),
)


def _create_schema(connection: Connection) -> None:
    """Schema 1."""
    for statement in (
        "CREATE TABLE index_info (id INTEGER PRIMARY KEY CHECK (id = 1), "
        "encoder_name TEXT NOT NULL, encoder_version TEXT NOT NULL, encoder_fingerprint TEXT NOT NULL, "
        "dim INTEGER NOT NULL, created_at TEXT NOT NULL)",
        "CREATE TABLE revisions (id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE)",
        "CREATE TABLE roots (id INTEGER PRIMARY KEY AUTOINCREMENT, path NOT NULL UNIQUE, added_at TEXT NOT NULL)",
        "CREATE TABLE recordings (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "root_id INTEGER NOT NULL REFERENCES roots(id), relative_path NOT NULL, "
        "size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, content_hash BLOB, duration_s REAL, "
        "sample_rate INTEGER, n_channels INTEGER, format TEXT, "
        "state TEXT NOT NULL CHECK (state IN ('indexed', 'failed', 'missing')), "
        "cause TEXT, error TEXT, indexed_at TEXT NOT NULL, UNIQUE (root_id, relative_path))",
        # AUTOINCREMENT: the id is also the FAISS id, so it must never be handed out twice.
        "CREATE TABLE windows (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "recording_id INTEGER NOT NULL REFERENCES recordings(id) ON DELETE CASCADE, "
        "start_s REAL NOT NULL, end_s REAL NOT NULL, embedding BLOB NOT NULL)",
        "CREATE INDEX windows_by_recording ON windows (recording_id)",
    ):
        connection.exec_driver_sql(statement)


def _count_skipped_endings(connection: Connection) -> None:
    """Schema 2."""
    connection.exec_driver_sql(
        "CREATE TABLE skipped_endings (root_id INTEGER NOT NULL REFERENCES roots(id) ON DELETE CASCADE, "
        "ending NOT NULL, n_files INTEGER NOT NULL, PRIMARY KEY (root_id, ending))"
    )


#: Step i takes the database from schema i to i + 1. Steps are never changed once released.
MIGRATIONS: list[Callable[[Connection], None]] = [_create_schema, _count_skipped_endings]
#: An index that cannot be written is read as it is from this schema on: later steps only add tables.
READABLE_SCHEMA = 1


def schema_of(connection: Connection) -> int:
    """The schema a database is in; 0 for one without any."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
