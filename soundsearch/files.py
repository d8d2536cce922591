"""Open files of the user safely; write our own files atomically.

Reading opens regular files only. A pipe may block its reader for ever, a device may have no end,
and opening a device may change it.
Writing goes to a temporary file in the same folder, which is flushed to the disk and renamed.
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

import xxhash

from soundsearch.descriptors import stop_if_ran_out
from soundsearch.urls import is_url

#: Reasons of `absence` that are no error of the system.
NOT_THERE, EMPTY = "not there", "empty"
#: Bytes read from a stream at once.
SPOOL_BLOCK_BYTES = 1 << 20
#: Largest number of bytes read from a stream, which may have no end.
SPOOL_BYTES = 4 << 30
#: Letters of a file's name in that of its temporary file; a name may have 255 bytes.
N_LETTERS = 40
#: The largest number in a column of a database; in nanoseconds, the year 2262.
LARGEST = 2**63 - 1


class NotRegularFileError(OSError):
    """A path is that of a folder, a pipe, a socket or a device."""

    def __init__(self, path: str | os.PathLike[str], kind: str) -> None:
        super().__init__(errno.EINVAL, f"{kind}, not a regular file", os.fspath(path))


class AtUrlError(OSError):
    """A path is the URL of a recording in object storage, which is no file here."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(errno.EREMOTE, "it lies at a URL; download it first", os.fspath(path))


class StreamTooLongError(OSError):
    """A stream holds more than SPOOL_BYTES."""

    def __init__(self) -> None:
        super().__init__(errno.EFBIG, f"more than {SPOOL_BYTES / 1e9:.1f} GB")


def kind_of(mode: int) -> str:
    """Return the kind of a file, from its `st_mode`, as words with an article."""
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
    """Open a regular file for reading; links are followed. Never blocks.

    Args:
        path: Of the file.
        buffering: As of `open`.

    Raises:
        NotRegularFileError: The path is not that of a regular file.
        AtUrlError: The path is a URL.
        OSError: As `open`.
    """
    if is_url(path):
        raise AtUrlError(path)
    _refuse_irregular(path, os.stat(path))
    return open(path, "rb", buffering=buffering, opener=_open)


def _open(path: str, flags: int) -> int:
    """Open, and check the file again: it may have been replaced since the first check."""
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
    """Return size in bytes and modification time in ns, both limited to signed 64 bits.

    All code that stores or compares size and time of a file uses this, so that stored numbers equal
    those read again.
    """
    return _clamped(stat.st_size), _clamped(stat.st_mtime_ns)


def _clamped(number: int) -> int:
    return max(-LARGEST - 1, min(LARGEST, number))


@contextlib.contextmanager
def spooled(stream: BinaryIO) -> Iterator[Path]:
    """Copy a stream to a temporary file, whose path is yielded; the block's end deletes it.

    Raises StreamTooLongError beyond SPOOL_BYTES, and OSError if the copy cannot be written.
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


class Presence:
    """Whether files of roots exist now; each root is checked once."""

    def __init__(self) -> None:
        self._roots: dict[str, bool] = {}

    def __call__(self, root: str, relative_path: str) -> bool:
        """Return whether a file exists; True if that cannot be seen, as of a URL."""
        if is_url(root):
            return True
        if root not in self._roots:
            self._roots[root] = _may_exist(root)
        return self._roots[root] and _may_exist(Path(root, relative_path))


def _may_exist(path: str | Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def has_changed(path: Path, known: tuple[int, int]) -> bool:
    """Return whether a file differs in size or time from what `facts_of` said; False if it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return False  # its disk is not mounted, say
    return facts_of(stat) != known


def is_absent(path: str | os.PathLike[str]) -> bool:
    """Return whether a path certainly does not exist; False if that cannot be seen, as of a URL."""
    if is_url(path):
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def absence(path: str | os.PathLike[str]) -> str | None:
    """Return why the content of a folder, or a file, cannot be reached.

    Returns:
        "not there"; "empty" for an empty folder, such as an unmounted disk leaves; another reason
        in the words of the system; or None if the file, or something in the folder, exists, and
        for a URL, of which that cannot be seen here.

    Raises:
        SoundsearchError: Too many files are open.
    """
    if is_url(path):
        return None
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
    """Yield the path of a temporary file; at the end of the block it is renamed to `path`.

    A reader, also after a crash or a power failure, finds either the old file or the new one, each
    complete. If the block raises, or the disk is full, `path` stays as it was and the temporary
    file is removed. Processes and threads may write the same path.

    Args:
        path: Of the file to write, in an existing folder.

    Raises:
        OSError: The file cannot be written.
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name[:N_LETTERS]}.{writer}.part")
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or its folder does not exist
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically. Raises OSError."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a whole file atomically, as UTF-8 with unchanged line ends. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a finished file to the disk and rename it within its folder. Raises OSError."""
    flush(temporary)
    os.replace(temporary, path)
    _flush_folder(path.parent)


def put_folder_in_place(temporary: Path, path: Path, old: Path | None = None) -> None:
    """Flush a finished folder of files to the disk and rename it.

    Args:
        temporary: The folder, on the same disk as `path`. It holds files alone.
        path: What it is to be called.
        old: Where what is at `path` is moved once all is flushed. None if nothing may be there.

    Raises:
        OSError: It cannot be written, or something is at `path` or `old` that may not be there.
    """
    for file in temporary.iterdir():
        flush(file)
    _flush_folder(temporary)
    if old is not None and os.path.lexists(path):
        path.rename(old)
    temporary.rename(path)
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    if os.name != "nt":  # Windows opens no folders
        with contextlib.suppress(OSError):  # some network disks flush no folders; the file is there
            flush(path)


def flush(path: Path) -> None:
    """Wait until a closed file, or the entries of a folder, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(path: Path) -> None:
    """Remove temporary files of `path` that killed processes left. No other process may write it."""
    for temporary in path.parent.glob(f".{glob.escape(path.name[:N_LETTERS])}.*.part"):
        temporary.unlink(missing_ok=True)


def hash_of(path: str | os.PathLike[str]) -> bytes:
    """Return the content hash of a regular file, 16 bytes (XXH3-128). Raises OSError as `open_regular`."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).digest()  # type: ignore[arg-type]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
