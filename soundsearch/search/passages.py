"""Passages: where in a recording a question stands out.

In: the recordings that were found, and one state of the index with its vectors. Out: for each, its
passages in order of time. No file is read.

A window stands out if its cosine lies nearer to the highest of its recording than to the median of
its recording, or within ALIKE of the highest, or if it fits by its relevance. Windows that stand
out and overlap or touch are one passage, also where windows between them fall no more than ALIKE
below the others. So a recording of one sound throughout has one passage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from soundsearch.arrays import Array, Cosines, Ids, Mask
from soundsearch.encoder.calibration import FITS
from soundsearch.search.hits import SCORE_DECIMALS, Passage
from soundsearch.store import Reader
from soundsearch.vectors.vector_index import Vectors

#: Cosines of windows of one unchanging sound differ by about so much at most: by 0.03 to 0.09 in
#: recordings of rain, rivers, waves and crickets with the starter encoder.
ALIKE = 0.05
#: Seconds by which times may differ through rounding.
SAME_S = 1e-6

#: Cosines (m,) to the relevance of each; None if the encoder has no calibration.
Relevance = Callable[[Cosines], Cosines] | None


@dataclass(frozen=True)
class Place:
    """A passage before it is scored: seconds, and the cosine of its best window."""

    start_s: float
    end_s: float
    cosine: float


def find_passages(
    reader: Reader,
    vectors: Vectors,
    vector: Array,
    recording_ids: Sequence[int],
    relevance: Relevance,
    n: int,
    min_score: float | None = None,
) -> dict[int, tuple[tuple[Passage, ...], int]]:
    """Return passages of recordings.

    vector: of the question, (dim,) float32 of unit length. relevance: of cosines to the question.
    n: at most so many passages of each recording, the best of them. min_score: leave out passages
    whose score is lower.
    Returns by id of the recording the passages in order of time, and how many more there are.
    """
    window_ids, owners = reader.windows_of(recording_ids)
    ids, scores = vectors.search(vector, len(window_ids), reader, window_ids)
    cosines = scores.astype(np.float64).round(SCORE_DECIMALS)
    fit = np.zeros(len(ids), bool) if relevance is None else relevance(cosines) >= FITS
    leasts, near = {}, []
    for recording_id, own in _groups(owners[np.searchsorted(window_ids, ids)]):
        leasts[recording_id] = least = lowest_of_passages(cosines[own], fit[own])
        near.append(own[cosines[own] >= least - ALIKE])
    spans = reader.spans(np.concatenate([np.empty(0, np.int64), *(ids[own] for own in near)]))
    passages = {}
    for (recording_id, least), own in zip(leasts.items(), near, strict=True):
        windows = [
            (*spans[window_id], cosine)
            for window_id, cosine in zip(ids[own].tolist(), cosines[own].tolist(), strict=True)
        ]
        found = [
            (place, passage)
            for place, passage, score in _scored(merge(windows, least), relevance)
            if min_score is None or score >= min_score
        ]
        best = sorted(found, key=lambda pair: (-pair[0].cosine, pair[0].start_s))[:n]
        in_time = tuple(sorted((passage for _, passage in best), key=lambda p: p.start_s))
        passages[recording_id] = (in_time, len(found) - len(best))
    return passages


def _groups(owners: Ids) -> Iterator[tuple[int, Ids]]:
    """Yield each owner, and where in the array it stands."""
    order = np.argsort(owners, kind="stable")
    firsts = np.flatnonzero(np.diff(owners[order], prepend=-1))
    for own in np.split(order, firsts[1:]) if len(order) else []:
        yield int(owners[own[0]]), own


def lowest_of_passages(cosines: Cosines, fit: Mask) -> float:
    """Return the cosine from which on a window of a recording stands out.

    Args:
        cosines: Of all windows of the recording, (n,) with n >= 1.
        fit: Whether each of them fits by its relevance, (n,); none does without a calibration.
    """
    highest = cosines.max()
    least = highest - max(ALIKE, (highest - np.median(cosines)) / 2)
    return float(min(least, cosines[fit].min(initial=least)))


def merge(windows: Iterable[tuple[float, float, float]], least: float) -> list[Place]:
    """Return the passages that windows make, in order of time.

    Args:
        windows: Start and end in seconds, and cosine, of each window that may belong to one.
        least: The cosine from which on a window stands out; others only join those that do.
    """
    places: list[Place] = []
    is_joined, reached_s = False, -np.inf  # the last passage goes on; where windows have got to
    for start_s, end_s, cosine in sorted(windows):
        if start_s > reached_s + SAME_S:
            is_joined = False
        reached_s = max(reached_s, end_s)
        if cosine < least:
            continue
        if is_joined:
            before = places.pop()
            start_s, end_s = before.start_s, max(before.end_s, end_s)
            cosine = max(before.cosine, cosine)
        places.append(Place(start_s, end_s, cosine))
        is_joined = True
    return places


def _scored(
    places: Sequence[Place], relevance: Relevance
) -> Iterator[tuple[Place, Passage, float]]:
    """Yield each place, what is shown of it, and its score."""
    cosines = np.array([place.cosine for place in places])
    scores = cosines if relevance is None else relevance(cosines)
    for place, score in zip(places, scores.tolist(), strict=True):
        shown = None if relevance is None else score
        times = {"start_s": place.start_s, "end_s": place.end_s}
        yield place, Passage(**times, cosine=place.cosine, relevance=shown), score
