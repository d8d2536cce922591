"""Indexes filled by hand, without any sound: rows with embeddings a person can predict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsearch.store import (
    FileFacts,
    Indexed,
    PinnedEncoder,
    Reader,
    Recording,
    Store,
    Transaction,
)

Array = NDArray[np.float32]

FLAT = PinnedEncoder("flat", "1", "f" * 64, 2)


def unit(vectors: ArrayLike) -> Array:
    """Rows made unit, (n, dim) float32."""
    rows = np.atleast_2d(np.asarray(vectors, np.float32))
    made: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def recording(
    root_id: int,
    relative_path: str,
    vectors: ArrayLike = ((1, 0),),
    *,
    duration_s: float | None = None,
    damage: str | None = None,
) -> Indexed:
    """A recording with one window a second, one per vector (made unit)."""
    embeddings = unit(vectors)
    n = len(embeddings)
    return Indexed(
        file=FileFacts(root_id, relative_path, 1000, 2000),
        content_hash=f"{root_id} {relative_path}".encode("utf-8", "surrogateescape"),
        duration_s=float(n) if duration_s is None else duration_s,
        sample_rate=8000,
        n_channels=1,
        format="WAV",
        spans=[(float(i), i + 1.0) for i in range(n)],
        embeddings=embeddings,
        damage=damage,
    )


@contextlib.contextmanager
def changing(store: Store, *, new_revision: bool = True) -> Iterator[Transaction]:
    """One transaction of a writer that is there for no longer, and the words that it made stale."""
    with store.writer() as writer:
        with writer.transaction(new_revision=new_revision) as changes:
            yield changes
        writer.renew_words()


def put(store: Store, root: Path, relative_path: str, vectors: ArrayLike = ((1, 0),)) -> int:
    """Store one recording in a transaction of its own; returns its id."""
    with changing(store) as changes:
        root_id = changes.add_root(root).id
        return changes.put(recording(root_id, relative_path, vectors))


def find(reader: Reader, path: Path) -> Recording:
    """The recording at this path, which must be known."""
    found = reader.recording_at(path)
    assert found is not None, path
    return found


def windows_of(store: Store, recording_ids: Sequence[int] | None = None) -> dict[int, list[int]]:
    """Ids of windows by recording, read from the tables, whatever the state."""
    with store.snapshot() as reader:
        rows = [
            (int(recording_id), int(window_id))
            for block in reader.window_blocks()
            for recording_id, window_id in zip(block.recording_ids, block.ids, strict=True)
        ]
    found: dict[int, list[int]] = {i: [] for i in recording_ids or ()}
    for recording_id, window_id in sorted(rows):
        found.setdefault(recording_id, []).append(window_id)
    return found
