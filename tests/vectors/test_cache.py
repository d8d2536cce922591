from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundsearch.arrays import Ids
from soundsearch.errors import StoreError
from soundsearch.store import Reader, Store
from soundsearch.vectors import cache, vector_index
from soundsearch.vectors.exact import ExactIndex
from soundsearch.vectors.vector_index import VectorIndex
from tests.filled_store import FLAT, changing, put, unit
from tests.ordinary_user import open_folder, ordinary_user
from tests.program import another_writer

ROOT = Path("/library")


@pytest.fixture(params=["exact", "inverted"], autouse=True)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test is of small libraries, and of such as if five windows were many."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vector_index, "FEW_WINDOWS", 0)
        patched.setattr(vector_index, "DEEP_SHARE", np.inf)
        patched.setattr(cache, "_questions", lambda reader: unit([(1, 2), (2, 1), (-1, 1)]))
        if request.param == "inverted":
            patched.setattr(cache, "EXACT_WINDOWS", 4)
        yield request.param


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        for i in range(5):
            put(made, ROOT, f"{i}.wav", [(1, i), (i, 1)])
        yield made


def _files(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if "vectors" in path.name)


def _name(store: Store) -> str:
    with store.snapshot() as reader:
        return f"vectors-{reader.revision()}"


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _assert_in_step(store: Store, vectors: VectorIndex) -> None:
    with store.snapshot() as reader:
        ids = reader.window_ids()
        if not vectors.in_database:
            assert vectors.ids.tolist() == ids.tolist()
        embeddings = reader.embeddings(ids, 2)
        np.testing.assert_array_equal(vectors.embeddings(ids, reader), embeddings)
        query = unit([0.6, 0.8])[0]
        found, cosines = vectors.search(query, len(ids), reader)
        assert sorted(found.tolist()) == ids.tolist() and len(vectors) == len(ids)
        expected = np.sort(embeddings @ query)[::-1]
        np.testing.assert_allclose(cosines, expected, atol=1e-6)


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many embeddings are read from the database block by block, each time some are."""
    counts: list[int] = []
    read, read_some = Reader.embedding_blocks, Reader.embeddings

    def counted(self: Reader, ids: Ids, dim: int) -> object:
        if len(ids):
            counts.append(len(ids))
        return read(self, ids, dim)

    def uncounted(self: Reader, ids: Ids, dim: int) -> object:
        before = len(counts)
        found = read_some(self, ids, dim)
        del counts[before:]  # of a sample, not of all
        return found

    monkeypatch.setattr(Reader, "embedding_blocks", counted)
    monkeypatch.setattr(Reader, "embeddings", uncounted)
    return counts


def _files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _read(store: Store) -> VectorIndex:
    """The vectors in the folder of this revision; nothing is made."""
    with store.snapshot() as reader:
        vectors, is_fresh = cache.found_vectors(reader)
    assert vectors is not None and is_fresh
    return vectors


def test_the_first_use_makes_the_file_and_the_next_reads_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = _count_reads(monkeypatch)
    assert _files(store) == []
    cache.load_vectors(store)
    assert _files(store) == [_name(store)]
    assert counts == [10]

    again = cache.load_vectors(store)

    assert counts == [10]
    _assert_in_step(store, again)


def test_the_name_carries_the_revision(store: Store) -> None:
    cache.load_vectors(store)
    before = _name(store)
    put(store, ROOT, "new.wav")
    assert _name(store) != before and _files(store) == [before]

    cache.load_vectors(store)

    assert _files(store) == [_name(store)]  # and the old one is gone


def test_a_stale_file_is_caught_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.load_vectors(store)
    put(store, ROOT, "new.wav", [(1, 2), (2, 1), (3, 1)])
    put(store, ROOT, "0.wav", [(5, 1)])  # changed
    with changing(store) as changes:
        recordings = {r.relative_path: r.id for r in changes.recordings()}
        changes.delete([recordings["1.wav"]])
        changes.mark_missing([recordings["2.wav"]])
    monkeypatch.setattr(cache, "DELETED_SHARE", 1.0)
    counts = _count_reads(monkeypatch)

    vectors = cache.load_vectors(store)

    assert counts == [4]  # only what is new
    _assert_in_step(store, vectors)
    _assert_in_step(store, _read(store))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "forget", "miss", "load", "corrupt", "discard"]),
            st.integers(0, 6),
        ),
        max_size=10,
    )
)
def test_whatever_happened_it_equals_the_database(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    with contextlib.closing(Store.create(tmp_path_factory.mktemp("index"), FLAT)) as store:
        for what, i in steps:
            if what == "put":
                put(store, ROOT, f"{i}.wav", [(1, i), (i, 1)])
            elif what == "load":
                cache.load_vectors(store)
            elif what == "discard":
                with store.writer() as writer:
                    cache.discard(writer)
            elif what == "corrupt":
                for path in store.folder.glob("vectors-*"):
                    for file in path.iterdir():
                        file.write_bytes(b"corrupt")
            else:
                with changing(store) as changes:
                    chosen = [r.id for r in changes.recordings() if r.relative_path == f"{i}.wav"]
                    change = changes.delete if what == "forget" else changes.mark_missing
                    change(chosen)
        _assert_in_step(store, cache.load_vectors(store))
        assert _files(store) == [_name(store)]


def test_what_killed_runs_and_earlier_versions_left_is_removed(store: Store) -> None:
    (store.folder / ".vectors-0123.4711.part").mkdir()
    (store.folder / ".vectors-0123.4711.part" / "base.lists").write_bytes(b"half a file")
    (store.folder / "vectors-0123").mkdir()
    (store.folder / "vectors-0123" / "delta.faiss").write_bytes(b"of another revision")
    (store.folder / "vectors-4567.faiss").write_bytes(b"of version 0.2")
    cache.load_vectors(store)
    assert _files(store) == [_name(store)]


def test_an_empty_index_has_a_file_too(tmp_path: Path) -> None:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as store:
        assert len(cache.load_vectors(store)) == 0
        assert _files(store) == [_name(store)]


def test_refresh_makes_the_file_of_this_revision(store: Store) -> None:
    for name in ("a.wav", "b.wav"):
        put(store, ROOT, name)
        with store.writer() as writer:
            cache.refresh(writer)
        assert _files(store) == [_name(store)]
    assert _files(store) == [_name(store)]
    _assert_in_step(store, _read(store))


def test_the_vectors_of_a_snapshot_are_made_without_a_file(store: Store) -> None:
    with store.snapshot() as reader:
        vectors = cache.vectors_at(reader)
    _assert_in_step(store, vectors)
    assert _files(store) == []


def test_nothing_is_saved_while_another_process_writes(store: Store) -> None:
    with another_writer(store.folder):
        _assert_in_step(store, cache.load_vectors(store))
        assert _files(store) == []
    cache.load_vectors(store)
    assert _files(store) == [_name(store)]


def test_a_file_that_cannot_be_written_is_a_note(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.MonkeyPatch.context() as patched,
        caplog.at_level(logging.WARNING),
    ):
        patched.setattr(ExactIndex, "save", _no_room)
        _assert_in_step(store, cache.load_vectors(store))
    assert "cannot be written" in caplog.text


def _no_room(self: ExactIndex, path: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_written_still_answers() -> None:
    with open_folder() as folder:
        store = Store.create(folder / "index", FLAT)
        put(store, ROOT, "a.wav", [(1, 0), (0, 1)])
        for path in store.folder.iterdir():
            path.chmod(0o444)
        store.folder.chmod(0o555)
        with ordinary_user():
            _assert_in_step(store, cache.load_vectors(store))
        store.close()
        assert _files(store) == []


def test_an_odd_embedding_is_one_clear_error(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        connection.execute(
            "UPDATE windows SET embedding = ? WHERE id = 3", [(2 * unit([1, 0])).tobytes()]
        )
        connection.commit()
    with pytest.raises(StoreError, match="not a finite unit vector; run: soundsearch repair"):
        cache.load_vectors(store)


def test_after_a_backup_was_restored_no_vector_of_the_lost_future_remains(
    tmp_path: Path, store: Store
) -> None:
    store.close()
    backup = shutil.copy(store.folder / "soundsearch.db", tmp_path / "backup.db")
    put(store, ROOT, "lost.wav", [(1, 0), (0, 1)])
    cache.load_vectors(store)
    store.close()
    for leftover in store.folder.glob("soundsearch.db*"):
        leftover.unlink()
    shutil.copy(backup, store.folder / "soundsearch.db")
    put(store, ROOT, "other.wav", [(3, 4), (4, 3)])  # under the ids that the lost one had
    _assert_in_step(store, cache.load_vectors(store))
