"""Exact copies: recordings of an index whose files hold the same bytes.

In: one state of an index. Out: groups of recordings with one content hash. No file is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from soundsearch.files import Presence
from soundsearch.store import Reader, State, StoredCopy


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A recording whose content another one has too.

    Attributes:
        path: Absolute path of the file.
        state: What the last look at it found.
        is_present: Whether the file exists now. It does not while its disk is not mounted.
    """

    path: Path
    state: State
    is_present: bool


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Recordings with the same content.

    Attributes:
        content_hash: XXH3-128 of the bytes of each file.
        size_bytes: Size of each file.
        copies: Two recordings or more, by path.
    """

    content_hash: bytes
    size_bytes: int
    copies: list[Copy]


def duplicates(reader: Reader) -> Iterator[Duplicates]:
    """Yield each content that several recordings have, in the order in which they were indexed.

    One group is in memory at a time. Recordings that are missing count, too.
    """
    is_present = Presence()
    for content_hash, stored in itertools.groupby(reader.copies(), lambda copy: copy.content_hash):
        rows = list(stored)
        yield Duplicates(
            content_hash=content_hash,
            size_bytes=rows[0].size_bytes,
            copies=_copies(rows, is_present),
        )


def copies_of(reader: Reader, content_hash: bytes) -> list[Copy]:
    """Return the recordings with this content, if there are several, by path."""
    return _copies(reader.copies(content_hash), Presence())


def _copies(stored: Iterable[StoredCopy], is_present: Presence) -> list[Copy]:
    return [
        Copy(
            path=Path(row.root, row.relative_path),
            state=row.state,
            is_present=is_present(row.root, row.relative_path),
        )
        for row in stored
    ]
