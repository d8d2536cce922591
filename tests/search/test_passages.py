"""Passages: where in a recording a question stands out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.encoder.bundle import Curve, EncoderBundle, RelevanceConfig
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError
from soundsearch.search.hits import Hit
from soundsearch.search.index import Index
from soundsearch.search.passages import ALIKE, Place, lowest_of_passages, merge
from soundsearch.store import Store
from soundsearch.store.pinned import create_index
from tests import sounds
from tests.calibrated import calibrate
from tests.filled_store import changing, put, recording
from tests.tiny_encoder import BAND_HZ, WORDS

pytestmark = pytest.mark.usefixtures("each_kind")

ROOT = Path("/library")
N = len(WORDS)
cosines = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


# ---- which windows stand out


def no_fits(n: int) -> np.ndarray:
    return np.zeros(n, bool)


def test_from_halfway_between_the_median_and_the_highest() -> None:
    assert lowest_of_passages(np.array([0.1, 0.5, 0.1, 0.4, 0.1]), no_fits(5)) == pytest.approx(0.3)


def test_what_is_alike_stands_out_alike() -> None:
    assert lowest_of_passages(np.array([0.30, 0.32, 0.31]), no_fits(3)) == pytest.approx(
        0.32 - ALIKE
    )


def test_what_fits_stands_out_however_much_better_another_window_is() -> None:
    found = np.array([0.1, 0.9, 0.3, 0.1, 0.1])
    assert lowest_of_passages(found, found > 0.2) == 0.3
    assert lowest_of_passages(found, found > 2) == pytest.approx(0.5)


@given(cosines)
def test_the_best_window_stands_out(values: list[float]) -> None:
    found = np.array(values)
    assert lowest_of_passages(found, found > 2) <= found.max()
    assert lowest_of_passages(found, found > 0.5) <= lowest_of_passages(found, found > 2)


# ---- which windows are one passage


def _windows(values: Sequence[float], hop_s: float = 1.0) -> list[tuple[float, float, float]]:
    """Windows of two seconds."""
    return [(i * hop_s, i * hop_s + 2, value) for i, value in enumerate(values)]


def test_windows_that_overlap_or_touch_are_one_passage() -> None:
    assert merge(_windows([1, 1]), 1) == [Place(0, 3, 1)]
    assert merge(_windows([1, 1], hop_s=2), 1) == [Place(0, 4, 1)]
    assert merge(_windows([1, 1], hop_s=2.1), 1) == [Place(0, 2, 1), Place(2.1, 4.1, 1)]


def test_others_join_those_that_stand_out_but_make_no_passage() -> None:
    assert merge(_windows([1, 0.5, 0.5, 0.5, 1]), 1) == [Place(0, 6, 1)]
    assert merge(_windows([0.5, 0.5, 1, 0.5]), 1) == [Place(2, 4, 1)]
    apart = [window for window in _windows([1, 0, 0, 1]) if window[2]]
    assert merge(apart, 1) == [Place(0, 2, 1), Place(3, 5, 1)]


@given(cosines, st.floats(-1, 1), st.sampled_from([0.7, 1.0, 2.0, 2.5]))
def test_passages_hold_the_windows_that_stand_out_and_lie_apart(
    values: list[float], least: float, hop_s: float
) -> None:
    windows = _windows(values, hop_s)
    places = merge(reversed(windows), least)
    standing = [window for window in windows if window[2] >= least]
    for start_s, end_s, cosine in standing:
        (around,) = (p for p in places if p.start_s <= start_s and end_s <= p.end_s)
        assert around.cosine >= cosine
    starts, ends = {w[0] for w in standing}, {w[1] for w in standing}
    assert {p.start_s for p in places} <= starts and {p.end_s for p in places} <= ends
    assert {p.cosine for p in places} <= {w[2] for w in standing}
    assert all(a.end_s < b.start_s for a, b in itertools.pairwise(places))


# ---- of hits


@pytest.fixture
def store(tiny: EncoderBundle, tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        yield made


def _spans(hit: Hit) -> list[tuple[float, float]]:
    return [(passage.start_s, passage.end_s) for passage in hit.passages]


def _at(places: Sequence[int], n: int, word: int = 1) -> list[list[float]]:
    """Embeddings of n windows that are the word at these places, and another one elsewhere."""
    eye = np.eye(N).tolist()
    return [eye[word] if i in places else eye[5] for i in range(n)]


def test_a_recording_with_four_such_sounds_has_four_passages(store: Store) -> None:
    put(store, ROOT, "dogs.wav", _at([3, 40, 41, 200, 1499], 1500))
    index = Index(store, "cpu")
    (hit,) = index.search(text=WORDS[1], passages=10)
    assert _spans(hit) == [(3, 4), (40, 42), (200, 201), (1499, 1500)]
    assert (hit.start_s, hit.end_s) == (3, 4) and hit.n_more_passages == 0
    assert {passage.score for passage in hit.passages} == {hit.score}


def test_the_best_are_given_in_order_of_time_and_the_others_counted(store: Store) -> None:
    vectors = np.array(_at([], 30))
    for place, level in ((2, 0.8), (10, 1.0), (15, 0.7), (20, 0.9), (28, 0.6)):
        vectors[place] = level * np.eye(N)[1] + (1 - level) * np.eye(N)[5]
    put(store, ROOT, "dogs.wav", vectors)
    index = Index(store, "cpu")
    for n, starts, n_more in (
        (1, [10], 4),
        (2, [10, 20], 3),
        (3, [2, 10, 20], 2),
        (5, [2, 10, 15, 20, 28], 0),
        (50, [2, 10, 15, 20, 28], 0),
        (0, [], 0),
    ):
        (hit,) = index.search(text=WORDS[1], passages=n)
        assert ([p.start_s for p in hit.passages], hit.n_more_passages) == (starts, n_more)
        assert hit.start_s == 10
    (hit,) = index.search(text=WORDS[1])
    assert len(hit.passages) == 3
    best = max(hit.passages, key=lambda passage: passage.score)
    assert (best.start_s, best.cosine, best.score) == (10, hit.cosine, hit.score)


def test_one_sound_throughout_is_one_passage(store: Store) -> None:
    levels = np.random.default_rng(0).uniform(0.70, 0.72, 500)  # cosines differ by 0.03
    put(store, ROOT, "rain.wav", [y * np.eye(N)[1] + (1 - y) * np.eye(N)[5] for y in levels])
    (hit,) = Index(store, "cpu").search(text=WORDS[1])
    assert _spans(hit) == [(0, 500)] and hit.n_more_passages == 0


def test_min_score_holds_for_passages(store: Store) -> None:
    vectors = np.array(_at([5], 30))
    vectors[20] = 0.7 * np.eye(N)[1] + 0.3 * np.eye(N)[5]
    put(store, ROOT, "dogs.wav", vectors)
    index = Index(store, "cpu")
    (hit,) = index.search(text=WORDS[1])
    assert [p.start_s for p in hit.passages] == [5, 20]
    lower = hit.passages[1].score
    for least, n in ((lower, 2), (lower + 1e-5, 1)):
        (hit,) = index.search(text=WORDS[1], min_score=least)
        assert (len(hit.passages), hit.n_more_passages) == (n, 0)


def test_of_a_calibrated_encoder_what_fits_is_a_passage(
    tiny: EncoderBundle, tmp_path: Path
) -> None:
    vectors = np.array(_at([5], 30))
    vectors[20] = 0.33 * np.eye(N)[1] + 0.67 * np.eye(N)[2]  # further from the best than halfway
    for offset, starts in ((0.0, [5, 20]), (-4.0, [5])):
        curve = Curve(slope=2.0, offset=offset)
        bundle = calibrate(tiny, RelevanceConfig(text=curve, audio=curve))
        folder = tmp_path / f"index {offset}"
        with contextlib.closing(create_index(folder, bundle)) as store:
            put(store, ROOT, "dogs.wav", vectors)
            (hit,) = Index(store, "cpu").search(text=WORDS[1])
        assert [p.start_s for p in hit.passages] == starts
        assert all(p.relevance is not None and p.relevance >= 0.5 for p in hit.passages)
        assert max(p.score for p in hit.passages) == hit.score == hit.relevance


def test_each_hit_has_its_own(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        for i in range(6):
            changes.put(recording(root.id, f"{i}.wav", _at([i, 15 + i], 30)))
    hits = Index(store, "cpu").search(text=WORDS[1])
    assert len(hits) == 6
    for hit in hits:
        i = int(hit.path.stem)
        assert _spans(hit) == [(i, i + 1), (15 + i, 16 + i)]


def test_a_recording_found_by_its_name_has_passages_too(store: Store) -> None:
    put(store, ROOT, f"{WORDS[1]}.wav", np.eye(N)[[5, 6, 5]])
    (hit,) = Index(store, "cpu").search(text=WORDS[1], by="words")
    assert hit.words == (WORDS[1],) and len(hit.passages) >= 1
    assert max(p.cosine for p in hit.passages) == hit.cosine


@pytest.mark.parametrize("n", [-1, 1.5, "3", None, True])
def test_an_impossible_number_of_passages_is_named(store: Store, n: object) -> None:
    with pytest.raises(QueryError, match="passages is "):
        Index(store, "cpu").search(text="hum", passages=n)  # type: ignore[arg-type]


def test_passages_of_a_real_recording(store: Store, tiny: EncoderBundle, tmp_path: Path) -> None:
    hum, hiss = sounds.tone(BAND_HZ[1], 2.0), sounds.tone(BAND_HZ[7], 6.0)
    path = sounds.write(tmp_path / "long.wav", np.concatenate([hiss, hum, hiss, hiss, hum, hiss]))
    spans, embeddings = Encoder(tiny).embed_file(path)
    made = recording(1, "long.wav", embeddings)
    with changing(store) as changes:
        changes.add_root(tmp_path)
        changes.put(type(made)(**{**vars(made), "spans": spans}))
    (hit,) = Index(store, "cpu").search(text=WORDS[1])
    first, second = hit.passages
    assert 5 < first.start_s <= 6 and 8 <= first.end_s < 9
    assert 19 < second.start_s <= 20 and 22 <= second.end_s < 23
