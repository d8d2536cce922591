"""What a kind of database offers to the store, whatever it is: the rest of the store knows this alone.

`sqlite.py` and `postgres.py` offer it. Tables and most statements are SQLAlchemy's; here is what
databases do each in their own way: connections, the writer's lock, words, and what errors mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundsearch.paths import DatabaseUrl
from soundsearch.store.conditions import Holds
from soundsearch.store.records import State, Words

if TYPE_CHECKING:
    from soundsearch.encoder.bundle import EncoderBundle

#: Where an index is.
Place = Path | DatabaseUrl
#: Around the words that were found in a text.
FOUND = re.compile("\x02(.*?)\x03")
#: The id of its recording, its start and end in seconds, its embedding.
Window = tuple[int, float, float, bytes]


#: The most numbers of an embedding that a graph holds, and the most candidates it holds at a time.
MOST_NUMBERS, MOST_EF = 4000, 1000


@dataclass(frozen=True)
class GraphFacts:
    """How a graph of windows in a database is searched (HNSW).

    Attributes:
        n_windows: In it when it was calibrated.
        ef_search: Candidates that a search compares. MOST_EF are held at a time; beyond that the
            search of the graph goes on where it was.
        recall_10: The share of the 10 nearest windows that texts found then; None if it is not known.
        recall_100: The same of the 100 nearest.
    """

    n_windows: int
    ef_search: int
    recall_10: float | None
    recall_100: float | None


class WindowGraph(Protocol):
    """What finds nearest windows in a database; a kind of database may have none."""

    def facts(self, connection: Connection) -> GraphFacts | None:
        """How it is searched; None if there is none yet."""

    def build(self, connection: Connection, dim: int, n_windows: int) -> None:
        """Make the graph of all windows, unless there is one."""

    def put_facts(self, connection: Connection, facts: GraphFacts) -> None:
        """Store how it is searched from here on."""

    def drop(self, connection: Connection) -> None:
        """Delete the graph, if there is one."""

    def nearest(
        self,
        connection: Connection,
        windows: sa.Select[tuple[int, bytes]],
        query: Sequence[float],
        n: int,
        ef_search: int | None,
        most_visited: int,
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """The windows of a query (id, embedding) that are nearest, about in order.

        ef_search: of the graph; None to compare all. most_visited: windows of the graph.
        """


class InPlace:
    """What knows where its index lies."""

    place: Place

    @property
    def folder(self) -> Path:
        """The index folder, of an index that lies in one."""
        assert isinstance(self.place, Path)
        return self.place


def unmatched_words(connection: Connection, table: str, key: str) -> list[str]:
    """Where a table of words and the recordings disagree, in words. key: its column of their ids."""
    named = f"SELECT id FROM recordings WHERE state != '{State.FAILED}'"
    held = f"SELECT {key} FROM {table}"
    missing, stray = (
        connection.exec_driver_sql(f"SELECT count(*) FROM ({one} EXCEPT {other}) AS r").scalar()
        for one, other in ((named, held), (held, named))
    )
    if not missing and not stray:
        return []
    return [f"table {table}: recordings that it lacks: {missing}, rows of none: {stray}"]


class Backend(Protocol):
    """The database of one index."""

    #: As messages name it.
    name: str
    #: The way out where it is damaged.
    restore: str
    #: Whether rows come from a server, which gives all at once unless it is asked for a part.
    is_server: bool

    @property
    def is_sealed(self) -> bool:
        """Whether nothing can be written there, or not by this user."""

    @property
    def place(self) -> Place:
        """Where it is."""

    @property
    def graph(self) -> WindowGraph | None:
        """What finds nearest windows in it; None where vectors lie beside the database."""

    def transaction(self, *, writes: bool = False) -> AbstractContextManager[Connection]:
        """One consistent state; what is changed is committed at the end, or rolled back on an error."""

    def lock(self) -> AbstractContextManager[None]:
        """Be the one writer. Raises IndexBusyError at once if another process is."""

    def version(self, connection: Connection) -> int:
        """The schema version of the index in it, 0 if there is none. Raises StoreError for all else."""

    def set_version(self, connection: Connection, version: int) -> None:
        """Mark the database as an index of this schema version."""

    def create_tables(self, connection: Connection) -> None:
        """Make all tables in an empty database."""

    def back_up(self, version: int) -> None:
        """Copy the database as it is in this schema version, where that is not up to others."""

    def put_encoder(self, connection: Connection, bundle: EncoderBundle) -> None:
        """Store the files of a bundle, in place of those before, where no folder holds them."""

    def encoder_files(self, connection: Connection, only: str | None = None) -> dict[str, bytes]:
        """The files of the bundle by name, or one of them; none where a folder holds them."""

    def add_revision(self, connection: Connection, token: str) -> None:
        """Give the state that is written here a token of its own; the last write of a transaction."""

    def put_windows(self, connection: Connection, rows: Sequence[Window]) -> None:
        """Add windows."""

    def put_words(self, connection: Connection, words: Mapping[int, Words | None]) -> None:
        """Store by which words recordings are found, by their ids; None: by none."""

    def add_words(self, connection: Connection, words: Mapping[int, Words]) -> None:
        """Store by which words recordings are found that have none yet, by their ids."""

    def words(self, connection: Connection, recording_id: int) -> Words | None:
        """By which words a recording is found; None: by none."""

    def empty_words(self, connection: Connection) -> None:
        """Take all words away."""

    def word_problems(self, connection: Connection) -> list[str]:
        """Where words and recordings disagree, in words."""

    def damaged_words(self) -> list[str]:
        """What does not find the words that it holds, in words. The caller holds the lock."""

    def word_matches(self, connection: Connection, terms: Sequence[str]) -> sa.Subquery:
        """Recordings with any of these words: recording_id, score, and text for `FOUND`."""

    def part_matches(self, connection: Connection, terms: Sequence[str]) -> sa.Subquery:
        """Recordings whose names contain any of these words; as `word_matches`."""

    def holding(self, connection: Connection, condition: Holds) -> sa.Select[tuple[int]]:
        """Ids of the recordings that hold words side by side."""

    def in_folders(
        self, connection: Connection, names: Sequence[str], *, at_top: bool
    ) -> sa.ColumnElement[bool]:
        """Whether a recording lies in folders of these names, one in the other, in its root."""

    def one_of(self, column: sa.ColumnElement[int], ids: Sequence[int]) -> sa.ColumnElement[bool]:
        """Whether a column holds one of these ids, of which there may be some hundreds."""

    def known_words(self, connection: Connection, words: Iterable[str]) -> set[str]:
        """Those of these words that any recording holds in any form."""

    def words_like(self, connection: Connection, start: str) -> list[str]:
        """Words of recordings that begin so, one for each stem, in small letters."""

    def bytes_of_windows(self, n_windows: int, dim: int) -> int:
        """About how much room windows take."""

    def sizes(self) -> tuple[int, int]:
        """Bytes that nothing fills and that can be given back, and bytes of all."""

    def compact(self) -> None:
        """Give back the room that nothing fills. Raises StoreError where that cannot be done."""

    def trim_log(self, to_bytes: int | None = None) -> None:
        """Put what was noted beside the tables in order, after a writer is done."""

    def problems(self) -> list[str]:
        """What is damaged in the database, in words."""

    def close(self) -> None:
        """Close all connections."""
