"""The files of vectors beside the database: a folder for each revision, written aside and renamed.

    manifest.json  what the other files are: sizes, checksums, how they were made
    delta.faiss    exact embeddings: all of them, or those that came since the base was made
    base.faiss     centroids and ranges of an inverted file, without windows
    base.npy       for each of its lists: how many windows, and their checksum
    base.lists     the windows, list by list: quantised embeddings, then ids
    ids.npy        the ids of the windows in the base, ascending
    deleted.npy    a bit for each id of the base: whether its window is gone

A file is never changed: a folder of a new revision has its own files, or links to old ones. So a
process that has mapped a file goes on reading it, whatever a writer does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from soundsearch.config import fill
from soundsearch.errors import ConfigError
from soundsearch.files import hash_of, put_folder_in_place
from soundsearch.vectors.exact import VectorFileError

#: Format of the folder that this version reads and writes.
FORMAT = 1
MANIFEST, DELTA, DELETED = "manifest.json", "delta.faiss", "deleted.npy"
CENTROIDS, TABLE, IDS, LISTS = "base.faiss", "base.npy", "ids.npy", "base.lists"
BASE_FILES = (CENTROIDS, TABLE, IDS, LISTS)
#: Files whose parts, or all before their end, have checksums in themselves.
CHECKED_WITHIN = (DELTA, CENTROIDS, LISTS)
#: Hexadecimal digits of the checksum with which the manifest ends.
DIGITS = 32


@dataclass(frozen=True)
class BaseFacts:
    """How the inverted file was made.

    Attributes:
        n_windows: Windows in it, deleted ones too.
        id_limit: All ids in it are lower.
        n_lists: Lists that the windows are in.
        n_probe: Lists that are searched for ten windows among all.
        n_trained: Windows of the library when its centroids were computed.
        recall_10: The share of the ten nearest windows that `n_probe` lists find, for questions in
            words; None if there were none to measure by.
        recall_100: Of the hundred nearest.
    """

    n_windows: int
    id_limit: int
    n_lists: int
    n_probe: int
    n_trained: int
    recall_10: float | None
    recall_100: float | None


@dataclass(frozen=True)
class StoredFile:
    """Size and XXH3-128 of a file; no checksum where each part of it has its own."""

    n_bytes: int
    checksum: str | None


@dataclass(frozen=True)
class Manifest:
    """What a folder of vectors holds.

    Attributes:
        encoder: Fingerprint of the encoder of the embeddings.
        dim: Numbers in each.
        n_windows: Windows that a search may show.
        n_delta: Those of them that are not in the base.
        base: The inverted file; None if all are in the delta.
        files: By name.
    """

    encoder: str
    dim: int
    n_windows: int
    n_delta: int
    base: BaseFacts | None
    files: Mapping[str, StoredFile]

    def write(self, folder: Path) -> None:
        """Write it into a folder of vectors. Raises OSError."""
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"
        content = text.encode()
        digest = xxhash.xxh3_128_hexdigest(content).encode()
        (folder / MANIFEST).write_bytes(content + digest)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder and check the sizes of all files.

        Raises:
            VectorFileError: It is damaged, or a file is not as long as it says.
        """
        path = folder / MANIFEST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise VectorFileError(f"{path}: cannot be read ({error.strerror})") from error
        body, digest = content[:-DIGITS], content[-DIGITS:]
        if xxhash.xxh3_128_hexdigest(body).encode() != digest:
            raise VectorFileError(f"{path}: damaged, its checksum is another")
        plain = json.loads(body)
        if plain.pop("format", None) != FORMAT:
            raise VectorFileError(f"{path}: of another format, this version reads {FORMAT}")
        try:
            manifest = fill(cls, plain, f"{path}: ")
        except ConfigError as error:
            raise VectorFileError(str(error)) from error
        for name, stored in manifest.files.items():
            check_size(folder / name, stored.n_bytes)
        return manifest

    def check(self, folder: Path, names: Iterable[str]) -> None:
        """Raise VectorFileError unless files have the checksums that the manifest says."""
        for name in names:
            stored = self.files.get(name)
            if stored is None:
                raise VectorFileError(f"{folder / MANIFEST}: lacks {name}")
            if stored.checksum is not None and checksum_of(folder / name) != stored.checksum:
                raise VectorFileError(f"{folder / name}: damaged, its checksum is another")


def check_size(path: Path, n_bytes: int) -> None:
    """Raise VectorFileError unless a file is so long."""
    try:
        found = os.stat(path).st_size
    except OSError as error:
        raise VectorFileError(f"{path}: cannot be read ({error.strerror})") from error
    if found != n_bytes:
        raise VectorFileError(f"{path}: {found} bytes long, expected {n_bytes}")


def checksum_of(path: Path) -> str:
    """Return the XXH3-128 of a file. Raises VectorFileError if it cannot be read."""
    try:
        return hash_of(path).hex()
    except OSError as error:
        raise VectorFileError(f"{path}: cannot be read ({error.strerror})") from error


def facts_of_files(folder: Path, names: Iterable[str]) -> dict[str, StoredFile]:
    """Return what a manifest says of files in a folder."""
    return {
        name: StoredFile(
            (folder / name).stat().st_size,
            None if name in CHECKED_WITHIN else checksum_of(folder / name),
        )
        for name in names
    }


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an array of numbers. Raises OSError."""
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def read_array(path: Path, dtype: np.dtype[Any]) -> np.ndarray[tuple[int], Any]:
    """Read what `write_array` wrote, of one dimension. Raises VectorFileError for anything else."""
    try:
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise VectorFileError(f"{path}: cannot be read ({error})") from error
    if array.ndim != 1 or array.dtype != dtype:
        raise VectorFileError(f"{path}: numbers of another kind, {array.dtype} {array.shape}")
    return array


def link_files(old: Path, new: Path, names: Iterable[str]) -> None:
    """Have files of one folder in another one, too; copied where disks have no links."""
    for name in names:
        try:
            os.link(old / name, new / name)
        except OSError:
            shutil.copyfile(old / name, new / name)


@contextlib.contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder; at the end of the block it is renamed to `path`, with all its files.

    What is at that path is dropped. If the block raises, or the process is killed, there is nothing
    at the path, or what was there. A killed process leaves folders of other names
    (see `remove_unfinished`). The caller holds the writer's lock.

    Raises:
        OSError: It cannot be written.
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary, old = (path.with_name(f".{path.name}.{writer}.{end}") for end in ("part", "old"))
    temporary.mkdir()
    try:
        yield temporary
        put_folder_in_place(temporary, path, old)
    finally:
        for folder in (temporary, old):
            remove(folder)


def remove(path: Path) -> None:
    """Remove a folder or a file as far as that goes; what stays is removed by a later call."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
