"""What the database knows of the library that is looked through, asked for as it is needed.

In: one state of the database. Out: the recordings at some paths, or those in a target that were not
found there. Only ids are held of all recordings, so that a million unchanged files need little memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from indexer.targets import Target
from soundsearch.arrays import Ids
from soundsearch.files import EMPTY, NOT_THERE, absence, is_absent
from soundsearch.store import Reader, Recording, Root, Store
from soundsearch.urls import is_url


class Library:
    """All roots, and their recordings. Made by `Library.opened`."""

    def __init__(self, reader: Reader | None) -> None:
        self._reader = reader
        self.roots = [] if reader is None else reader.roots()
        self._by_path = {root.path: root for root in self.roots}
        self._left: dict[Path, bool | None] = {}

    @classmethod
    @contextlib.contextmanager
    def opened(cls, store: Store | None) -> Iterator[Library]:
        """One consistent state of the database; an empty library where there is none yet."""
        if store is None:
            yield cls(None)
            return
        with store.snapshot() as reader:
            yield cls(reader)

    def in_root(self, root: Root) -> list[Recording]:
        """All recordings of a root, by id."""
        return [] if self._reader is None else list(self._reader.recordings(root.id))

    def in_target(self, target: Target) -> Iterator[Recording]:
        """The recordings known in a target."""
        return (recording for _, recording in self.not_seen(target, np.empty(0, np.int64)))

    def at(self, target: Target, paths: Sequence[str]) -> dict[str, Recording]:
        """What is known at some paths in a target, by the path relative to its root."""
        if self._reader is None:
            return {}
        places = {}
        inner = {prefix: root for root, prefix in self._roots_in(target)}
        for path in paths:
            if "." in inner:
                places[inner["."].id, path] = path
                continue
            for prefix in _path_and_folders(path):
                if prefix in inner:
                    places[inner[prefix].id, path[len(prefix) + 1 :] or "."] = path
                    break
        return {places[place]: found for place, found in self._reader.recordings_at(places).items()}

    def not_seen(self, target: Target, seen: Ids) -> Iterator[tuple[str, Recording]]:
        """The recordings known in a target but these, by the path relative to its root.

        seen: ids, (n,) int64, ascending.
        """
        if self._reader is None:
            return
        for root, prefix in self._roots_in(target):
            ids = self._reader.recording_ids(root.id, target.inside if prefix == "." else ".")
            for recording in self._reader.recordings_of(_without(ids, seen).tolist()):
                path = _joined(prefix, recording.relative_path)
                if target.covers(path):
                    yield path, recording

    def _roots_in(self, target: Target) -> Iterator[tuple[Root, str]]:
        """The root of a target; of one that is new those inside it, which it will absorb.

        Each with its path relative to the root of the target.
        """
        whole = target.root.path
        if whole in self._by_path:
            yield self._by_path[whole], "."
            return
        for root in self.roots:
            if root.path.is_relative_to(whole):
                yield root, str(root.path.relative_to(whole))

    def of_sizes(self, sizes: set[int]) -> Iterator[tuple[Root, Recording]]:
        """Recordings with embeddings and a content hash whose files have one of these sizes."""
        if self._reader is None or not sizes:
            return
        for root in self.roots:
            alike = [i for i, size in self._reader.hashed_sizes(root.id) if size in sizes]
            for recording in self._reader.recordings_of(alike):
                yield root, recording

    def is_bare(self, place: Path) -> bool:
        """Whether a place is a root that is not there and of which nothing is known."""
        root = self._by_path.get(place)
        if root is None or self._reader is None:
            return False
        return next(self._reader.recordings(root.id), None) is None and is_absent(place)

    def has_left(self, root: Path) -> bool | None:
        """Whether a root is gone: not there, empty, or now a link to somewhere else.

        None where that cannot be seen, on a disk that fails, say, or at a URL.
        """
        if root not in self._left and is_url(root):
            self._left[root] = None
        if root not in self._left:
            why = absence(root)
            if why in (NOT_THERE, EMPTY):
                self._left[root] = True
            else:
                self._left[root] = None if why else os.path.realpath(root) != str(root)
        return self._left[root]

    def is_elsewhere(self, root: Path, recording: Recording) -> bool:
        """Whether a recording is surely not where it was; a root that is gone is asked only once."""
        has_left = self.has_left(root)
        return has_left or (has_left is False and is_absent(root / recording.relative_path))


def _joined(prefix: str, path: str) -> str:
    """A path in the part of a root at a prefix, relative to the root."""
    if prefix == ".":
        return path
    return prefix if path == "." else os.path.join(prefix, path)


def _without(ids: Ids, seen: Ids) -> Ids:
    """Those ids that are not among others. Both ascend."""
    if len(seen) == 0:
        return ids
    places = np.minimum(np.searchsorted(seen, ids), len(seen) - 1)
    unseen: Ids = ids[seen[places] != ids]
    return unseen


def _path_and_folders(path: str) -> Iterable[str]:
    """A relative path, and the folders it lies in, from the inside out."""
    yield path
    while (path := os.path.dirname(path)) != "":
        yield path
