"""Files of other people's making: opened without waiting, and refused by what they are.

In: a path or a stream. Out: an opened regular file. A pipe may keep its reader waiting for ever, a
device may never end, and opening a device may change it, so neither is opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

#: Bytes read from a stream at a time.
SPOOL_BLOCK_BYTES = 1 << 20
#: More than this is not read from a stream: it may have no end.
SPOOL_BYTES = 4 << 30


class NotRegularFileError(OSError):
    """A path leads to a folder, a pipe, a socket or a device."""

    def __init__(self, path: str | os.PathLike[str], kind: str) -> None:
        super().__init__(errno.EINVAL, f"{kind}, not a regular file", os.fspath(path))


class StreamTooLongError(OSError):
    """A stream gave more than SPOOL_BYTES."""

    def __init__(self) -> None:
        super().__init__(errno.EFBIG, f"more than {SPOOL_BYTES / 1e9:.1f} GB")


def kind_of(mode: int) -> str:
    """What a file is by its `st_mode`, in words with an article."""
    for is_kind, kind in (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if is_kind(mode):
            return kind
    return "a device"


def open_regular(path: str | os.PathLike[str], buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Returns at once whatever the path is. Raises NotRegularFileError for anything but a regular
    file, and OSError as `open` does.
    """
    _refuse_irregular(path, os.stat(path))
    return open(path, "rb", buffering=buffering, opener=_open)


def _open(path: str, flags: int) -> int:
    """Check once more what was opened: it may have been exchanged meanwhile."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _refuse_irregular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_irregular(path: str | os.PathLike[str], facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise NotRegularFileError(path, kind_of(facts.st_mode))


@contextlib.contextmanager
def spooled(stream: BinaryIO) -> Iterator[Path]:
    """A temporary file with all that a stream gives, deleted at the end of the block.

    Raises StreamTooLongError beyond SPOOL_BYTES, and OSError where there is no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="soundsearch-") as folder:
        path = Path(folder, "stream")
        n_bytes = 0
        with open(path, "wb") as file:
            while block := stream.read(SPOOL_BLOCK_BYTES):
                n_bytes += len(block)
                if n_bytes > SPOOL_BYTES:
                    raise StreamTooLongError
                file.write(block)
        yield path


def is_absent(path: str | os.PathLike[str]) -> bool:
    """Whether there is surely nothing at a path; False also where that cannot be seen."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def absence(path: str | os.PathLike[str]) -> str | None:
    """Why nothing that was once in a folder (or was this file) can be reached there now.

    Returns "not there", "empty" for a folder with nothing in it (as an unmounted disk leaves it),
    another reason in the words of the system, or None where something is there.
    """
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return None
        with os.scandir(path) as entries:
            return "empty" if next(entries, None) is None else None
    except (FileNotFoundError, NotADirectoryError):
        return "not there"
    except OSError as error:
        return error.strerror or str(error)
