"""How much of the truth an inverted file finds, at a size that has one, for questions in words.

The windows are mixtures of the embeddings of ordinary sounds that the shipped encoder carries, as
in benchmarks/made_index.py; the questions are words of the vocabulary, which calibration never saw.
"""

from __future__ import annotations

import numpy as np
import pytest

from soundsearch.encoder.bundle import BACKGROUND_TEXTS
from soundsearch.encoder.calibration import read_background
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.vectors import build
from soundsearch.vectors.exact import ExactIndex
from soundsearch.vectors.vector_index import VectorIndex
from soundsearch.vocabulary import load_vocabulary
from tests.filled_store import unit
from tests.vectors.kinds import Array, InMemory, inverted

N_WINDOWS, N_PER_RECORDING, N_QUESTIONS = 200_000, 10, 50


def _mixtures(sounds: Array) -> Array:
    random = np.random.default_rng(0)
    n = N_WINDOWS // N_PER_RECORDING
    weights = random.dirichlet(np.ones(3), n).astype(np.float32)
    chosen = random.integers(len(sounds), size=(n, 3))
    centres = np.einsum("nk,nkd->nd", weights, sounds[chosen])
    made = np.repeat(centres, N_PER_RECORDING, axis=0)
    pairs = random.integers(len(sounds), size=(2, N_WINDOWS))
    made += np.float32(0.25) * (sounds[pairs[0]] - sounds[pairs[1]])
    return unit(made)


@pytest.fixture(scope="module")
def library() -> InMemory:
    bundle = find_bundle(DEFAULT_MODEL)
    return InMemory(np.arange(1, N_WINDOWS + 1), _mixtures(read_background(bundle)))


@pytest.fixture(scope="module")
def vectors(library: InMemory, tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    texts = read_background(find_bundle(DEFAULT_MODEL), BACKGROUND_TEXTS)
    with pytest.MonkeyPatch.context() as patched:  # a quarter of the texts, half of the steps
        patched.setattr(build, "MOST_QUESTIONS", 64)
        patched.setattr(build, "TRAINING_STEPS", 4)
        base = inverted(library, tmp_path_factory.mktemp("bases"), texts)
    none_deleted = np.zeros(base.facts.id_limit, bool)
    return VectorIndex(texts.shape[1], ExactIndex(texts.shape[1]), base, none_deleted)


def test_questions_in_words_find_what_exact_search_finds(
    library: InMemory, vectors: VectorIndex
) -> None:
    assert vectors.base is not None
    facts = vectors.base.facts
    assert facts.recall_10 is not None and facts.recall_10 >= 0.98
    assert facts.n_probe < facts.n_lists / 3
    encoder = Encoder(find_bundle(DEFAULT_MODEL), "cpu")
    questions = encoder.embed_text(load_vocabulary()[:: 1000 // N_QUESTIONS])
    cosines = questions @ library.embeddings.T
    best = np.argpartition(-cosines, 100, axis=1)[:, :100]
    order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1)
    truth = np.take_along_axis(best, order, axis=1) + 1  # ids
    library.n_read = 0
    for n, least in ((10, 0.97), (100, 0.94)):  # calibrated to 0.98 and 0.95 on other texts
        found = [vectors.search(question, n, library) for question in questions]
        shares = [np.isin(truth[i, :n], ids).mean() for i, (ids, _) in enumerate(found)]
        assert np.mean(shares) >= least, n
        for i, (ids, scores) in enumerate(found):  # what is shown is exact, and in order
            np.testing.assert_allclose(scores, cosines[i, ids - 1], atol=1e-6)
            assert (np.diff(scores) <= 0).all()
    assert library.n_read < N_WINDOWS / 10
