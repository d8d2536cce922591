"""What the methods of a `Reader` share: a connection, statements, and rows as plain values."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundsearch.arrays import Ids
from soundsearch.errors import Cause
from soundsearch.store.backend import Backend, InPlace
from soundsearch.store.records import Recording, State
from soundsearch.store.schema import recordings_table, roots_table, windows_table

#: Rows taken from the driver at a time.
FETCHED_AT_ONCE = 1000
Value = TypeVar("Value")
_CAUSES = frozenset(Cause)  # an index may hold some of a later version


class Statements(InPlace):
    """A connection to the database of an index, and statements on it."""

    def __init__(self, database: Backend, connection: Connection) -> None:
        self.place, self.name = database.place, database.name
        self._connection = connection
        self._database = database

    def _execute(self, statement: sa.Executable) -> sa.CursorResult[*tuple[Any, ...]]:
        return self._connection.execute(statement)

    def _driver_rows(
        self, statement: sa.Executable, *, streamed: bool = True
    ) -> Iterator[tuple[Any, ...]]:
        """Rows as the database's driver gives them: numbers and blobs, no paths.

        SQLAlchemy's own rows take four times as long. streamed: whether there may be very many, so
        that a server is asked for a part at a time.
        """
        if streamed and self._database.is_server:
            yield from self._execute(statement.execution_options(yield_per=FETCHED_AT_ONCE))
            return
        with contextlib.closing(self._execute(statement)) as result:
            assert result.cursor is not None
            while some := result.cursor.fetchmany(FETCHED_AT_ONCE):
                yield from some

    def _rows_with(
        self, query: sa.Select[Any], column: sa.ColumnElement[int], ids: Iterable[int]
    ) -> Iterator[sa.Row[*tuple[Any, ...]]]:
        """The rows of a query in which a column holds one of these ids, of which there may be many."""
        for some in chunks(ids):
            yield from self._execute(query.where(self._database.one_of(column, some)))

    def _number(self, query: sa.Select[Any]) -> int:
        """The one number that a query gives."""
        return int(self._execute(query).scalar_one())

    def _ids(self, query: sa.Select[Any]) -> Ids:
        """The ids that a query gives, (n,) int64, ascending."""
        found = np.fromiter((row[0] for row in self._driver_rows(query)), np.int64)
        found.sort()
        return found

    def _exists(self, query: sa.Select[Any]) -> bool:
        return self._execute(query.limit(1)).first() is not None


def chunks(ids: Iterable[Value], size: int = 500) -> Iterator[list[Value]]:
    """Ids, or other values, in lists short enough for one statement."""
    listed = list(ids)
    for i in range(0, len(listed), size):
        yield listed[i : i + size]


def select_recordings() -> sa.Select[Any]:
    """What `recording_of` makes a `Recording` of."""
    return sa.select(*(recordings_table.c[field.name] for field in dataclasses.fields(Recording)))


def recording_of(row: sa.Row[*tuple[Any, ...]]) -> Recording:
    """A row as a `Recording`."""
    *facts, state, cause = row
    last: list[Any] = [State(state), Cause(cause) if cause in _CAUSES else None]
    return Recording(*facts, *last)


def select_windows() -> sa.Select[Any]:
    """What a `StoredWindow` has, in the order of its fields."""
    return (
        sa.select(
            windows_table.c.id,
            windows_table.c.recording_id,
            windows_table.c.start_s,
            windows_table.c.end_s,
            recordings_table.c.duration_s,
            recordings_table.c.relative_path,
            roots_table.c.path,
            recordings_table.c.sound_hash,
        )
        .join(recordings_table, recordings_table.c.id == windows_table.c.recording_id)
        .join(roots_table, roots_table.c.id == recordings_table.c.root_id)
    )
