"""A recording opened to be read: a file where it lies, or an object fetched with bounded memory.

An object of up to MOST_IN_MEMORY is fetched at once. A larger one of a format that is read from front
to end is streamed to the decoder; any other goes to a temporary file without a name, which the system
deletes whatever becomes of this process. Its content is hashed on the way.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import xxhash

from indexer.objects import (
    Place,
    in_tar,
    members_of,
    place_at,
    state_of,
    storage_errors,
    suffix_of,
)
from soundsearch.audio.file_part import FilePart
from soundsearch.audio.metadata import read_metadata
from soundsearch.audio.recording import AudioFile
from soundsearch.errors import AudioError
from soundsearch.files import hash_of, open_regular
from soundsearch.store import FileFacts

#: Objects up to this size are held in memory; each reader holds one.
MOST_IN_MEMORY = 32 << 20
#: No temporary file grows larger.
MOST_ON_DISK = 16 << 30
#: Bytes fetched at a time of larger objects.
BLOCK_BYTES = 4 << 20
#: How files begin that decoders read from front to end: WAV, RF64, AIFF, FLAC, W64, CAF, AU.
STREAMED = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"riff", b"caff", b".snd")


class Source(Protocol):
    """A recording that can be read.

    content_hash: as of `files.hash_of`; None where it is known only once all was read.
    """

    content_hash: bytes | None

    def audio(self) -> AudioFile:
        """Open it for decoding."""

    def metadata(self) -> dict[str, str]:
        """The texts by field that it holds."""

    def whole_hash(self) -> bytes:
        """The content hash, after decoding."""


class LocalFile:
    """A `Source`: a file. Raises OSError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content_hash: bytes | None = hash_of(path)

    def audio(self) -> AudioFile:
        """See `Source`."""
        return AudioFile(self._path)

    def metadata(self) -> dict[str, str]:
        """See `Source`."""
        with open_regular(self._path) as file:
            return read_metadata(file)

    def whole_hash(self) -> bytes:
        """See `Source`."""
        assert self.content_hash is not None
        return self.content_hash


class Fetched:
    """A `Source`: an object, whose content can be read from anywhere.

    Args:
        content: Hashed while it is read.
        is_complete: Whether all of it was read already.
        suffix: Ending of its name.
    """

    def __init__(self, content: HashedContent, is_complete: bool, suffix: str) -> None:
        self._content, self._suffix = content, suffix
        self.content_hash = content.whole_hash() if is_complete else None

    def audio(self) -> AudioFile:
        """See `Source`."""
        return AudioFile(self._opened(), self._suffix)

    def metadata(self) -> dict[str, str]:
        """See `Source`."""
        return read_metadata(self._opened())

    def whole_hash(self) -> bytes:
        """See `Source`."""
        return self._content.whole_hash()

    def _opened(self) -> BinaryIO:
        return cast(BinaryIO, FilePart(cast(BinaryIO, self._content), 0, self._content.size))


