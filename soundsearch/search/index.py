"""Search an index by text or by example.

The way of a query: text or audio -> embed -> search -> join -> hits. Text and audio meet in
`Index.search` and share the rest. FAISS ranks windows; a search returns recordings, each with its
best window.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.arguments import (
    check_audio,
    check_choice,
    check_count,
    check_min_score,
    check_path,
    check_paths,
    check_text,
)
from soundsearch.choices import By, Device
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.calibration import Calibration, Kind
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError, StoreError
from soundsearch.files import Presence, has_changed
from soundsearch.roots import named_roots, place_of
from soundsearch.search.describe import describe, too_long
from soundsearch.search.fusion import fuse, ranks
from soundsearch.search.hits import SCORE_DECIMALS, Hit, Label
from soundsearch.search.query_audio import embed_query_audio
from soundsearch.search.show import Details, details_of, find_recording
from soundsearch.store import Reader, State, Store, StoredWindow, WordMatch
from soundsearch.store.pinned import check_same_encoder, pinned_bundle
from soundsearch.vectors.cache import load_vectors
from soundsearch.vectors.exact import VectorIndex
from soundsearch.words import terms

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: Windows fetched per wanted recording at first; more follow if recordings have many windows.
OVER_FETCH = 8
#: Recordings of each ranking that are fused.
LISTED = 200
#: How much each ranking counts (docs/adr/0015): by sound, by words, by parts of names.
SOUND_WEIGHT, WORDS_WEIGHT, PARTS_WEIGHT = 1.0, 1.0, 0.5


@dataclass(frozen=True)
class Best:
    """The window of a recording that fits a question best, and the cosine of the two."""

    cosine: float
    window: StoredWindow


@dataclass(frozen=True)
class _Question:
    """What was asked: a text or a recording, and its vector, (dim,) float32."""

    kind: Kind
    vector: Array


class Index:
    """An index opened for searching. Open one with `soundsearch.open_index`.

    An Index is a context manager: leaving the `with` block closes its database. It sees the
    database as it was at its first search; open the index again to see what was written since.
    """

    def __init__(
        self, store: Store, device: Device = "auto", bundle: EncoderBundle | None = None
    ) -> None:
        """Open a store for searching.

        Args:
            store: The opened store; the index closes it.
            device: "auto", "cpu" or "cuda", where the encoder runs.
            bundle: The encoder, in place of the index's own copy.

        Raises:
            QueryError: There is no such device.
            IndexMismatchError: The index was built with another encoder than `bundle`.
        """
        check_choice("device", device, get_args(Device))
        if bundle is not None:
            check_same_encoder(store, bundle)
        self.store = store
        self.device = device
        self._bundle = bundle
        with store.snapshot() as reader:
            self.pinned = reader.encoder()

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The encoder that the index was built with. Raises IndexMismatchError if it is missing."""
        return Encoder(self._bundle or pinned_bundle(self.store), self.device)

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """What turns cosines into relevance; None if the encoder has no calibration."""
        return Calibration.of(self.encoder.bundle)

    @functools.cached_property
    def vectors(self) -> VectorIndex:
        """The embeddings of all windows that may be hits."""
        return load_vectors(self.store)

    def search(
        self,
        *,
        text: str | None = None,
        audio: str | Path | BinaryIO | None = None,
        top_k: int = 10,
        min_score: float | None = None,
        within: str | Path | Sequence[str | Path] | None = None,
        by: By = "both",
    ) -> list[Hit]:
        """Return the recordings that fit a text, or sound like a recording.

        Exactly one of `text` and `audio` is given. An audio query that can be decoded only in
        part, and a text that is longer than the encoder reads, are used as far as they go; a
        warning is logged.

        Args:
            text: What to search for, in plain words.
            audio: A sound file to search by, indexed or not, or an open stream of one, which is
                copied to a temporary file. The file itself is never among the hits.
            top_k: Largest number of hits returned, 1 or more.
            min_score: Leave out hits whose `score` is lower, in [-1, 1].
            within: Search only in this folder, or in these; a recording may be named too.
            by: What a text is searched by: "sound", the "words" of names, folders and metadata, or
                "both", which ranks recordings by their ranks in either.

        Returns:
            At most `top_k` hits, one a recording, the best first; equally good ones in the order in
            which the recordings were indexed. Found by sound alone, scores fall from hit to hit.

        Raises:
            QueryError: An argument is missing, of another type or out of range, or `within` names
                a folder of which nothing is indexed.
            AudioError: The audio query cannot be used.
            IndexMismatchError: The encoder of the index is missing.
        """
        check_count("top_k", top_k)
        check_min_score(min_score)
        named = None if within is None else check_paths("within", within)
        check_choice("by", by, get_args(By))
        if (text is None) == (audio is None):
            raise QueryError("a search needs either a text or a recording")
        if audio is not None and by == "words":
            raise QueryError("by is 'words', which a recording has none of; search by a text")
        if audio is not None:
            check_audio(audio)
        else:
            check_text("text", text)
        with self.store.snapshot() as reader:
            folders = among = itself = None
            if named is not None:
                folders = self._folders(reader, named)
                among = reader.window_ids(folders)
                if not len(among):
                    log.warning("nothing is indexed now in %s", ", ".join(map(str, named)))
            if audio is not None:
                itself, vector = self._embed_audio(reader, audio)
                question = _Question("audio", vector)
            else:
                assert text is not None
                question = _Question("text", self._embed_text(text))
            matches = self._find_words(reader, text, folders) if text and by != "sound" else []
            best: dict[int, Best] = {}
            if by != "words":
                n = max(top_k, LISTED) if any(matches) else top_k
                best = self._best_by_sound(reader, question, n, min_score, among, itself)
            rankings = [ranks((i, found.cosine) for i, found in best.items())] if best else []
            weights = [SOUND_WEIGHT] * len(rankings)
            for found, weight in zip(matches, (WORDS_WEIGHT, PARTS_WEIGHT), strict=False):
                rankings.append(ranks((match.recording_id, match.score) for match in found))
                weights.append(weight)
            words = _words_of(matches)
            others = reader.window_ids_of(set(words) - set(best))
            best |= self._best(reader, question, len(others), others)[0]
            fused = fuse(rankings, weights)
            ranked = sorted(best, key=lambda i: (-fused[i], -best[i].cosine, i))
            return self._hits(question, ranked, best, words, top_k, min_score)

    def describe(
        self,
        audio: str | Path | BinaryIO,
        texts: Sequence[str],
        *,
        top_k: int = 10,
        as_labels: bool = False,
    ) -> list[Label]:
        """Return the texts that fit a recording best.

        The recording need not be indexed.

        Args:
            audio: Path of a sound file, or an open stream of one.
            texts: Candidate texts.
            top_k: Largest number of labels returned, 1 or more.
            as_labels: Whether the texts are bare labels, to be put into the encoder's prompt.

        Returns:
            At most `top_k` labels, the best first, each with the window that it fits best.

        Raises:
            AudioError: The recording cannot be used.
            QueryError: An argument is of another type, or a text is empty.
        """
        return describe(self.encoder, audio, texts, top_k=top_k, as_labels=as_labels)

    def show(self, path: str | Path, *, top_k: int = 5) -> Details:
        """Return all that the index knows of a recording, and the recordings that sound most like it.

        The file is not read, so it need not be there.

        Args:
            path: An indexed recording.
            top_k: Largest number of other recordings in `nearest`, 1 or more.

        Raises:
            QueryError: The recording is not indexed, or an argument is of another type.
            IndexMismatchError: The encoder of the index is missing.
        """
        check_path("path", path)
        check_count("top_k", top_k)
        with self.store.snapshot() as reader:
            recording = find_recording(reader, Path(path))
            embeddings = reader.embeddings_of(recording.id, self.pinned.dim)
            nearest = []
            if len(embeddings):  # a recording that failed has none
                question = _Question("audio", _query_of(embeddings))
                best = self._best_by_sound(reader, question, top_k, None, None, recording.id)
                nearest = self._hits(question, list(best), best, {}, top_k, None)
            return details_of(reader, recording, nearest)

    def _folders(self, reader: Reader, named: Sequence[str | Path]) -> list[Path]:
        """Return absolute paths of the folders to search in. Raises QueryError for an unknown one."""
        if not named:
            raise QueryError("within names no folder; name one, or give None for all")
        return [self._folder(reader, folder) for folder in named]

    def _folder(self, reader: Reader, named: str | Path) -> Path:
        try:
            places = (place_of(Path(named)), Path(os.path.abspath(named)))  # a link may be gone
        except StoreError as error:
            raise QueryError(str(error)) from error
        roots = [root.path for root in reader.roots()]
        for place in places:
            if any(root.is_relative_to(place) for root in roots) or reader.knows_of(place):
                return place
        if any(places[0].is_relative_to(root) for root in roots) and os.path.exists(places[0]):
            return places[0]  # nothing in it is indexed yet
        raise QueryError(
            f"{str(named)!r}: nothing in it is indexed; {named_roots(roots)}; "
            "give one of them, or a folder in one"
        )

    def _embed_text(self, text: str) -> Array:
        query: Array = self.encoder.embed_text([text])[0]
        if self.encoder.truncated([text])[0]:
            log.warning("the query is %s; its end has no effect", too_long(self.encoder))
        return query

    def _embed_audio(
        self, reader: Reader, audio: str | Path | BinaryIO
    ) -> tuple[int | None, Array]:
        """Return the recording's id, None if it is not indexed, and its query vector (dim,).

        The query is the mean of its windows' embeddings, scaled to unit length.
        """
        itself = None
        if isinstance(audio, str | Path):
            audio = Path(audio)
            # Not `resolve`, which raises for links in a circle: opening the file reports them.
            itself = reader.recording_at(Path(os.path.realpath(audio)))
        if (
            itself is not None
            and isinstance(audio, Path)
            and itself.state is State.INDEXED
            and not has_changed(audio, itself.facts)
        ):
            embeddings = reader.embeddings_of(itself.id, self.pinned.dim)
        else:
            _, embeddings = embed_query_audio(self.encoder, audio)
        return (itself.id if itself else None), _query_of(embeddings)

    def _best_by_sound(
        self,
        reader: Reader,
        question: _Question,
        n_recordings: int,
        min_score: float | None,
        among: NDArray[np.int64] | None,
        itself: int | None,
    ) -> dict[int, Best]:
        """Return the best window of each of the recordings that sound most like a question.

        Fetches windows until no further one can be of the first n_recordings, or until all further
        scores are below min_score.
        """
        n_all = len(self.vectors) if among is None else len(among)
        n_windows = OVER_FETCH * (n_recordings + 1)
        while True:
            best, lowest = self._best(reader, question, min(n_windows, n_all), among)
            if itself is not None:
                best.pop(itself, None)
            ranked = sorted(best.items(), key=lambda found: (-found[1].cosine, found[0]))
            ranked = ranked[:n_recordings]
            enough = len(ranked) == n_recordings and ranked[-1][1].cosine > lowest
            if enough or n_windows >= n_all:
                return dict(ranked)
            if min_score is not None and self._score(question, lowest) < min_score:
                return dict(ranked)
            n_windows *= 4

    def _best(
        self,
        reader: Reader,
        question: _Question,
        n_windows: int,
        among: NDArray[np.int64] | None,
    ) -> tuple[dict[int, Best], float]:
        """Return the best of the nearest windows by recording, and the lowest cosine among them."""
        ids, found = self.vectors.search(question.vector, n_windows, among)
        cosines = found.astype(np.float64).round(SCORE_DECIMALS)
        windows = reader.describe_windows(ids)
        best: dict[int, Best] = {}
        for window_id, cosine in sorted(
            zip(ids, cosines, strict=True), key=lambda pair: (-pair[1], pair[0])
        ):
            window = windows.get(int(window_id))  # None: gone since the vectors were loaded
            if window is not None:
                best.setdefault(window.recording_id, Best(float(cosine), window))
        return best, float(cosines[-1]) if len(cosines) else -1.0

    def _find_words(
        self, reader: Reader, text: str, folders: Sequence[Path] | None
    ) -> list[list[WordMatch]]:
        """Return the recordings found by words of a text, and those found by parts of names."""
        wanted = terms(text)
        return [
            find(wanted, within=folders, limit=LISTED)
            for find in (reader.find_words, reader.find_name_parts)
        ]

    def _hits(
        self,
        question: _Question,
        ranked: Sequence[int],
        best: Mapping[int, Best],
        words: Mapping[int, tuple[str, ...]],
        top_k: int,
        min_score: float | None,
    ) -> list[Hit]:
        """Return the first top_k of these recordings, in their order, whose score is high enough."""
        scores = self._scores(question, np.array([best[i].cosine for i in ranked]))
        chosen = [
            (i, float(score))
            for i, score in zip(ranked, scores, strict=True)
            if min_score is None or score >= min_score
        ][:top_k]
        windows = [best[i].window for i, _ in chosen]
        is_present = Presence()
        return [
            Hit(
                rank=rank,
                path=Path(window.root, window.relative_path),
                start_s=window.start_s,
                end_s=window.end_s,
                cosine=best[i].cosine,
                relevance=None if self.calibration is None else score,
                duration_s=window.duration_s,
                is_present=is_present(window.root, window.relative_path),
                words=words.get(i, ()),
            )
            for rank, ((i, score), window) in enumerate(zip(chosen, windows, strict=True), start=1)
        ]

    def _score(self, question: _Question, cosine: float) -> float:
        return float(self._scores(question, np.array([cosine]))[0])

    def _scores(self, question: _Question, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scores (m,) float64 of cosines (m,): their relevance, or themselves."""
        if self.calibration is None:
            return cosines
        relevance = self.calibration.relevance(question.kind, question.vector, cosines)
        return relevance.round(SCORE_DECIMALS)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _words_of(matches: Sequence[Sequence[WordMatch]]) -> dict[int, tuple[str, ...]]:
    """Return the words by which each recording was found: of "door" and "doors" the first."""
    words: dict[int, list[str]] = {}
    for match in itertools.chain(*matches):
        known = words.setdefault(match.recording_id, [])
        for word in match.words:
            if not any(word in other or other in word for other in known):
                known.append(word)
    return {recording_id: tuple(found) for recording_id, found in words.items()}


def _query_of(embeddings: Array) -> Array:
    """Return the mean of the embeddings of a recording's windows (n, dim), n >= 1, made unit."""
    mean = embeddings.mean(axis=0)
    norm = np.linalg.norm(mean)
    query: Array = mean / norm if norm > 0 else embeddings[0]
    return query
