"""Compute the numbers of a protocol from scores, with intervals.

`evaluate_retrieval`, `evaluate_classification` and `evaluate_tagging` rank the candidates of every
query, take the protocol's measures and resample the clips, or the classes of tagging. Everything is a share between 0 and 1, or a rank from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Floats, Ints, Mask
from soundsearch.bench.metrics import TiedRanks, rank_relevant
from soundsearch.bench.protocols import (
    ACCURACY,
    AUDIO_TO_TEXT,
    MEAN_AVERAGE_PRECISION,
    TAGGING,
    TEXT_TO_AUDIO,
    ZERO_SHOT,
    Measure,
    Protocol,
)
from soundsearch.errors import BenchmarkError

#: Optimistic and pessimistic values are given when they lie further apart than this: in points
#: (hundredths) for shares, in places for ranks.
TIE_RANGE = 0.05


@dataclass(frozen=True)
class Number:
    """A value with its 95 % bootstrap interval over clips.

    optimistic and pessimistic: the value when all ties fall well, or ill; None when the two are
    nearly alike (`TIE_RANGE`). low and high are None when nothing was resampled.
    """

    value: float
    low: float | None = None
    high: float | None = None
    optimistic: float | None = None
    pessimistic: float | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """The numbers of one direction and what they were computed over.

    name: text-to-audio, audio-to-text, or one of `TAGGINGS` or `CLASSIFICATIONS`. ranks: those of every query. clip:
    (n_queries,) int64, the clip each query belongs to; queries of one clip are resampled together.
    In tagging it is the class.
    query: (n_queries,) int64, the row of each query among the texts or clips given.
    """

    name: str
    n_queries: int
    n_candidates: int
    numbers: Mapping[str, Number]
    ranks: TiedRanks
    clip: Ints
    query: Ints


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Both directions of one retrieval benchmark under one protocol."""

    protocol: Protocol
    n_clips: int
    n_texts: int
    """Texts that were queries and candidates: after merging, if texts were merged."""
    merged_identical: bool
    text_to_audio: Measured
    audio_to_text: Measured
    seed: int
    bootstrap: int

    @property
    def directions(self) -> tuple[Measured, Measured]:
        """Text to audio, then audio to text."""
        return self.text_to_audio, self.audio_to_text


@dataclass(frozen=True)
class ClassScore:
    """How the clips of one class fared."""

    name: str
    n_clips: int
    accuracy: float | None
    """None for a class without clips."""
    mistaken_for: str | None
    """The class that took most of its clips; None if none was lost."""


@dataclass(frozen=True, eq=False)
class ClassificationResult:
    """Classification: every clip is a query, every class a candidate."""

    n_clips: int
    class_names: tuple[str, ...]
    measured: Measured
    folds: Mapping[int, float]
    """Fold -> accuracy over its clips; empty when the data set has no folds."""
    fold_mean: float | None
    fold_std: float | None
    """Sample standard deviation (n - 1) over the folds; None for fewer than two."""
    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.float64]
    """(n_classes, n_classes): clips of the row's class taken for the column's; ties share a clip."""
    seed: int
    bootstrap: int

    @property
    def accuracy(self) -> Number:
        """Over all clips pooled."""
        return self.measured.numbers["accuracy"]


@dataclass(frozen=True)
class TaggedClass:
    """How well the clips of one class are told from all others."""

    name: str
    n_clips: int
    average_precision: float


@dataclass(frozen=True, eq=False)
class TaggingResult:
    """Tagging: every class is a query, every clip a candidate."""

    n_clips: int
    tagging: Measured
    classes: tuple[TaggedClass, ...]
    seed: int
    bootstrap: int


def evaluate_retrieval(
    scores: Floats,
    owner: Ints,
    protocol: Protocol,
    *,
    merge_identical: Sequence[str] | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
) -> RetrievalResult:
    """Numbers for both directions.

    scores: (n_texts, n_clips) float32, higher is better. owner: (n_texts,) int64, the clip of
    each text; every clip has one. merge_identical: the texts; identical ones then become one,
    relevant to all their clips and scored as the first of them. seed, bootstrap: of the intervals,
    which are percentiles over that many resamplings of the clips; 0 for none. The same arguments
    give the same numbers on every run. Raises BenchmarkError.
    """
    _check(scores, owner, merge_identical)
    n_clips = scores.shape[1]
    text = distinct = np.arange(owner.size)
    if merge_identical is not None:
        distinct, text = _distinct(merge_identical)
        scores = scores[distinct]
    texts, clips = np.unique(np.stack([text, owner], axis=1), axis=0).T
    weights = resamplings(n_clips, n=bootstrap, seed=seed)
    every = np.arange(n_clips)
    return RetrievalResult(
        protocol=protocol,
        n_clips=n_clips,
        n_texts=distinct.size,
        merged_identical=merge_identical is not None,
        text_to_audio=_measured(
            TEXT_TO_AUDIO,
            protocol.text_to_audio,
            rank_relevant(scores, texts, clips),
            n_candidates=n_clips,
            clip=owner[distinct],
            query=distinct,
            weights=weights,
        ),
        audio_to_text=_measured(
            AUDIO_TO_TEXT,
            protocol.audio_to_text,
            rank_relevant(scores.T, clips, texts),
            n_candidates=distinct.size,
            clip=every,
            query=every,
            weights=weights,
        ),
        seed=seed,
        bootstrap=bootstrap,
    )


