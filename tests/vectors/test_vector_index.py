from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundsearch.vectors import vector_index
from tests.filled_store import unit
from tests.vectors.kinds import KINDS, Array, Ids, inverted, made, stored


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


@pytest.fixture(scope="module", autouse=True)
def _always_by_the_base() -> Iterator[None]:
    """Small libraries too are searched by their inverted file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vector_index, "FEW_WINDOWS", 0)
        patched.setattr(vector_index, "DEEP_SHARE", np.inf)
        yield


def _random(n: int, dim: int, seed: int) -> tuple[Ids, Array]:
    random = np.random.default_rng(seed)
    ids = random.choice(10_000, n, replace=False).astype(np.int64)
    return ids, unit(random.standard_normal((n, dim))) if n else np.empty((0, dim), np.float32)


def _nearest(query: Array, ids: Ids, embeddings: Array, top_k: int) -> tuple[Ids, Array]:
    """The oracle."""
    scores = embeddings @ query
    order = np.argsort(-scores)[:top_k]
    return ids[order], scores[order]


# ---- every kind finds what brute force finds


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    n=st.integers(0, 60),
    dim=st.integers(2, 9),
    seed=st.integers(0, 2**32),
    top_k=st.integers(1, 70),
)
def test_it_finds_what_brute_force_finds(
    scratch: Path, kind: str, n: int, dim: int, seed: int, top_k: int
) -> None:
    ids, embeddings = _random(n, dim, seed)
    query = unit(np.random.default_rng(seed + 1).standard_normal(dim))[0]
    expected_ids, expected_scores = _nearest(query, ids, embeddings, top_k)
    vectors, library = made(kind, ids, embeddings, scratch)

    found, scores = vectors.search(query, top_k, library)

    assert len(vectors) == n
    assert found.tolist() == expected_ids.tolist()
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), n_among=st.integers(0, 30), top_k=st.integers(1, 35))
def test_it_searches_among_some(
    scratch: Path, kind: str, seed: int, n_among: int, top_k: int
) -> None:
    ids, embeddings = _random(30, 4, seed)
    chosen = np.random.default_rng(seed + 1).permutation(30)[:n_among]
    among = np.sort(np.append(ids[chosen], 20_000))  # one that is not there
    query = embeddings[0]
    expected_ids, _ = _nearest(query, ids[chosen], embeddings[chosen], top_k)
    vectors, library = made(kind, ids, embeddings, scratch)

    found, _ = vectors.search(query, top_k, library, among)

    assert found.tolist() == expected_ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_among_nothing_there_is_nothing(scratch: Path, kind: str) -> None:
    vectors, library = made(kind, *_random(5, 4, 0), scratch)
    for among in (np.empty(0, np.int64), np.array([20_000])):
        ids, scores = vectors.search(unit([1, 0, 0, 0])[0], 3, library, among)
        assert len(ids) == len(scores) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, -1])
def test_no_hits_wanted(scratch: Path, kind: str, top_k: int) -> None:
    vectors, library = made(kind, *_random(5, 4, 0), scratch)
    assert len(vectors.search(unit([1, 0, 0, 0])[0], top_k, library)[0]) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3,), (1, 4), ()])
def test_a_query_of_another_shape_is_refused(
    scratch: Path, kind: str, shape: tuple[int, ...]
) -> None:
    vectors, library = made(kind, *_random(5, 4, 0), scratch)
    with pytest.raises(ValueError, match=r"query must be \(4,\)"):
        vectors.search(np.ones(shape, np.float32), 1, library)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_those_of_the_database(scratch: Path, kind: str) -> None:
    ids, embeddings = _random(30, 4, 0)
    vectors, library = made(kind, ids, embeddings, scratch)
    np.testing.assert_array_equal(vectors.embeddings(ids[5:20], library), embeddings[5:20])
    with pytest.raises(KeyError):
        vectors.embeddings(np.array([20_000]), library)


@pytest.mark.parametrize("kind", ["inverted", "unread"])
def test_equal_windows_come_by_id(scratch: Path, kind: str) -> None:
    ids = np.arange(1, 31)
    vectors, library = made(kind, ids, np.tile(unit([1, 2]), (30, 1)), scratch)
    assert vectors.search(unit([1, 0])[0], 7, library)[0].tolist() == [1, 2, 3, 4, 5, 6, 7]


# ---- an inverted file


def test_what_is_deleted_is_not_found(scratch: Path) -> None:
    ids, embeddings = _random(60, 4, 0)
    vectors, library = made("inverted", ids, embeddings, scratch)
    assert vectors.base is not None
    best, _ = vectors.search(embeddings[1], 10, library)
    in_base = [i for i in best.tolist() if i in vectors.base.ids]
    vectors.is_deleted[in_base] = True

    found, _ = vectors.search(embeddings[1], 60, library)

    assert set(found.tolist()) == set(ids.tolist()) - set(in_base)
    assert len(vectors) == 60 - len(in_base)
    assert vectors.ids.tolist() == sorted(found.tolist())


def test_a_window_that_is_gone_since_is_left_out(scratch: Path) -> None:
    ids, embeddings = _random(60, 4, 0)
    vectors, _ = made("inverted", ids, embeddings, scratch)
    rest = stored(ids[2:], embeddings[2:])
    found, _ = vectors.search(embeddings[1], 5, rest)
    expected, _ = _nearest(embeddings[1], ids[2:], embeddings[2:], 5)
    assert found.tolist() == expected.tolist()


def test_only_candidates_are_read_from_the_database(scratch: Path) -> None:
    ids, embeddings = _random(3000, 16, 0)
    vectors, library = made("inverted", ids, embeddings, scratch)
    vectors.search(embeddings[0], 10, library)
    assert library.n_read <= 60
    vectors.search(embeddings[0], 10, library, exact=True)
    assert library.n_read >= 3000


def test_part_of_the_windows_needs_more_lists_to_find_as_many(scratch: Path) -> None:
    ids, embeddings = _random(4000, 16, 0)
    library = stored(ids, embeddings)
    questions = unit(np.random.default_rng(9).standard_normal((200, 16)))
    vectors, _ = made("exact", *_random(0, 16, 0), scratch)
    vectors.base = inverted(library, scratch, questions[:100])
    vectors.is_deleted = np.zeros(vectors.base.facts.id_limit, bool)
    assert vectors.base.facts.n_probe < vectors.base.facts.n_lists
    for n_among in (200, 1000, 2000, 4000):
        chosen = np.sort(np.random.default_rng(1).permutation(4000)[:n_among])
        among = np.sort(ids[chosen])
        shares = []
        for query in questions[100:]:
            expected, _ = _nearest(query, ids[chosen], embeddings[chosen], 10)
            shares.append(np.isin(expected, vectors.search(query, 10, library, among)[0]).mean())
        assert np.mean(shares) > 0.95, n_among


def test_a_damaged_list_is_not_believed(scratch: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids, embeddings = _random(300, 8, 0)
    vectors, library = made("inverted", ids, embeddings, scratch)
    assert vectors.base is not None
    lists = vectors.base.folder / "base.lists"
    with open(lists, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    with caplog.at_level(logging.WARNING):
        found, _ = vectors.search(embeddings[0], 10, library)
    assert found.tolist() == _nearest(embeddings[0], ids, embeddings, 10)[0].tolist()
    (record,) = caplog.records
    assert str(lists) in record.getMessage() and "soundsearch repair" in record.getMessage()
