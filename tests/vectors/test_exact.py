from __future__ import annotations

import os
from pathlib import Path

import faiss
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.vectors.exact import ExactIndex, VectorFileError
from tests.filled_store import unit

Array = NDArray[np.float32]
Ids = NDArray[np.int64]


def _random(n: int, dim: int, seed: int) -> tuple[Ids, Array]:
    random = np.random.default_rng(seed)
    ids = random.choice(10_000, n, replace=False).astype(np.int64)
    return ids, unit(random.standard_normal((n, dim))) if n else np.empty((0, dim), np.float32)


def _made(ids: Ids, embeddings: Array) -> ExactIndex:
    index = ExactIndex(embeddings.shape[1])
    index.add(ids, embeddings)
    return index


def _nearest(query: Array, ids: Ids, embeddings: Array, top_k: int) -> tuple[Ids, Array]:
    """The oracle."""
    scores = embeddings @ query
    order = np.argsort(-scores)[:top_k]
    return ids[order], scores[order]


# ---- searching


@given(
    n=st.integers(0, 40),
    dim=st.integers(2, 9),
    seed=st.integers(0, 2**32),
    top_k=st.integers(1, 50),
)
def test_it_finds_what_brute_force_finds(n: int, dim: int, seed: int, top_k: int) -> None:
    ids, embeddings = _random(n, dim, seed)
    query = unit(np.random.default_rng(seed + 1).standard_normal(dim))[0]
    expected_ids, expected_scores = _nearest(query, ids, embeddings, top_k)

    found, scores = _made(ids, embeddings).search(query, top_k)

    assert found.tolist() == expected_ids.tolist()
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


@given(seed=st.integers(0, 2**32), n_among=st.integers(0, 30), top_k=st.integers(1, 35))
def test_it_searches_among_some(seed: int, n_among: int, top_k: int) -> None:
    ids, embeddings = _random(30, 4, seed)
    chosen = np.random.default_rng(seed + 1).permutation(30)[:n_among]
    among = np.append(ids[chosen], 20_000)  # one that is not there
    query = embeddings[0]
    expected_ids, _ = _nearest(query, ids[chosen], embeddings[chosen], top_k)

    found, _ = _made(ids, embeddings).search(query, top_k, among)

    assert found.tolist() == expected_ids.tolist()


def test_among_nothing_there_is_nothing() -> None:
    index = _made(*_random(5, 4, 0))
    for among in (np.empty(0, np.int64), np.array([20_000])):
        ids, scores = index.search(unit([1, 0, 0, 0])[0], 3, among)
        assert len(ids) == len(scores) == 0


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_hits_wanted(top_k: int) -> None:
    assert len(_made(*_random(5, 4, 0)).search(unit([1, 0, 0, 0])[0], top_k)[0]) == 0


@pytest.mark.parametrize("shape", [(3,), (1, 4), ()])
def test_a_query_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"query must be \(4,\)"):
        ExactIndex(4).search(np.ones(shape, np.float32), 1)


# ---- adding and removing


@given(seed=st.integers(0, 2**32), cut=st.integers(0, 30), gone=st.sets(st.integers(0, 29)))
def test_what_was_removed_is_not_found(seed: int, cut: int, gone: set[int]) -> None:
    ids, embeddings = _random(30, 4, seed)
    index = _made(ids[:cut], embeddings[:cut])
    index.add(ids[cut:], embeddings[cut:])

    index.remove(np.append(ids[sorted(gone)], 20_000))  # one that is not there is passed over

    kept = np.array(sorted(set(range(30)) - gone), int)
    assert len(index) == len(kept)
    assert sorted(index.ids.tolist()) == sorted(ids[kept].tolist())
    np.testing.assert_array_equal(index.embeddings(ids[kept]), embeddings[kept])
    found, _ = index.search(embeddings[0], 30)
    assert set(found.tolist()) == set(ids[kept].tolist())


def test_an_id_is_there_once() -> None:
    index = _made(np.array([3, 5]), unit([(1, 0), (0, 1)]))
    with pytest.raises(ValueError, match="twice"):
        index.add(np.array([5]), unit([(1, 1)]))
    with pytest.raises(ValueError, match="twice"):
        index.add(np.array([7, 7]), unit([(1, 1), (1, 0)]))
    assert sorted(index.ids.tolist()) == [3, 5]


def test_adding_compares_with_what_is_added_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    index = _made(np.arange(1, 6), unit(np.eye(5)))
    index.add(np.array([6]), unit([1, 0, 0, 0, 0]))  # from here on it knows what it holds
    monkeypatch.setattr(ExactIndex, "ids", property(lambda self: pytest.fail("all ids are read")))
    for i in range(7, 40):
        index.add(np.array([i]), unit([1, 0, 0, 0, 0]))
    assert len(index) == 39


