"""Excerpts that were cut a moment ago: a player asks for the parts of one, one after the other."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

#: Files that are kept, and bytes of all of them; the last one is kept in any case.
MOST_FILES = 32
MOST_BYTES = 512 << 20


class ExcerptFiles:
    """Files in a temporary folder, by what was cut; the oldest are deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[Hashable, Path] = OrderedDict()
        self._n_made = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, cut: Callable[[Path], None]) -> BinaryIO:
        """Return the opened file of an excerpt; cut writes it if there is none."""
        with self._lock:
            path = self._files.get(key)
            if path is not None:
                self._files.move_to_end(key)
                return open(path, "rb")
            self._n_made += 1
            path = self._folder / f"excerpt-{self._n_made}.wav"
        try:
            cut(path)
            file = open(path, "rb")  # noqa: SIM115 - the response closes it
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._drop(key)
            self._files[key] = path
            while len(self._files) > MOST_FILES or (
                len(self._files) > 1 and self._n_bytes() > MOST_BYTES
            ):
                self._drop(next(iter(self._files)))
        return file

    def _n_bytes(self) -> int:
        n_bytes = 0
        for path in self._files.values():
            with suppress(OSError):
                n_bytes += path.stat().st_size
        return n_bytes

    def _drop(self, key: Hashable) -> None:
        path = self._files.pop(key, None)
        if path is not None:
            path.unlink(missing_ok=True)  # who reads it goes on
