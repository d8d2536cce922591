"""Many recordings in one go: stored as one after the other, read in bounded memory, in a small log."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundsearch.errors import StoreError
from soundsearch.store import (
    Failed,
    Indexed,
    PinnedEncoder,
    Store,
    embeddings,
    sounds,
    sqlite,
    sqlite_room,
)
from soundsearch.store.conditions import AnyOf, Within
from soundsearch.store.embeddings import SPARSE
from tests.filled_store import FLAT, changing, put, recording, unit
from tests.stages import Stages

ROOT = Path("/library")
DIM = 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def dump(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All that is known of recordings, by table, without ids of windows and without times."""
    tables = {
        "recordings": "SELECT * FROM recordings ORDER BY id",
        "windows": "SELECT recording_id, start_s, end_s, embedding FROM windows ORDER BY recording_id, id",
        "words": "SELECT rowid, * FROM words ORDER BY rowid",
        "name_parts": "SELECT rowid, * FROM name_parts ORDER BY rowid",
    }
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        connection.row_factory = sqlite3.Row
        found = {name: connection.execute(query).fetchall() for name, query in tables.items()}
    return {
        name: [
            tuple(value for key, value in zip(row.keys(), row, strict=True) if key != "indexed_at")
            for row in rows
        ]
        for name, rows in found.items()
    }


# ---- put_all


@st.composite
def batches(draw: st.DrawFn) -> list[Indexed]:
    """Recordings of few paths, contents and sounds, so that they meet each other."""
    made = []
    for _ in range(draw(st.integers(0, 6))):
        name = draw(st.sampled_from(["a.wav", "DOORMetl_b.wav", "deep/c 1.wav", "\udcff.wav"]))
        one = recording(draw(st.sampled_from([1, 2])), name, [(1, 0)] * draw(st.integers(1, 3)))
        made.append(
            replace(
                one,
                metadata=draw(st.sampled_from([{}, {"title": "Bäng"}])),
                damage=draw(st.sampled_from([None, "it ends early"])),
                note=draw(st.sampled_from([None, "another track"])),
            )
        )
    return made


@settings(max_examples=25, deadline=None)
@given(st.lists(batches(), max_size=3), st.booleans())
def test_a_batch_is_stored_as_one_recording_after_the_other(
    steps: Sequence[list[Indexed]], fails: bool
) -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stores = [
            stack.enter_context(contextlib.closing(Store.create(folder / name, FLAT)))
            for name in ("bulk", "single")
        ]
        for store in stores:
            with changing(store) as changes:
                changes.add_root(ROOT), changes.add_root(Path("/other"))
                known = changes.put(recording(1, "a.wav"))
                changes.put_captions({known: {"text": "a dog"}})
                if fails:
                    changes.put_failed(Failed(recording(2, "a.wav").file, "not audio", "why"))
        for step in steps:
            last = list({(one.file.root_id, one.file.relative_path): one for one in step}.values())
            with changing(stores[0]) as changes:
                changes.put_all(step)
            with changing(stores[1]) as changes:
                for one in last:
                    changes.put(one)
        assert dump(stores[0]) == dump(stores[1])


def test_a_batch_gives_the_ids_of_its_recordings(store: Store) -> None:
    known = put(store, ROOT, "b.wav")
    with changing(store) as changes:
        ids = changes.put_all(recording(1, f"{name}.wav") for name in "abc")
        found = {r.relative_path: r.id for r in changes.recordings()}
    assert ids == [found["a.wav"], known, found["c.wav"]] and len(set(ids)) == 3
    with changing(store) as changes:
        assert changes.put_all([]) == []


def test_a_sound_that_is_known_now_is_that_of_copies_in_the_batch_and_before(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT).id
        made = [replace(recording(root, f"{i}.wav"), content_hash=b"bytes") for i in range(3)]
        changes.put(made[0])
        changes.put_all([made[1], replace(made[2], sound_hash=b"sound")])
    with store.snapshot() as reader:
        assert {row.sound_hash for row in reader.copies()} == {b"sound"}
        assert len(list(reader.copies())) == 3


# ---- reading


@pytest.fixture
def many(store: Store) -> Store:
    """1,000 windows of 100 recordings, each at an angle of its own."""
    angles = np.arange(1000) / 300
    with changing(store) as changes:
        root = changes.add_root(ROOT).id
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        changes.put_all(
            recording(root, f"{i}.wav", vectors[10 * i : 10 * i + 10]) for i in range(100)
        )
    return store


@pytest.mark.parametrize("step", [1, SPARSE - 1, 50])
def test_blocks_hold_what_single_reads_do(
    many: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(embeddings, "BLOCK_ROWS", 128)
    with many.snapshot() as reader:
        ids = reader.window_ids()[::step]
        blocks = list(reader.embedding_blocks(ids, 2))
        single = np.stack([reader.embeddings(ids[i : i + 1], 2)[0] for i in range(len(ids))])
    assert [len(some) for some, _ in blocks[:-1]] == [128] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate([some for some, _ in blocks]), ids)
    np.testing.assert_array_equal(np.concatenate([found for _, found in blocks]), single)


def test_no_ids_are_no_blocks(many: Store) -> None:
    with many.snapshot() as reader:
        assert list(reader.embedding_blocks(np.empty(0, np.int64), 2)) == []
        assert reader.embeddings(np.empty(0, np.int64), 2).shape == (0, 2)


def test_an_id_may_be_read_twice(many: Store) -> None:
    with many.snapshot() as reader:
        found = reader.embeddings(np.array([9, 3, 9]), 2)
        np.testing.assert_array_equal(found[[0, 2]], reader.embeddings(np.array([9, 9]), 2))


