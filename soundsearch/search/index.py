"""Search an index by text or by example.

The way of a query: text or audio -> embed -> search -> join -> hits. Text and audio meet in
`Index.search` and share the rest. FAISS ranks windows; a search returns recordings, each with its
best window.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.arguments import (
    check_audio,
    check_choice,
    check_count,
    check_min_score,
    check_paths,
    check_text,
)
from soundsearch.choices import Device
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.calibration import Calibration, Kind
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError, StoreError
from soundsearch.files import facts_of
from soundsearch.roots import named_roots, place_of
from soundsearch.search.describe import describe, too_long
from soundsearch.search.hits import SCORE_DECIMALS, Hit, Label
from soundsearch.search.query_audio import embed_query_audio
from soundsearch.store import Reader, Recording, State, Store, StoredWindow
from soundsearch.store.pinned import check_same_encoder, pinned_bundle
from soundsearch.vectors.cache import load_vectors
from soundsearch.vectors.exact import VectorIndex

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: Windows fetched per wanted recording at first; more follow if recordings have many windows.
OVER_FETCH = 8


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

        Returns:
            At most `top_k` hits, one a recording, the best first; equal scores in the order in
            which the recordings were indexed.

        Raises:
            QueryError: An argument is missing, of another type or out of range, or `within` names
                a folder of which nothing is indexed.
            AudioError: The audio query cannot be used.
            IndexMismatchError: The encoder of the index is missing.
        """
        check_count("top_k", top_k)
        check_min_score(min_score)
        named = None if within is None else check_paths("within", within)
        if (text is None) == (audio is None):
            raise QueryError("a search needs either a text or a recording")
        if audio is not None:
            check_audio(audio)
        else:
            check_text("text", text)
        with self.store.snapshot() as reader:
            itself = None
            kind: Kind = "audio"
            if audio is not None:
                itself, query = self._embed_audio(reader, audio)
            else:
                assert text is not None
                kind, query = "text", self._embed_text(text)
            among = None
            if named is not None:
                among = reader.window_ids(self._folders(reader, named))
                if not len(among):
                    log.warning("nothing is indexed now in %s", ", ".join(map(str, named)))
            return self._hits(reader, kind, query, top_k, min_score, among, itself)

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
            and not _has_changed(audio, itself)
        ):
            embeddings = reader.embeddings_of(itself.id, self.pinned.dim)
        else:
            _, embeddings = embed_query_audio(self.encoder, audio)
        mean = embeddings.mean(axis=0)
        norm = np.linalg.norm(mean)
        query: Array = mean / norm if norm > 0 else embeddings[0]
        return (itself.id if itself else None), query

    def _hits(
        self,
        reader: Reader,
        kind: Kind,
        query: Array,
        top_k: int,
        min_score: float | None,
        among: NDArray[np.int64] | None,
        itself: int | None,
    ) -> list[Hit]:
        """Fetch windows until no further one can change the hits; return the best per recording."""
        n_all = len(self.vectors) if among is None else len(among)
        n_windows = OVER_FETCH * (top_k + 1)
        while True:
            ids, found = self.vectors.search(query, min(n_windows, n_all), among)
            cosines = found.astype(np.float64).round(SCORE_DECIMALS)
            rows = reader.describe_windows(ids)
            best: dict[int, tuple[float, StoredWindow]] = {}
            for window_id, cosine in sorted(
                zip(ids, cosines, strict=True), key=lambda x: (-x[1], x[0])
            ):
                row = rows.get(int(window_id))  # None: gone since the vectors were loaded
                if row is not None and row.recording_id != itself:
                    best.setdefault(row.recording_id, (float(cosine), row))
            ranked = sorted(best.values(), key=lambda hit: (-hit[0], hit[1].recording_id))[:top_k]
            enough = len(ranked) == top_k and (ranked[-1][0] > cosines[-1])
            too_low = (
                min_score is not None
                and len(cosines) > 0
                and self._scores(kind, query, cosines[-1:])[0] < min_score
            )
            if enough or too_low or n_windows >= n_all:
                break
            n_windows *= 4
        scores = self._scores(kind, query, np.array([cosine for cosine, _ in ranked]))
        present = _present([(row.root, row.relative_path) for _, row in ranked])
        return [
            Hit(
                rank=rank,
                path=Path(row.root, row.relative_path),
                start_s=row.start_s,
                end_s=row.end_s,
                cosine=cosine,
                relevance=None if self.calibration is None else float(score),
                duration_s=row.duration_s,
                is_present=is_present,
            )
            for rank, ((cosine, row), score, is_present) in enumerate(
                zip(ranked, scores, present, strict=True), start=1
            )
            if min_score is None or score >= min_score
        ]

    def _scores(
        self, kind: Kind, query: Array, cosines: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return scores (m,) float64 of cosines (m,): their relevance, or themselves."""
        if self.calibration is None:
            return cosines
        return self.calibration.relevance(kind, query, cosines).round(SCORE_DECIMALS)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _present(files: Sequence[tuple[str, str]]) -> list[bool]:
    """Return whether each file (root, relative path) exists; a missing root is checked once."""
    roots = {root: _is_there(root) for root in {root for root, _ in files}}
    return [roots[root] and _is_there(Path(root, relative_path)) for root, relative_path in files]


def _is_there(path: str | Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True  # it may exist
    except OSError:
        return False
    return True


def _has_changed(path: Path, known: Recording) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False  # its disk is not mounted: its stored embeddings serve
    return facts_of(stat) != known.facts
