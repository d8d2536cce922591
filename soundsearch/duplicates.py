"""Exact copies: recordings of an index that hold the same sound.

In: one state of an index. Out: groups of recordings with one sound hash. No file is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from soundsearch.files import Presence
from soundsearch.store import Reader, State, StoredCopy
from soundsearch.urls import path_of

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A recording whose sound another one has too.

    Attributes:
        recording_id: Of the recording in its index.
        path: Absolute path of the file.
        state: What the last look at it found.
        is_present: Whether the file exists now. It does not while its disk is not mounted.
        content_hash: XXH3-128 of the bytes of the file.
        size_bytes: Size of the file.
        duration_s: Length in seconds.
    """

    recording_id: int
    path: Path
    state: State
    is_present: bool
    content_hash: bytes
    size_bytes: int
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Recordings with the same sound.

    Attributes:
        sound_hash: Of the samples of each, see `soundsearch.store.records.RecordingFacts`.
        content_hash: XXH3-128 of the bytes of each file; None where they differ.
        size_bytes: Size of each file; None where they differ.
        copies: Two recordings or more, by path.
    """

    sound_hash: bytes
    content_hash: bytes | None
    size_bytes: int | None
    copies: list[Copy]


def duplicates(reader: Reader) -> Iterator[Duplicates]:
    """Yield each sound that several recordings have, in the order in which they were indexed.

    One group is in memory at a time. Recordings that are missing count, too.
    """
    is_present = Presence()
    for sound_hash, rows in itertools.groupby(reader.copies(), lambda copy: copy.sound_hash):
        yield _group(sound_hash, _copies(rows, is_present))


def copies_of(reader: Reader, sound_hash: bytes) -> list[Copy]:
    """Return the recordings with this sound, if there are several, by path."""
    return _copies(reader.copies([sound_hash]), Presence())


def duplicates_of(reader: Reader, sound_hash: bytes) -> Duplicates | None:
    """Return the recordings with this sound; None unless there are several."""
    copies = copies_of(reader, sound_hash)
    return _group(sound_hash, copies) if copies else None


def _group(sound_hash: bytes, copies: list[Copy]) -> Duplicates:
    return Duplicates(
        sound_hash=sound_hash,
        content_hash=_shared(copy.content_hash for copy in copies),
        size_bytes=_shared(copy.size_bytes for copy in copies),
        copies=copies,
    )


def _copies(stored: Iterable[StoredCopy], is_present: Presence) -> list[Copy]:
    return [copy_of(row, is_present) for row in stored]


def copy_of(row: StoredCopy, is_present: Presence) -> Copy:
    """Return what is known of a recording that shares its sound with others."""
    return Copy(
        recording_id=row.id,
        path=path_of(row.root, row.relative_path),
        state=row.state,
        is_present=is_present(row.root, row.relative_path),
        content_hash=row.content_hash,
        size_bytes=row.size_bytes,
        duration_s=row.duration_s,
    )


def _shared(values: Iterable[Value]) -> Value | None:
    """The value that all are, if they are."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
