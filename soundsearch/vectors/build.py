"""Make an inverted file from embeddings, block by block, or merge one with what came since.

In: blocks of embeddings by id, and texts as embeddings, which stand for questions. Out: the files
of a base in a folder, and how many lists a search visits.

Texts lie elsewhere in the space than sounds: what finds the neighbours of a sound misses those of a
text (docs/adr/0021). So the number of lists is calibrated on texts, against exact search.
"""

from __future__ import annotations

import functools
import math
import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from soundsearch.arrays import Array, Ids, Ints, Mask
from soundsearch.progress import Progress
from soundsearch.vectors.exact import write_faiss
from soundsearch.vectors.folder import (
    BASE_FILES,
    CENTROIDS,
    IDS,
    LISTS,
    TABLE,
    BaseFacts,
    Manifest,
    facts_of_files,
    link_files,
    write_array,
)
from soundsearch.vectors.inverted import Codes, InvertedFile, write_lists

#: Windows for each list that centroids are computed from, and how often they are moved.
SAMPLE_PER_LIST, TRAINING_STEPS = 48, 8
#: The share of the 10 and of the 100 nearest windows that the texts find at least. For bare words,
#: which lie further out than captions, it is a little less: 0.98 at 10 among a million windows.
RECALL_10, RECALL_100 = 0.985, 0.95
#: Texts that stand for questions.
MOST_QUESTIONS = 256
#: More candidates than are wanted are ranked exactly, for the errors of 8 bits.
MORE, MORE_OF_EACH = 40, 0.25
#: Lists after which what was read of the spool is given back.
LISTS_AT_ONCE = 64
#: Embeddings by id, block by block.
Blocks = Iterable[tuple[Ids, Array]]


def n_candidates(n: int) -> int:
    """Return how many candidates are ranked exactly, to find n windows."""
    return n + MORE + round(MORE_OF_EACH * n)


def n_lists_of(n_windows: int) -> int:
    """Return into how many lists windows go: about 2 sqrt(n), a power of two."""
    return min(n_windows, 1 << round(math.log2(2 * math.sqrt(n_windows))))


def sample_of(ids: Ids) -> Ids:
    """Return the ids of windows that centroids are computed from, ascending."""
    n = min(len(ids), SAMPLE_PER_LIST * n_lists_of(len(ids)))
    chosen = np.random.default_rng(0).choice(len(ids), n, replace=False, shuffle=False)
    return ids[np.sort(chosen)]


def trained(sample: Array, n_lists: int) -> faiss.IndexIVFScalarQuantizer:
    """Return an inverted file without windows, whose centroids and ranges fit a sample, (n, dim)."""
    dim = sample.shape[1]
    centroids = faiss.IndexFlatIP(dim)
    kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexIVFScalarQuantizer(centroids, dim, n_lists, kind, metric, True)
    index.cp.spherical, index.cp.seed, index.cp.niter = True, 1, TRAINING_STEPS
    index.cp.min_points_per_centroid = 1  # FAISS warns of fewer than 39
    index.cp.max_points_per_centroid = SAMPLE_PER_LIST
    index.train(np.ascontiguousarray(sample, np.float32))
    return index


class Truth:
    """The windows that are nearest to questions, of all that went by."""

    def __init__(self, questions: Array, n: int = 100) -> None:
        self.questions = np.ascontiguousarray(questions, np.float32)
        self.n = n
        self.ids: Ids = np.empty((len(questions), 0), np.int64)
        self._cosines: Array = np.empty((len(questions), 0), np.float32)

    def see(self, ids: Ids, embeddings: Array) -> None:
        """Take a block of windows into account."""
        if not len(ids) or not len(self.questions):
            return
        n, metric = min(self.n, len(ids)), faiss.METRIC_INNER_PRODUCT
        cosines, places = faiss.knn(self.questions, embeddings, n, metric=metric)
        cosines = np.concatenate([self._cosines, cosines], axis=1)
        found = np.concatenate([self.ids, ids[places]], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : self.n]
        self._cosines = np.take_along_axis(cosines, best, axis=1)
        self.ids = np.take_along_axis(found, best, axis=1)


