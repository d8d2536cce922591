"""Questions to an index: text or a recording in, hits out.

The path out: text or audio -> embed -> search -> join -> hits. Text and audio meet at `Index.search`
and share the rest. Windows are searched, recordings are answered: each with its best window.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.arguments import (
    check_audio,
    check_min_score,
    check_text,
    check_top_k,
    check_within,
    described,
)
from soundsearch.choices import Device
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.calibration import Calibration, Kind
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, Cause, QueryError, StoreError
from soundsearch.files import StreamTooLongError, facts_of, spooled
from soundsearch.roots import named_roots, place_of
from soundsearch.store.pinned import check_same_encoder, pinned_bundle
from soundsearch.store.store import Recording, State, Store
from soundsearch.vectors.cache import load_vectors
from soundsearch.vectors.exact import VectorIndex

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: Windows fetched per wanted recording in the first go; more follow where recordings are long.
OVER_FETCH = 8
#: Cosines are told (and compared) to this many decimals: float32 sums differ beyond.
SCORE_DECIMALS = 5


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well a window of a recording fits a query, and where it lies.

    rank: 1 is best. start_s, end_s: where to listen, in seconds.
    cosine: of query and window, in [-1, 1]; what is high differs from query to query.
    relevance: in [0, 1], alike for every query (see `calibration.py`); from 0.5 on it fits. None
    where the encoder's scores are not calibrated.
    """

    rank: int
    start_s: float
    end_s: float
    cosine: float
    relevance: float | None

    @property
    def score(self) -> float:
        """The relevance, or the cosine where there is none; higher is better."""
        return self.cosine if self.relevance is None else self.relevance


@dataclass(frozen=True, kw_only=True)
class Hit(Fit):
    """One recording found, with the window that fits best.

    path: absolute. is_present: whether the file is there now; its disk may not be.
    """

    path: Path
    duration_s: float
    is_present: bool


@dataclass(frozen=True, kw_only=True)
class Label(Fit):
    """One text that `describe` found fitting, with the window it fits best.

    truncated: whether the text is longer than the encoder reads, so that its end had no effect.
    """

    text: str
    truncated: bool


