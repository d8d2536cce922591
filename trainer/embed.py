"""Pictures and texts of shards through the frozen CLIP, once, into side files beside them.

Training then reads vectors and never sees a picture. Each shard's file is written whole: a run that
was stopped goes on with the shards that have none yet, and with those whose file is of other
weights, another prompt or an older shard.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from soundsearch.errors import SoundsearchError
from soundsearch.progress import Progress, Silent
from trainer.data.shards import ClipFacts, Shard, ShardError, ShardFolder
from trainer.data.vectors import Kind, ShardVectors, VectorsFacts, vectors_path, write_vectors
from trainer.towers.clip import BATCH_SIZE, FrozenClip

Array = NDArray[np.float32]
T = TypeVar("T")

#: What a label is put into (VIP-ANT).
PROMPT = "the sound of {}"
#: Threads that decode pictures, and clips they may be ahead of the model.
N_THREADS, AHEAD = min(8, os.cpu_count() or 1), 32
#: Texts whose vectors are kept for the next shards; at 512 numbers, 128 MB.
KEPT_TEXTS = 65536


class EmbedError(SoundsearchError):
    """Shards that hold nothing to embed, or a prompt that cannot be used."""


@dataclass
class Report:
    """What a run over shards did.

    n_ready: shards that had their file already. n_done: shards made. n_failed: shards left out,
    each with a note. n_clips, n_rows, n_bad_frames: of the shards made. n_empty: clips among them
    that got no row; training passes them over.
    """

    n_ready: int = 0
    n_done: int = 0
    n_failed: int = 0
    n_clips: int = 0
    n_rows: int = 0
    n_bad_frames: int = 0
    n_empty: int = 0


@dataclass(frozen=True)
class TextFacts(VectorsFacts):
    """Facts of vectors of texts. prompt: what labels were put into, empty for captions."""

    prompt: str


def embed_images(
    folder: Path,
    clip: FrozenClip,
    *,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> Report:
    """Embed every frame of every clip of the shards in a folder; batch_size frames at once.

    A frame that cannot be decoded is noted and left out, and a clip without any other gets no row.
    Differs from VIP-ANT, which puts a picture of noise in its place. Raises ShardError if there are
    no shards, or a file cannot be written, and EmbedError if no frame at all could be used.
    """
    progress = progress or Silent()
    facts = VectorsFacts(kind="images", **_encoder_facts(clip))
    report = Report()
    with ThreadPoolExecutor(N_THREADS) as threads:

        def rows_of(shard: Shard) -> list[Array]:
            rows: list[list[Array]] = [[] for _ in shard.keys]
            frames = _frames(shard, clip, threads, report, progress)
            while batch := list(islice(frames, batch_size)):
                vectors = clip.embed_pixels(torch.stack([pixels for _, pixels in batch]))
                for (i, _), vector in zip(batch, vectors, strict=True):
                    rows[i].append(vector)
            return [_stacked(row, clip.dim) for row in rows]

        _embed(folder, facts, rows_of, report, progress)
    if report.n_done and not report.n_rows + report.n_ready:
        raise EmbedError(f"{folder}: no clip has a frame that can be used")
    return report


def embed_captions(
    folder: Path,
    clip: FrozenClip,
    texts: Kind = "captions",
    *,
    prompt: str = PROMPT,
    progress: Progress | None = None,
) -> Report:
    """Embed the texts of every clip of the shards in a folder.

    texts: captions, a row each; labels, a row each, put into the prompt in place of {}; or
    labels-joined, one row for "the sound of a, b, c". A text that many clips share is embedded
    once. Raises ShardError if there are no shards, or a file cannot be written, and EmbedError if
    no clip has such texts, or if the prompt has no place for the label.
    """
    if texts != "captions" and prompt.count("{}") != 1:
        raise EmbedError(f"the prompt {prompt!r} must hold {{}} once, where the label goes")
    progress = progress or Silent()
    facts = TextFacts(
        kind=texts, **_encoder_facts(clip), prompt="" if texts == "captions" else prompt
    )
    kept: OrderedDict[str, Array] = OrderedDict()

    def rows_of(shard: Shard) -> list[Array]:
        told = [texts_of(shard.facts(i), texts, prompt) for i in range(len(shard))]
        vectors = _text_vectors((text for row in told for text in row), clip, kept)
        progress.advance(1)
        return [_stacked([vectors[text] for text in row], clip.dim) for row in told]

    report = Report()
    _embed(folder, facts, rows_of, report, progress)
    if report.n_done and not report.n_rows + report.n_ready:
        what = "captions" if texts == "captions" else "labels"
        raise EmbedError(f"{folder}: no clip has {what}; expected some in the facts of the shards")
    return report


def texts_of(facts: ClipFacts, texts: Kind, prompt: str) -> list[str]:
    """The texts of a clip that are embedded, in order; labels with spaces for underscores."""
    if texts == "captions":
        return [caption for caption in facts.captions if caption.strip()]
    labels = [" ".join(label.replace("_", " ").split()).lower() for label in facts.labels]
    labels = [label for label in labels if label]
    if texts == "labels-joined":
        labels = [", ".join(labels)] if labels else []
    return [prompt.replace("{}", label) for label in labels]


def is_ready(path: Path, facts: VectorsFacts, digest: str) -> bool:
    """Whether a side file is there, whole, of this shard and made in this way.

    Where the weights were loaded from does not count; their fingerprint does.
    """
    from safetensors import safe_open

    try:
        ShardVectors(path, digest)
    except ShardError:
        return False
    with safe_open(path, "numpy") as file:
        made: dict[str, str] = file.metadata()
    wanted = {name: str(value) for name, value in asdict(facts).items()}
    return all(made.get(name) == wanted[name] for name in wanted.keys() - {"model", "pretrained"})


def over_shards(
    shards: ShardFolder,
    ready: Callable[[Shard], bool],
    rows_of: Callable[[Shard], Sequence[NDArray[Any]]],
    write: Callable[[Shard, Sequence[NDArray[Any]]], None],
    report: Report,
    progress: Progress,
) -> None:
    """Make a file for each shard that is not ready; rows_of gives an array for each of its clips.

    A shard that cannot be read is noted and left out; a file that cannot be written ends the run.
    rows_of tells the progress of its shard.
    """
    progress.begin("shards", len(shards.shards))
    for n in range(len(shards.shards)):
        try:
            shard = shards.open(n)
            if ready(shard):
                report.n_ready += 1
                progress.advance(1)
                continue
            rows = rows_of(shard)
        except ShardError as error:
            report.n_failed += 1
            progress.note(f"skipped {error}")
            continue
        write(shard, rows)
        report.n_done += 1
        report.n_clips += len(rows)
        report.n_rows += sum(len(row) for row in rows)
        report.n_empty += sum(len(row) == 0 for row in rows)


def _embed(
    folder: Path,
    facts: VectorsFacts,
    rows_of: Callable[[Shard], list[Array]],
    report: Report,
    progress: Progress,
) -> None:
    def path_of(shard: Shard) -> Path:
        return vectors_path(shard.path, facts.kind, facts.encoder)

    over_shards(
        ShardFolder(folder),
        lambda shard: is_ready(path_of(shard), facts, shard.digest),
        rows_of,
        lambda shard, rows: write_vectors(path_of(shard), rows, facts, shard.digest),
        report,
        progress,
    )


def _encoder_facts(clip: FrozenClip) -> dict[str, Any]:
    """Facts about the encoder. Files are named in full, to be found again from another folder."""

    def in_full(name: str) -> str:
        return str(Path(name).resolve()) if Path(name).is_file() else name

    return {
        "encoder": clip.encoder,
        "model": in_full(clip.choice.model),
        "pretrained": in_full(clip.choice.pretrained),
        "fingerprint": clip.fingerprint,
        "dim": clip.dim,
    }


def _frames(
    shard: Shard,
    clip: FrozenClip,
    threads: ThreadPoolExecutor,
    report: Report,
    progress: Progress,
) -> Iterator[tuple[int, Tensor]]:
    """The frames of a shard in order, each with its clip's number, decoded ahead by threads."""

    def decode(i: int) -> list[Tensor | str]:
        return [_pixels(clip, frame) for frame in shard.frames(i)]

    for i, frames in enumerate(_ahead(threads, decode, len(shard))):
        for j, frame in enumerate(frames):
            if isinstance(frame, str):
                report.n_bad_frames += 1
                where = f"{shard.path}: frame {j} of clip {shard.keys[i]}"
                progress.note(f"left out {where}: {frame}")
            else:
                yield i, frame
        progress.advance(1 / len(shard))