@dataclass(frozen=True)
class Coded:
    """Quantised windows in a file, in the order in which they came.

    Attributes:
        path: Of the file.
        code_size: Bytes of each window.
        ids: Of the windows, (n,).
        lists: To which each belongs, (n,).
    """

    path: Path
    code_size: int
    ids: Ids
    lists: Ints

    def by_list(self, n_lists: int) -> Iterator[tuple[Codes, Ids]]:
        """Yield the windows of each list. What was read does not stay in memory."""
        order = np.argsort(self.lists, kind="stable")
        ends = np.cumsum(np.bincount(self.lists, minlength=n_lists))
        if not len(order):
            yield from ((np.empty((0, self.code_size), np.uint8), self.ids) for _ in range(n_lists))
            return
        with (
            open(self.path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as spool,
        ):
            for number, end in enumerate(ends):
                own = order[ends[number - 1] if number else 0 : end]
                rows = np.frombuffer(spool, np.uint8).reshape(-1, self.code_size)[own]
                yield rows, self.ids[own]
                if number % LISTS_AT_ONCE == 0 and hasattr(spool, "madvise"):
                    spool.madvise(mmap.MADV_DONTNEED)


def coded(
    index: faiss.IndexIVFScalarQuantizer, blocks: Blocks, spool: Path, progress: Progress
) -> Coded:
    """Quantise windows into a file. Raises OSError."""
    ids: list[Ids] = [np.empty(0, np.int64)]
    lists: list[Ints] = [np.empty(0, np.int64)]
    n_number = index.sa_code_size() - index.code_size  # bytes of the number of a list
    with open(spool, "wb") as file:
        for some, embeddings in blocks:
            rows = index.sa_encode(np.ascontiguousarray(embeddings, np.float32))
            number = np.zeros((len(rows), 8), np.uint8)
            number[:, :n_number] = rows[:, :n_number]
            ids.append(some)
            lists.append(number.view("<i8")[:, 0])
            file.write(np.ascontiguousarray(rows[:, n_number:]).data)
            progress.advance(len(some))
    return Coded(spool, index.code_size, np.concatenate(ids), np.concatenate(lists))


def build(
    folder: Path,
    n_windows: int,
    sample: Array,
    blocks: Blocks,
    questions: Array | None,
    progress: Progress,
) -> BaseFacts:
    """Write the files of a base into a folder.

    n_windows: in all blocks together. sample: embeddings of some of them, (n, dim). questions:
    embeddings of texts, (n, dim); None for none: then all lists are searched.
    Raises OSError where a file cannot be written.
    """
    n_lists = n_lists_of(n_windows)
    progress.begin("centroids of windows computed")
    index = trained(sample, n_lists)
    write_faiss(index, folder / CENTROIDS)
    truth = Truth(
        np.empty((0, index.d), np.float32)
        if questions is None
        else questions[:: -(-len(questions) // MOST_QUESTIONS)]
    )

    def seen() -> Iterator[tuple[Ids, Array]]:
        for ids, embeddings in blocks:
            truth.see(ids, embeddings)
            yield ids, embeddings

    progress.begin("windows put into lists", n_windows)
    facts = _write(folder, index, seen(), lambda number: None, n_windows, progress)
    if questions is None or not n_windows:
        return facts
    progress.begin("questions searched", len(truth.questions))
    return calibrated(_opened(folder, facts, index.d), truth, progress)


def merge(
    folder: Path,
    base: InvertedFile,
    is_deleted: Mask,
    blocks: Blocks,
    n_new: int,
    progress: Progress,
) -> BaseFacts:
    """Write a base that holds other windows, too, without the deleted ones, in the same lists.

    base: the former one. is_deleted: whether each id of it is gone. blocks: of the n_new other
    windows.
    Raises OSError where a file cannot be written, VectorFileError where the former one is damaged.
    """

    def former(number: int) -> tuple[Codes, Ids]:
        codes, ids = base.read_list(number)
        stays = ~is_deleted[ids]
        return codes[stays], ids[stays]

    link_files(base.folder, folder, [CENTROIDS])
    progress.begin("windows put into lists", n_new)
    facts = _write(folder, base.header, blocks, former, base.facts.n_trained, progress)
    old = base.facts
    return replace(facts, n_probe=old.n_probe, recall_10=old.recall_10, recall_100=old.recall_100)


def _write(
    folder: Path,
    index: faiss.IndexIVFScalarQuantizer,
    blocks: Blocks,
    former: Callable[[int], tuple[Codes, Ids] | None],
    n_trained: int,
    progress: Progress,
) -> BaseFacts:
    """Write the files of a base: of each list what was there before, and what blocks add."""
    spool = folder / "spool"
    new = coded(index, blocks, spool, progress)
    all_ids: list[Ids] = []

    def lists() -> Iterator[tuple[Codes, Ids]]:
        for number, (codes, ids) in enumerate(new.by_list(index.nlist)):
            before = former(number)
            if before is not None:
                codes = np.concatenate([before[0], codes])
                ids = np.concatenate([before[1], ids])
            all_ids.append(ids)
            yield codes, ids

    table = write_lists(folder / LISTS, index.code_size, lists())
    spool.unlink()
    write_array(folder / TABLE, table)
    write_array(folder / IDS, np.sort(np.concatenate(all_ids)))
    n_windows, id_limit = (
        int(table["n"].sum()),
        1 + max(int(own.max(initial=-1)) for own in all_ids),
    )
    return BaseFacts(n_windows, id_limit, index.nlist, index.nlist, n_trained, None, None)


def calibrated(base: InvertedFile, truth: Truth, progress: Progress) -> BaseFacts:
    """Return the facts of a base with the least number of lists that finds what questions need."""
    wanted = _ranks_of_lists(base, truth)
    n_probe = 1 + max(
        int(np.quantile(wanted[:, :n], recall, method="higher"))
        for n, recall in ((10, RECALL_10), (100, RECALL_100))
    )
    while True:
        found = recalls_of(truth, functools.partial(base.search, n_lists=n_probe))
        if n_probe >= base.facts.n_lists or (found[0] >= RECALL_10 and found[1] >= RECALL_100):
            break
        n_probe = min(base.facts.n_lists, math.ceil(1.1 * n_probe))
    progress.advance(len(truth.questions))
    recall_10, recall_100 = (round(share, 4) for share in found)
    return replace(base.facts, n_probe=n_probe, recall_10=recall_10, recall_100=recall_100)


def recalls_of(truth: Truth, search: Callable[[Array, int], Ids]) -> tuple[float, float]:
    """Return which share of the 10, and of the 100, nearest windows a search finds.

    search: gives the ids of so many candidates for a question, (dim,).
    """
    recall_10, recall_100 = (
        float(
            np.mean(
                [
                    np.isin(ids[:n], search(question, n_candidates(n))).mean()
                    for question, ids in zip(truth.questions, truth.ids, strict=True)
                ]
            )
        )
        for n in (10, 100)
    )
    return recall_10, recall_100


def _ranks_of_lists(base: InvertedFile, truth: Truth) -> Ints:
    """Return for each question how many lists are visited before that of each true window."""
    list_of = np.zeros(base.facts.id_limit, np.int64)
    for number in range(base.facts.n_lists):
        list_of[base.read_list(number)[1]] = number
    order = base.nearest_lists(truth.questions)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(base.facts.n_lists)[None, :], axis=1)
    return np.take_along_axis(ranks, list_of[truth.ids], axis=1)


def _opened(folder: Path, facts: BaseFacts, dim: int) -> InvertedFile:
    """Open a base that was just written."""
    files = facts_of_files(folder, BASE_FILES)
    return InvertedFile.open(folder, Manifest("", dim, facts.n_windows, 0, facts, files))
