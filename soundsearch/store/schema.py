"""The tables of an index. Databases are made from them; nothing else says what a table looks like.

A change of these tables needs a step in `migrations.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import sqlalchemy as sa

from soundsearch.store.records import State


class FilePath(sa.types.TypeDecorator[str]):
    """A path, stored as the bytes of its name.

    What is stored does not depend on the locale that Python runs in. Bytes are ordered as numbers,
    so all that lies in a folder lies between two values (see `inside`).
    """

    impl = sa.LargeBinary
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[str | None], bytes | None]:
        """From Python to the database."""
        return lambda path: None if path is None else os.fsencode(path)

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[bytes | None], str | None]:
        """From the database to Python."""
        return lambda stored: None if stored is None else os.fsdecode(stored)


class PlainText(sa.types.TypeDecorator[str]):
    """Text from anywhere, such as a message of a library: what databases refuse is escaped.

    These are lone surrogates, which are no UTF-8, and NUL, which ends a text for some functions.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """From Python to the database."""
        if value is None:
            return None
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


class Integer64(sa.BigInteger):
    """A whole number of 64 bits with a sign."""


class Embedding(sa.LargeBinary):
    """An embedding as little-endian float16; databases that have a kind of column for it use that."""


def inside(column: sa.Column[str], folder: str) -> sa.ColumnElement[bool]:
    """Whether a path lies in a folder, however deep; the folder itself does not."""
    start = os.fsencode(folder).rstrip(b"/")
    # '0' follows '/': what lies between them starts with "folder/".
    low, high = (sa.literal(start + end, sa.LargeBinary) for end in (b"/", b"0"))
    return sa.and_(column >= low, column < high)


def _key() -> sa.Column[int]:
    return sa.Column("id", Integer64, primary_key=True)


#: Of tables whose ids are never given to another row, also when theirs was deleted.
NEVER_REUSED = {"ids_are_never_reused": True}

metadata = sa.MetaData()
index_table = sa.Table(  # one row
    "index_info",
    metadata,
    _key(),
    sa.Column("encoder_name", PlainText, nullable=False),
    sa.Column("encoder_version", PlainText, nullable=False),
    sa.Column("encoder_fingerprint", sa.Text, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    # Embeddings of windows from this id on are float16, earlier ones may be float32; 0: all is done.
    sa.Column("float16_from", Integer64, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("id = 1"),
)
revisions_table = sa.Table(  # one row per transaction
    "revisions",
    metadata,
    _key(),
    sa.Column("token", sa.Text, nullable=False, unique=True),
    info=NEVER_REUSED,
)
roots_table = sa.Table(
    "roots",
    metadata,
    _key(),
    sa.Column("path", FilePath, nullable=False, unique=True),
    sa.Column("added_at", sa.Text, nullable=False),
    info=NEVER_REUSED,
)
recordings_table = sa.Table(
    "recordings",
    metadata,
    _key(),
    sa.Column("root_id", Integer64, sa.ForeignKey("roots.id"), nullable=False),
    sa.Column("relative_path", FilePath, nullable=False),
    sa.Column("size_bytes", Integer64, nullable=False),
    sa.Column("mtime_ns", Integer64, nullable=False),
    sa.Column("content_hash", sa.LargeBinary),
    sa.Column("duration_s", sa.Double),
    sa.Column("sample_rate", Integer64),
    sa.Column("n_channels", Integer64),
    sa.Column("format", PlainText),
    sa.Column("metadata", PlainText),  # JSON: texts by field, as the file has them
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cause", PlainText),
    sa.Column("error", PlainText),
    sa.Column("indexed_at", sa.Text, nullable=False),
    sa.Column("captions", PlainText),  # JSON: texts by field, as a person gave them
    sa.Column("words_version", sa.Integer),  # of the words it is found by; NULL: they are stale
    sa.Column("sound_hash", sa.LargeBinary),  # the content_hash where it is not known
    sa.UniqueConstraint("root_id", "relative_path"),
    sa.CheckConstraint(f"state IN {tuple(map(str, State))}"),
    sa.Index("recordings_by_sound", "sound_hash"),
    info=NEVER_REUSED,
)
windows_table = sa.Table(  # the id is also that of its vector
    "windows",
    metadata,
    _key(),
    sa.Column(
        "recording_id",
        Integer64,
        sa.ForeignKey("recordings.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("start_s", sa.Double, nullable=False),
    sa.Column("end_s", sa.Double, nullable=False),
    sa.Column("embedding", Embedding, nullable=False),
    sa.Index("windows_by_recording", "recording_id"),
    info=NEVER_REUSED,
)
peaks_table = sa.Table(  # outlines of waveforms, see soundsearch/audio/peaks.py
    "peaks",
    metadata,
    sa.Column(
        "recording_id",
        Integer64,
        sa.ForeignKey("recordings.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("per_second", sa.Double, nullable=False),
    sa.Column("extremes", sa.LargeBinary, nullable=False),
)
skipped_table = sa.Table(  # files that were not read, by root and ending
    "skipped_endings",
    metadata,
    sa.Column(
        "root_id", Integer64, sa.ForeignKey("roots.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("ending", FilePath, primary_key=True),
    sa.Column("n_files", Integer64, nullable=False),
)