@pytest.mark.parametrize("step", [1, 50])
def test_a_lost_window_is_named_whatever_lies_around_it(many: Store, step: int) -> None:
    with many.snapshot() as reader:
        ids = reader.window_ids()[::step]
    with contextlib.closing(sqlite3.connect(many.folder / "soundsearch.db")) as connection:
        connection.execute("DELETE FROM windows WHERE id = 101")
        connection.commit()
    with many.snapshot() as reader, pytest.raises(StoreError, match="window 101 holds 0 bytes"):
        list(reader.embedding_blocks(ids, 2))


def test_memory_of_reading_does_not_grow_with_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (embeddings, sounds):
        monkeypatch.setattr(module, "BLOCK_ROWS", 1000)
    wide = PinnedEncoder("wide", "1", "f" * 64, DIM)
    n_windows = 40_000
    with contextlib.closing(Store.create(tmp_path / "wide", wide)) as store:
        with store.writer() as writer, writer.transaction() as changes:
            root = changes.add_root(ROOT).id
            vectors = unit(np.eye(DIM)[np.arange(2000) % DIM])
            for i in range(n_windows // 2000):
                changes.put(recording(root, f"{i}.wav", vectors))
        with store.snapshot() as reader:
            ids = reader.window_ids()
            assert len(ids) == n_windows
            for read in (
                lambda: [len(some) for some, _ in reader.embedding_blocks(ids, DIM)],
                lambda: [len(block.ids) for block in reader.window_blocks()],
            ):
                tracemalloc.start()
                assert sum(read()) == n_windows
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak < n_windows * DIM * 4 / 4  # a quarter of what all of it would take


# ---- the log of the database


def log_bytes(store: Store) -> int:
    log = store.folder / "soundsearch.db-wal"
    return log.stat().st_size if log.exists() else 0


def test_a_large_transaction_leaves_no_large_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite, sqlite_room):
        monkeypatch.setattr(module, "LOG_BYTES", 1 << 16)
    store.close()
    with store.snapshot():
        pass  # the database stays open in the pool of its connections
    with store.writer() as writer:
        with writer.transaction() as changes:
            root = changes.add_root(ROOT).id
            changes.put_all(recording(root, f"{i}.wav", [(1, 0)] * 100) for i in range(100))
        assert log_bytes(store) > 1 << 18
    assert log_bytes(store) <= 1 << 16


def test_many_small_transactions_need_a_small_log(store: Store) -> None:
    with store.writer() as writer:
        with writer.transaction() as changes:
            root = changes.add_root(ROOT).id
        sizes = []
        for i in range(100):
            with writer.transaction() as changes:
                changes.put(recording(root, f"{i}.wav", np.ones((100, 512))))
            sizes.append(log_bytes(store))
    assert (store.folder / "soundsearch.db").stat().st_size > 10 << 20
    assert max(sizes) < 6 << 20


def test_a_reader_is_not_waited_for_when_the_log_is_cut(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite, sqlite_room):
        monkeypatch.setattr(module, "LOG_BYTES", 1 << 16)
    other = Store.open(store.folder)
    with contextlib.closing(other), other.snapshot() as reader:
        assert list(reader.recordings()) == []
        put(store, ROOT, "a.wav", [(1, 0)] * 20_000)  # else waits for BUSY_TIMEOUT_MS
        assert list(reader.recordings()) == []
    with store.snapshot() as reader:
        assert reader.n_windows() == 20_000


# ---- room that nothing fills


def test_room_is_given_back_and_nothing_is_lost(many: Store) -> None:
    database = many.folder / "soundsearch.db"
    with many.writer() as writer:
        with writer.transaction() as changes:
            changes.put(recording(1, "large.wav", [(1, 0)] * 50_000))
        assert not writer.is_roomy()
        with writer.transaction() as changes:
            changes.delete([r.id for r in changes.recordings() if r.relative_path == "large.wav"])
        before, (_, large) = dump(many), writer._database.sizes()
        assert writer.is_roomy() and writer.compact()
        assert not writer.is_roomy()
    assert dump(many) == before
    assert database.stat().st_size < large / 4
    with many.snapshot() as reader:
        assert len(reader.window_ids()) == 1000


def test_without_disk_room_the_index_stays_as_large_as_it_is(
    many: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(many)
    usage = type(sqlite_room.shutil.disk_usage("/"))(100, 99, 1)
    monkeypatch.setattr(sqlite_room.shutil, "disk_usage", lambda _: usage)
    stages = Stages()
    with many.writer() as writer:
        assert not writer.compact(stages)
    (line,) = stages.notes
    assert str(many.folder) in line and "0 MB are free" in line
    assert dump(many) == before


def test_many_folders_are_found_by_an_index_and_not_row_by_row(store: Store) -> None:
    n_folders, n_in_each, n_named = 100, 20, 60
    with changing(store) as changes:
        root_id = changes.add_root(ROOT).id
        changes.put_all(
            [
                recording(root_id, f"{i:03d}/{j:02d}.wav", np.eye(1, DIM, dtype=np.float32))
                for i in range(n_folders)
                for j in range(n_in_each)
            ]
        )
    named = [AnyOf(tuple(Within(ROOT / f"{i:03d}") for i in range(n_named)))]
    with store.snapshot() as reader:
        raw = reader._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        steps = []
        raw.set_progress_handler(lambda: steps.append(100), 100)
        assert len(reader.window_ids(named)) == n_named * n_in_each
        raw.set_progress_handler(None, 0)
    # Row by row each of the folders would be compared with each of the recordings.
    assert sum(steps) < n_named * n_folders * n_in_each
