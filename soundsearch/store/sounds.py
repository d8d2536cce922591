"""What a reader tells of the sound of recordings: where their windows lie, and which are copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import sqlalchemy as sa

from soundsearch.store.records import Ids, State, StoredCopy
from soundsearch.store.schema import recordings_table, roots_table, windows_table
from soundsearch.store.statements import Statements, chunks

#: Rows read from the database at a time where all are read.
BATCH_ROWS = 20_000


class SoundReader(Statements):
    """Rows of one state of the database; a part of `Reader`."""

    def windows_of(self, recording_ids: Iterable[int]) -> tuple[Ids, Ids]:
        """Ids of all windows of these recordings, ascending, and of the recording of each.

        Returns:
            (n,) int64 both.
        """
        columns = windows_table.c
        found: list[tuple[int, int]] = []
        for some in chunks(recording_ids):
            query = sa.select(columns.id, columns.recording_id)
            rows = self._execute(query.where(columns.recording_id.in_(some)))
            found += [(row[0], row[1]) for row in rows]
        pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def spans(self, window_ids: Ids) -> dict[int, tuple[float, float]]:
        """Start and end in seconds of windows by their ids, (n,) int64."""
        columns = windows_table.c
        found: dict[int, tuple[float, float]] = {}
        for some in chunks(window_ids.tolist()):
            query = sa.select(columns.id, columns.start_s, columns.end_s)
            rows = self._execute(query.where(columns.id.in_(some)))
            found.update({row[0]: (row[1], row[2]) for row in rows})
        return found

    def copies(self, content_hash: bytes | None = None) -> Iterator[StoredCopy]:
        """Recordings of which another one has the same content; those of one content are together.

        Contents come in the order in which they were first indexed, the recordings of each by path.

        Args:
            content_hash: only those of this content.
        """
        columns = recordings_table.c
        of_content = columns.content_hash == content_hash
        chosen = columns.content_hash.is_not(None) if content_hash is None else of_content
        shared = sa.select(columns.content_hash, sa.func.min(columns.id).label("first"))
        shared = shared.where(chosen).group_by(columns.content_hash).having(sa.func.count() > 1)
        contents = shared.subquery()
        fields = (columns.relative_path, columns.size_bytes, columns.state)
        query = (
            sa.select(columns.content_hash, roots_table.c.path, *fields)
            .select_from(recordings_table.join(roots_table))
            .join(contents, contents.c.content_hash == columns.content_hash)
            .order_by(contents.c.first, roots_table.c.path, columns.relative_path)
        )
        for row in self._execute(query.execution_options(yield_per=BATCH_ROWS)):
            file = (row.content_hash, row.path, row.relative_path, row.size_bytes)
            yield StoredCopy(*file, State(row.state))