class Index:
    """An opened index, for searching. Make one with `soundsearch.open_index`.

    It sees the state of the database at its first search; open it anew to see later writes.
    """

    def __init__(
        self, store: Store, device: Device = "auto", bundle: EncoderBundle | None = None
    ) -> None:
        """bundle: in place of the index's own copy. Raises IndexMismatchError if it is another."""
        if device not in get_args(Device):
            raise QueryError(
                f"device is {described(device)}, expected {' or '.join(get_args(Device))}"
            )
        if bundle is not None:
            check_same_encoder(store, bundle)
        self.store = store
        self.device = device
        self._bundle = bundle
        with store.snapshot() as connection:
            self.pinned = store.encoder(connection)

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The encoder this index is pinned to. Raises IndexMismatchError if it is not at hand."""
        return Encoder(self._bundle or pinned_bundle(self.store), self.device)

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """What gives hits a relevance, if the encoder has it."""
        return Calibration.of(self.encoder.bundle)

    @functools.cached_property
    def vectors(self) -> VectorIndex:
        """The embeddings of all windows that may be shown."""
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
        """The recordings that fit a text or sound like a recording, best first.

        text: what to hear, in plain words. audio: a file, indexed or not; it is not among its own
        hits. It may also be an open stream, which is copied to a temporary file. Exactly one of
        the two. top_k: at most so many hits, 1 or more. min_score: leave out
        hits whose `score` is lower. within: only recordings in this folder, or in one of these; a
        single recording may be named too.
        Ties stand in the order in which the recordings were indexed.
        A recording of which only a part could be read is a question all the same, and so is a text
        that is longer than the encoder reads; a warning is logged.
        Raises QueryError for a query that cannot be asked, AudioError for unusable audio.
        """
        check_top_k(top_k)
        check_min_score(min_score)
        named = [within] if isinstance(within, str | Path) else within
        if named is not None:
            check_within(named)
        if (text is None) == (audio is None):
            raise QueryError("a search needs either a text or a recording")
        if audio is not None:
            check_audio(audio)
        else:
            check_text("text", text)
        with self.store.snapshot() as connection:
            itself = None
            kind: Kind = "audio"
            if audio is not None:
                itself, query = self._embed_audio(connection, audio)
            else:
                assert text is not None
                kind, query = "text", self._embed_text(text)
            among = None
            if named is not None:
                among = self.store.window_ids(connection, self._folders(connection, named))
                if not len(among):
                    log.warning("nothing is indexed now in %s", ", ".join(map(str, named)))
            return self._hits(connection, kind, query, top_k, min_score, among, itself)

    def describe(
        self,
        audio: str | Path | BinaryIO,
        texts: Sequence[str],
        *,
        top_k: int = 10,
        as_labels: bool = False,
    ) -> list[Label]:
        """The texts that fit a recording best; see the function `describe`."""
        return describe(self.encoder, audio, texts, top_k=top_k, as_labels=as_labels)

    def _folders(self, connection: Connection, named: Sequence[str | Path]) -> list[Path]:
        """Absolute paths of folders to search in. Raises QueryError for one that is not indexed."""
        if not named:
            raise QueryError("within names no folder; name one, or give None for all")
        return [self._folder(connection, folder) for folder in named]

    def _folder(self, connection: Connection, named: str | Path) -> Path:
        try:
            places = (place_of(Path(named)), Path(os.path.abspath(named)))  # a link may be gone
        except StoreError as error:
            raise QueryError(str(error)) from error
        roots = [root.path for root in self.store.roots(connection)]
        for place in places:
            if any(root.is_relative_to(place) for root in roots) or self.store.knows_of(
                connection, place
            ):
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
            log.warning("the query is %s; its end has no effect", _too_long(self.encoder))
        return query

    def _embed_audio(
        self, connection: Connection, audio: str | Path | BinaryIO
    ) -> tuple[int | None, Array]:
        """The recording's id if it is indexed, and its query: the mean of its windows, made unit."""
        itself = None
        if isinstance(audio, str | Path):
            audio = Path(audio)
            # Not `resolve`, which raises for links in a circle: opening the file will tell of them.
            itself = self.store.recording_at(connection, Path(os.path.realpath(audio)))
        if (
            itself is not None
            and isinstance(audio, Path)
            and itself.state is State.INDEXED
            and not _has_changed(audio, itself)
        ):
            embeddings = self.store.embeddings_of(connection, itself.id, self.pinned.dim)
        else:
            _, embeddings = embed_query_file(self.encoder, audio)
        mean = embeddings.mean(axis=0)
        norm = np.linalg.norm(mean)
        query: Array = mean / norm if norm > 0 else embeddings[0]
        return (itself.id if itself else None), query

    def _hits(
        self,
        connection: Connection,
        kind: Kind,
        query: Array,
        top_k: int,
        min_score: float | None,
        among: NDArray[np.int64] | None,
        itself: int | None,
    ) -> list[Hit]:
        """Fetch windows until no unseen one could change the answer; keep the best per recording."""
        n_all = len(self.vectors) if among is None else len(among)
        n_windows = OVER_FETCH * (top_k + 1)
        while True:
            ids, found = self.vectors.search(query, min(n_windows, n_all), among)
            cosines = found.astype(np.float64).round(SCORE_DECIMALS)
            rows = self.store.describe_windows(connection, ids)
            best: dict[int, tuple[float, Row[Any]]] = {}
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
        """What cosines (m,) to a query count: their relevance, or themselves; (m,) float64."""
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


def _too_long(encoder: Encoder) -> str:
    bundle = encoder.bundle
    return f"longer than the {bundle.text.max_tokens} tokens that encoder {bundle.name} reads"


