"""What an index remembers of roots, recordings, windows and its encoder, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Array, Ids
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import Cause
from soundsearch.vocabulary.ucs import UcsName

if TYPE_CHECKING:
    from soundsearch.audio.peaks import Peaks


class State(StrEnum):
    """What the last look at a recording found."""

    INDEXED = "indexed"
    FAILED = "failed"
    MISSING = "missing"


#: The place of a file among all: the id of its root, and its path relative to it.
Place = tuple[int, str]


@dataclass(frozen=True)
class PinnedEncoder:
    """The one encoder whose embeddings an index holds."""

    name: str
    version: str
    fingerprint: str
    dim: int

    @classmethod
    def of(cls, bundle: EncoderBundle) -> PinnedEncoder:
        """What an index remembers of a bundle."""
        return cls(bundle.name, bundle.version, bundle.fingerprint, bundle.dim)

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.dim}-d, {self.fingerprint[:12]})"


@dataclass(frozen=True)
class Root:
    """A folder that was indexed, or a file that was named itself; path is absolute."""

    id: int
    path: Path


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio file known to the database."""

    id: int
    root_id: int
    relative_path: str
    size_bytes: int
    mtime_ns: int
    content_hash: bytes | None
    state: State
    cause: Cause | None = None

    @property
    def facts(self) -> tuple[int, int]:
        """Size and time of change, to be compared with those of `facts_of`."""
        return self.size_bytes, self.mtime_ns

    @property
    def is_embedded(self) -> bool:
        """Whether what is known of it has windows, unless it failed.

        False: its file was away when the index got another encoder.
        """
        return self.cause is not Cause.NOT_EMBEDDED

    @property
    def is_root(self) -> bool:
        """Whether it is a root of its own: a file that was named itself."""
        return self.relative_path == "."


@dataclass(frozen=True, kw_only=True)
class RecordingFacts:
    """All that an index knows of one recording; what was never known is None.

    Attributes:
        recording_id: Its id; no other recording ever gets it.
        path: Absolute path of the file.
        root: Absolute path of the root that it lies in.
        state: What the last look at it found.
        cause: Why it failed, or what is to be said of how it was read, in the words of `Cause`.
        error: The same as a sentence.
        size_bytes: Size of the file when it was indexed.
        mtime_ns: Modification time of the file when it was indexed, in ns since 1970 (UTC).
        content_hash: XXH3-128 of the bytes of the file.
        sound_hash: Of its samples, see `soundsearch.audio.sound_hash`; the content_hash for a
            recording that was indexed by a version without such hashes and not read since.
        duration_s: Length in seconds.
        sample_rate: In Hz.
        n_channels: Number of channels.
        format: Of the file, such as "WAV".
        indexed_at: When its row was written last, in ISO 8601 (UTC).
        metadata: Texts by field, as the file has them.
        ucs: The blocks of its name, if it is one of the Universal Category System.
        captions: Texts by field, as `index --captions` read them.
        words: By which words it is found; None if by none.
        n_windows: Number of its windows.
        start_s: Where its first window begins, in seconds.
        end_s: Where its last window ends, in seconds.
    """

    recording_id: int
    path: Path
    root: Path
    state: State
    cause: str | None
    error: str | None
    size_bytes: int
    mtime_ns: int
    content_hash: bytes | None
    sound_hash: bytes | None
    duration_s: float | None
    sample_rate: int | None
    n_channels: int | None
    format: str | None
    indexed_at: str
    metadata: Mapping[str, str]
    ucs: UcsName | None
    captions: Mapping[str, str]
    words: Words | None
    n_windows: int
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A recording that shares its sound with others. root: absolute path of its root."""

    id: int
    sound_hash: bytes
    content_hash: bytes
    root: str
    relative_path: str
    size_bytes: int
    duration_s: float
    state: State


@dataclass(frozen=True, slots=True)
class StoredSound:
    """A sound that one recording has, or several; recording_id: of the first of them."""

    recording_id: int
    sound_hash: bytes
    duration_s: float


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """A window of a recording, where it lies in seconds, and where its file is.

    root: absolute path of the root; relative_path: of the recording in it. sound_hash: see
    `RecordingFacts`.
    """

    id: int
    recording_id: int
    start_s: float
    end_s: float
    duration_s: float
    relative_path: str
    root: str
    sound_hash: bytes | None


@dataclass(frozen=True)
class WindowBlock:
    """Some windows, as they are stored.

    ids, recording_ids: (n,) int64. starts_s, ends_s: in seconds, (n,) float64; durations_s: of
    their recordings, NaN where it is not known. embeddings: n blobs.
    """

    ids: Ids
    recording_ids: Ids
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    durations_s: NDArray[np.float64]
    embeddings: list[bytes]


@dataclass(frozen=True, slots=True)
class Words:
    """The words by which a recording is found: those of its name, of its folders, of its fields.

    metadata: texts of its metadata, UCS category and captions.
    file_name: the name without its ending, not split, in which parts of words are found.
    """

    name: str
    folders: str
    metadata: str
    file_name: str


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A recording found by words. score: higher is better. words: those that were found in it."""

    recording_id: int
    score: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the file system says of a file: enough to see that it has not changed."""

    root_id: int
    relative_path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Indexed:
    """A recording with its windows, ready to be stored.

    spans: (start_s, end_s) of n windows. embeddings: (n, dim) float32, unit norm.
    damage: one sentence if only part of the file could be read. note: one if it holds more than was
    read, such as other sound tracks. metadata: texts by field, see `soundsearch.audio.metadata`.
    sound_hash: of its samples, see `soundsearch.audio.sound_hash`; empty where it is not known.
    peaks: the outline of its waveform; None where it is not known.
    """

    file: FileFacts
    content_hash: bytes
    duration_s: float
    sample_rate: int
    n_channels: int
    format: str
    spans: Sequence[tuple[float, float]]
    embeddings: Array
    damage: str | None = None
    note: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    sound_hash: bytes = b""
    peaks: Peaks | None = None


@dataclass(frozen=True)
class Failed:
    """A file that could not be used, and why. keep: its earlier embeddings still hold."""

    file: FileFacts
    cause: str
    error: str
    keep: bool = False