@pytest.mark.parametrize(
    "row", [(0.0, 0.0), (1.0, 0.1), (np.nan, 1.0), (np.inf, 0.0), (0.5, 0.5), (2.0, 0.0)]
)
def test_only_unit_vectors_are_taken(row: tuple[float, float]) -> None:
    index = ExactIndex(2)
    with pytest.raises(ValueError, match="unit"):
        index.add(np.array([1, 2]), np.array([(1.0, 0.0), row], np.float32))
    assert len(index) == 0


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2,), (1, 2, 2)])
def test_embeddings_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \(2, 2\)"):
        ExactIndex(2).add(np.array([1, 2]), np.ones(shape, np.float32))


def test_the_embedding_of_an_unknown_id() -> None:
    with pytest.raises(KeyError):
        _made(*_random(5, 4, 0)).embeddings(np.array([20_000]))


# ---- the file


@pytest.mark.parametrize("n", [0, 1, 50])
def test_what_is_saved_is_loaded(tmp_path: Path, n: int) -> None:
    ids, embeddings = _random(n, 4, 0)
    path = tmp_path / "vectors.faiss"
    _made(ids, embeddings).save(path)

    loaded = ExactIndex.load(path, 4)

    assert list(tmp_path.iterdir()) == [path]
    assert loaded.ids.tolist() == ids.tolist()
    np.testing.assert_array_equal(loaded.embeddings(ids), embeddings)
    loaded.add(np.array([20_000]), unit([1, 0, 0, 0]))  # and it can be added to
    assert loaded.search(unit([1, 0, 0, 0])[0], 1)[0].tolist() == [20_000]


def test_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    _made(*_random(5, 4, 0)).save(folder / "vectors.faiss")
    assert len(ExactIndex.load(folder / "vectors.faiss", 4)) == 5


@pytest.mark.parametrize("keep", [0, 3, 50, 200, 400])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "vectors.faiss"
    _made(*_random(20, 4, 0)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VectorFileError, match="not a readable FAISS file"):
        ExactIndex.load(path, 4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(tmp_path: Path, place: float, bit: int) -> None:
    path = tmp_path / "vectors.faiss"
    _made(*_random(20, 4, 0)).save(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(VectorFileError, match="not a readable FAISS file"):
        ExactIndex.load(path, 4)


def test_a_file_of_several_blocks(tmp_path: Path) -> None:
    ids = np.arange(3000)
    path = tmp_path / "vectors.faiss"
    _made(ids, unit(np.random.default_rng(0).standard_normal((3000, 200)))).save(path)
    content = bytearray(path.read_bytes())
    assert len(content) > 2 << 20
    assert ExactIndex.load(path, 200).ids.tolist() == ids.tolist()
    content[-17] ^= 1  # the last byte that the checksum is about
    path.write_bytes(content)
    with pytest.raises(VectorFileError, match="not a readable FAISS file"):
        ExactIndex.load(path, 200)


def test_a_file_without_a_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.faiss"  # as earlier versions wrote it
    faiss.write_index(_made(*_random(20, 4, 0))._index, str(path))
    with pytest.raises(VectorFileError, match="not a readable FAISS file"):
        ExactIndex.load(path, 4)


@pytest.mark.parametrize("content", [b"something else " * 100, bytes(4000), b"\xff" * 4000])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vectors.faiss").write_bytes(content)
    with pytest.raises(VectorFileError):
        ExactIndex.load(tmp_path / "vectors.faiss", 4)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorFileError):
        ExactIndex.load(tmp_path / "vectors.faiss", 4)


@pytest.mark.parametrize(
    "other",
    [
        faiss.IndexIDMap2(faiss.IndexFlatIP(5)),  # another dimension
        faiss.IndexIDMap2(faiss.IndexFlatL2(4)),  # distances, not scores
        faiss.IndexIDMap2(faiss.IndexHNSWFlat(4, 8, faiss.METRIC_INNER_PRODUCT)),  # not exact
        faiss.IndexFlatIP(4),  # no ids
    ],
)
def test_a_faiss_file_of_another_kind_is_refused(tmp_path: Path, other: faiss.Index) -> None:
    path = tmp_path / "vectors.faiss"
    content = faiss.serialize_index(other).tobytes()
    path.write_bytes(content + xxhash.xxh3_128_digest(content))
    with pytest.raises(VectorFileError, match="another kind or dimension"):
        ExactIndex.load(path, 4)
