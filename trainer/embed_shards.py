"""Embed images and texts of shards with the frozen CLIP model, once, into side files.

Training reads these vectors and no images. The side file of a shard is written atomically. A run
skips shards whose file is complete, and was made of this shard by the same weights and prompt.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from soundsearch.vocabulary.audioset_classes import display_name
from trainer.data.example import ExampleFacts, ShardError
from trainer.data.part import Part
from trainer.data.read_ahead import read_in_threads
from trainer.data.shard_folder import Shard, ShardFolder, ShardPaths
from trainer.data.vectors import (
    Kind,
    ShardVectors,
    VectorsFacts,
    metadata_of,
    vectors_path,
    write_vectors,
)
from trainer.towers.clip_model import BATCH_SIZE, FrozenClip

Array = NDArray[np.float32]
#: Rows of an example, such as vectors (n, dim).
Rows = TypeVar("Rows", bound=Sized)

#: Text of a label. Source: VIP-ANT, `running.prompt`.
PROMPT = "the sound of {}"
#: Threads that decode images.
N_THREADS = min(8, os.cpu_count() or 1)
#: Examples whose texts are embedded between two reports of progress.
TEXTS_OF = 64
#: Texts whose vectors are cached for the next shards; at 512 numbers, 128 MB.
CACHED_TEXTS = 65536


class EmbedError(SoundsearchError):
    """The shards hold nothing to embed, or the prompt cannot be used."""


@dataclass
class Report:
    """Counts of a run over shards.

    Attributes:
        n_ready: Shards whose file was complete before.
        n_done: Shards whose file was written.
        n_failed: Shards that could not be read, each with a note.
        n_examples: Examples of the written files.
        n_rows: Vectors, or captions, of the written files.
        n_bad: Images, or sounds, that could not be used, each with a note.
        n_empty: Examples without a row, which training skips.
    """

    n_ready: int = 0
    n_done: int = 0
    n_failed: int = 0
    n_examples: int = 0
    n_rows: int = 0
    n_bad: int = 0
    n_empty: int = 0


@dataclass(frozen=True)
class TextFacts(VectorsFacts):
    """Facts of vectors of texts. prompt: the text of a label, empty for captions."""

    prompt: str


@dataclass(frozen=True)
class LabelFacts(TextFacts):
    """Facts of vectors of labels. classes: what stands for the ids of AudioSet's classes."""

    classes: str = "audioset-names"


