from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundsearch.errors import StoreError
from soundsearch.health import status
from soundsearch.store import FileFacts, Indexed, Store
from soundsearch.vectors import cache, folder, inverted, vector_index
from soundsearch.vectors.check import vector_problems
from soundsearch.vectors.exact import ExactIndex, VectorFileError
from soundsearch.vectors.folder import LISTS, Manifest, facts_of_files, written_folder
from soundsearch.vectors.vector_index import VectorIndex
from tests.filled_store import FLAT, changing, put, recording, unit
from tests.vector_files import files_in

ROOT = Path("/library")
N = 40


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty windows are many, and every search of them goes by the inverted file."""
    monkeypatch.setattr(cache, "EXACT_WINDOWS", 20)
    monkeypatch.setattr(cache, "DELTA_WINDOWS", 8)
    monkeypatch.setattr(vector_index, "FEW_WINDOWS", 0)
    monkeypatch.setattr(vector_index, "DEEP_SHARE", np.inf)
    monkeypatch.setattr(cache, "_questions", lambda reader: unit([(1, 2), (2, 1), (-1, 1)]))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Forty windows, and an inverted file of them."""
    random = np.random.default_rng(0)
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        with changing(made) as changes:
            root = changes.add_root(ROOT).id
            for i in range(N // 2):
                changes.put(_recording(root, i, random))
        cache.load_vectors(made)
        yield made


def _recording(root: int, i: int, random: np.random.Generator) -> Indexed:
    return recording(root, f"{i:03d}.wav", random.standard_normal((2, 2)))


def _folder(store: Store) -> Path:
    (found,) = store.folder.glob("vectors-*")
    return found


def _in_step(store: Store, vectors: VectorIndex | None = None) -> VectorIndex:
    """Load the vectors, and compare what they find with brute force."""
    vectors = vectors or cache.load_vectors(store)
    with store.snapshot() as reader:
        ids = reader.window_ids()
        embeddings = reader.embeddings(ids, 2)
        for query in unit([(1, 0), (3, 4), (-1, 5)]):
            found, cosines = vectors.search(query, len(ids), reader)
            np.testing.assert_allclose(cosines, np.sort(embeddings @ query)[::-1], atol=1e-6)
            assert sorted(found.tolist()) == ids.tolist()
            nearest, _ = vectors.search(query, 3, reader)
            np.testing.assert_allclose(
                reader.embeddings(nearest, 2) @ query, cosines[:3], atol=1e-6
            )
    return vectors


# ---- base, delta and deletions


def test_many_windows_have_an_inverted_file(store: Store) -> None:
    vectors = _in_step(store)
    assert vectors.base is not None and len(vectors.delta) == 0
    assert vectors.base.facts.n_windows == N
    facts = status(store).search
    assert facts == vectors.base.facts
    assert facts.recall_10 is not None and facts.recall_10 >= 0.98


def test_few_new_windows_leave_the_base_as_it_is(store: Store) -> None:
    base = _folder(store) / LISTS
    inode = base.stat().st_ino
    put(store, ROOT, "new.wav", [(1, 2), (2, 1), (3, 1)])
    vectors = _in_step(store)
    assert len(vectors.delta) == 3
    assert (_folder(store) / LISTS).stat().st_ino == inode  # not written again
    put(store, ROOT, "newer.wav", [(1, 2), (2, 1)])
    assert len(_in_step(store).delta) == 5


def test_deleted_windows_are_only_marked_and_may_come_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "DELETED_SHARE", 0.5)
    with changing(store) as changes:
        lost = list(changes.recordings())[:3]
        changes.mark_missing([r.id for r in lost])
    vectors = _in_step(store)
    assert (len(vectors), vectors.n_in_base, len(vectors.delta)) == (N - 6, N - 6, 0)
    with changing(store) as changes:
        for gone in lost:
            changes.move(gone.id, FileFacts(gone.root_id, gone.relative_path, 1000, 2000))
    vectors = _in_step(store)
    assert (len(vectors), vectors.n_in_base, len(vectors.delta)) == (N, N, 0)


@pytest.mark.parametrize("why", ["new", "deleted"])
def test_a_worn_base_is_merged(store: Store, why: str) -> None:
    if why == "new":
        put(store, ROOT, "new.wav", np.random.default_rng(1).standard_normal((9, 2)))
    else:
        with changing(store) as changes:
            changes.delete([r.id for r in changes.recordings()][:2])
    n_trained = N
    vectors = _in_step(store)
    assert vectors.base is not None
    assert len(vectors.delta) == 0 and not vectors.is_deleted.any()
    assert vectors.base.facts.n_windows == len(vectors) == (N + 9 if why == "new" else N - 4)
    assert vectors.base.facts.n_trained == n_trained  # its centroids are the same
    assert vectors.base.facts.recall_10 is not None


