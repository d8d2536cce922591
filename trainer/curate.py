"""Curate captions: find captions for examples in a pool of texts, by their images alone.

Each image of an example takes the captions of the pool with the highest cosine by CLIP; the
example's captions are the union over its images. Sound plays no part, so nothing is learnt from
pairs of sound and text. Source: VIP-ANT, "free captions" and the other pools of `note/audiotxt.md`
of its companion repository audioset-dl.

Files written into the folder of shards:

    POOL.pool.txt                          the captions, one a line; a caption's id is its line
    POOL.pool.ENCODER.safetensors          their vectors
    shard-000000.curated.POOL.safetensors  ids (total,) int32 and first (n_examples + 1,) int64:
                                           example i owns ids[first[i]:first[i + 1]], best first
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsearch.errors import SoundsearchError
from soundsearch.files import write_atomically
from soundsearch.progress import Progress, Silent
from soundsearch.tables import Table, text_lines
from trainer.authors_captions import Ids, read_choice, read_map
from trainer.data.example import ShardError
from trainer.data.example_selection import clip_id
from trainer.data.manifest_examples import file_digest
from trainer.data.shard_folder import Shard, ShardFolder
from trainer.data.side_files import SideFile, firsts_of, write_side_file
from trainer.data.vectors import (
    ShardVectors,
    VectorsFacts,
    stored_facts,
    vectors_path,
    write_vectors,
)
from trainer.embed_shards import Report, is_ready, over_shards
from trainer.towers.clip_model import ClipChoice, load_clip
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]

#: Captions of the pool that each image takes (VIP-ANT).
TOP_K = 10
#: Captions of the pool that are embedded between two reports of progress.
TEXTS_AT_ONCE = 1024
#: Scores of images and captions that are held at once.
SCORES_AT_ONCE = 2**25
#: Pairs whose cosine is computed again at once.
PAIRS_AT_ONCE = 2**16
#: An upper bound of the float32 error of a cosine. Captions within it of the last place are compared
#: again in float64.
MARGIN = 1e-4
KIND = "pool"
MANIFEST_COLUMNS = ("shard", "key", "caption")


class CurateError(SoundsearchError):
    """A pool is missing or does not fit."""


def curated_path(shard: Path, pool: str) -> Path:
    """Return the path of the caption ids of a shard from this pool."""
    return shard.with_name(f"{shard.stem}.curated.{pool}.safetensors")


class CuratedCaptions(SideFile):
    """The captions chosen for the examples of one shard, as ids into the pool.

    Attributes:
        first: (n_examples + 1,) int64, see the module.
        pool: Fingerprint of the pool's captions.
    """

    def __init__(self, path: Path, digest: str | None) -> None:
        """Map a file; arguments and errors as `SideFile`."""
        super().__init__(path, digest, "run `soundsearch train curate`")
        self._ids, self.first = self.rows("ids")
        if (self._ids < 0).any():
            raise self.unfit("damaged, it holds ids below 0")
        self.pool = self.metadata.get("pool")

    def __len__(self) -> int:
        return len(self.first) - 1

    def of(self, i: int) -> Ids:
        """Return the caption ids of example i, the best first; none if it has no images."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        ids: Ids = self._ids[self.first[i] : self.first[i + 1]]
        return ids


def read_pool(folder: Path, pool: str, encoder: str) -> tuple[list[str], Array]:
    """Read the captions of a pool and their vectors, (n, dim) float32, not normalised.

    Raises CurateError if either is missing, damaged, or not made from the other.
    """
    texts = _stored_texts(folder, pool)
    if texts is None:
        raise _no_pool(folder, pool)
    try:
        vectors = ShardVectors(_pool_vectors_path(folder, pool, encoder), fingerprint(texts)).of(0)
    except (ShardError, IndexError) as error:
        raise CurateError(
            f"{folder}: holds no vectors of the pool {pool} by {encoder} that fit it; "
            "run `soundsearch train curate`"
        ) from error
    return texts, vectors


