"""Describe a recording: rank texts by how well they fit it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from soundsearch.arguments import check_audio, check_count, check_text, check_texts
from soundsearch.arrays import Array, Mask
from soundsearch.encoder.calibration import Calibration
from soundsearch.encoder.towers import Encoder
from soundsearch.search.hits import SCORE_DECIMALS, Label
from soundsearch.search.query_audio import embed_query_audio

log = logging.getLogger(__name__)


def describe(
    encoder: Encoder,
    audio: str | Path | BinaryIO,
    texts: Sequence[str],
    *,
    top_k: int = 10,
    as_labels: bool = False,
) -> list[Label]:
    """Return the texts that fit a recording best; see `Index.describe`.

    Each text is a query of its own. With a calibrated encoder texts are ranked by relevance, so
    that a text whose cosine is high for every sound does not always come first. Of a text that is
    longer than the encoder reads only the beginning counts; a warning is logged.
    """
    check_count("top_k", top_k)
    check_audio(audio)
    check_texts("texts", texts)
    for i, text in enumerate(texts):
        check_text(f"texts[{i}]", text)
    return labels_of(
        encoder, *embed_query_audio(encoder, audio), texts, top_k=top_k, as_labels=as_labels
    )


def labels_of(
    encoder: Encoder,
    spans: Sequence[tuple[float, float]],
    embeddings: Array,
    texts: Sequence[str],
    *,
    top_k: int,
    as_labels: bool,
) -> list[Label]:
    """Return the texts that fit a recording best, by the embeddings of its windows.

    spans: start and end of n windows in seconds. embeddings: of these, (n, dim) float32, n >= 1.
    The other arguments are those of `describe`.
    """
    prompt = encoder.bundle.text.prompt if as_labels else "{}"
    prompted = [prompt.replace("{}", text) for text in texts]
    text_embeddings, truncated = _embedded(encoder, tuple(prompted))
    if truncated.any():
        log.warning(
            "%d of %d texts are %s; their ends have no effect",
            *(truncated.sum(), len(texts), too_long(encoder)),
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


@functools.lru_cache(maxsize=2)  # a thousand labels take seconds, and are the same each time
def _embedded(encoder: Encoder, texts: tuple[str, ...]) -> tuple[Array, Mask]:
    """Return the embeddings of n texts, (n, dim), and whether each is longer than is read."""
    embeddings, truncated = encoder.embed_text(texts), encoder.truncated(texts)
    embeddings.flags.writeable = truncated.flags.writeable = False
    return embeddings, truncated


def too_long(encoder: Encoder) -> str:
    """Return the clause on a text that is longer than the encoder reads."""
    bundle = encoder.bundle
    return f"longer than the {bundle.text.max_tokens} tokens that encoder {bundle.name} reads"
