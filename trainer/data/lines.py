"""Records of a text file with one on each line, read where they lie when they are asked for.

A file of millions of lines needs 8 bytes for each.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import SoundsearchError

T = TypeVar("T")


class ManifestError(SoundsearchError):
    """A manifest that is missing or does not hold what it should."""


class Lines(Generic[T]):
    """The records of a file, each parsed once to be checked.

    Args:
        path: the file.
        parse: line and its place -> record, None for a line that is none; raises SoundsearchError.

    Raises:
        ManifestError: the file cannot be read, or there are no records.
        SoundsearchError: a line is bad.
    """

    def __init__(self, path: Path, parse: Callable[[bytes, str], T | None]) -> None:
        self._path, self._parse = path, parse
        offsets = array.array("q")
        offset = 0
        try:
            with open(path, "rb") as file:
                for n_line, line in enumerate(file, start=1):
                    if line.strip() and parse(line, f"{path}: line {n_line}") is not None:
                        offsets.append(offset)
                    offset += len(line)
        except OSError as error:
            raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
        if not offsets:
            raise ManifestError(f"{path}: holds no rows")
        self._offsets: NDArray[np.int64] = np.array(offsets, np.int64)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, i: int) -> T:
        with open(self._path, "rb") as file:
            file.seek(int(self._offsets[i]))
            found = self._parse(file.readline(), str(self._path))
        assert found is not None
        return found
