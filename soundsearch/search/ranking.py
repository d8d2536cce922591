"""Rank the recordings of an index for a question: by sound, by words, and by both.

In: a question, and one state of an index with its vectors. Out: recordings in order, each with its
best window and the words that it was found by. FAISS ranks windows; a ranking is of recordings.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from soundsearch.arrays import Array, Ids
from soundsearch.choices import By
from soundsearch.files import Presence
from soundsearch.search.fusion import fuse, ranks
from soundsearch.search.hits import SCORE_DECIMALS
from soundsearch.search.question import Question
from soundsearch.store import Reader, WordMatch
from soundsearch.store.conditions import Condition
from soundsearch.vectors.in_database import Chosen
from soundsearch.vectors.vector_index import Vectors
from soundsearch.words import terms

#: Windows to search among: ids, (n,) int64, or what a database chooses by itself.
Among = Ids | Chosen
#: Windows fetched per wanted recording at first; more follow if recordings have many windows.
OVER_FETCH = 8
#: Recordings of each ranking that are fused.
LISTED = 100
#: How much each ranking counts (docs/adr/0015): by sound, by words, by parts of names. Those of words
#: count by the root of the share of a question's words that a recording has.
SOUND_WEIGHT, WORDS_WEIGHT, PARTS_WEIGHT = 1.0, 1.0, 0.5


@dataclass(frozen=True)
class Best:
    """The window of a recording that fits a question best, and the cosine of the two.

    In what `Ranking.rank` returns, the cosine is that to what hits should fit. `sound` is what
    recordings of the same sound have in common: its hash, or else the id of the recording.
    """

    cosine: float
    window_id: int
    sound: bytes | int


@dataclass(frozen=True)
class Ranked:
    """A recording that was found: its best window, and the words it was found by."""

    recording_id: int
    best: Best
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """Windows that were found for a vector: the nearest n, or all if there are fewer."""

    n: int
    ids: Ids
    cosines: Array


@dataclass(frozen=True)
class Ranking:
    """What recordings are ranked among.

    Attributes:
        reader: One state of the index.
        vectors: The embeddings of its windows.
        conditions: What a recording must be like; all hold. None of them for all.
        among: The windows of those that are so, as `vectors` chooses them. None for all.
        unique: Whether recordings of the same sound count as one.
        exact: Whether no window may be missed, however long that takes.
    """

    reader: Reader
    vectors: Vectors
    conditions: Sequence[Condition] = ()
    among: Among | None = None
    unique: bool = False
    exact: bool = False
    _found: dict[bytes, _Found] = field(default_factory=dict, compare=False, repr=False)

    def rank(
        self,
        question: Question,
        n: int,
        by: By = "both",
        too_low: Callable[[float], bool] = lambda cosine: False,
    ) -> list[Ranked]:
        """Return the recordings that fit a question, the best first.

        Equally good ones come in the order in which they were indexed.

        Args:
            question: What is asked.
            n: Recordings wanted; there may be more, or fewer if there are no more. If they are to
                be unique, those of the same sound count as one, and all of them are returned.
            by: What they are ranked by.
            too_low: Whether no recording of this cosine or a lower one is wanted; of no use
                where the question says what hits should not fit.
        """
        matches = self._find_words(question) if by != "sound" else []
        best: dict[int, Best] = {}
        if by != "words":
            best = self._by_sound(question, max(n, LISTED) if any(matches) else n, too_low)
        rankings = [ranks((i, found.cosine) for i, found in best.items())] if best else []
        weights = [dict.fromkeys(best, SOUND_WEIGHT)] if best else []
        n_terms = len(terms(question.words))
        for found, weight in zip(matches, (WORDS_WEIGHT, PARTS_WEIGHT), strict=False):
            rankings.append(ranks((match.recording_id, match.score) for match in found))
            weights.append(
                {one.recording_id: weight * _share_found(one, n_terms) ** 0.5 for one in found}
            )
        words = _words_of(matches)
        others, _ = self.reader.windows_of(set(words) - set(best))
        best |= self._best(question.vector, len(others), others)[0]
        fused = fuse(rankings, weights)
        ranked = sorted(best, key=lambda i: (-fused[i], -best[i].cosine, i))
        best = self._scored(question, best)
        return [Ranked(i, best[i], words.get(i, ())) for i in ranked]

    def nearest(self, question: Question) -> Array | None:
        """Return the embedding that fits a question best, (dim,) float32; None if there are none."""
        ids, _ = self._search(question.plus, 1, self.among)
        return self.vectors.embeddings(ids, self.reader)[0] if len(ids) else None

    def _find_words(self, question: Question) -> list[list[WordMatch]]:
        """Return the recordings found by words of a question, and those found by parts of names."""
        wanted = terms(question.words)
        left_out = question.itself | self._named(question.minus_texts)
        return [
            [
                match
                for match in find(wanted, among=self.conditions, limit=LISTED + len(left_out))
                if match.recording_id not in left_out
            ]
            for find in (self.reader.find_words, self.reader.find_name_parts)
        ]

    def _named(self, texts: Sequence[str]) -> set[int]:
        """Return ids of the recordings that have all words of any of these texts."""
        named: set[int] = set()
        for text in texts:
            found = [
                {match.recording_id for match in matches}
                for term in terms(text)
                for matches in [self.reader.find_words([term], among=self.conditions, limit=None)]
            ]
            named |= set.intersection(*found) if found else set()
        return named

    def _by_sound(
        self, question: Question, n_recordings: int, too_low: Callable[[float], bool]
    ) -> dict[int, Best]:
        """Return the best window of each of the recordings that sound most like a question.

        Fetches windows until no further one can be of the first n_recordings, or until all further
        cosines are too low.
        """
        n_all = len(self.vectors) if self.among is None else len(self.among)
        n_windows = OVER_FETCH * (n_recordings + 1)
        while True:
            best, lowest = self._best(question.vector, min(n_windows, n_all), self.among)
            others = ((i, found) for i, found in best.items() if i not in question.itself)
            ranked = sorted(others, key=lambda found: (-found[1].cosine, found[0]))
            ranked, is_full = self._first(ranked, n_recordings)
            enough = is_full and ranked[-1][1].cosine > lowest
            if enough or n_windows >= n_all or too_low(lowest):
                return dict(ranked)
            n_windows *= 4

    def _scored(self, question: Question, best: dict[int, Best]) -> dict[int, Best]:
        """Return the same windows with the cosine that they are scored by."""
        if not question.has_minus:
            return best
        ids = np.array([found.window_id for found in best.values()], np.int64)
        cosines = (self.vectors.embeddings(ids, self.reader) @ question.plus).astype(np.float64)
        return {
            recording_id: replace(found, cosine=float(cosine))
            for (recording_id, found), cosine in zip(
                best.items(), cosines.round(SCORE_DECIMALS), strict=True
            )
        }

    def _first(self, ranked: list[tuple[int, Best]], n: int) -> tuple[list[tuple[int, Best]], bool]:
        """Return the beginning of a ranking that holds n recordings, and whether it has so many."""
        if not self.unique:
            return ranked[:n], len(ranked) >= n
        sounds = set()
        for place, (_, found) in enumerate(ranked, start=1):
            sounds.add(found.sound)
            if len(sounds) == n:
                return ranked[:place], True
        return ranked, False

    def _search(self, vector: Array, n_windows: int, among: Among | None) -> tuple[Ids, Array]:
        """Return ids of the nearest windows, and their cosines, the best first.

        What was found before is the beginning of it, and need not be searched again for fewer.
        """
        if among is not self.among:
            return self.vectors.search(vector, n_windows, self.reader, among, exact=self.exact)
        found = self._found.get(vector.tobytes())
        if found is None or found.n < n_windows:
            ids, cosines = self.vectors.search(
                vector, n_windows, self.reader, among, exact=self.exact
            )
            found = self._found[vector.tobytes()] = _Found(n_windows, ids, cosines)
        return found.ids[:n_windows], found.cosines[:n_windows]

    def _best(
        self, vector: Array, n_windows: int, among: Among | None
    ) -> tuple[dict[int, Best], float]:
        """Return the best of the nearest windows by recording, and the lowest cosine among them."""
        ids, found = self._search(vector, n_windows, among)
        cosines = found.astype(np.float64).round(SCORE_DECIMALS)
        sounds = self.reader.sounds_of_windows(ids)
        order = np.lexsort((ids, -cosines))
        best: dict[int, Best] = {}
        for window_id, cosine in zip(ids[order].tolist(), cosines[order].tolist(), strict=True):
            if window_id in sounds:  # else it is gone since the vectors were loaded
                recording_id, sound_hash = sounds[window_id]
                if recording_id not in best:
                    best[recording_id] = Best(cosine, window_id, sound_hash or recording_id)
        return best, float(cosines[-1]) if len(cosines) else -1.0


def first_of_each_sound(
    ranked: Sequence[Ranked], reader: Reader, is_present: Presence
) -> list[Ranked]:
    """Return of recordings of the same sound the first whose file exists now, or else the first.

    It stands where the first of them stands.
    """
    groups: dict[bytes | int, list[Ranked]] = {}
    for found in ranked:
        groups.setdefault(found.best.sound, []).append(found)
    several = [found for group in groups.values() if len(group) > 1 for found in group]
    ids = np.array([found.best.window_id for found in several], np.int64)
    windows = reader.describe_windows(ids)

    def is_there(found: Ranked) -> bool:
        window = windows[found.best.window_id]
        return is_present(window.root, window.relative_path)

    return [
        group[0] if len(group) == 1 else next(filter(is_there, group), group[0])
        for group in groups.values()
    ]


def _share_found(match: WordMatch, n_terms: int) -> float:
    """Return the share of the words of a question that a recording has, above 0 and at most 1."""
    return min(1.0, len(_distinct(match.words)) / n_terms)


def _words_of(matches: Sequence[Sequence[WordMatch]]) -> dict[int, tuple[str, ...]]:
    """Return the words by which each recording was found."""
    words: dict[int, list[str]] = {}
    for match in itertools.chain(*matches):
        words.setdefault(match.recording_id, []).extend(match.words)
    return {recording_id: _distinct(found) for recording_id, found in words.items()}


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    """Return words without further forms of each: of "door" and "doors" the first."""
    found: list[str] = []
    for word in words:
        if not any(word in other or other in word for other in found):
            found.append(word)
    return tuple(found)