def embed_images(
    folder: ShardPaths,
    clip_model: FrozenClip,
    *,
    batch_size: int = BATCH_SIZE,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Embed all images of all examples of the shards in a folder.

    An image that cannot be decoded is reported and skipped; an example without images gets no row.
    Differs from VIP-ANT, which replaces such an image by noise.

    Args:
        folder: Of shards, or several.
        clip_model: Embeds the images.
        batch_size: Images in one batch.
        part: The shards to work on.
        progress: Is notified of shards and skipped images.

    Raises:
        ShardError: There are no shards, or a file cannot be written.
        EmbedError: No image could be used.
    """
    progress, shards = progress or Silent(), ShardFolder(folder)
    facts = VectorsFacts(kind="images", **_encoder_facts(clip_model))
    report = Report()
    with ThreadPoolExecutor(N_THREADS) as threads:

        def rows_of(shard: Shard) -> list[Array]:
            rows: list[list[Array]] = [[] for _ in shard.keys]
            frames = _frames(shard, clip_model, threads, report, progress)
            while batch := list(islice(frames, batch_size)):
                vectors = clip_model.embed_pixels(torch.stack([pixels for _, pixels in batch]))
                for (i, _), vector in zip(batch, vectors, strict=True):
                    rows[i].append(vector)
            return [_stacked(row, clip_model.dim) for row in rows]

        _embed(shards, facts, rows_of, report, progress, part)
    if report.n_done and not report.n_rows + report.n_ready:
        raise EmbedError(f"{shards}: no example has an image that can be used")
    return report


def embed_captions(
    folder: ShardPaths,
    clip_model: FrozenClip,
    texts: Kind = "captions",
    *,
    prompt: str = PROMPT,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Embed the texts of all examples of the shards in a folder.

    A text that many examples share is embedded once.

    Args:
        folder: Of shards, or several.
        clip_model: Embeds the texts.
        texts: captions, one row each; labels, one row each, put into the prompt at {}; or
            labels-joined, one row for "the sound of a, b, c".
        prompt: Text of a label, with {} in its place.
        part: The shards to work on.
        progress: Is notified of shards.

    Raises:
        ShardError: There are no shards, or a file cannot be written.
        EmbedError: No example has such texts, or the prompt has no place for the label.
    """
    if texts != "captions" and prompt.count("{}") != 1:
        raise EmbedError(f"the prompt {prompt!r} must hold {{}} once, where the label goes")
    progress, shards = progress or Silent(), ShardFolder(folder)
    encoder = _encoder_facts(clip_model)
    facts = (
        TextFacts(kind=texts, **encoder, prompt="")
        if texts == "captions"
        else LabelFacts(kind=texts, **encoder, prompt=prompt)
    )
    cache: OrderedDict[str, Array] = OrderedDict()
    unknown: set[str] = set()

    def rows_of(shard: Shard) -> list[Array]:
        found: list[Array] = []
        for start in range(0, len(shard), TEXTS_OF):
            part_of = [shard.facts(i) for i in range(start, min(start + TEXTS_OF, len(shard)))]
            if texts != "captions":
                labels = (label for facts in part_of for label in facts.labels)
                _note_unknown(labels, unknown, progress)
            rows = [texts_of(facts, texts, prompt) for facts in part_of]
            vectors = _text_vectors((text for row in rows for text in row), clip_model, cache)
            found += [_stacked([vectors[text] for text in row], clip_model.dim) for row in rows]
            progress.advance(len(rows) / len(shard))
        return found

    report = Report()
    _embed(shards, facts, rows_of, report, progress, part)
    if report.n_done and not report.n_rows + report.n_ready:
        what = "captions" if texts == "captions" else "labels"
        raise EmbedError(
            f"{shards}: no example has {what}; expected some in the facts of the shards"
        )
    return report


def texts_of(facts: ExampleFacts, texts: Kind, prompt: str) -> list[str]:
    """The texts of a clip that are embedded, in order.

    Labels are in lower case, with spaces for underscores; ids of AudioSet's classes become their
    names, and ids of no class of it are left out. Source: VIP-ANT, `build_audioset_label_map`.
    """
    if texts == "captions":
        return [caption for caption in facts.captions if caption.strip()]
    named = [display_name(label) or "" for label in facts.labels]
    labels = [" ".join(label.replace("_", " ").split()).lower() for label in named]
    labels = [label for label in labels if label]
    if texts == "labels-joined":
        labels = [", ".join(labels)] if labels else []
    return [prompt.replace("{}", label) for label in labels]


def _note_unknown(labels: Iterable[str], known: set[str], progress: Progress) -> None:
    """Report each id of no class of AudioSet once; known: those that were reported."""
    for label in labels:
        if display_name(label) is None and label not in known:
            known.add(label)
            progress.note(f"skipped the label {label}: no class of AudioSet has this id")


def is_ready(path: Path, facts: VectorsFacts, digest: str) -> bool:
    """Return whether a side file is complete, of this shard, and made with these facts.

    The place of the weights is not compared, but their fingerprint.
    """
    try:
        made = ShardVectors(path, digest).metadata
    except ShardError:
        return False
    wanted = metadata_of(facts)
    return all(made.get(name) == wanted[name] for name in wanted.keys() - {"model", "pretrained"})


def over_shards(
    shards: ShardFolder,
    ready: Callable[[Shard], bool],
    rows_of: Callable[[Shard], list[Rows]],
    write: Callable[[Shard, list[Rows]], None],
    report: Report,
    progress: Progress,
    part: Part | None = None,
) -> None:
    """Write a file for each shard that has none yet.

    A shard that cannot be read is reported and skipped; a file that cannot be written ends the run.

    Args:
        shards: The folder of shards.
        ready: Returns whether a shard's file is complete.
        rows_of: Returns the rows of each example of a shard, and advances the progress by one.
        write: Writes the file of a shard.
        report: Gets the counts.
        progress: Is notified of shards.
        part: The shards to work on, where several machines share them.
    """
    chosen = (part or Part()).of(range(len(shards.shards)))
    progress.begin("shards", len(chosen))
    for n in chosen:
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
        report.n_examples += len(rows)
        report.n_rows += sum(len(row) for row in rows)
        report.n_empty += sum(len(row) == 0 for row in rows)


def _embed(
    shards: ShardFolder,
    facts: VectorsFacts,
    rows_of: Callable[[Shard], list[Array]],
    report: Report,
    progress: Progress,
    part: Part | None,
) -> None:
    def path_of(shard: Shard) -> Path:
        return vectors_path(shard.path, facts.kind, facts.encoder)

    over_shards(
        shards,
        lambda shard: is_ready(path_of(shard), facts, shard.digest),
        rows_of,
        lambda shard, rows: write_vectors(path_of(shard), rows, facts, shard.digest),
        report,
        progress,
        part,
    )


def _encoder_facts(clip_model: FrozenClip) -> dict[str, Any]:
    """Return the facts of the encoder, with absolute paths of its files."""

    def in_full(name: str) -> str:
        return str(Path(name).resolve()) if Path(name).is_file() else name

    return {
        "encoder": clip_model.encoder,
        "model": in_full(clip_model.choice.model),
        "pretrained": in_full(clip_model.choice.pretrained),
        "fingerprint": clip_model.fingerprint,
        "dim": clip_model.dim,
    }


def _frames(
    shard: Shard,
    clip_model: FrozenClip,
    threads: ThreadPoolExecutor,
    report: Report,
    progress: Progress,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the images of a shard in order, each with its example's number; threads decode ahead."""

    def decode(i: int) -> list[Tensor | str]:
        return [_pixels(clip_model, frame) for frame in shard.frames(i)]

    for i, frames in enumerate(read_in_threads(threads, decode, range(len(shard)))):
        for j, frame in enumerate(frames):
            if isinstance(frame, str):
                report.n_bad += 1
                where = f"{shard.path}: image {j} of example {shard.keys[i]}"
                progress.note(f"skipped {where}: {frame}")
            else:
                yield i, frame
        progress.advance(1 / len(shard))


def _pixels(clip_model: FrozenClip, frame: bytes) -> Tensor | str:
    """Return the input of the image tower, or the reason why there is none."""
    try:
        with Image.open(io.BytesIO(frame)) as image:
            return clip_model.pixels(image)
    except Exception as error:  # Pillow raises many kinds for a damaged image
        reason = str(error).strip().split("\n")[0].split(" <")[0]
        return f"cannot be decoded ({reason or type(error).__name__})"


def _text_vectors(
    texts: Iterable[str], clip_model: FrozenClip, cache: OrderedDict[str, Array]
) -> dict[str, Array]:
    """Return the vector (dim,) of each text, from the cache or new; new ones enter the cache."""
    distinct = dict.fromkeys(texts)
    new = [text for text in distinct if text not in cache]
    vectors = dict(zip(new, clip_model.embed_texts(new), strict=True))
    vectors |= {text: cache[text] for text in distinct if text in cache}
    for text, vector in vectors.items():
        cache[text] = vector
        cache.move_to_end(text)
    while len(cache) > CACHED_TEXTS:
        cache.popitem(last=False)
    return vectors


def _stacked(vectors: Sequence[Array], dim: int) -> Array:
    return np.stack(vectors) if vectors else np.empty((0, dim), np.float32)
