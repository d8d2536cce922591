"""Embed the clips and texts of a data set, and score texts against clips.

Each clip and each text is embedded alone, as in a search, so that its embedding depends on nothing
else: neither on the others nor on whether a run was interrupted. Threads read several clips at
once. A run that was killed leaves its embeddings in the cache for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from soundsearch.arrays import Array, Ints
from soundsearch.encoder.embedding_cache import EmbeddingCache, text_digest
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, BenchmarkError
from soundsearch.progress import SILENT, Progress

#: Scores of texts and windows that are held in memory at once: 256 MB.
SCORES_AT_A_TIME = 1 << 26
#: Unit embeddings are equal if no number differs by this much.
SAME = 1e-4


@dataclass(frozen=True, eq=False)
class ClipEmbeddings:
    """Embeddings of clips, one or more for each clip.

    Attributes:
        vectors: Unit embeddings, (n_vectors, dim) float32.
        first: (n_clips + 1,) int64; clip i owns vectors[first[i]:first[i + 1]].
    """

    vectors: Array
    first: Ints

    def __len__(self) -> int:
        return len(self.first) - 1

    @classmethod
    def of(cls, clips: Sequence[Array]) -> ClipEmbeddings:
        """Join arrays (n_i, dim), one for each of one or more clips; each n_i is 1 or more."""
        first = np.cumsum([0, *(len(vectors) for vectors in clips)], dtype=np.int64)
        return cls(np.concatenate(clips), first)

    def mean(self) -> ClipEmbeddings:
        """Return one embedding for each clip: the mean of its own, scaled to unit length."""
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
    """Embed clips; those that cannot be used are left out.

    Args:
        encoder: Embeds the clips.
        clips: Paths of sound files.
        cache: Embeddings of earlier runs; new ones are added.
        one: Whether a clip gets one embedding, from `Encoder.embed_clip`; otherwise one for each
            window that is not silent.
        jobs: Clips read at once.
        progress: Is notified of each finished clip.

    Returns:
        Embeddings of the usable clips in order, None if there is none; and for the others their
        place in `clips` -> the reason.
    """
    kind: Literal["clip", "windows"] = "clip" if one else "windows"
    compute = _one_of(encoder) if one else _windows_of(encoder)
    progress = progress or SILENT
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
                digest = None  # the decoder reports it
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
    usable = [found[i] for i in sorted(found)]
    return (ClipEmbeddings.of(usable) if usable else None), lost


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
    """Embed texts, (n, dim) float32; equal texts get equal rows. Arguments as `Encoder.embed_text`."""
    kind: Literal["text", "raw-text"] = "text" if normalise else "raw-text"
    distinct = list(dict.fromkeys(texts))
    progress = progress or SILENT
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
    """Refuse an encoder that gives different inputs the same embedding.

    A tower whose weights were lost in a conversion does so; public uploads with such a text tower
    exist. vectors: (n, dim), of different inputs. what: "texts" or "clips".
    Raises BenchmarkError where all n embeddings are equal, and n is 2 or more.
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
    """Score texts against clips: the largest dot product of a text with the clip's vectors.

    Args:
        texts: (n_texts, dim) float32.
        clips: Embeddings of n_clips clips.

    Returns:
        (n_texts, n_clips) float32. Rows of equal texts are equal to the last bit.
    """
    distinct, back = np.unique(texts, axis=0, return_inverse=True)
    step = max(1, SCORES_AT_A_TIME // max(1, len(clips.vectors)))
    blocks = [
        np.maximum.reduceat(distinct[i : i + step] @ clips.vectors.T, clips.first[:-1], axis=1)
        for i in range(0, len(distinct), step)
    ]
    scores: Array = np.concatenate(blocks)[back.reshape(-1)]
    return scores
