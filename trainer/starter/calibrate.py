"""Scores from 0 to 1 for a finished bundle: its backgrounds and its curves.

The validation recordings are a library. Each of their captions asks it, and so does each recording
that shares its caption with another. A hit is right if it has the caption asked for. What counts
is the best hit of each query, as standard deviations above the query's mean over the background
(`soundsearch/encoder/calibration.py`). A logistic regression, right and wrong best hits weighing alike in
all, tells the two apart: where it says 0.5, a right best hit is as likely as the best mistake.

Best hits are compared with best hits: the best of many mistakes often beats a right recording
that is not found, so a curve that held all right recordings against them could fall.

A third curve is for words that are asked of a library which may not hold what they name. Lines of
the shipped vocabulary ask; a recording is right if its caption has all words of the line. Lines of
which no caption has a word have no answer. Right best hits, wrong ones and those of lines without
an answer weigh alike.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsearch.encoder.bundle import (
    BACKGROUND,
    BACKGROUND_TEXTS,
    Curve,
    EncoderBundle,
    RelevanceConfig,
)
from soundsearch.encoder.calibration import FITS, Calibration, Kind, standardise
from soundsearch.encoder.embed_clips import ClipEmbeddings, embed_clips, score_texts
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, SoundsearchError
from soundsearch.files import sha256_of
from soundsearch.vocabulary import load_vocabulary
from trainer.data.manifests import Recording
from trainer.starter.english import stem, words_of

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: Windows in a background, one of a recording.
N_BACKGROUND = 1024
#: Texts in the background of texts, lines of the vocabulary.
N_TEXTS = 512
#: Keeps the curve finite where one number tells all right hits from all wrong ones.
RIDGE = 1e-3
N_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Library:
    """Recordings with captions, embedded. captions: (n,) texts. embeddings: of their windows."""

    captions: NDArray[np.str_]
    embeddings: ClipEmbeddings


@dataclass(frozen=True)
class Asked:
    """Queries of one kind and what a library answers.

    queries: (n, dim) float32. cosines: (n, n_recordings), each recording's best window; -inf for
    a query's own recording. right: (n, n_recordings) bool, whether it has the caption asked for.
    """

    kind: Kind
    queries: Array
    cosines: NDArray[np.float64]
    right: NDArray[np.bool_]


def make_library(encoder: Encoder, clips: Sequence[Recording], cache: EmbeddingCache) -> Library:
    """The recordings as a benchmark hears them; those that cannot be used are left out.

    Raises SoundsearchError if none can be used.
    """
    embeddings, lost = embed_clips(encoder, [clip.path for clip in clips], cache)
    if embeddings is None:
        raise SoundsearchError(f"none of {len(clips)} recordings can be embedded; give others")
    captions = [clip.caption for i, clip in enumerate(clips) if i not in lost]
    return Library(np.array(captions), embeddings)


def draw_background(
    encoder: Encoder, clips: Sequence[Recording], seed: int, n: int = N_BACKGROUND
) -> NDArray[np.float16]:
    """One window each of n recordings, drawn from those that can be used: (n, dim) float16.

    Of fewer recordings, all. Raises SoundsearchError if there are not two.
    """
    rng = np.random.default_rng(seed)
    drawn: list[Array] = []
    for place in rng.permutation(len(clips)):
        if len(drawn) == n:
            break
        try:
            _, embeddings = encoder.embed_file(clips[place].path)
        except AudioError:
            continue
        drawn.append(embeddings[rng.integers(len(embeddings))])
    if len(drawn) < 2:
        raise SoundsearchError(
            f"a background needs 2 recordings or more, {len(drawn)} of {len(clips)} can be used"
        )
    return np.stack(drawn).astype(np.float16)


def ask(encoder: Encoder, library: Library) -> list[Asked]:
    """What the library answers to its captions, and to its recordings whose caption others have."""
    captions = library.captions
    texts = np.array(sorted(set(captions.tolist())))
    words = encoder.embed_text(texts.tolist())
    said = Asked("text", words, _cosines(words, library), texts[:, None] == captions)

    counts = Counter(captions.tolist())
    asking = np.flatnonzero([counts[caption] > 1 for caption in captions.tolist()])
    sounds = library.embeddings.mean().vectors[asking]
    cosines = _cosines(sounds, library)
    right = captions[asking][:, None] == captions
    itself = np.arange(len(asking)), asking
    cosines[itself], right[itself] = -np.inf, False
    return [said, Asked("audio", sounds, cosines, right)]


@dataclass(frozen=True)
class Answers:
    """The best hits of a library for words.

    queries, nearest: (n, dim), the words and the window that fits them best. is_right: (n,),
    whether its recording is what the words name. exists: (n,), whether any recording is.
    """

    queries: Array
    nearest: Array
    is_right: NDArray[np.bool_]
    exists: NDArray[np.bool_]

    def z(self, calibration: Calibration) -> NDArray[np.float64]:
        """(n,), see `Calibration.two_sided`."""
        pairs = zip(self.queries, self.nearest, strict=True)
        return np.array([calibration.two_sided(q, np.array([q @ w]), w)[0] for q, w in pairs])


def ask_vocabulary(encoder: Encoder, library: Library, lines: Sequence[str]) -> Answers:
    """What the library answers to lines of a vocabulary; see the head of this module."""
    captions = [_stems(caption) for caption in library.captions.tolist()]
    known = frozenset().union(*captions)
    wanted = {line: _stems(line) for line in lines}
    right = {line: [words <= caption for caption in captions] for line, words in wanted.items()}
    asked = [line for line in lines if any(right[line]) or not wanted[line] & known]
    queries = encoder.embed_text(asked)
    windows = library.embeddings.vectors
    owner = np.repeat(np.arange(len(captions)), np.diff(library.embeddings.first))
    nearest = (queries @ windows.T).argmax(axis=1)
    return Answers(
        queries,
        windows[nearest],
        np.array([right[line][i] for line, i in zip(asked, owner[nearest], strict=True)]),
        np.array([any(right[line]) for line in asked]),
    )


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(stem, words_of(text)))


def fit_search_curve(answers: Answers, z: NDArray[np.float64]) -> Curve | None:
    """The curve for words asked of a library by their z, (n,).

    None as `fit_curve`, or if a kind of answer is lacking.
    """
    kinds = answers.is_right, answers.exists & ~answers.is_right, ~answers.exists
    if not all(kind.any() for kind in kinds):
        return None
    return fit_curve(z, answers.is_right, sum(kind / kind.sum() for kind in kinds))


def fit_curve(
    z: NDArray[np.float64],
    is_right: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> Curve | None:
    """The logistic curve that tells right from wrong by z, both (n,).

    weights: (n,), of each; None for right and wrong ones that weigh alike in all. None if there is
    no such curve: all are right, none is, or the right ones do not lie higher.
    """
    n_right = int(is_right.sum())
    if n_right in (0, len(z)) or z.std() == 0:
        return None
    if weights is None:
        weights = np.where(is_right, 1 / n_right, 1 / (len(z) - n_right))
    weights = weights / weights.sum()
    centre, spread = float(z.mean()), float(z.std())
    x = np.stack([(z - centre) / spread, np.ones_like(z)])  # (2, n)
    curve = np.zeros(2)
    for _ in range(N_NEWTON_STEPS):
        p = np.exp(-np.logaddexp(0.0, -(curve @ x)))
        gradient = x @ (weights * (p - is_right)) + RIDGE * curve
        hessian = (x * (weights * p * (1.0 - p))) @ x.T + RIDGE * np.eye(2)
        curve -= np.linalg.solve(hessian, gradient)
    slope = float(curve[0]) / spread
    if slope <= 0:
        return None
    return Curve(slope=round(slope, 4), offset=round(float(curve[1]) - slope * centre, 4))


def calibrate(encoder: Encoder, library: Library, background: NDArray[np.float16]) -> EncoderBundle:
    """Fit the curves, write background.npy and bundle.json; returns the bundle as it is now.

    library: of the validation split. background: (n, dim), of the training split. A bundle whose
    scores do not tell right from wrong stays as it is, and the log says so.
    """
    bundle = encoder.bundle
    curves = {}
    for asked in ask(encoder, library):
        z = standardise(asked.queries, asked.cosines, background.astype(np.float32))
        curve = fit_curve(z.max(axis=1), _best_is_right(asked)) if len(z) else None
        if curve is None:
            logger.warning(
                "%s: stays without calibration, its scores do not tell right from wrong "
                "best hits of the %s queries",
                bundle.folder,
                asked.kind,
            )
            return bundle
        curves[asked.kind] = curve
    lines = load_vocabulary()
    drawn = np.random.default_rng(0).permutation(len(lines))[:N_TEXTS]
    texts = encoder.embed_text([lines[i] for i in drawn]).astype(np.float16)
    backgrounds = Calibration(
        background.astype(np.float32), RelevanceConfig(**curves), texts.astype(np.float32)
    )
    answers = ask_vocabulary(encoder, library, lines)
    search = fit_search_curve(answers, answers.z(backgrounds))
    files = {**bundle.files, **_saved(bundle, BACKGROUND, background)}
    if search is None:
        logger.warning("%s: the vocabulary's lines give no curve for searches", bundle.folder)
    else:
        files |= _saved(bundle, BACKGROUND_TEXTS, texts)
    relevance = RelevanceConfig(**curves, search=search)
    calibrated = dataclasses.replace(bundle, files=files, relevance=relevance)
    calibrated.write()
    return calibrated


def _saved(bundle: EncoderBundle, name: str, embeddings: NDArray[np.float16]) -> dict[str, str]:
    np.save(bundle.folder / name, embeddings)
    return {name: sha256_of(bundle.folder / name)}


def separation(encoder: Encoder, library: Library) -> dict[str, float]:
    """How well the score of the best hit says whether anything fits: shares of queries by name.

    For text and audio queries each: how often the best hit scores 0.5 or more, with the right
    recordings in the library and with them taken out; and how often it is right where it does,
    and where it does not. A share of no queries is left out. Nothing for a bundle without
    calibration. The same of the vocabulary's lines, asked of the library.
    """
    calibration = Calibration.of(encoder.bundle)
    if calibration is None:
        return {}
    found: dict[str, float] = {}
    for asked in ask(encoder, library):
        scores = calibration.relevance(asked.kind, asked.queries, asked.cosines)
        fits = scores.max(axis=1) >= FITS
        mistakes = np.where(asked.right, 0.0, scores).max(axis=1)
        is_right = _best_is_right(asked)
        for name, shares in {
            f"best hit scores {FITS} or more": fits,
            "the same, right recordings taken out": mistakes >= FITS,
            f"best hit is right where it scores {FITS} or more": is_right[fits],
            "best hit is right where it scores less": is_right[~fits],
        }.items():
            if len(shares):
                found[f"{asked.kind}: {name}"] = round(float(shares.mean()), 4)
    if calibration.texts is not None:
        found |= claims(ask_vocabulary(encoder, library, load_vocabulary()), calibration)
    return found


def claims(answers: Answers, calibration: Calibration) -> dict[str, float]:
    """How often the best hit for words scores 0.5 or more, and is right; shares by name."""
    assert calibration.curves.search is not None
    fits = calibration.curves.search.height(answers.z(calibration)) >= FITS
    groups = {
        f"search: best hit scores {FITS} or more": fits[answers.exists],
        "search: the same, words of which nothing is there": fits[~answers.exists],
        f"search: best hit is right where it scores {FITS} or more": answers.is_right[
            answers.exists & fits
        ],
        "search: best hit is right where it scores less": answers.is_right[answers.exists & ~fits],
    }
    return {name: round(float(found.mean()), 4) for name, found in groups.items() if len(found)}


def _cosines(queries: Array, library: Library) -> NDArray[np.float64]:
    """(n_queries, n_recordings): the cosine of each recording's best window."""
    if not len(queries):
        return np.zeros((0, len(library.captions)))
    return score_texts(queries, library.embeddings).astype(np.float64)


def _best_is_right(asked: Asked) -> NDArray[np.bool_]:
    best = asked.cosines.argmax(axis=1)
    found: NDArray[np.bool_] = asked.right[np.arange(len(best)), best]
    return found