def evaluate_classification(
    scores: Floats,
    target: Ints,
    fold: Ints | None,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    bootstrap: int = 1000,
    name: str = ZERO_SHOT,
) -> ClassificationResult:
    """Accuracy over all clips and by fold, per class, and who is mistaken for whom.

    scores: (n_clips, n_classes) float32, higher is better. target: (n_clips,) int64, the right
    class of each. fold: (n_clips,) int64, or None. A clip whose best score is shared by n classes
    counts 1 / n if the right one is among them: a constant scorer gets 1 / n_classes. name: one of
    `CLASSIFICATIONS`. Raises BenchmarkError.
    """
    _check_classification(scores, target, fold, class_names)
    n_clips, n_classes = scores.shape
    every = np.arange(n_clips)
    ranks = rank_relevant(scores, every, target)
    best = scores == scores.max(axis=1, keepdims=True)
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, target, best / best.sum(axis=1, keepdims=True))
    right = ACCURACY.values(ranks)[0]
    folds = (
        {int(f): float(right[fold == f].mean()) for f in np.unique(fold)}
        if fold is not None
        else {}
    )
    return ClassificationResult(
        n_clips=n_clips,
        class_names=tuple(class_names),
        measured=_measured(
            name,
            (ACCURACY,),
            ranks,
            n_candidates=n_classes,
            clip=every,
            query=every,
            weights=resamplings(n_clips, n=bootstrap, seed=seed),
        ),
        folds=folds,
        fold_mean=float(np.mean(list(folds.values()))) if folds else None,
        fold_std=float(np.std(list(folds.values()), ddof=1)) if len(folds) > 1 else None,
        classes=tuple(_class_scores(confusion, class_names)),
        confusion=confusion,
        seed=seed,
        bootstrap=bootstrap,
    )


def evaluate_tagging(
    scores: Floats,
    tagged: Mask,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    bootstrap: int = 1000,
    name: str = TAGGING,
) -> TaggingResult:
    """Average precision of each class, and its mean over the classes (macro).

    scores: (n_classes, n_clips) float32, higher is better. tagged: (n_clips, n_classes) bool; every
    class has a clip. The interval is over resamplings of the classes. name: one of `TAGGINGS`.
    Raises BenchmarkError.
    """
    if scores.shape != tagged.T.shape or not scores.size or len(scores) != len(class_names):
        raise BenchmarkError(
            f"scores of shape {scores.shape} do not fit {tagged.shape[0]} clips and "
            f"{len(class_names)} classes"
        )
    _refuse_not_finite(scores)
    n_of_class = tagged.sum(axis=0)
    if without := [
        name for name, n in zip(class_names, n_of_class.tolist(), strict=True) if n == 0
    ]:
        raise BenchmarkError(f"no clip is of class {without[0]!r}; leave it out")
    every = np.arange(len(scores))
    ranks = rank_relevant(scores, *np.nonzero(tagged.T))
    precision = MEAN_AVERAGE_PRECISION.values(ranks)[0]
    return TaggingResult(
        n_clips=scores.shape[1],
        tagging=_measured(
            name,
            (MEAN_AVERAGE_PRECISION,),
            ranks,
            n_candidates=scores.shape[1],
            clip=every,
            query=every,
            weights=resamplings(len(scores), n=bootstrap, seed=seed),
        ),
        classes=tuple(
            TaggedClass(*each)
            for each in zip(class_names, n_of_class.tolist(), precision.tolist(), strict=True)
        ),
        seed=seed,
        bootstrap=bootstrap,
    )


def not_empty(texts: Sequence[str]) -> Ints:
    """Rows of the texts that are more than white space: what may be a query."""
    return np.flatnonzero([bool(text.strip()) for text in texts])


def resamplings(n_clips: int, *, n: int, seed: int) -> Ints:
    """How often each clip is drawn in each of n bootstrap samples, (n, n_clips) int64."""
    return np.random.default_rng(seed).multinomial(n_clips, np.full(n_clips, 1 / n_clips), size=n)


