"""Embeddings of an index of schema 3 become half as large: what a search sees stays the same."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import soundsearch as library_interface
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import StoreError
from soundsearch.health import verify
from soundsearch.store import PinnedEncoder, Store, Transaction, sqlite_room, writer
from soundsearch.vectors.cache import load_vectors
from tests import program
from tests.conftest import Run
from tests.filled_store import Array, changing, recording, unit
from tests.index_contents import rows_of, searchable
from tests.sounds import noise, write

DIM = 96
WIDE = PinnedEncoder("wide", "1", "f" * 64, DIM)
N_WINDOWS = 600
VECTORS = unit(np.random.default_rng(0).standard_normal((N_WINDOWS, DIM)))


def make_schema_3(folder: Path, embeddings: Callable[[bytes], bytes]) -> None:
    """Turn an index into one of schema 3. embeddings: of a stored one, that of float32."""
    with contextlib.closing(sqlite3.connect(folder / "soundsearch.db")) as connection:
        connection.create_function("wide", 1, embeddings)
        connection.execute("DROP TABLE peaks")
        connection.execute("ALTER TABLE index_info DROP COLUMN float16_from")
        connection.execute("UPDATE windows SET embedding = wide(embedding)")
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def widened(blob: bytes) -> bytes:
    """As float32, and not quite what rounding it gives: its last digits were not stored."""
    return (np.frombuffer(blob, "<f2").astype("<f4") * np.float32(1 + 1e-5)).tobytes()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An index of schema 3 with embeddings of float32, as they were before any rounding."""
    folder = tmp_path / "old"
    with contextlib.closing(Store.create(folder, WIDE)) as store, changing(store) as changes:
        root = changes.add_root(Path("/library")).id
        changes.put_all(recording(root, f"{i}.wav", VECTORS[3 * i : 3 * i + 3]) for i in range(200))
    exact = iter(VECTORS.astype("<f4"))
    make_schema_3(folder, lambda _: next(exact).tobytes())
    return folder


@pytest.fixture
def store(old: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(old)) as opened:
        yield opened


def lengths(store: Store) -> set[int]:
    """Bytes of the embeddings that are stored."""
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        return {n for (n,) in connection.execute("SELECT length(embedding) FROM windows")}


def read(store: Store) -> Array:
    with store.snapshot() as reader:
        return reader.embeddings(reader.window_ids(), DIM)


def check_same(store: Store) -> None:
    """Whatever was converted yet, a search sees the rounded embeddings, and nothing is odd."""
    np.testing.assert_array_equal(read(store), VECTORS.astype(np.float16))
    assert [p for p in verify(store) if p.kind in ("database", "rows", "vectors")] == []


def test_scores_differ_by_less_than_a_thousandth(store: Store) -> None:
    queries = unit(np.random.default_rng(1).standard_normal((50, DIM)))
    np.testing.assert_allclose(read(store) @ queries.T, VECTORS @ queries.T, atol=1e-3)


def test_an_old_index_is_read_at_once_and_converted_by_a_writer(store: Store) -> None:
    assert lengths(store) == {4 * DIM}
    check_same(store)
    with store.snapshot() as reader:
        revision = reader.revision()
    size = (store.folder / "soundsearch.db").stat().st_size
    with store.writer() as writer:
        writer.convert_embeddings()
    assert lengths(store) == {2 * DIM}
    check_same(store)
    with store.snapshot() as reader:
        assert reader.float16_from() == 0
        assert reader.revision() == revision  # the FAISS file stays as it is
    assert (store.folder / "soundsearch.db").stat().st_size < 0.75 * size


