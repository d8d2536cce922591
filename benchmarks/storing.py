"""Storing recordings with their windows, against plain `executemany` of the same rows.

Prints windows a second of processor time, in the median of several runs one after the other, and the
ratio of the times to that of the writer. Plain: rows of recordings, words and windows, put by the
driver of SQLite into the same tables, as many in a transaction; the rows are made of the recordings
on the way, or were made before.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from made_index import ROOT, STORED_AT_ONCE, WINDOWS_PER_RECORDING, made_recordings

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.store import Indexed
from soundsearch.store.embeddings import to_blobs
from soundsearch.store.lexicon import words_of
from soundsearch.store.pinned import create_index
from soundsearch.store.statements import chunks

#: Columns by table, in the order of the values in `rows_of`.
COLUMNS = {
    "recordings": "id, root_id, relative_path, size_bytes, mtime_ns, content_hash, sound_hash, "
    "duration_s, sample_rate, n_channels, format, state, indexed_at, words_version",
    "words": "rowid, name, folders, metadata",
    "name_parts": "rowid, name",
    "windows": "recording_id, start_s, end_s, embedding",
}
Rows = dict[str, list[tuple[object, ...]]]


def rows_of(recordings: Sequence[Indexed], first_id: int) -> Rows:
    """The rows of some recordings, by table."""
    rows: Rows = {name: [] for name in COLUMNS}
    for i, one in enumerate(recordings, first_id):
        file = one.file
        facts = (one.duration_s, one.sample_rate, one.n_channels, one.format, "indexed", "", 2)
        place = (i, file.root_id, file.relative_path.encode(), file.size_bytes, file.mtime_ns)
        words = words_of(ROOT, file.relative_path, None, None)
        rows["recordings"].append((*place, one.content_hash, one.content_hash, *facts))
        rows["words"].append((i, words.name, words.folders, words.metadata))
        rows["name_parts"].append((i, words.file_name))
        blobs = to_blobs(one.embeddings)
        rows["windows"] += [(i, *span, blob) for span, blob in zip(one.spans, blobs, strict=True)]
    return rows


def store_all(folder: Path, bundle: EncoderBundle, recordings: Sequence[Indexed]) -> float:
    """Seconds of processor time that the writer takes."""
    with contextlib.closing(create_index(folder, bundle)) as store, store.writer() as writer:
        with writer.transaction() as changes:
            changes.add_root(ROOT)
        started = time.process_time()
        for some in chunks(recordings, STORED_AT_ONCE):
            with writer.transaction() as changes:
                changes.put_all(some)
        return time.process_time() - started


def insert_all(folder: Path, bundle: EncoderBundle, parts: Iterable[Rows]) -> float:
    """Seconds of processor time that plain inserts take."""
    with (
        contextlib.closing(create_index(folder, bundle)) as store,
        store.writer() as writer,
        writer.transaction() as changes,
    ):
        changes.add_root(ROOT)
    path = folder / "soundsearch.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        started = time.process_time()
        for rows in parts:
            connection.execute("BEGIN")
            for table, columns in COLUMNS.items():
                marks = ", ".join("?" * len(columns.split(", ")))
                statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
                connection.executemany(statement, rows[table])
            connection.execute("COMMIT")
        return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    bundle = find_bundle(DEFAULT_MODEL)
    n_recordings = options.windows // WINDOWS_PER_RECORDING
    recordings = list(made_recordings([1], n_recordings, 0, bundle))
    made_before = list(_parts(recordings))
    ways: dict[str, Callable[[Path], float]] = {
        "writer": lambda folder: store_all(folder, bundle, recordings),
        "executemany": lambda folder: insert_all(folder, bundle, _parts(recordings)),
        "made before": lambda folder: insert_all(folder, bundle, made_before),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.runs):
        for name, run in ways.items():
            times[name].append(_in_new_folder(run))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        ratio = medians["writer"] / seconds
        print(f"{name:12} {options.windows / seconds:9,.0f} windows a second  ratio {ratio:.2f}")


def _parts(recordings: Sequence[Indexed]) -> Iterator[Rows]:
    for start in range(0, len(recordings), STORED_AT_ONCE):
        yield rows_of(recordings[start : start + STORED_AT_ONCE], start + 1)


def _in_new_folder(run: Callable[[Path], float]) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        return run(Path(scratch))


if __name__ == "__main__":
    main()
