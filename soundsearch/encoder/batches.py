"""Clips and texts of a benchmark to embeddings, and embeddings to scores.

Every clip and every text goes through the encoder by itself, as in a search, so that its
embedding depends on nothing else: not on its neighbours, nor on whether a run was interrupted.
Several clips are read at a time. What a killed run had finished is in the cache for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from soundsearch.encoder.embedding_cache import EmbeddingCache, text_digest
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, BenchmarkError
from soundsearch.progress import Progress, Silent

Array = NDArray[np.float32]

#: Scores of so many windows are held in memory at a time, for each block of texts: 256 MB.
SCORES_AT_A_TIME = 1 << 26
#: Embeddings of unit length that lie nearer to each other than this are the same one.
SAME = 1e-4


@dataclass(frozen=True, eq=False)
class ClipEmbeddings:
    """Embeddings of clips, one or more for each.

    vectors: (n_vectors, dim) float32 of unit length. first: (n_clips + 1,) int64; clip i owns the
    rows first[i] to first[i + 1].
    """

    vectors: Array
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first) - 1

    @classmethod
    def of(cls, clips: Sequence[Array]) -> ClipEmbeddings:
        """From (n_i, dim) for each clip; there is at least one clip and n_i is 1 or more."""
        first = np.cumsum([0, *(len(vectors) for vectors in clips)], dtype=np.int64)
        return cls(np.concatenate(clips), first)

    def mean(self) -> ClipEmbeddings:
        """One embedding for each clip: the mean of its own, scaled to unit length."""
        sums = np.add.reduceat(self.vectors.astype(np.float64), self.first[:-1], axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        unit = (sums / np.maximum(norms, 1e-12)).astype(np.float32)
        return ClipEmbeddings(unit, np.arange(len(self) + 1, dtype=np.int64))


def embed_clips(
    encoder: Encoder,
    clips: Sequence[Path],
    cache: EmbeddingCache,
    *,
    one: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[ClipEmbeddings | None, dict[int, str]]:
    """Embeddings of recordings, and why some have none.

    one: one embedding for each clip, from `Encoder.embed_clip`; else one for each window that is
    not silent. jobs: clips read at a time. Returns the embeddings of those that can be used, in
    order (None if there are none), and place -> reason for the others.
    """
    kind: Literal["clip", "windows"] = "clip" if one else "windows"
    compute = _one_of(encoder) if one else _windows_of(encoder)
    progress = progress or Silent()
    progress.begin("clips", len(clips))
    found: dict[int, Array] = {}
    lost: dict[int, str] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        running: dict[Future[Array], tuple[int, bytes | None]] = {}
        for i, path in enumerate(clips):
            try:
                digest = cache.digest_of(path)
            except OSError:
                digest = None  # the decoder says it better
            vectors = cache.get(kind, digest)
            if vectors is None:
                running[pool.submit(compute, path)] = (i, digest)
            else:
                found[i] = vectors
                progress.advance()
        for done in as_completed(running):
            i, digest = running[done]
            try:
                found[i] = done.result()
            except AudioError as error:
                lost[i] = error.reason
            else:
                cache.put(kind, digest, found[i])
            progress.advance()
    finally:
        pool.shutdown(cancel_futures=True)
    kept = [found[i] for i in sorted(found)]
    return (ClipEmbeddings.of(kept) if kept else None), lost


def _windows_of(encoder: Encoder) -> Callable[[Path], Array]:
    def compute(path: Path) -> Array:
        return encoder.embed_file(path, whole=True)[1]

    return compute


def _one_of(encoder: Encoder) -> Callable[[Path], Array]:
    def compute(path: Path) -> Array:
        return encoder.embed_clip(path, whole=True)[None, :]

    return compute


def embed_texts(
    encoder: Encoder,
    texts: Sequence[str],
    cache: EmbeddingCache,
    *,
    normalise: bool = True,
    progress: Progress | None = None,
) -> Array:
    """(n, dim) float32, for equal texts equal. normalise: to unit length, else as the tower has it."""
    kind: Literal["text", "raw-text"] = "text" if normalise else "raw-text"
    distinct = list(dict.fromkeys(texts))
    progress = progress or Silent()
    progress.begin("texts", len(distinct))
    embeddings = {}
    for text in distinct:
        digest = text_digest(text)
        found = cache.get(kind, digest)
        if found is None:
            found = encoder.embed_text([text], normalise=normalise)
            cache.put(kind, digest, found)
        embeddings[text] = found[0]
        progress.advance()
    return np.stack([embeddings[text] for text in texts])


def refuse_collapsed(encoder: Encoder, vectors: Array, what: str) -> None:
    """Raise BenchmarkError if all these embeddings are one and the same.

    vectors: (n, dim), of different texts or clips. what: "texts" or "clips". A tower whose weights
    were lost in a conversion answers so: public uploads with such a text tower exist.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-12)
    if len(unit) > 1 and float(np.abs(unit - unit[0]).max()) < SAME:
        tower = "text" if what == "texts" else "audio"
        raise BenchmarkError(
            f"encoder {encoder.bundle.name}: its {tower} tower gives the same embedding for all "
            f"{len(vectors)} {what}; its weights are damaged or were lost in a conversion, nothing "
            "can be measured with it"
        )


def score_texts(texts: Array, clips: ClipEmbeddings) -> Array:
    """(n_texts, n_clips) float32: for each text and clip the best dot product of the clip's vectors.

    texts: (n_texts, dim). Rows of equal texts are equal to the last bit.
    """
    distinct, back = np.unique(texts, axis=0, return_inverse=True)
    step = max(1, SCORES_AT_A_TIME // max(1, len(clips.vectors)))
    blocks = [
        np.maximum.reduceat(distinct[i : i + step] @ clips.vectors.T, clips.first[:-1], axis=1)
        for i in range(0, len(distinct), step)
    ]
    scores: Array = np.concatenate(blocks)[back.reshape(-1)]
    return scores
