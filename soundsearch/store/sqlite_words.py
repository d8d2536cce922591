"""The words of an index that SQLite knows: recordings that hold some side by side, and single words.

A part of `Database`: with `sqlite.py` and `sqlite_room.py` the only module that knows SQLite.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundsearch.store.conditions import Holds
from soundsearch.store.matching import folder_names, has_folders, holds_words
from soundsearch.store.schema import Integer64, recordings_table
from soundsearch.words import RUN, split_name

#: The columns of the table of whole words; one of its own name stands for all of them.
WORD_COLUMNS = ("name", "folders", "metadata")
_words = sa.table(
    "words", sa.column("rowid", Integer64), sa.column("words"), *map(sa.column, WORD_COLUMNS)
)
#: Views of the full-text index, which live as long as a connection: its terms, and where each is.
VIEWS = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.word_terms USING fts5vocab(main, words, row)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.word_places USING fts5vocab(main, words, instance)",
)
#: Terms that are looked at of those that begin alike.
MOST_TERMS = 500


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that statements of this module call."""
    for function in (holds_words, has_folders):
        connection.create_function(function.__name__, 2, function, deterministic=True)


class WordIndex:
    """Words by which recordings are found, in statements and as such."""

    def holding(self, connection: Connection, condition: Holds) -> sa.Select[tuple[int]]:
        """Ids of the recordings that hold words side by side."""
        columns = WORD_COLUMNS[-1:] if condition.only_metadata else WORD_COLUMNS
        found = _side_by_side(condition.text, columns)
        if condition.is_exact:
            is_there = [
                sa.func.holds_words(_words.c[column], " ".join(words))
                for column in columns
                for words in _spellings(condition.text)
            ]
            found = found.where(sa.or_(*is_there))
        return found

    def in_folders(
        self, connection: Connection, names: Sequence[str], *, at_top: bool
    ) -> sa.ColumnElement[bool]:
        """Whether a recording lies in folders of these names, one in the other, in its root.

        at_top: whether the first one lies in the root itself.
        """
        named = sa.literal(folder_names(names, at_top=at_top), sa.LargeBinary)
        path = recordings_table.c.relative_path
        is_there: sa.ColumnElement[bool] = sa.func.has_folders(path, named) == sa.true()
        words = "/".join(names)
        if not RUN.search(words):
            return is_there
        return sa.and_(recordings_table.c.id.in_(_side_by_side(words, ["folders"])), is_there)

    def known_words(self, connection: Connection, words: Iterable[str]) -> set[str]:
        """Those of these words, of letters and digits, that any recording holds in any form."""
        rows = connection.exec_driver_sql(
            "SELECT value FROM json_each(?) WHERE EXISTS "
            "(SELECT 1 FROM words WHERE words MATCH '\"' || value || '\"')",
            (json.dumps(list(words)),),
        )
        return set(rows.scalars())

    def words_like(self, connection: Connection, start: str) -> list[str]:
        """Words of recordings that begin so, one for each stem, in small letters."""
        for view in VIEWS:
            connection.exec_driver_sql(view)
        terms = connection.exec_driver_sql(
            "SELECT term FROM temp.word_terms WHERE term >= ? AND term < ? LIMIT ?",
            (start, f"{start}\U0010ffff", MOST_TERMS),
        )
        found = []
        for term in terms.scalars().all():
            doc, column, offset = connection.exec_driver_sql(
                "SELECT doc, col, offset FROM temp.word_places WHERE term = ? LIMIT 1", (term,)
            ).one()
            text = connection.exec_driver_sql(
                f"SELECT {column} FROM words WHERE rowid = ?", (doc,)
            ).scalar_one()
            found += [word.lower() for word in RUN.findall(text)[offset : offset + 1]]
        return found


def _spellings(text: str) -> list[list[str]]:
    """The words of a text as they stand in metadata, and as they stand in names."""
    return [RUN.findall(text), split_name(text)]


def _side_by_side(text: str, columns: Sequence[str]) -> sa.Select[tuple[int]]:
    """Ids of recordings with the words of a text side by side in one column, alike in their stems."""
    phrases = " OR ".join(f'"{" ".join(words)}"' for words in _spellings(text))
    is_there = _words.c.words.op("MATCH")(f"{{{' '.join(columns)}}} : ({phrases})")
    return sa.select(_words.c.rowid).where(is_there)