def _pixels(clip: FrozenClip, frame: bytes) -> Tensor | str:
    """What enters the image tower, or why there is none."""
    try:
        with Image.open(io.BytesIO(frame)) as image:
            return clip.pixels(image)
    except Exception as error:  # a damaged picture makes Pillow raise of any kind
        reason = str(error).strip().split("\n")[0].split(" <")[0]
        return f"cannot be decoded ({reason or type(error).__name__})"


def _ahead(threads: ThreadPoolExecutor, work: Callable[[int], T], n: int) -> Iterator[T]:
    """work(0), work(1), ... in order, done in threads, at most AHEAD before they are wanted."""
    waiting: deque[Future[T]] = deque()
    for i in range(n):
        waiting.append(threads.submit(work, i))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _text_vectors(
    texts: Iterable[str], clip: FrozenClip, kept: OrderedDict[str, Array]
) -> dict[str, Array]:
    """Vector (dim,) by text; those in `kept` are not made again, and new ones are added to it."""
    wanted = dict.fromkeys(texts)
    new = [text for text in wanted if text not in kept]
    vectors = dict(zip(new, clip.embed_texts(new), strict=True))
    vectors |= {text: kept[text] for text in wanted if text in kept}
    for text, vector in vectors.items():
        kept[text] = vector
        kept.move_to_end(text)
    while len(kept) > KEPT_TEXTS:
        kept.popitem(last=False)
    return vectors


def _stacked(vectors: Sequence[Array], dim: int) -> Array:
    return np.stack(vectors) if vectors else np.empty((0, dim), np.float32)
