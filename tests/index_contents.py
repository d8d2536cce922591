"""What an index holds, read back: through the database, and through the front door (a search)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa

import soundsearch
from soundsearch.store.schema import recordings_table, roots_table, windows_table
from soundsearch.store.store import State, Store


@dataclass(frozen=True)
class Row:
    """One recording of the database with its windows in order; embeddings are the stored bytes."""

    id: int
    state: State
    cause: str | None
    error: str | None
    window_ids: tuple[int, ...]
    spans: tuple[tuple[float, float], ...]
    embeddings: tuple[bytes, ...]


def rows_of(folder: Path) -> dict[Path, Row]:
    """Every recording known to the index in this folder, in whatever state, by its path."""
    store = Store.open(folder)
    recordings, windows = recordings_table.c, windows_table.c
    with store.snapshot() as connection:
        found = connection.execute(
            sa.select(
                recordings.id,
                roots_table.c.path,
                recordings.relative_path,
                recordings.state,
                recordings.cause,
                recordings.error,
            ).join(roots_table, roots_table.c.id == recordings.root_id)
        ).all()
        heard = connection.execute(sa.select(windows_table).order_by(windows.id)).all()
    store.close()
    return {
        Path(row.path, row.relative_path): Row(
            row.id,
            State(row.state),
            row.cause,
            row.error,
            tuple(w.id for w in heard if w.recording_id == row.id),
            tuple((w.start_s, w.end_s) for w in heard if w.recording_id == row.id),
            tuple(w.embedding for w in heard if w.recording_id == row.id),
        )
        for row in found
    }


def sounds_of(folder: Path) -> dict[Path, tuple[object, object]]:
    """Spans and embeddings of all that is indexed, by path: equal for equal indexes."""
    return {
        path: (row.spans, row.embeddings)
        for path, row in rows_of(folder).items()
        if row.state is State.INDEXED
    }


def searchable(folder: Path) -> set[Path]:
    """The recordings that a search can answer with."""
    with soundsearch.open_index(folder) as index:
        return {hit.path for hit in index.search(text="hum", top_k=100_000)}


def vectors_of(row: Row) -> np.ndarray:
    """(n, dim) float32: the embeddings of a recording."""
    return np.stack([np.frombuffer(blob, "<f4") for blob in row.embeddings])