def describe(
    encoder: Encoder,
    audio: str | Path | BinaryIO,
    texts: Sequence[str],
    *,
    top_k: int = 10,
    as_labels: bool = False,
) -> list[Label]:
    """The texts that fit a recording best, each with the window it fits best.

    Each text is a query of its own: where the encoder is calibrated, texts are ranked by
    relevance, so that one that lies near to every sound does not come first everywhere.
    as_labels: the texts are bare labels, to be put into the encoder's prompt first.
    A text that is longer than the encoder reads counts by its beginning; a warning is logged.
    Raises AudioError for unusable audio, QueryError for texts that are none.
    """
    check_top_k(top_k)
    check_audio(audio)
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise QueryError(f"texts is {described(texts)}, expected a list of texts")
    for i, text in enumerate(texts):
        check_text(f"texts[{i}]", text)
    spans, embeddings = embed_query_file(encoder, audio)
    prompt = encoder.bundle.text.prompt if as_labels else "{}"
    prompted = [prompt.replace("{}", text) for text in texts]
    text_embeddings = encoder.embed_text(prompted)
    truncated = encoder.truncated(prompted)
    if truncated.any():
        log.warning(
            "%d of %d texts are %s; their ends have no effect",
            *(truncated.sum(), len(texts), _too_long(encoder)),
        )
    cosines = (embeddings @ text_embeddings.T).astype(np.float64)  # (n_windows, n_texts)
    cosines = cosines.round(SCORE_DECIMALS)
    best_windows = cosines.argmax(axis=0)
    best = cosines.max(axis=0)
    calibration = Calibration.of(encoder.bundle)
    scores = best
    if calibration is not None:
        scores = calibration.relevance("text", text_embeddings, best[:, None]).ravel()
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [
        Label(
            rank=rank,
            text=texts[i],
            start_s=spans[best_windows[i]][0],
            end_s=spans[best_windows[i]][1],
            cosine=float(best[i]),
            relevance=None if calibration is None else round(float(scores[i]), SCORE_DECIMALS),
            truncated=bool(truncated[i]),
        )
        for rank, i in enumerate(order, start=1)
    ]


def embed_query_file(
    encoder: Encoder, audio: str | Path | BinaryIO
) -> tuple[list[tuple[float, float]], Array]:
    """Windows of a recording handed in as a question; an AudioError names the file."""
    name = str(audio) if isinstance(audio, str | Path) else _name_of(audio)
    try:
        with _at_a_path(audio) as path:
            return encoder.embed_file(path, name=name)
    except AudioError as error:
        reason = "no such file" if error.cause is Cause.VANISHED else error.reason
        raise AudioError(error.cause, f"{name}: {reason}") from error


def _name_of(stream: BinaryIO) -> str:
    name = getattr(stream, "name", None)
    if name in ("<stdin>", 0):
        return "standard input"
    return name if isinstance(name, str) else "the stream"


@contextlib.contextmanager
def _at_a_path(audio: str | Path | BinaryIO) -> Iterator[Path]:
    """A path at which a recording lies for as long as the block lasts. Raises AudioError."""
    if isinstance(audio, str | Path):
        yield Path(audio)
        return
    with contextlib.ExitStack() as until_read:
        try:
            path = until_read.enter_context(spooled(audio))
        except StreamTooLongError as error:
            reason = f"it holds {error.strerror}; save it to a file and name that"
            raise AudioError(Cause.UNREADABLE, reason) from error
        except OSError as error:
            reason = f"it cannot be copied to a temporary file ({error.strerror or error})"
            raise AudioError(Cause.UNREADABLE, reason) from error
        yield path


def _present(files: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether files (root, relative path) are there; a root that is not is asked only once."""
    roots = {root: _is_there(root) for root in {root for root, _ in files}}
    return [roots[root] and _is_there(Path(root, relative_path)) for root, relative_path in files]


def _is_there(path: str | Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True  # for those who may look
    except OSError:
        return False
    return True


def _has_changed(path: Path, known: Recording) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False  # an unmounted disk: what was stored still answers
    return facts_of(stat) != known.facts