def test_vectors_of_before_are_not_built_upon(old: Path) -> None:
    """A file of the old revision holds the embeddings as they were before they were rounded."""
    with contextlib.closing(sqlite3.connect(old / "soundsearch.db")) as connection:
        tokens = {token for (token,) in connection.execute("SELECT token FROM revisions")}
    with contextlib.closing(Store.open(old)) as store, store.snapshot() as reader:
        assert not any(reader.has_had_revision(token) for token in tokens)
        ids = reader.window_ids()
        vectors = load_vectors(store)
        np.testing.assert_array_equal(vectors.embeddings(ids, reader), VECTORS.astype(np.float16))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_what_is_done_stays_done(store: Store, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """600 windows in parts of 100: stopped at the n-th part, and gone on."""
    monkeypatch.setattr(writer, "CONVERTED_AT_ONCE", 100)
    convert, calls = Transaction.convert_embeddings, []

    def counted(changes: Transaction, n_windows: int) -> int:
        calls.append(n_windows)
        n_done = convert(changes, n_windows)
        if len(calls) == n:
            raise Stopped
        return n_done

    monkeypatch.setattr(Transaction, "convert_embeddings", counted)
    with pytest.raises(Stopped), store.writer() as held:
        held.convert_embeddings()
    check_same(store)
    with changing(store) as changes:  # what comes meanwhile is small at once
        changes.put(recording(1, "new.wav", VECTORS[:3]))
        changes.delete([1])
    with store.writer() as held:
        held.convert_embeddings()
    assert len(calls) == n + (7 - n + 1)  # six parts, one that finds none, one done again
    assert lengths(store) == {2 * DIM}
    np.testing.assert_array_equal(
        read(store), np.concatenate([VECTORS[3:], VECTORS[:3]]).astype(np.float16)
    )


def test_without_disk_room_it_is_converted_and_made_smaller_another_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (store.folder / "soundsearch.db").stat().st_size
    with monkeypatch.context() as patched:
        usage = type(sqlite_room.shutil.disk_usage("/"))(100, 99, 1)
        patched.setattr(sqlite_room.shutil, "disk_usage", lambda _: usage)
        with store.writer() as writer:
            writer.convert_embeddings()
    check_same(store)
    assert lengths(store) == {2 * DIM}
    with store.writer() as writer:
        writer.convert_embeddings()
    assert (store.folder / "soundsearch.db").stat().st_size < 0.75 * size
    with store.snapshot() as reader:
        assert reader.float16_from() == 0


def test_an_odd_embedding_stays_for_verify_to_find(store: Store) -> None:
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        connection.execute("UPDATE windows SET embedding = x'00' WHERE id = 5")
        connection.commit()
    with store.writer() as writer:
        writer.convert_embeddings()
    (problem,) = [p for p in verify(store) if p.kind == "rows"]
    assert "window 5: 1 bytes" in problem.text and str(2 * DIM) in problem.text
    with store.snapshot() as reader, pytest.raises(StoreError, match="window 5 holds 1 bytes"):
        reader.embeddings(np.array([5]), DIM)


# ---- through the command


N_FILES = 6


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for i in range(N_FILES):
        write(tmp_path / "library" / f"{i}.wav", noise(2 + i, seed=i))
    return (tmp_path / "library").resolve()


@pytest.fixture
def index(tmp_path: Path, library: Path, soundsearch: Run) -> Path:
    """An index of schema 3 of this library."""
    soundsearch("index", library, "--model", "tiny")
    make_schema_3(tmp_path / "index", widened)
    return tmp_path / "index"


def hits_of(index: Path) -> list[tuple[Path, float]]:
    with library_interface.open_index(index) as opened:
        return [(hit.path, hit.score) for hit in opened.search(text="hum", top_k=100)]


def test_an_index_run_converts(index: Path, library: Path, soundsearch: Run) -> None:
    before = hits_of(index)  # of the old index, opened by this version
    done = json.loads(soundsearch("index", library, "--json").stdout)
    assert done["unchanged"] == N_FILES
    rows = rows_of(index).values()
    assert {len(blob) for row in rows for blob in row.embeddings} == {2 * 8}
    assert hits_of(index) == before
    assert "sound" in soundsearch("verify").stderr
    assert "half" not in soundsearch("index", library).stderr  # done once and for all


#: Function at whose n-th call the process is killed.
POINTS = (
    "soundsearch.store.migrations:secrets.token_hex:1",
    "soundsearch.store.writer:Writer.convert_embeddings:1",
    "soundsearch.store.writer:Transaction.convert_embeddings:1",
    "soundsearch.store.writer:Transaction.convert_embeddings:2",
    "soundsearch.store.writer:Writer.compact:1",
    "soundsearch.store.writer:Transaction.end_conversion:1",
)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[-1])
def test_killed_at_each_step(index: Path, library: Path, tiny: EncoderBundle, point: str) -> None:
    command = program.start(
        *("index", library, "--model", "tiny"),
        command=program.KILLING_ITSELF,
        env=program.environment(SOUNDSEARCH_KILL_AT=point),
    )
    _, errors = command.communicate(timeout=60)
    assert command.returncode == -signal.SIGKILL, errors
    with contextlib.closing(Store.open(index)) as store:
        assert verify(store) == []
    assert searchable(index) == {library / f"{i}.wav" for i in range(N_FILES)}
    done = program.soundsearch("index", library, "--model", "tiny")
    assert done.returncode == 0, done.stderr
    rows = rows_of(index).values()
    assert {len(blob) for row in rows for blob in row.embeddings} == {2 * 8}
    with contextlib.closing(Store.open(index)) as store:
        assert verify(store) == []
        with store.snapshot() as reader:
            assert reader.float16_from() == 0