class HashedContent:
    """A content of known size, hashed as far as it was read from front to end.

    Args:
        file: Opened for reading.
        size: Its bytes.
        url: Names it in errors.

    Attributes:
        error: What ended a read, None while all goes well. Decoders take such an end for damage.
    """

    def __init__(self, file: BinaryIO, size: int, url: str) -> None:
        self._file, self.size, self._url = file, size, url
        self._digest = xxhash.xxh3_128()
        self._n_hashed = self._at = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file, from its beginning."""
        assert whence == io.SEEK_SET
        self._at = offset
        return offset

    def read(self, n_bytes: int) -> bytes:
        """Bytes from the place of the last `seek` on. Raises OSError."""
        try:
            with storage_errors(self._url):
                self._file.seek(self._at)
                content = self._file.read(n_bytes)
        except OSError as error:
            self.error = error
            raise
        n_known = self._n_hashed - self._at
        if 0 <= n_known < len(content):
            self._digest.update(content[n_known:])
            self._n_hashed = self._at + len(content)
        self._at += len(content)
        return content

    def whole_hash(self) -> bytes:
        """The hash of all of it, reading what was not read yet. Raises OSError."""
        self.seek(self._n_hashed)
        while self.read(BLOCK_BYTES):
            pass
        if self._n_hashed != self.size:
            raise _changed(self._url)
        return self._digest.digest()


@contextlib.contextmanager
def opened(path: Path, url: str | None, facts: FileFacts, *, hash_first: bool) -> Iterator[Source]:
    """Open a recording: a file, or an object that is fetched by its url in place of one.

    facts: what is known of it; an object is fetched only as it was then. hash_first: whether its
    content hash is needed before it is decoded.
    Raises OSError where it cannot be read, or an object has changed meanwhile; also at the end of
    the block, in place of what a decoder makes of that.
    """
    if url is None:
        yield LocalFile(path)
        return
    place = place_at(url)
    before = facts.size_bytes, facts.mtime_ns
    if before == (0, 0):
        before = state_of(place.info())
    with contextlib.ExitStack() as stack:
        file, size, is_complete = _content(place, before, hash_first, stack)
        content = HashedContent(file, size, url)
        try:
            yield Fetched(content, is_complete, suffix_of(url))
        except AudioError as error:
            if content.error is not None:
                raise content.error from error
            raise
        if content.error is not None:
            raise content.error
    size, state = state_of(place.info())
    if state != before[1] or (place.member is None and size != before[0]):
        raise _changed(url)


def _content(
    place: Place, facts: tuple[int, int], hash_first: bool, stack: contextlib.ExitStack
) -> tuple[BinaryIO, int, bool]:
    """The content of an object, its bytes, and whether all of it is here."""
    begin, size = 0, facts[0]
    if place.member is not None:
        begin, size = _member(place.url, facts[1])
    with storage_errors(place.url):
        if size <= MOST_IN_MEMORY and (size or place.member is not None):
            content = (
                place.system.cat_file(place.name, start=begin, end=begin + size) if size else b""
            )
            if len(content) != size:
                raise _changed(place.url)
            return io.BytesIO(content), size, True
        file = stack.enter_context(
            place.system.open(place.name, "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        )
        if place.member is not None:
            file = FilePart(file, begin, begin + size)
        if size and not hash_first:
            begins = file.read(4)
            file.seek(0)
            if begins in STREAMED:
                return file, size, False
        return *_copied(place.url, file, size, stack), True


def _copied(url: str, file: Any, size: int, stack: contextlib.ExitStack) -> tuple[BinaryIO, int]:
    """A temporary copy of a content, and its bytes. size: 0 where the storage does not say."""
    room = min(MOST_ON_DISK, shutil.disk_usage(tempfile.gettempdir()).free)
    copy = stack.enter_context(tempfile.SpooledTemporaryFile(MOST_IN_MEMORY))  # noqa: SIM115
    n_bytes = 0
    if size <= room:
        while block := file.read(BLOCK_BYTES):
            n_bytes += len(block)
            if n_bytes > room:
                break
            copy.write(block)
    if max(n_bytes, size) > room:
        raise OSError(
            errno.ENOSPC,
            f"it has more bytes than a temporary file may have ({room / 1e9:.1f} GB here); make room "
            "in TMPDIR, or cut it",
            url,
        )
    if size and n_bytes != size:
        raise _changed(url)
    return cast(BinaryIO, copy), n_bytes


#: Held while a tar file is looked through: other readers wait for what is found.
_looking = threading.Lock()


@functools.lru_cache(maxsize=4)
def _remembered(tar_url: str, state: int) -> dict[str, tuple[int, int]]:
    """Members of a tar file in this state; those of the last few are remembered."""
    return members_of(place_at(tar_url))


def _member(url: str, state: int) -> tuple[int, int]:
    tar, name = in_tar(url) or (url, "")
    with _looking:
        # Of a storage that gives neither date nor hash nothing tells one state from another.
        members = _remembered(tar, state) if state else members_of(place_at(tar))
    found = members.get(name)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "not in the tar file", url)
    return found


def _changed(url: str) -> OSError:
    return OSError(errno.ESTALE, "it changed while it was read; the next run reads it again", url)
