"""Scores from 0 to 1 for any bundle: its backgrounds and its curves, chosen by one rule.

The rule. Recordings with captions are a library. Each of their captions asks it, and so does each
recording that shares its caption with another; a hit is right if it has the caption asked for.
Where fewer than `LEAST_SHARED` recordings share a caption, those of three windows or more are cut
in two, and the first part asks for the second; its score, and that of the best mistake, count as a
right and a wrong best hit. The background is windows of ordinary recordings,
one of each, or more where these are few. Ordinary texts are lines of the shipped vocabulary.

What counts is the best hit of each query, as standard deviations above the query's mean over the
background (`soundsearch/encoder/calibration.py`). A logistic regression, right and wrong best hits
weighing alike in all, tells the two apart: where it says 0.5, a right best hit is as likely as the
best mistake. Best hits are compared with best hits: the best of many mistakes often beats a right
recording that is not found, so a curve that held all right recordings against them could fall.

A third curve is for words that are asked of a library which may not hold what they name. Lines of
the shipped vocabulary ask; a recording is right if its caption has all words of the line. Lines of
which no caption has a word have no answer. Right best hits, wrong ones and those of lines without
an answer weigh alike.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from soundsearch.errors import SoundsearchError
from soundsearch.files import sha256_of
from soundsearch.progress import Progress
from soundsearch.vocabulary import load_vocabulary
from trainer.calibration_set import CalibrationSet, Captioned
from trainer.english import stem, words_of

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: Windows in a background, at most.
N_BACKGROUND = 1024
#: Recordings that must share a caption with another one, to ask by it.
LEAST_SHARED = 20
#: Texts in the background of texts, lines of the vocabulary.
N_TEXTS = 512
#: Keeps the curve finite where one number tells all right hits from all wrong ones.
RIDGE = 1e-3
N_NEWTON_STEPS = 50
#: Of the drawing of backgrounds.
SEED = 0


@dataclass(frozen=True)
class Library:
    """Recordings with captions, embedded. captions: (n,) texts. embeddings: of their windows."""

    captions: NDArray[np.str_]
    embeddings: ClipEmbeddings


@dataclass(frozen=True)
class QueryResults:
    """Queries of one kind and what a library answers.

    queries: (n, dim) float32. cosines: (n, n_recordings), each recording's best window; -inf for
    a query's own recording. right: (n, n_recordings) bool, whether it has the caption asked for.
    by_parts: whether the queries are parts of the recordings.
    """

    kind: Kind
    queries: Array
    cosines: NDArray[np.float64]
    right: NDArray[np.bool_]
    by_parts: bool = False


def make_library(
    encoder: Encoder,
    recordings: Sequence[Captioned],
    cache: EmbeddingCache,
    progress: Progress | None = None,
) -> Library:
    """Embed recordings as a benchmark does; those that cannot be used are left out.

    Raises SoundsearchError if none can be used.
    """
    paths = [one.path for one in recordings]
    embeddings, lost = embed_clips(encoder, paths, cache, progress=progress)
    if embeddings is None:
        raise SoundsearchError(
            f"none of {len(paths)} recordings can be embedded ({next(iter(lost.values()), '')}); "
            "give others"
        )
    captions = [one.caption for i, one in enumerate(recordings) if i not in lost]
    return Library(np.array(captions), embeddings)


def draw_background(
    encoder: Encoder,
    paths: Sequence[Path],
    cache: EmbeddingCache,
    *,
    seed: int = SEED,
    n: int = N_BACKGROUND,
    progress: Progress | None = None,
) -> NDArray[np.float16]:
    """Draw windows of recordings, one of each, or more where there are fewer than n recordings.

    Returns:
        (at most n, dim) float16.

    Raises:
        SoundsearchError: Fewer than two recordings can be used.
    """
    rng = np.random.default_rng(seed)
    drawn = [paths[i] for i in rng.permutation(len(paths))[:n]]
    found, _ = embed_clips(encoder, drawn, cache, progress=progress)
    if found is None or len(found) < 2:
        raise SoundsearchError(
            f"a background needs 2 recordings or more, {0 if found is None else len(found)} of "
            f"{len(paths)} can be used"
        )
    of_each = [found.vectors[a:b] for a, b in itertools.pairwise(found.first)]
    n_of_each = max(1, n // len(of_each))
    windows = [rng.permutation(vectors)[:n_of_each] for vectors in of_each]
    return np.concatenate(windows).astype(np.float16)


def ask(encoder: Encoder, library: Library) -> list[QueryResults]:
    """What the library answers to its captions, and to its recordings; see the head of this module."""
    captions = library.captions
    texts = np.array(sorted(set(captions.tolist())))
    words = encoder.embed_text(texts.tolist())
    cosines = _cosines(words, library.embeddings)
    said = QueryResults("text", words, cosines, texts[:, None] == captions)
    counts = Counter(captions.tolist())
    asking = np.flatnonzero([counts[caption] > 1 for caption in captions.tolist()])
    if len(asking) < LEAST_SHARED:
        return [said, _ask_by_parts(library)]
    sounds = library.embeddings.mean().vectors[asking]
    cosines = _cosines(sounds, library.embeddings)
    right = captions[asking][:, None] == captions
    itself = np.arange(len(asking)), asking
    cosines[itself], right[itself] = -np.inf, False
    return [said, QueryResults("audio", sounds, cosines, right)]


def _ask_by_parts(library: Library) -> QueryResults:
    """Ask by the first part of each recording for its last one, without the window between."""
    found, asking, first, last = library.embeddings, [], [], []
    for i, (begin, end) in enumerate(itertools.pairwise(found.first)):
        windows = found.vectors[begin:end]
        half = (len(windows) - 1) // 2
        last.append(windows[half + 1 :] if half else windows)
        if half:
            asking.append(i)
            first.append(windows[:half])
    captions = library.captions
    dim = found.vectors.shape[1]
    sounds = ClipEmbeddings.of(first).mean().vectors if first else np.zeros((0, dim), np.float32)
    cosines = _cosines(sounds, ClipEmbeddings.of(last))
    return QueryResults(
        "audio", sounds, cosines, captions[asking][:, None] == captions, by_parts=True
    )


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
    used = [line for line in lines if any(right[line]) or not wanted[line] & known]
    queries = encoder.embed_text(used)
    windows = library.embeddings.vectors
    owner = np.repeat(np.arange(len(captions)), np.diff(library.embeddings.first))
    nearest = (queries @ windows.T).argmax(axis=1)
    return Answers(
        queries,
        windows[nearest],
        np.array([right[line][i] for line, i in zip(used, owner[nearest], strict=True)]),
        np.array([any(right[line]) for line in used]),
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

    A bundle whose scores do not tell right from wrong stays as it is, and the log says so.

    Args:
        encoder: Of the bundle.
        library: Recordings that are searched, with their captions.
        background: (n, dim).
    """
    bundle = encoder.bundle
    curves = {}
    for results in ask(encoder, library):
        z = standardise(results.queries, results.cosines, background.astype(np.float32))
        curve = fit_curve(*_best_hits(results, z)) if len(z) else None
        if curve is None:
            logger.warning(
                "%s: stays without calibration, its scores do not tell right from wrong "
                "best hits of the %s queries",
                bundle.name,
                results.kind,
            )
            return bundle
        curves[results.kind] = curve
    lines = load_vocabulary()
    drawn = np.random.default_rng(SEED).permutation(len(lines))[:N_TEXTS]
    texts = encoder.embed_text([lines[i] for i in drawn]).astype(np.float16)
    backgrounds = Calibration(
        background.astype(np.float32), RelevanceConfig(**curves), texts.astype(np.float32)
    )
    answers = ask_vocabulary(encoder, library, lines)
    search = fit_search_curve(answers, answers.z(backgrounds)) if len(answers.queries) else None
    files = {**bundle.files, **_saved(bundle, BACKGROUND, background)}
    if search is None:
        logger.warning("%s: the vocabulary's lines give no curve for searches", bundle.name)
    else:
        files |= _saved(bundle, BACKGROUND_TEXTS, texts)
    relevance = RelevanceConfig(**curves, search=search)
    calibrated = dataclasses.replace(bundle, files=files, relevance=relevance)
    calibrated.write()
    return calibrated


