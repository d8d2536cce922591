"""What is asked of an index, as a vector: a text, or a recording that hits should sound like."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from soundsearch.encoder.calibration import Kind
from soundsearch.encoder.towers import Encoder
from soundsearch.files import has_changed
from soundsearch.search.describe import too_long
from soundsearch.search.query_audio import embed_query_audio
from soundsearch.store import Reader, State

log = logging.getLogger(__name__)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """What is asked of an index.

    Attributes:
        kind: What its score is calibrated for.
        vector: Its embedding, (dim,) float32 of unit length.
        words: The text that names, folders and metadata are searched for; empty for none.
        itself: Ids of recordings that are part of the question, and never among the hits.
    """

    kind: Kind
    vector: Array
    words: str = ""
    itself: frozenset[int] = frozenset()


def ask_text(text: str, encoder: Encoder) -> Question:
    """Return the question that a text asks. What an encoder does not read of it has no effect."""
    vector: Array = encoder.embed_text([text])[0]
    if encoder.truncated([text])[0]:
        log.warning("the query is %s; its end has no effect", too_long(encoder))
    return Question("text", vector, words=text)


def ask_audio(
    audio: str | Path | BinaryIO, reader: Reader, encoder: Callable[[], Encoder]
) -> Question:
    """Return the question that a recording asks: what sounds like this?

    Args:
        audio: Path of a sound file, indexed or not, or an open stream of one.
        reader: Its stored embeddings are used if it is indexed and has not changed since.
        encoder: Returns the encoder of the index, if it is needed.

    Raises:
        AudioError: The recording cannot be used.
    """
    known = None
    if isinstance(audio, str | Path):
        audio = Path(audio)
        # Not `resolve`, which raises for links in a circle: opening the file reports them.
        known = reader.recording_at(Path(os.path.realpath(audio)))
    itself = frozenset() if known is None else frozenset([known.id])
    if (
        known is not None
        and isinstance(audio, Path)
        and known.state is State.INDEXED
        and known.is_embedded
        and not has_changed(audio, known.facts)
    ):
        return ask_stored(reader, known.id, itself)
    _, embeddings = embed_query_audio(encoder(), audio)
    return Question("audio", _mean(embeddings), itself=itself)


def ask_stored(reader: Reader, recording_id: int, itself: frozenset[int]) -> Question:
    """Return the question that a recording asks, from its stored embeddings, of which it has some."""
    embeddings = reader.embeddings_of(recording_id, reader.encoder().dim)
    return Question("audio", _mean(embeddings), itself=itself)


def _mean(embeddings: Array) -> Array:
    """Return the mean of the embeddings of a recording's windows (n, dim), n >= 1, made unit."""
    mean = embeddings.mean(axis=0)
    norm = np.linalg.norm(mean)
    vector: Array = mean / norm if norm > 0 else embeddings[0]
    return vector
