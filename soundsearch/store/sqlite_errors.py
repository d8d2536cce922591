"""What SQLite's errors mean for an index, and what to do about each."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from soundsearch.descriptors import TO_OPEN_A_DATABASE, n_free, ran_out, too_many
from soundsearch.errors import StoreError

DATABASE = "soundsearch.db"
#: A disk with less room than this is a full one, where SQLite only says that it could not write.
FULL_BYTES = 1 << 20
#: The way out where the database itself is damaged.
RESTORE = f"restore {DATABASE} from a backup, or move it away and index again"
#: The tables of words.
WORD_TABLES = ("words", "name_parts")
NO_WORDS = re.compile(rf"no such table: (main\.)?({'|'.join(WORD_TABLES)})$")


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """SQLite's errors as StoreErrors that say what to do."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        message = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
        is_io_error = "I/O" in message
        could_not_open = is_io_error or "unable to open" in message
        if "full" in message or (could_not_open and _is_full(folder)):
            way_out = (
                "the disk is full; make room and run the command again, what was committed is kept"
            )
        elif could_not_open and n_free(TO_OPEN_A_DATABASE) < TO_OPEN_A_DATABASE:
            way_out = too_many()
        elif "readonly" in message or "unable to open" in message:
            way_out = (
                "the folder cannot be written; check its permissions or choose another --index"
            )
        elif NO_WORDS.search(message):
            way_out = "the words of the recordings are lost; run: soundsearch repair"
        elif is_corrupt(error, in_words=True) and "constructor" not in message:
            way_out = "the words of the recordings are damaged; run: soundsearch repair"
        elif (
            "malformed" in message
            or "not a database" in message
            or "vtable" in message
            or "fts5" in message
        ):
            way_out = f"the database is damaged; {RESTORE}"
        elif "no such" in message or "no column" in message:
            way_out = f"the database is not as soundsearch makes it; {RESTORE}"
        elif "locked" in message:
            way_out = "another process holds the database; try again when it has finished"
        elif is_io_error:
            way_out = "the disk fails; check it, then run: soundsearch verify"
        else:
            way_out = "run: soundsearch verify"
        raise StoreError(f"{folder}: {message}: {way_out}") from error


def is_corrupt(error: BaseException | None, *, in_words: bool = False) -> bool:
    """Whether SQLite says that what it reads is damaged. in_words: in a table of words."""
    if isinstance(error, sa.exc.DBAPIError):
        error = error.orig
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_CORRUPT_VTAB or (
        not in_words and code & 0xFF == sqlite3.SQLITE_CORRUPT
    )


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