def read_captions(path: Path) -> list[str]:
    """The captions of a pool: the lines of a text file, or the caption columns of a CSV file.

    In a CSV every column counts that is called caption, or caption_1 and so on. White space is
    made single spaces; empty captions and repetitions are left out. Raises CurateError.
    """
    is_table = path.suffix.lower() == ".csv"
    raw = _column_captions(path) if is_table else text_lines(path, CurateError)
    captions = list(dict.fromkeys(" ".join(text.split()) for text in raw))
    captions = [caption for caption in captions if caption]
    if not captions:
        raise CurateError(f"{path}: holds no captions; expected one a line, or a CSV file")
    return captions


def _column_captions(path: Path) -> Iterator[str]:
    table = Table(path, CurateError)
    columns = [name for name in table.columns if re.fullmatch(r"captions?(_\d+)?", name.lower())]
    if not columns:
        table.require(["caption"])
    for row in table.rows():
        yield from (row[name] for name in columns)


def fingerprint(texts: Sequence[str]) -> str:
    """Return a short hash over the captions of a pool in their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def nearest(frames: Tensor, pool: Tensor, top_k: int) -> tuple[Ids, NDArray[np.float64]]:
    """Return the top_k captions of each image: ids and cosines, both (n_images, top_k).

    The best come first, and of equal ones the lower id. The search is exact: products in float32
    only choose candidates, whose cosines are computed again in float64.

    Args:
        frames: Unit vectors of images, (n_images, dim) float32.
        pool: Unit vectors of captions, (n, dim) float32, on the same device; n >= top_k.
        top_k: Captions of an image.
    """
    ids = np.empty((len(frames), top_k), np.int32)
    cosines = np.empty((len(frames), top_k), np.float64)
    step = max(1, SCORES_AT_ONCE // len(pool))
    for start in range(0, len(frames), step):
        some = frames[start : start + step]
        scores = some @ pool.T
        last = scores.topk(top_k, dim=1).values[:, -1:]
        rows, columns = (scores >= last - MARGIN).nonzero(as_tuple=True)
        parts = (slice(i, i + PAIRS_AT_ONCE) for i in range(0, len(rows), PAIRS_AT_ONCE))
        cosine = np.concatenate([_cosines(some[rows[p]], pool[columns[p]]) for p in parts])
        row, column = rows.cpu().numpy(), columns.cpu().numpy()
        order = np.lexsort((column, -cosine, row))  # rows stay together, since row decides first
        first = np.searchsorted(row, np.arange(len(some)))
        chosen = order[first[:, None] + np.arange(top_k)]
        ids[start : start + step] = column[chosen]
        cosines[start : start + step] = cosine[chosen]
    return ids, cosines


def _cosines(frames: Tensor, captions: Tensor) -> NDArray[np.float64]:
    """Return the float64 cosines of corresponding rows; equal rows give equal bits."""
    left, right = (x.cpu().numpy().astype(np.float64) for x in (frames, captions))
    cosines: NDArray[np.float64] = (left * right).sum(axis=1)
    return cosines


def union(ids: Ids, cosines: NDArray[np.float64]) -> Ids:
    """Return the captions of one example from those of its images, both (n_images, top_k).

    Each caption once, ranked by its best cosine; of equal ones the lower id comes first.
    """
    order = np.lexsort((ids.ravel(), -cosines.ravel()))
    ordered = ids.ravel()[order]
    _, first = np.unique(ordered, return_index=True)
    return ordered[np.sort(first)]


def curate(
    folder: Path,
    pool_file: Path,
    *,
    chosen: Path | None = None,
    encoder: str | None = None,
    model: str | None = None,
    pretrained: str | None = None,
    name: str | None = None,
    top_k: int = TOP_K,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[str, Report]:
    """Choose captions for all examples of the shards in a folder.

    The images must be embedded before. Shards with captions of this pool, chosen in the same way,
    are skipped.

    Args:
        folder: Folder of shards.
        pool_file: Text or CSV file of captions; with `chosen` the authors' map of captions.
        chosen: Captions of each clip as the authors publish them (`trainer/authors_captions.py`),
            in place of a choice by the images here. Clips are known by the ids of their sources.
        encoder: CLIP model that embedded the images, needed if there are several.
        model: Model that embeds the pool, see `ClipChoice`; by default that of the images.
        pretrained: Its weights, see `ClipChoice`; by default those of the images.
        name: Of the pool, by default that of its file.
        top_k: Captions of an image.
        device: A name of torch.
        progress: Is notified of captions and shards.

    Returns:
        The name of the pool, and the counts of the run.

    Raises:
        CurateError: The pool cannot be used.
        ClipError: The CLIP model cannot be loaded.
        ShardError: The shards cannot be used.
    """
    progress = progress or Silent()
    ids_of: dict[str, Ids] = {}
    if chosen is not None:
        texts, numbers = read_map(pool_file)
        ids_of = read_choice(chosen, numbers)
    else:
        texts = read_captions(pool_file)
        if not 1 <= top_k <= len(texts):
            raise CurateError(
                f"{pool_file}: top-k is {top_k}, and must be from 1 to the pool's {len(texts)} captions"
            )
    pool = re.sub("[^a-z0-9]+", "-", (name or pool_file.stem).lower()).strip("-") or KIND
    shards = ShardFolder(folder)
    facts = stored_facts(shards, "images", encoder)
    choice = ClipChoice(model=model or facts.model, pretrained=pretrained or facts.pretrained)
    pool_vectors = _embedded_pool(folder, pool, texts, facts, choice, device, progress)
    unit = embed_unit(torch.from_numpy(pool_vectors)).to(device)
    made = {
        "pool": fingerprint(texts),
        "encoder": facts.encoder,
        "fingerprint": facts.fingerprint,
        "top_k": str(top_k) if chosen is None else f"chosen by {file_digest(chosen)}",
    }
    known: set[str] = set()
    if chosen is not None and not _has_any(shards, ids_of):
        raise CurateError(
            f"{chosen}: has captions of {len(ids_of)} clips, none of which is in {folder}; the "
            "sources of its examples are no ids of AudioSet's videos"
        )

    def ready(shard: Shard) -> bool:
        try:
            found = CuratedCaptions(curated_path(shard.path, pool), shard.digest)
        except ShardError:
            return False
        return made.items() <= found.metadata.items()

    def rows_chosen(shard: Shard) -> list[Ids]:
        clips = [clip_id(shard.facts(i).source) for i in range(len(shard))]
        known.update(clip for clip in clips if clip in ids_of)
        progress.advance(1)
        return [ids_of.get(clip, np.empty(0, np.int32)) for clip in clips]

    def rows_by_images(shard: Shard) -> list[Ids]:
        images = ShardVectors(vectors_path(shard.path, "images", facts.encoder), shard.digest)
        frames = [images.of(i) for i in range(len(shard))]
        together = embed_unit(torch.from_numpy(np.concatenate(frames))).to(device)
        ids, cosines = nearest(together, unit, top_k)
        progress.advance(1)
        return [
            union(ids[start:end], cosines[start:end])
            for start, end in itertools.pairwise(images.first)
        ]

    def write(shard: Shard, rows: list[Ids]) -> None:
        ids = np.concatenate([np.empty(0, np.int32), *rows])
        tensors = {"ids": ids, "first": firsts_of(rows)}
        write_side_file(curated_path(shard.path, pool), tensors, made, shard.digest)

    report = Report()
    rows_of = rows_by_images if chosen is None else rows_chosen
    over_shards(shards, ready, rows_of, write, report, progress)
    if report.n_done and (n_missing := len(ids_of) - len(known)):
        progress.note(f"{chosen}: {n_missing} of {len(ids_of)} clips have no sound in {folder}")
    return pool, report


def _has_any(shards: ShardFolder, ids: Container[str]) -> bool:
    """Return whether an example's source is among the ids; shards that cannot be read have none."""
    for n in range(len(shards.shards)):
        with contextlib.suppress(ShardError):
            shard = shards.open(n)
            if any(clip_id(shard.facts(i).source) in ids for i in range(len(shard))):
                return True
    return False


