"""What a reader tells of the sound of recordings: windows, outlines, and which are copies."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from soundsearch.arrays import Array, Ids
from soundsearch.store.embeddings import BLOCK_ROWS, from_blobs
from soundsearch.store.records import State, StoredCopy, StoredSound, WindowBlock
from soundsearch.store.schema import peaks_table, recordings_table, roots_table, windows_table
from soundsearch.store.statements import Statements, chunks

if TYPE_CHECKING:
    from soundsearch.audio.peaks import Peaks

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
        query = sa.select(columns.id, columns.recording_id)
        rows = self._rows_with(query, columns.recording_id, recording_ids)
        pairs = np.array(sorted(map(tuple, rows)), np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def sounds_of_windows(self, window_ids: Ids) -> dict[int, tuple[int, bytes | None]]:
        """The recording of each window, and the hash of its sound (see `RecordingFacts`), if known.

        Args:
            window_ids: (n,) int64; those that a search may not show are left out.

        Returns:
            By id of the window.
        """
        columns = recordings_table.c
        found: dict[int, tuple[int, bytes | None]] = {}
        for some in chunks(window_ids.tolist()):
            query = (
                sa.select(windows_table.c.id, columns.id, columns.sound_hash)
                .join(recordings_table, columns.id == windows_table.c.recording_id)
                .where(
                    self._database.one_of(windows_table.c.id, some),
                    columns.state == State.INDEXED,
                )
            )
            rows = self._driver_rows(query, streamed=False)
            found.update((row[0], (row[1], row[2])) for row in rows)
        return found

    def spans(self, window_ids: Ids) -> dict[int, tuple[float, float]]:
        """Start and end in seconds of windows by their ids, (n,) int64."""
        columns = windows_table.c
        query = sa.select(columns.id, columns.start_s, columns.end_s)
        rows = self._rows_with(query, columns.id, window_ids.tolist())
        return {window_id: (start_s, end_s) for window_id, start_s, end_s in rows}

    def peaks(self, recording_id: int) -> Peaks | None:
        """The outline of a recording's waveform; None where none is stored."""
        from soundsearch.audio.peaks import Peaks

        query = sa.select(peaks_table).where(peaks_table.c.recording_id == recording_id)
        row = self._execute(query).first()
        if row is None:
            return None
        return Peaks(row.per_second, np.frombuffer(row.extremes, np.uint8).reshape(-1, 2))

    def sounds(self) -> Iterator[StoredSound]:
        """Each sound once, by the recording of it that was indexed first, by its id."""
        columns = recordings_table.c
        query = (
            sa.select(sa.func.min(columns.id).label("id"), columns.sound_hash)
            .where(columns.state != State.FAILED)
            .group_by(columns.sound_hash)
            .subquery()
        )
        rows = self._execute(
            sa.select(columns.id, columns.sound_hash, columns.duration_s)
            .join(query, query.c.id == columns.id)
            .order_by(columns.id)
        )
        return (StoredSound(*row) for row in rows)

    def means(self, dim: int) -> Iterator[tuple[int, Array]]:
        """Ids of all recordings with windows, each with its unit mean embedding, (dim,) float32.

        dim: numbers that each embedding has.
        """
        columns = windows_table.c
        query = sa.select(columns.recording_id, columns.embedding)
        rows = self._driver_rows(query.order_by(columns.recording_id, columns.id))
        for recording_id, own in itertools.groupby(rows, operator.itemgetter(0)):
            total: Array = from_blobs([blob for _, blob in own], dim).sum(axis=0)
            norm = np.linalg.norm(total)
            yield recording_id, total / norm if norm > 0 else total

    def window_blocks(self) -> Iterator[WindowBlock]:
        """All windows, also of missing files, by id, a block at a time."""
        columns = windows_table.c
        query = (
            sa.select(
                columns.id,
                columns.recording_id,
                columns.start_s,
                columns.end_s,
                recordings_table.c.duration_s,
                columns.embedding,
            )
            .join(recordings_table)
            .order_by(columns.id)
        )
        rows = self._driver_rows(query)
        while some := list(itertools.islice(rows, BLOCK_ROWS)):
            ids, recordings, *seconds, blobs = zip(*some, strict=True)
            starts, ends, durations = (np.array(column, np.float64) for column in seconds)
            yield WindowBlock(
                np.array(ids), np.array(recordings), starts, ends, durations, list(blobs)
            )

    def copies(
        self, sound_hashes: Iterable[bytes] | None = None, *, least: int = 2
    ) -> Iterator[StoredCopy]:
        """Recordings of which another one has the same sound; those of one sound are together.

        Sounds come in the order in which they were first indexed, the recordings of each by path.

        Args:
            sound_hashes: only those of these sounds; in that order only if they are 500 at most.
            least: so many recordings there must be of a sound.
        """
        column = recordings_table.c.sound_hash
        if sound_hashes is None:
            yield from self._copies(column.is_not(None), least)
            return
        for some in chunks(sound_hashes):
            yield from self._copies(column.in_(some), least)

    def _copies(self, chosen: sa.ColumnElement[bool], least: int) -> Iterator[StoredCopy]:
        columns = recordings_table.c
        shared = sa.select(columns.sound_hash, sa.func.min(columns.id).label("first"))
        shared = shared.where(chosen).group_by(columns.sound_hash).having(sa.func.count() >= least)
        sounds = shared.subquery()
        place = (roots_table.c.path, columns.relative_path)
        query = (
            sa.select(
                *(columns.id, columns.sound_hash, columns.content_hash, *place),
                *(columns.size_bytes, columns.duration_s, columns.state),
            )
            .select_from(recordings_table.join(roots_table))
            .join(sounds, sounds.c.sound_hash == columns.sound_hash)
            .order_by(sounds.c.first, roots_table.c.path, columns.relative_path)
        )
        for row in self._execute(query.execution_options(yield_per=BATCH_ROWS)):
            values = [*row[:-1], State(row.state)]
            yield StoredCopy(*values)