def calibrate_on(
    bundle: EncoderBundle, chosen: CalibrationSet, progress: Progress | None = None
) -> tuple[EncoderBundle, dict[str, Any]]:
    """Calibrate a bundle by the rule of this module.

    Args:
        bundle: With all files but its card; it gets background.npy and a new bundle.json.
        chosen: The recordings.
        progress: Is notified of each recording.

    Returns:
        The bundle, which stays as it is where its scores tell nothing, and its numbers by name.

    Raises:
        SoundsearchError: The recordings cannot be used.
    """
    encoder = Encoder(bundle)
    with EmbeddingCache(None, encoder) as cache:
        library = make_library(encoder, chosen.library, cache, progress)
        background = draw_background(encoder, chosen.ordinary, cache, progress=progress)
    calibrated = calibrate(encoder, library, background)
    shares = separation(Encoder(calibrated), library)
    facts = {"recordings": len(library.captions), "windows in the background": len(background)}
    return calibrated, {"about": f"on {chosen.name}", **facts, **shares} if shares else {}


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
    for results in ask(encoder, library):
        scores = calibration.relevance(results.kind, results.queries, results.cosines)
        fits = scores.max(axis=1) >= FITS
        mistakes = np.where(results.right, 0.0, scores).max(axis=1)
        is_right = _best_is_right(results)
        for name, shares in {
            f"best hit scores {FITS} or more": fits,
            "the same, right recordings taken out": mistakes >= FITS,
            f"best hit is right where it scores {FITS} or more": is_right[fits],
            "best hit is right where it scores less": is_right[~fits],
        }.items():
            if len(shares):
                found[f"{results.kind}: {name}"] = round(float(shares.mean()), 4)
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


def _cosines(queries: Array, embeddings: ClipEmbeddings) -> NDArray[np.float64]:
    """(n_queries, n_recordings): the cosine of each recording's best window."""
    if not len(queries):
        return np.zeros((0, len(embeddings)))
    return score_texts(queries, embeddings).astype(np.float64)


def _best_hits(
    results: QueryResults, z: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Best hits by their z (n, n_recordings), and whether they are right."""
    if not results.by_parts:
        return z.max(axis=1), _best_is_right(results)
    right, wrong = (
        np.where(wanted, z, -np.inf).max(axis=1) for wanted in (results.right, ~results.right)
    )
    both = np.concatenate([right, wrong])
    is_right = np.arange(len(both)) < len(right)
    return both[np.isfinite(both)], is_right[np.isfinite(both)]


def _best_is_right(results: QueryResults) -> NDArray[np.bool_]:
    best = results.cosines.argmax(axis=1)
    found: NDArray[np.bool_] = results.right[np.arange(len(best)), best]
    return found
