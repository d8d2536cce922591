"""Files: those of other people are opened with care, our own are whole or not there.

To read: a path or a stream in, an opened regular file out. A pipe may keep its reader waiting for
ever, a device may never end, and opening a device may change it, so neither is opened.
To write: aside in the same folder, flushed to the disk, renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from soundsearch.descriptors import stop_if_ran_out

#: Why a folder cannot be reached, where no fault of the system is the reason.
NOT_THERE, EMPTY = "not there", "empty"
#: Bytes read from a stream at a time.
SPOOL_BLOCK_BYTES = 1 << 20
#: More than this is not read from a stream: it may have no end.
SPOOL_BYTES = 4 << 30
#: Letters of a file's name that the name of the file aside begins with; names may have 255 bytes.
N_LETTERS = 40


#: The largest number in a column of SQLite; of nanoseconds, the year 2262.
LARGEST = 2**63 - 1


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


def facts_of(stat: os.stat_result) -> tuple[int, int]:
    """Size in bytes and time of change in ns, each the nearest that 64 bits with a sign can hold.

    Whoever stores or compares the size and time of a file takes them from here, so that what was
    stored is what is found again.
    """
    return _fitted(stat.st_size), _fitted(stat.st_mtime_ns)


def _fitted(number: int) -> int:
    return max(-LARGEST - 1, min(LARGEST, number))


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
    another reason in the words of the system, or None where something is there. Raises
    SoundsearchError where too many files are open to look.
    """
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return None
        with os.scandir(path) as entries:
            return EMPTY if next(entries, None) is None else None
    except (FileNotFoundError, NotADirectoryError):
        return NOT_THERE
    except OSError as error:
        stop_if_ran_out(error)
        return error.strerror or str(error)


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a path to write to, in the folder of `path`; its content becomes `path` at the end.

    Whoever reads `path` meanwhile, or after a crash or a power failure, finds the old file whole
    or the new one whole. If the block raises, or the disk is full, `path` stays as it was and the
    file aside is removed. Processes and threads do not disturb each other.
    Raises OSError.
    """
    mine = f"{os.getpid()}-{threading.get_ident()}"
    aside = path.with_name(f".{path.name[:N_LETTERS]}.{mine}.part")
    try:
        yield aside
        put_in_place(aside, path)
    finally:
        with contextlib.suppress(OSError):  # it has its name, or its folder is not there
            aside.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically. Raises OSError."""
    with write_atomically(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a whole file of UTF-8 atomically, line ends as they are. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def put_in_place(aside: Path, path: Path) -> None:
    """Flush a finished file to the disk and rename it, within a folder. Raises OSError."""
    flush(aside)
    os.replace(aside, path)
    if os.name != "nt":  # Windows has no handle of a folder
        with contextlib.suppress(OSError):  # nor have some network disks; the file is in place
            flush(path.parent)


def flush(path: Path) -> None:
    """Wait until the disk has all of a closed file, or the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of writing `path`. Only while no other process writes it."""
    for aside in path.parent.glob(f".{glob.escape(path.name[:N_LETTERS])}.*.part"):
        aside.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