def write_manifest(folder: Path, pool: str, path: Path) -> int:
    """Write the chosen captions as CSV, a row for each caption of an example: shard, key, caption.

    The best caption of an example comes first. Shards without captions of this pool are skipped.
    Returns the number of rows. Raises CurateError if there is no such pool, or on writing.
    """
    texts = _stored_texts(folder, pool)
    if texts is None:
        raise _no_pool(folder, pool)
    shards = ShardFolder(folder)
    n_rows = 0
    with (
        _write_atomically(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(MANIFEST_COLUMNS)
        for n in range(len(shards.shards)):
            try:
                shard = shards.open(n)
                chosen = CuratedCaptions(curated_path(shard.path, pool), shard.digest)
            except ShardError:
                continue
            if chosen.pool != fingerprint(texts):
                continue
            for i, key in enumerate(shard.keys):
                rows.writerows((shard.path.name, key, texts[k]) for k in chosen.of(i))
                n_rows += len(chosen.of(i))
    return n_rows


def _embedded_pool(
    folder: Path,
    pool: str,
    texts: list[str],
    facts: VectorsFacts,
    choice: ClipChoice,
    device: str,
    progress: Progress,
) -> Array:
    """Return the pool's vectors (n, dim), and write texts and vectors."""
    stored = _stored_texts(folder, pool)
    if stored is not None and stored != texts:
        raise CurateError(
            f"{folder}: another pool is called {pool!r} already, of {len(stored)} captions; "
            "choose another name with --name, or delete its files"
        )
    vectors_file = _pool_vectors_path(folder, pool, facts.encoder)
    pool_facts = replace(facts, kind=KIND)
    if stored is None or not is_ready(vectors_file, pool_facts, fingerprint(texts)):
        clip_model = load_clip(choice, device)
        if clip_model.fingerprint != facts.fingerprint:
            raise CurateError(
                f"the images are embedded by {facts.encoder}, and {choice.model} with "
                f"{choice.pretrained} is {clip_model.encoder}; give that model, or embed the images "
                "with this one"
            )
        progress.begin("captions of the pool", len(texts))
        vectors = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            vectors.append(clip_model.embed_texts(texts[start : start + TEXTS_AT_ONCE]))
            progress.advance(len(vectors[-1]))
        write_vectors(vectors_file, [np.concatenate(vectors)], pool_facts, fingerprint(texts))
        with _write_atomically(_texts_path(folder, pool)) as temporary:
            temporary.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return read_pool(folder, pool, facts.encoder)[1]


def _texts_path(folder: Path, pool: str) -> Path:
    return folder / f"{pool}.pool.txt"


def _pool_vectors_path(folder: Path, pool: str, encoder: str) -> Path:
    return folder / f"{pool}.pool.{encoder}.safetensors"


def _stored_texts(folder: Path, pool: str) -> list[str] | None:
    path = _texts_path(folder, pool)
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CurateError(f"{path}: cannot be read ({error}); delete it") from error


def _no_pool(folder: Path, pool: str) -> CurateError:
    known = sorted(path.name.removesuffix(".pool.txt") for path in folder.glob("*.pool.txt"))
    what = f"there are {', '.join(known)}" if known else "run `soundsearch train curate`"
    return CurateError(f"{folder}: holds no pool called {pool!r}; {what}")


@contextlib.contextmanager
def _write_atomically(path: Path) -> Iterator[Path]:
    """Write atomically. Raises CurateError in place of OSError."""
    try:
        with write_atomically(path) as temporary:
            yield temporary
    except OSError as error:
        raise CurateError(f"{path}: cannot be written ({error.strerror})") from error
