"""What a search may show of an index, and the nearest of it: recordings by condition, their windows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import sqlalchemy as sa

from soundsearch.arrays import Array, Ids
from soundsearch.store.backend import GraphFacts
from soundsearch.store.conditions import Condition
from soundsearch.store.embeddings import EmbeddingReader
from soundsearch.store.records import Root, State
from soundsearch.store.schema import recordings_table, roots_table, windows_table
from soundsearch.store.selection import Selection
from soundsearch.urls import path_of


class WindowReader(EmbeddingReader):
    """The part of a `Reader` that knows what is chosen by conditions."""

    def roots(self) -> list[Root]:
        """All roots, by path."""
        return sorted(self._roots(sa.true()), key=lambda root: root.path)

    def n_recordings(self, among: Iterable[Condition] = ()) -> int:
        """How many recordings a search may show that are chosen by all of these conditions."""
        query = sa.select(sa.func.count()).select_from(recordings_table)
        return self._number(query.where(self._is_shown(among)))

    def shows_any(self, among: Iterable[Condition]) -> bool:
        """Whether a search may show any recording that is chosen by all of these conditions."""
        return self._exists(sa.select(recordings_table.c.id).where(self._is_shown(among)))

    def n_windows(self, among: Iterable[Condition] = ()) -> int:
        """How many windows a search may show. among: as of `window_ids`."""
        query = sa.select(sa.func.count()).select_from(windows_table.join(recordings_table))
        return self._number(query.where(self._is_shown(among)))

    def window_ids(self, among: Iterable[Condition] = ()) -> Ids:
        """Ids of all windows a search may show, (n,) int64, ascending.

        among: only of recordings that are chosen by all of these conditions.
        """
        shown = sa.select(recordings_table.c.id).where(self._is_shown(among))
        return self._ids(
            sa.select(windows_table.c.id).where(windows_table.c.recording_id.in_(shown))
        )

    def graph_facts(self) -> GraphFacts | None:
        """How the database itself finds nearest windows; None where it does not, or not yet."""
        graph = self._database.graph
        return None if graph is None else graph.facts(self._connection)

    def nearest_windows(
        self,
        query: Array,
        n: int,
        among: Iterable[Condition] = (),
        *,
        ef_search: int | None = None,
        most_visited: int = 0,
    ) -> tuple[Ids, Array]:
        """The windows that the database itself finds to be nearest to an embedding.

        query: (dim,) float32. n: at most so many. among: as of `window_ids`. ef_search: candidates
        that the graph holds at a time; None to compare all windows. most_visited: after so many
        windows of the graph none is sought any more.
        Returns their ids (m,), ascending, and their embeddings (m, dim) float32.
        """
        graph = self._database.graph
        assert graph is not None
        windows = sa.select(windows_table.c.id, windows_table.c.embedding).join(
            recordings_table, recordings_table.c.id == windows_table.c.recording_id
        )
        found = graph.nearest(
            self._connection,
            windows.where(self._is_shown(among)),
            query.tolist(),
            n,
            ef_search,
            most_visited,
        )
        rows = {row[0]: row[1] for row in found}
        ids = np.array(sorted(rows), np.int64)
        return ids, self._decoded(ids, rows, len(query))

    # ---- statements

    def _roots(self, condition: sa.ColumnElement[bool]) -> list[Root]:
        rows = self._execute(sa.select(roots_table.c.id, roots_table.c.path).where(condition))
        return [Root(row.id, path_of(row.path)) for row in rows]

    def _chosen(self, conditions: Iterable[Condition]) -> sa.ColumnElement[bool]:
        """Whether a recording is chosen by all of these conditions."""
        return Selection(self._database, self._connection, self.roots()).all_of(conditions)

    def _is_shown(self, among: Iterable[Condition]) -> sa.ColumnElement[bool]:
        """Whether a search may show a recording, which is chosen by all of these conditions."""
        return sa.and_(recordings_table.c.state == State.INDEXED, self._chosen(among))
