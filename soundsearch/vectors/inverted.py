"""An inverted file: the windows of a large library in lists, of which a search visits few.

In: a folder that `build.py` wrote. Out: for a query, the ids of windows that are probably nearest.
Embeddings are quantised to 8 bits a number, so they are candidates, to be ranked exactly.

Lists are mapped into memory, so that a search reads of the disk what it visits. Each list is checked
by its own checksum before it is first visited.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np
import xxhash
from numpy.typing import NDArray

from soundsearch.arrays import Array, Ids, Ints, Mask
from soundsearch.vectors.exact import VectorFileError, read_faiss, selector
from soundsearch.vectors.folder import (
    CENTROIDS,
    IDS,
    LISTS,
    MANIFEST,
    TABLE,
    BaseFacts,
    Manifest,
    check_size,
    read_array,
)
from soundsearch.vectors.mapping import OPEN_FILES, can_be_mapped

Codes = NDArray[np.uint8]
#: The numbers of a list: how many windows, and the XXH3-64 of its bytes.
TABLE_DTYPE = np.dtype([("n", "<i8"), ("checksum", "<u8")])
Table = np.ndarray[tuple[int], np.dtype[np.void]]
#: Lists have room for a multiple of so many windows, so that their ids are aligned.
ROUNDED_TO = 8
#: Bytes of an id.
ID_BYTES = 8


class InvertedFile:
    """Quantised embeddings of windows by their ids."""

    def __init__(
        self, index: faiss.IndexIVFScalarQuantizer, facts: BaseFacts, table: Table
    ) -> None:
        self.facts = facts
        self._index = index
        self._table = table
        self._is_checked = np.zeros(len(table), bool)
        self._room = room(table["n"])
        ends = np.cumsum(self._room) * (index.code_size + ID_BYTES)
        self._places, self._n_bytes = np.append(0, ends[:-1]), int(ends[-1])

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> InvertedFile:
        """Open what `build.py` wrote.

        Raises:
            VectorFileError: A file is missing or damaged, or does not fit the others. A damaged list
                is found when it is first read.
        """
        facts = manifest.base
        if facts is None:
            raise VectorFileError(f"{folder}: holds no inverted file")
        manifest.check(folder, [CENTROIDS, TABLE, IDS, LISTS])
        index = read_faiss(folder / CENTROIDS)
        table = read_array(folder / TABLE, TABLE_DTYPE)
        if (
            not isinstance(index, faiss.IndexIVFScalarQuantizer)
            or (index.d, index.nlist, index.ntotal) != (manifest.dim, facts.n_lists, 0)
            or index.metric_type != faiss.METRIC_INNER_PRODUCT
            or (len(table), int(table["n"].sum())) != (facts.n_lists, facts.n_windows)
        ):
            raise VectorFileError(f"{folder}: its inverted file is not what {MANIFEST} says")
        opened = cls(index, facts, table)
        check_size(folder / LISTS, opened._n_bytes)
        opened._open_lists(folder / LISTS)
        return opened

    @property
    def folder(self) -> Path:
        """Where its files are, or were."""
        return self._path.parent

    @property
    def header(self) -> faiss.IndexIVFScalarQuantizer:
        """What quantises embeddings, and finds the lists they belong to."""
        return self._index

    def search(self, query: Array, n: int, n_lists: int, allowed: Mask | None = None) -> Ids:
        """Return ids of the windows whose quantised embeddings are nearest, the best first.

        Args:
            query: (dim,) float32.
            n: At most so many.
            n_lists: Lists that are visited.
            allowed: Whether each id below `facts.id_limit` may be returned. None for all.

        Raises:
            VectorFileError: A list is damaged.
        """
        n_lists = min(n_lists, self.facts.n_lists)
        rows = np.ascontiguousarray(query[None], np.float32)
        if not self._is_checked.all():
            self._check(self._index.quantizer.search(rows, n_lists)[1][0])
        chosen = None if allowed is None else selector(allowed)
        params = faiss.SearchParametersIVF(nprobe=n_lists, sel=chosen)  # type: ignore[call-arg]
        ids = self._index.search(rows, min(n, self.facts.n_windows), params=params)[1][0]
        found: Ids = ids[ids >= 0]
        return found

    def nearest_lists(self, queries: Array) -> Ints:
        """Return all lists for each query, in the order in which they are visited, (n, n_lists)."""
        lists: Ints = self._index.quantizer.search(queries, self.facts.n_lists)[1]
        return lists

    def read_list(self, number: int) -> tuple[Codes, Ids]:
        """Return the quantised embeddings of a list, (n, code_size), and their ids, (n,).

        Raises:
            VectorFileError: The list is damaged.
        """
        code_size = self._index.code_size
        n, n_room = int(self._table["n"][number]), int(self._room[number])
        n_bytes = n_room * (code_size + ID_BYTES)
        block = np.frombuffer(os.pread(self._file, n_bytes, int(self._places[number])), np.uint8)
        if len(block) != n_bytes:
            raise VectorFileError(f"{self._path}: list {number} was cut")
        self._compare(number, block)
        codes = block[: n * code_size].reshape(n, code_size)
        return codes, block[n_room * code_size :].view("<i8")[:n]

    def decoded(self, number: int, codes: Codes) -> Array:
        """Return about the embeddings of which these are the codes in a list, (n, dim)."""
        n_number = self._index.sa_code_size() - self._index.code_size
        in_list = np.frombuffer(number.to_bytes(8, "little"), np.uint8)[:n_number]
        rows = np.concatenate([np.tile(in_list, (len(codes), 1)), codes], axis=1)
        if not len(codes):
            return np.empty((0, self._index.d), np.float32)
        return self._index.sa_decode(np.ascontiguousarray(rows))

    @property
    def ids(self) -> Ids:
        """All ids, ascending. Raises VectorFileError if their file is gone."""
        return _read_ids(self.folder / IDS, self.facts)

    def _open_lists(self, path: Path) -> None:
        """Map the lists, or read them where that is not safe."""
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
            if can_be_mapped(path):
                name = f"{OPEN_FILES}/{self._file}"  # FAISS opens no name that is not UTF-8
                self._lists: faiss.InvertedLists = self._mapped(name)
            else:
                self._lists = self._read()
                self._is_checked[:] = True
        except (OSError, RuntimeError, MemoryError) as error:
            raise VectorFileError(f"{path}: cannot be read ({error})") from error
        self._index.replace_invlists(self._lists, False)  # False: FAISS does not own them
        self._index.ntotal = self.facts.n_windows

    def _mapped(self, name: str) -> faiss.OnDiskInvertedLists:
        """Map the lists. They stay readable when the file is deleted."""
        lists = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size = self.facts.n_lists, self._index.code_size
        lists.filename, lists.read_only = name, True
        lists.prefetch_nthread = 0  # no threads that read ahead
        for n, n_room, place in zip(
            self._table["n"].tolist(), self._room.tolist(), self._places.tolist(), strict=True
        ):
            one = faiss.OnDiskOneList()
            one.size, one.capacity, one.offset = n, n_room, place
            lists.lists.push_back(one)  # type: ignore[attr-defined]
        lists.totsize = self._n_bytes
        lists.do_mmap()
        return lists

    def _read(self) -> faiss.ArrayInvertedLists:
        """Read the lists into memory."""
        lists = faiss.ArrayInvertedLists(self.facts.n_lists, self._index.code_size)
        for number in range(self.facts.n_lists):
            codes, ids = self.read_list(number)
            if len(ids):
                codes, ids = np.ascontiguousarray(codes), np.ascontiguousarray(ids)
                lists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
        return lists

    def _check(self, numbers: Iterable[int]) -> None:
        """Check the lists that were not checked before. Raises VectorFileError."""
        n_bytes = self._index.code_size + ID_BYTES
        for number in map(int, numbers):
            if not self._is_checked[number] and self._room[number]:
                codes = self._lists.get_codes(number)
                self._compare(number, faiss.rev_swig_ptr(codes, int(self._room[number]) * n_bytes))
            self._is_checked[number] = True

    def _compare(self, number: int, block: Codes) -> None:
        if xxhash.xxh3_64_intdigest(block.data) != self._table["checksum"][number]:
            raise VectorFileError(
                f"{self._path}: list {number} is damaged, its checksum is another"
            )


def room(sizes: Ints) -> Ints:
    """Return for how many windows each list has room in the file."""
    rounded: Ints = -(-sizes // ROUNDED_TO) * ROUNDED_TO
    return rounded


def write_lists(path: Path, code_size: int, lists: Iterator[tuple[Codes, Ids]]) -> Table:
    """Write lists one after the other; returns what `TABLE` says of them. Raises OSError."""
    facts = []
    with open(path, "wb") as file:
        for codes, ids in lists:
            n_room = int(room(np.array([len(ids)]))[0])
            block = np.zeros(n_room * (code_size + ID_BYTES), np.uint8)
            block[: codes.size] = codes.ravel()
            block[n_room * code_size :][: ids.nbytes] = np.ascontiguousarray(ids, np.int64).view(
                np.uint8
            )
            file.write(block.data)
            facts.append((len(ids), xxhash.xxh3_64_intdigest(block.data)))
    return np.array(facts, TABLE_DTYPE)


def _read_ids(path: Path, facts: BaseFacts) -> Ids:
    ids = read_array(path, np.dtype("<i8"))
    if len(ids) != facts.n_windows or ids.max(initial=-1) >= facts.id_limit:
        raise VectorFileError(f"{path}: not the ids of this inverted file")
    return ids
