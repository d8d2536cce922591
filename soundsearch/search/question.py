"""What is asked of an index, as vectors: what hits should fit, and what they should not."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Array
from soundsearch.encoder.calibration import Kind
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError
from soundsearch.files import has_changed, is_absent
from soundsearch.search.describe import too_long
from soundsearch.search.query_audio import embed_query_audio
from soundsearch.search.question_parts import Part, QuestionParts
from soundsearch.store import Reader, Recording, State
from soundsearch.urls import is_url, path_of

log = logging.getLogger(__name__)

#: How much what is not wanted counts beside what is wanted (docs/adr/0020).
MINUS_STRENGTH = 0.35
#: A shorter sum of vectors is a rounding error.
SHORTEST = 1e-4


@dataclass(frozen=True)
class Question:
    """What is asked of an index.

    Attributes:
        kind: What its score is calibrated for: "audio" if hits should fit recordings alone.
        vector: What windows are ranked by, (dim,) float32 of unit length.
        plus: What they are scored by: the same without what hits should not fit.
        words: The text that names, folders and metadata are searched for; empty for none.
        minus_texts: Texts that hits should not fit.
        itself: Ids of recordings that are part of the question, and never among the hits.
        is_words: Whether hits should fit texts alone.
    """

    kind: Kind
    vector: Array
    plus: Array
    words: str = ""
    minus_texts: tuple[str, ...] = ()
    itself: frozenset[int] = frozenset()
    is_words: bool = False

    @property
    def has_minus(self) -> bool:
        """Whether windows are ranked by something else than what they are scored by."""
        return self.vector is not self.plus


@dataclass(frozen=True)
class Asker:
    """Turns what is asked into a question.

    Attributes:
        reader: Stored embeddings are used of recordings that are indexed and have not changed.
        encoder: Returns the encoder of the index, if it is needed.
        deviation: Returns the standard deviation of the cosines of a vector to ordinary sounds.
            Parts of a question are divided by it, so that a text and a recording count alike.
    """

    reader: Reader
    encoder: Callable[[], Encoder]
    deviation: Callable[[Array], float]

    def ask(self, parts: QuestionParts) -> Question:
        """Return the question.

        With unit vectors p of what hits should fit and m of what they should not, windows are
        ranked by the unit vector along p / deviation(p) - s m / deviation(m), where s is
        MINUS_STRENGTH times the largest weight of a minus. Both p and m are sums over parts, each
        by its weight and divided by its deviation.

        Raises:
            AudioError: A recording cannot be used.
            QueryError: The parts of the question cancel each other out.
        """
        plus = self._combined(parts.plus)
        vector = plus
        if parts.minus:
            minus = self._combined(parts.minus)
            strength = MINUS_STRENGTH * max(part.weight for part in parts.minus)
            vector = _unit(plus / self.deviation(plus) - strength * minus / self.deviation(minus))
        return Question(
            kind="audio" if all(part.text is None for part in parts.plus) else "text",
            vector=vector,
            plus=plus,
            words=parts.words,
            minus_texts=tuple(part.text for part in parts.minus if part.text is not None),
            itself=frozenset(
                known.id
                for part in (*parts.plus, *parts.minus)
                if (known := self._known(part)) is not None
            ),
            is_words=all(part.text is not None for part in parts.plus),
        )

    def _combined(self, parts: Sequence[Part]) -> Array:
        """Return one unit vector for some parts, (dim,) float32."""
        vectors = [self._vector(part) for part in parts]
        if len(vectors) == 1:
            return vectors[0]
        scaled = [
            part.weight * vector.astype(np.float64) / self.deviation(vector)
            for part, vector in zip(parts, vectors, strict=True)
        ]
        return _unit(np.sum(scaled, axis=0))

    def _vector(self, part: Part) -> Array:
        if part.text is not None:
            return self._vector_of_text(part.text)
        return self._vector_of_audio(part)

    def _vector_of_text(self, text: str) -> Array:
        """Embed a text. What an encoder does not read of it has no effect."""
        encoder = self.encoder()
        vector: Array = encoder.embed_text([text])[0]
        if encoder.truncated([text])[0]:
            log.warning("the query is %s; its end has no effect", too_long(encoder))
        return vector

    def _vector_of_audio(self, part: Part) -> Array:
        """Embed a recording, or use what is stored of it.

        A passage is decoded anew: stored windows hold what sounds before and after it. Where the
        file is not there now, those that overlap the passage stand for it.
        """
        known, audio = self._known(part), part.audio
        assert audio is not None
        if (
            known is not None
            and isinstance(audio, Path)
            and known.state is State.INDEXED
            and known.is_embedded
            and (_is_away(audio) if part.passage else not has_changed(audio, known.facts))
        ):
            return _mean(self._stored(known, part))
        _, embeddings = embed_query_audio(self.encoder(), audio, part.passage)
        return _mean(embeddings)

    def _known(self, part: Part) -> Recording | None:
        """The indexed recording that a part names, if any."""
        if not isinstance(part.audio, Path):
            return None
        if is_url(part.audio):
            return self.reader.recording_at(path_of(part.audio))
        # Not `resolve`, which raises for links in a circle: opening the file reports them.
        return self.reader.recording_at(Path(os.path.realpath(part.audio)))

    def _stored(self, known: Recording, part: Part) -> Array:
        """Stored embeddings of a recording, or of its windows that overlap a passage, (n, dim)."""
        ids, _ = self.reader.windows_of([known.id])
        if part.passage is not None:
            begin, end = part.passage
            windows = self.reader.describe_windows(ids)
            ids = ids[[begin < windows[i].end_s and windows[i].start_s < end for i in ids.tolist()]]
            if not len(ids):
                raise QueryError(f"{part.audio}: nothing of it is indexed at this passage")
        return self.reader.embeddings(ids, self.reader.encoder().dim)


def ask_stored(reader: Reader, recording_id: int) -> Question:
    """Return the question that an indexed recording asks, from its embeddings, of which it has some."""
    vector = _mean(reader.embeddings_of(recording_id, reader.encoder().dim))
    return Question("audio", vector, vector, itself=frozenset([recording_id]))


def _mean(embeddings: Array) -> Array:
    """Return the mean of the embeddings of a recording's windows (n, dim), n >= 1, made unit."""
    mean = embeddings.mean(axis=0)
    norm = np.linalg.norm(mean)
    vector: Array = mean / norm if norm > 0 else embeddings[0]
    return vector


def _unit(vector: NDArray[np.floating]) -> Array:
    """Return a sum of vectors made unit, (dim,) float32."""
    norm = np.linalg.norm(vector)
    if norm < SHORTEST:
        raise QueryError("the parts of the question cancel each other out; ask for something else")
    unit: Array = (vector / norm).astype(np.float32)
    return unit


def _is_away(audio: Path) -> bool:
    """Whether the file of a recording cannot be read here, so that what is stored stands for it."""
    return is_url(audio) or is_absent(audio)
