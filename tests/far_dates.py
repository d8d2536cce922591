"""Files dated so far away that a 64-bit number of nanoseconds cannot say when."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

#: Seconds since 1970: the years 5138 and -1199.
FUTURE_S, PAST_S = 10**11, -(10**11)


def date(path: Path, seconds: int) -> None:
    """Date a file."""
    os.utime(path, (seconds, seconds))


@contextmanager
def folder_that_takes(seconds: int) -> Iterator[Path]:
    """A temporary folder whose file system holds such a date; skips the test if there is none."""
    for parent in (None, "/dev/shm"):
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="soundsearch-test-", dir=parent)).resolve()
            try:
                date(folder, seconds)
                if not -(2**63) <= folder.stat().st_mtime_ns < 2**63:
                    yield folder
                    return
            finally:
                shutil.rmtree(folder)
    pytest.skip(f"no file system here holds a date of {seconds} s")