def resampled(
    measure: Measure, values: NDArray[np.float64], clip: Ints, weights: Ints
) -> NDArray[np.float64]:
    """The measure over every resampling of the clips, (n,).

    values: (n_queries,), one a query. clip: (n_queries,), its clip. weights: (n, n_clips) from
    `resamplings`. A clip drawn twice counts twice with all its queries. A resampling without any
    query, possible only where merged texts leave clips without one, is left out.
    """
    counts = np.bincount(clip, minlength=weights.shape[1])
    if not counts.all():
        weights = weights[weights[:, counts > 0].any(axis=1)]
    if measure.median:
        parts = np.array_split(weights, 1 + len(weights) // 100)  # memory of 100 samples at a time
        return np.concatenate([_medians(values, clip, part) for part in parts])
    sums = np.bincount(clip, weights=values, minlength=weights.shape[1])
    # not a BLAS product: its last digits depend on the number of threads
    totals = np.einsum("nc,cv->vn", weights, np.stack([sums, counts], axis=1))
    shares: NDArray[np.float64] = totals[0] / totals[1]
    return shares


def interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5th and 97.5th percentiles."""
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def _medians(values: NDArray[np.float64], clip: Ints, weights: Ints) -> NDArray[np.float64]:
    """Medians of the values, each as often as its clip was drawn."""
    order = np.argsort(values)
    ascending = values[order]
    until = np.cumsum(weights[:, clip[order]], axis=1)
    n = until[:, -1:]
    lower = (until <= (n - 1) // 2).sum(axis=1)
    upper = (until <= n // 2).sum(axis=1)
    medians: NDArray[np.float64] = (ascending[lower] + ascending[upper]) / 2
    return medians


def _measured(
    name: str,
    measures: Sequence[Measure],
    ranks: TiedRanks,
    *,
    n_candidates: int,
    clip: Ints,
    query: Ints,
    weights: Ints,
) -> Measured:
    numbers = {}
    for measure in measures:
        values, optimistic, pessimistic = measure.values(ranks)
        at_best, at_worst = measure.over(optimistic), measure.over(pessimistic)
        differ = abs(at_best - at_worst) > (TIE_RANGE if measure.is_rank else TIE_RANGE / 100)
        low, high = (
            interval(resampled(measure, values, clip, weights)) if len(weights) else (None, None)
        )
        numbers[measure.name] = Number(
            measure.over(values),
            low,
            high,
            at_best if differ else None,
            at_worst if differ else None,
        )
    return Measured(name, len(ranks.expected), n_candidates, numbers, ranks, clip, query)


def _distinct(texts: Sequence[str]) -> tuple[Ints, Ints]:
    """Where each distinct text stands first, in order, and for every text which of those it is."""
    number: dict[str, int] = {}
    text = np.array([number.setdefault(each, len(number)) for each in texts], np.int64)
    return np.unique(text, return_index=True)[1], text


def _check(scores: Floats, owner: Ints, texts: Sequence[str] | None) -> None:
    if scores.ndim != 2 or owner.shape != (scores.shape[0],) or not scores.size:
        raise BenchmarkError(
            f"scores must be (text, clip) with an owner a text, not {scores.shape} with {owner.size} owners"
        )
    n_texts, n_clips = scores.shape
    if owner.min() < 0 or owner.max() >= n_clips:
        row = int(np.flatnonzero((owner < 0) | (owner >= n_clips))[0])
        raise BenchmarkError(
            f"text {row} belongs to clip {owner[row]}, but the {n_clips} clips are 0 to {n_clips - 1}"
        )
    without = np.flatnonzero(np.bincount(owner, minlength=n_clips) == 0)
    if without.size:
        raise BenchmarkError(
            f"{without.size} of {n_clips} clips have no text, the first is clip {without[0]}; leave them out"
        )
    _refuse_not_finite(scores)
    if texts is None:
        return
    if len(texts) != n_texts:
        raise BenchmarkError(f"{len(texts)} texts are given for {n_texts} rows of scores")
    empty = np.setdiff1d(np.arange(n_texts), not_empty(texts))
    if empty.size:
        raise BenchmarkError(
            f"{empty.size} of {n_texts} texts are empty, the first is text {empty[0]}; an empty text is no query"
        )


def _check_classification(
    scores: Floats, target: Ints, fold: Ints | None, class_names: Sequence[str]
) -> None:
    if scores.ndim != 2 or not scores.size or scores.shape != (target.size, len(class_names)):
        raise BenchmarkError(
            f"scores of shape {scores.shape} do not fit {target.size} clips and {len(class_names)} classes"
        )
    wrong = np.flatnonzero((target < 0) | (target >= len(class_names)))
    if wrong.size:
        raise BenchmarkError(
            f"clip {wrong[0]} is of class {target[wrong[0]]}, but the classes are 0 to {len(class_names) - 1}"
        )
    if fold is not None and fold.shape != target.shape:
        raise BenchmarkError(f"{fold.size} folds are given for {target.size} clips")
    _refuse_not_finite(scores)


def _refuse_not_finite(scores: Floats) -> None:
    if not np.isfinite(scores).all():
        raise BenchmarkError("the scores hold numbers that are not finite; the encoder is at fault")


def _class_scores(
    confusion: NDArray[np.float64], class_names: Sequence[str]
) -> Iterator[ClassScore]:
    for i, (name, row) in enumerate(zip(class_names, confusion, strict=True)):
        n_clips = round(row.sum())
        lost = np.where(np.arange(row.size) == i, 0.0, row)
        yield ClassScore(
            name,
            n_clips,
            float(row[i] / n_clips) if n_clips else None,
            class_names[int(lost.argmax())] if lost.any() else None,
        )
