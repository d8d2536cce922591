"""What an index holds, read back: through the database, and through the front door (a search)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import soundsearch
from soundsearch.store import State
from soundsearch.urls import path_of


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
    with contextlib.closing(sqlite3.connect(folder / "soundsearch.db")) as connection:
        recordings = connection.execute(
            "SELECT recordings.id, path, relative_path, state, cause, error "
            "FROM recordings JOIN roots ON roots.id = root_id"
        ).fetchall()
        windows: dict[int, list[tuple[int, float, float, bytes]]] = defaultdict(list)
        for recording_id, *window in connection.execute(
            "SELECT recording_id, id, start_s, end_s, embedding FROM windows ORDER BY id"
        ):
            windows[recording_id].append(tuple(window))
    return {
        path_of(os.fsdecode(root), os.fsdecode(relative_path)): Row(
            recording_id,
            State(state),
            cause,
            error,
            tuple(w[0] for w in windows[recording_id]),
            tuple((w[1], w[2]) for w in windows[recording_id]),
            tuple(w[3] for w in windows[recording_id]),
        )
        for recording_id, root, relative_path, state, cause, error in recordings
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
        return {hit.path for hit in index.search(text="hum", top_k=100_000, unique=False)}


def vectors_of(row: Row) -> np.ndarray:
    """(n, dim) float32: the embeddings of a recording, as they are stored: rounded to float16."""
    return np.stack([np.frombuffer(blob, "<f2").astype(np.float32) for blob in row.embeddings])
