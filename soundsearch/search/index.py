"""Search an index by text or by example.

The way of a query: text or audio -> embed -> search -> join -> hits. Text and audio meet in
`Index.search` and share the rest. FAISS ranks windows; a search returns recordings, each with its
best window.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np

from soundsearch.arguments import (
    check_choice,
    check_count,
    check_device,
    check_filters,
    check_min_score,
    check_path,
    check_paths,
)
from soundsearch.arrays import Array
from soundsearch.choices import PASSAGES, By, Device
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.calibration import Calibration
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError
from soundsearch.files import Presence
from soundsearch.search.describe import describe
from soundsearch.search.filters import parse_filters
from soundsearch.search.hits import Hit, Label, Passage
from soundsearch.search.in_step import in_step, keep_up, loaded_once
from soundsearch.search.listing import listed
from soundsearch.search.passages import find_passages
from soundsearch.search.question import Asker, Question, ask_stored
from soundsearch.search.question_parts import Recording, Weighted, understand, words_of
from soundsearch.search.ranking import Among, Ranked, Ranking, first_of_each_sound
from soundsearch.search.scope import conditions_of, is_of_place
from soundsearch.search.scores import Scores
from soundsearch.search.show import Details, details_of, find_recording
from soundsearch.search.spelling import Spelling, check_spelling
from soundsearch.store import Reader, State, Store, StoredCopy
from soundsearch.store.conditions import Condition
from soundsearch.store.pinned import check_same_encoder, pinned_bundle
from soundsearch.urls import path_of
from soundsearch.vectors.cache import load_vectors
from soundsearch.vectors.vector_index import Vectors

log = logging.getLogger(__name__)

#: Folders of which the ids of their windows are remembered.
MOST_SELECTIONS = 8


class Index:
    """An index opened for searching. Open one with `soundsearch.open_index`.

    An Index is a context manager: leaving the `with` block closes its database. It searches the
    embeddings that were there at its first search, until `refresh` is called. Where the index has
    got another encoder since, all is loaded anew by itself. Several threads may use it.
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
        check_device(device)
        if bundle is not None:
            check_same_encoder(store, bundle)
        self.store = store
        self.device = device
        self.bundle = bundle
        self.loading = threading.RLock()
        self._revision = ""  # of the vectors
        self._selections: dict[tuple[str, tuple[Condition, ...]], Among | None] = {}
        self.pinned = store.encoder()

    @loaded_once
    def encoder(self) -> Encoder:
        """The encoder that the index was built with. Raises IndexMismatchError if it is missing."""
        return Encoder(self.bundle or pinned_bundle(self.store), self.device)

    @loaded_once
    def calibration(self) -> Calibration | None:
        """What turns cosines into relevance; None if the encoder has no calibration."""
        return Calibration.of(self.encoder.bundle)

    @loaded_once
    def vectors(self) -> Vectors:
        """The embeddings of all windows that may be hits."""
        self._revision, vectors = self._loaded_vectors()
        return vectors

    def _loaded_vectors(self) -> tuple[str, Vectors]:
        """Return a revision, and vectors that are of it or of a later one."""
        with self.store.snapshot() as reader:
            revision = reader.revision()
        return revision, load_vectors(self.store)

    def refresh(self) -> bool:
        """Load the embeddings anew if the index was written since they were loaded.

        Searches of other threads go on meanwhile with those there are.

        Returns:
            Whether something was loaded.

        Raises:
            StoreError: The index cannot be read.
        """
        if keep_up(self):
            return True
        pinned = self.pinned
        with self.store.snapshot() as reader:
            if reader.revision() == self._revision:
                return False
        revision, vectors = self._loaded_vectors()
        with self.loading:
            if self.pinned == pinned and vectors.dim == pinned.dim:
                self.__dict__["vectors"], self._revision = vectors, revision
        return True

    @in_step
    def search(
        self,
        *,
        text: str | None = None,
        audio: Recording | Sequence[Recording] | None = None,
        plus: Weighted | Sequence[Weighted] = (),
        minus: Weighted | Sequence[Weighted] = (),
        start_s: float | None = None,
        end_s: float | None = None,
        top_k: int = 10,
        min_score: float | None = None,
        within: str | Path | Sequence[str | Path] | None = None,
        by: By = "both",
        passages: int = PASSAGES,
        unique: bool = True,
        filters: str | Sequence[str] = (),
        exact: bool = False,
    ) -> list[Hit]:
        """Return the recordings that fit a text, sound like a recording, or both.

        At least one of `text`, `audio` and `plus` is given. Without them, or with a text of filters
        alone, the recordings that pass are returned by path, each as a whole and without a score. A
        recording that can be decoded only in part, and a text that is longer than the encoder
        reads, are used as far as they go; a warning is logged. Recordings of the question are never
        among the hits.

        Args:
            text: What to search for, in plain words, with filters among them as on the command
                line (docs/how-to/ask.md): `dog barking duration:<3 -music`. "without X", "no X" and
                "but not X" in it are understood as `minus`, and a warning says so.
            audio: A sound file to search by, indexed or not, or an open stream of one, which is
                copied to a temporary file; or several.
            plus: What hits should fit as well: a text (str), a recording (Path), or a tuple of a
                weight above 0 and one of these; or several. `text` and `audio` have weight 1.
            minus: What they should not fit, likewise. It changes the order of hits, not their
                scores. A recording whose name, folders and metadata hold all words of such a text
                is not found by words.
            start_s: Where the passage of `audio` begins that is searched by, in seconds.
            end_s: Where it ends.
            top_k: Largest number of hits returned, 1 or more.
            min_score: Leave out hits whose `score` is lower, in [-1, 1].
            within: Search only in this folder, or in these; a recording may be named too.
            by: What a text is searched by: "sound", the "words" of names, folders and metadata, or
                "both", which ranks recordings by their ranks in either.
            passages: Largest number of passages of each hit, 0 or more.
            unique: Whether recordings of the same sound are one hit, which names the others in
                `copies`: the first of them whose file exists now.
            filters: Filters as they stand in a text, in one text or in several; all must hold.
            exact: Whether no window may be missed. An index of more than 100,000 windows is searched
                approximately otherwise; exactly, it takes seconds.

        Returns:
            At most `top_k` hits, one a recording, the best first; equally good ones in the order in
            which the recordings were indexed. Found by sound alone, scores fall from hit to hit.

        Raises:
            QueryError: An argument is missing, of another type or out of range, a filter does not
                parse, a folder is named of which nothing is indexed, or parts of the question
                cancel each other out.
            AudioError: A recording of the question cannot be used.
            IndexMismatchError: The encoder of the index is missing.
        """
        check_count("top_k", top_k)
        check_count("passages", passages, least=0)
        check_min_score(min_score)
        named = None if within is None else check_paths("within", within)
        check_choice("by", by, get_args(By))
        parts = understand(text, audio, plus, minus, start_s, end_s, filters)
        if not (parts.plus or parts.filters or named):
            raise QueryError("a search needs a text or a recording, or filters alone")
        if not parts.words and by == "words" and parts.plus:
            raise QueryError("by is 'words', which a recording has none of; search by a text")
        if not parts.plus and min_score is not None:
            raise QueryError(
                "min_score needs a text or a recording; a search by filters alone has no scores"
            )
        for phrase in parts.phrases:
            log.warning(
                "%r is understood as what not to find; to keep the words, give them as plus", phrase
            )
        with self.store.snapshot() as reader:
            conditions = conditions_of(reader, named, parts.filters)
            if named and not parts.filters and not reader.shows_any(conditions):
                log.warning("nothing is indexed now in %s", ", ".join(map(str, named)))
            if not parts.plus:
                return listed(reader, conditions, top_k)
            among = self._among(reader, conditions)
            ranking = Ranking(reader, self.vectors, conditions, among, unique, exact)
            question = Asker(reader, lambda: self.encoder, self._deviation).ask(parts)
            by = by if parts.words else "sound"
            # Made after the ranking if that does not need them: they need less of the same search.
            scores = functools.cache(lambda: Scores.among(ranking, question, self.calibration))
            if min_score is not None and question.has_minus:  # scores fall in no order
                ranked = ranking.rank(question, max(1, len(self.vectors)), by)
                return self._hits(ranking, scores(), ranked, top_k, min_score, passages)

            def too_low(cosine: float) -> bool:
                return min_score is not None and scores().of(np.array([cosine]))[0] < min_score

            ranked = ranking.rank(question, top_k, by, too_low)
            return self._hits(ranking, scores(), ranked, top_k, min_score, passages)

    def count(
        self,
        filters: str | Sequence[str] = (),
        *,
        within: str | Path | Sequence[str | Path] | None = None,
    ) -> int:
        """Return how many recordings a search with these filters is among.

        Args:
            filters: As of `search`.
            within: As of `search`.

        Raises:
            QueryError: As of `search`.
        """
        named = None if within is None else check_paths("within", within)
        chosen = parse_filters(check_filters("filters", filters))
        with self.store.snapshot() as reader:
            return reader.n_recordings(conditions_of(reader, named, chosen))

    @in_step
    def check_spelling(self, text: str) -> Spelling:
        """Return which words of a text neither the index nor the encoder knows, and what is like them.

        Args:
            text: As of `search`; its filters do not count.

        Raises:
            QueryError: The text is no text, is empty, or holds a filter that does not parse.
            IndexMismatchError: The encoder of the index is missing.
        """
        words = words_of(text)
        with self.store.snapshot() as reader:
            return check_spelling(words, reader, self.encoder) if words else Spelling()

    @in_step
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

    @in_step
    def show(self, path: str | Path | int, *, top_k: int = 5) -> Details:
        """Return all that the index knows of a recording, and the recordings that sound most like it.

        The file is not read, so it need not be there.

        Args:
            path: Of an indexed recording, or its `recording_id`.
            top_k: Largest number of other recordings in `nearest`, 1 or more.

        Raises:
            QueryError: The recording is not indexed, or an argument is of another type.
            IndexMismatchError: The encoder of the index is missing.
        """
        if not isinstance(path, int):
            check_path("path", path)
        check_count("top_k", top_k)
        with self.store.snapshot() as reader:
            known = find_recording(reader, path)
            nearest = []
            if reader.facts(known).n_windows:  # a recording that failed has none
                question = ask_stored(reader, known.id)
                ranking = Ranking(reader, self.vectors)
                ranked = ranking.rank(question, top_k, "sound")
                scores = Scores(question, self.calibration)
                nearest = self._hits(ranking, scores, ranked, top_k, None, 0)
            return details_of(reader, known, nearest)

    def _among(self, reader: Reader, conditions: Sequence[Condition]) -> Among | None:
        """Return the windows of the recordings that are chosen; None for all.

        Those of a folder are remembered for the next search.
        """
        if not conditions:
            return None
        if not all(map(is_of_place, conditions)):  # words change without a new revision
            return self._chosen(reader, conditions)
        key = (reader.revision(), tuple(conditions))
        with contextlib.suppress(KeyError):  # other threads may clear them at any time
            return self._selections[key]
        chosen = self._chosen(reader, conditions)
        if len(self._selections) >= MOST_SELECTIONS:
            self._selections.clear()
        self._selections[key] = chosen
        return chosen

    def _chosen(self, reader: Reader, conditions: Sequence[Condition]) -> Among | None:
        if reader.n_recordings(conditions) == reader.n_recordings():
            return None
        chosen: Among = self.vectors.choose(reader, conditions)
        return chosen

    def _hits(
        self,
        ranking: Ranking,
        scores: Scores,
        ranked: Sequence[Ranked],
        top_k: int,
        min_score: float | None,
        n_passages: int,
    ) -> list[Hit]:
        """Return the first top_k of these recordings, in their order, whose score is high enough."""
        is_present = Presence()
        if ranking.unique:
            ranked = first_of_each_sound(ranked, ranking.reader, is_present)
        scored = scores.of(np.array([found.best.cosine for found in ranked]))
        chosen = [
            (found, float(score))
            for found, score in zip(ranked, scored, strict=True)
            if min_score is None or score >= min_score
        ][:top_k]
        ids = np.array([found.best.window_id for found, _ in chosen], np.int64)
        windows = ranking.reader.describe_windows(ids)
        passages: dict[int, tuple[tuple[Passage, ...], int]] = {}
        if n_passages:
            relevance = scores.of if scores.are_relevance else None
            chosen_ids = [found.recording_id for found, _ in chosen]
            place = (ranking.reader, self.vectors, scores.question.plus, chosen_ids)
            passages = find_passages(*place, relevance, n_passages, min_score)
        copies = _copies(ranking.reader, scores.question, chosen) if ranking.unique else {}
        return [
            Hit(
                rank=rank,
                recording_id=found.recording_id,
                path=path_of(window.root, window.relative_path),
                start_s=window.start_s,
                end_s=window.end_s,
                cosine=found.best.cosine,
                relevance=score if scores.are_relevance else None,
                duration_s=window.duration_s,
                is_present=is_present(window.root, window.relative_path),
                words=found.words,
                passages=shown,
                n_more_passages=n_more,
                copies=copies.get(found.recording_id, ()),
            )
            for rank, (found, score) in enumerate(chosen, start=1)
            for window in [windows[found.best.window_id]]
            for shown, n_more in [passages.get(found.recording_id, ((), 0))]
        ]

    def _deviation(self, vector: Array) -> float:
        return 1.0 if self.calibration is None else self.calibration.deviation(vector)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _copies(
    reader: Reader, question: Question, chosen: Sequence[tuple[Ranked, float]]
) -> dict[int, tuple[Path, ...]]:
    """Return where else the sound of each of these recordings lies, by their ids."""
    by_sound: dict[bytes | int, list[StoredCopy]] = {}
    sounds = {found.best.sound for found, _ in chosen}
    for copy in reader.copies({sound for sound in sounds if isinstance(sound, bytes)}):
        if copy.state is State.INDEXED and copy.id not in question.itself:
            by_sound.setdefault(copy.sound_hash, []).append(copy)
    return {
        found.recording_id: tuple(
            path_of(copy.root, copy.relative_path)
            for copy in by_sound.get(found.best.sound, ())
            if copy.id != found.recording_id
        )
        for found, _ in chosen
    }