def test_much_growth_computes_new_centroids(store: Store) -> None:
    put(store, ROOT, "new.wav", np.random.default_rng(1).standard_normal((3 * N, 2)))
    vectors = _in_step(store)
    assert vectors.base is not None and vectors.base.facts.n_trained == 4 * N


def test_a_library_that_shrank_is_exact_again(store: Store) -> None:
    with changing(store) as changes:
        changes.delete([r.id for r in changes.recordings()][5:])
    vectors = _in_step(store)
    assert vectors.base is None and len(vectors) == 10
    assert sorted(files_in(_folder(store))) == ["delta.faiss", "manifest.json"]


def test_without_the_lock_new_windows_are_only_in_memory(store: Store) -> None:
    before = files_in(_folder(store))
    put(store, ROOT, "new.wav", np.random.default_rng(1).standard_normal((9, 2)))
    with store.snapshot() as reader:
        vectors = cache.vectors_at(reader)
    assert len(_in_step(store, vectors).delta) == 9
    assert files_in(_folder(store)) == before


def test_a_disk_without_links_gets_copies(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    put(store, ROOT, "new.wav")
    assert _in_step(store).base is not None


# ---- files that are not what they were


HARMS: dict[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(8)),
    "garbage": lambda path: path.write_bytes(b"something else" * 99),
}
NAMES = [
    *("manifest.json", "delta.faiss", "deleted.npy"),
    *("base.faiss", "base.npy", "ids.npy", "base.lists"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("is_stale", [False, True])
def test_a_lost_or_cut_file_is_noticed_before_it_is_used(
    store: Store, caplog: pytest.LogCaptureFixture, name: str, harm: str, is_stale: bool
) -> None:
    good = files_in(_folder(store))
    path = _folder(store) / name
    HARMS[harm](path)
    if is_stale:
        put(store, ROOT, "new.wav")
    with caplog.at_level(logging.WARNING):
        _in_step(store)
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    if not is_stale:
        assert files_in(_folder(store)) == good
    caplog.clear()
    _in_step(store)
    assert not caplog.records


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(name=st.sampled_from(NAMES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_changes_no_answer(store: Store, name: str, place: float, bit: int) -> None:
    path = _folder(store) / name
    good = path.read_bytes()
    content = bytearray(good)
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    _in_step(store)
    path = _folder(store) / name
    if name == LISTS:  # found at the first visit of the list; made again by a person's command
        with store.snapshot() as reader:
            (problem,) = vector_problems(reader)
        assert str(path) in problem
        with store.writer() as writer:
            cache.discard(writer)
            cache.refresh(writer)
    assert (_folder(store) / name).read_bytes() == good


def test_a_merge_does_not_build_upon_a_damaged_list(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = _folder(store) / LISTS
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    put(store, ROOT, "new.wav", np.random.default_rng(1).standard_normal((9, 2)))
    with caplog.at_level(logging.WARNING):
        _in_step(store)
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    with store.snapshot() as reader:
        assert list(vector_problems(reader)) == []


def test_vectors_of_another_encoder_are_not_used(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = _folder(store)
    manifest = Manifest.read(path)
    Manifest(**{**vars(manifest), "encoder": "0" * 64}).write(path)
    with caplog.at_level(logging.WARNING):
        _in_step(store)
    (record,) = caplog.records
    assert "0" * 12 in record.getMessage() and "f" * 12 in record.getMessage()
    assert Manifest.read(_folder(store)).encoder == FLAT.fingerprint


def test_deletions_that_are_longer_than_the_base_are_refused(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = _folder(store)
    manifest = Manifest.read(path)
    folder.write_array(path / "deleted.npy", np.zeros(999, np.uint8))
    files = {**manifest.files, **facts_of_files(path, ["deleted.npy"])}
    Manifest(**{**vars(manifest), "files": files}).write(path)
    with caplog.at_level(logging.WARNING):
        _in_step(store)
    (record,) = caplog.records
    assert "deleted.npy" in record.getMessage() and "999" in record.getMessage()


def test_a_base_that_is_not_of_the_manifest_is_refused(store: Store, tmp_path: Path) -> None:
    path = _folder(store)
    manifest = Manifest.read(path)
    assert manifest.base is not None
    for change in ({"n_lists": 3}, {"n_windows": 39}, {"id_limit": 5}):
        base = folder.BaseFacts(**{**vars(manifest.base), **change})
        Manifest(**{**vars(manifest), "base": base}).write(path)
        with pytest.raises(VectorFileError):
            inverted.InvertedFile.open(path, Manifest.read(path)).ids  # noqa: B018


def test_a_restored_database_does_not_use_vectors_of_the_lost_future(
    store: Store, tmp_path: Path
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
    _in_step(store)


# ---- writing


def test_no_writer_changes_a_file_that_others_have_mapped(store: Store, tmp_path: Path) -> None:
    """A mapped file that is cut ends the process, so files are only added and removed."""
    vectors = cache.load_vectors(store)
    assert vectors.base is not None
    before = (_folder(store) / LISTS).read_bytes()
    os.link(_folder(store) / LISTS, tmp_path / "mapped")
    for i in range(4):  # written beside it, merged, made again, dropped
        put(store, ROOT, f"new{i}.wav", np.random.default_rng(i).standard_normal((5, 2)))
        with store.writer() as writer:
            cache.refresh(writer)
    with store.writer() as writer:
        cache.discard(writer)
        cache.refresh(writer)
        cache.discard(writer)
    assert (tmp_path / "mapped").read_bytes() == before
    query = unit([3, 4])[0]
    with store.snapshot() as reader:  # the index that was opened first still answers
        found, _ = vectors.search(query, 5, reader)
        ids = np.arange(1, N + 1)
        cosines = reader.embeddings(ids, 2) @ query
    assert found.tolist() == ids[np.argsort(-cosines)[:5]].tolist()


def test_two_readers_during_a_swap(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of its revision is replaced while a reader opens its files one by one."""
    read = ExactIndex.load
    swaps = iter([True, False])

    def swapped(path: Path, dim: int) -> ExactIndex:
        if next(swaps, False):
            put(store, ROOT, "meanwhile.wav")
            other = Store.open(store.folder)
            with other.writer() as writer:
                cache.refresh(writer)
            other.close()
        return read(path, dim)

    monkeypatch.setattr(ExactIndex, "load", swapped)
    vectors = cache.load_vectors(store)
    assert len(vectors) == N + 1
    _in_step(store, vectors)


@pytest.mark.parametrize("room", [0, 200, 700, 3000])
def test_a_full_disk_during_a_merge_leaves_what_was_there(
    store: Store, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    before = files_in(_folder(store))
    put(store, ROOT, "new.wav", np.random.default_rng(1).standard_normal((9, 2)))
    store.close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.snapshot():  # the database has its files already
        pass
    make = cache._make_base

    def full(*arguments: object) -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            return make(*arguments)  # type: ignore[arg-type]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.MonkeyPatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(cache, "_make_base", full)
        vectors = cache.load_vectors(store)
    if room < 3000:
        (record,) = caplog.records
        assert "File too large" in record.getMessage()
        assert files_in(_folder(store)) == before
        assert not list(store.folder.glob(".vectors-*"))
    _in_step(store, vectors)
    _in_step(store)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "vectors-1"
    with contextlib.suppress(ZeroDivisionError), written_folder(path) as temporary:
        (temporary / "a").write_bytes(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    for content in (b"one", b"two"):  # what is in the way is dropped
        with written_folder(path) as temporary:
            assert not path.exists() or content == b"two"
            (temporary / "a").write_bytes(content)
        assert files_in(path) == {"a": content}
        assert list(tmp_path.iterdir()) == [path]
    path.joinpath("a").unlink()
    path.rmdir()
    path.write_bytes(b"a file")
    with written_folder(path) as temporary:
        (temporary / "a").write_bytes(b"three")
    assert files_in(path) == {"a": b"three"}


# ---- mapped or read


def test_lists_are_read_where_mapping_is_not_safe(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inverted, "can_be_mapped", lambda path: False)
    vectors = _in_step(store)
    assert vectors.base is not None
    os.truncate(_folder(store) / LISTS, 0)  # as a server may do it
    _in_step(store, vectors)
    path = _folder(store) / LISTS
    path.write_bytes(bytes(vectors.base._n_bytes))  # of the right size
    with caplog.at_level(logging.WARNING):
        _in_step(store)
    (record,) = caplog.records
    assert str(path) in record.getMessage()


def test_an_index_in_a_folder_of_any_name(tmp_path: Path, store: Store) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    store.close()
    shutil.copytree(store.folder, place)
    with contextlib.closing(Store.open(place)) as copy:
        assert _in_step(copy).base is not None


def test_vectors_without_texts_to_try_search_all_lists(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cache, "EXACT_WINDOWS", 20)
    with store.writer() as writer:
        cache.discard(writer)
        with caplog.at_level(logging.WARNING):
            cache.refresh(writer)
    (record,) = caplog.records
    assert "no encoder bundle" in record.getMessage()
    facts = status(store).search
    assert facts is not None
    assert (facts.n_probe, facts.recall_10) == (facts.n_lists, None)


def test_an_odd_embedding_leaves_no_folder(tmp_path: Path, store: Store) -> None:
    with store.writer() as writer:
        cache.discard(writer)
    with contextlib.closing(sqlite3.connect(store.folder / "soundsearch.db")) as connection:
        connection.execute("UPDATE windows SET embedding = ? WHERE id = 3", [bytes(8)])
        connection.commit()
    with pytest.raises(StoreError, match="not a finite unit vector; run: soundsearch repair"):
        cache.load_vectors(store)
    assert not list(store.folder.glob("*vectors-*"))
