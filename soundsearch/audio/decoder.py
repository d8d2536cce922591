"""What the decoders have in common, and how one of them says that it cannot go on.

`sndfile.py` reads what begins as one of libsndfile's formats. `ffmpeg.py` reads the rest, and what
libsndfile cannot open, cannot measure or stops reading. `chained.py` reads Ogg files put one after
the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from soundsearch.arrays import Array


class Decoder(Protocol):
    """An opened file as blocks of samples, which can be read once.

    Attributes:
        sample_rate: Hz.
        n_channels: Those of the file.
        bits: 24 where samples are finer than 16 bits and stored without loss, else 16.
        format: Such as "WAV" or "MOV/AAC".
        start_s: The second, on a player's clock, of the first sample.
        lost_s: By how much the decoded length of a whole file may be below the declared one.
        note: What else there is to say, in one sentence; None for nothing.
        declared_s: The length by the header, in seconds; None where it declares none.
    """

    sample_rate: int
    n_channels: int
    bits: int
    format: str
    start_s: float
    lost_s: float
    note: str | None
    declared_s: float | None

    @property
    def decoded_s(self) -> float:
        """Seconds of sound so far, without what is lost."""

    @property
    def n_damaged(self) -> int:
        """Packets left out so far."""

    @property
    def has_all_packets(self) -> bool:
        """Whether every packet of the file was decoded, whatever length its header declares."""

    def blocks(self) -> Iterator[Array]:
        """Blocks (channel, time) float32, in order."""

    def close(self) -> None:
        """Let the library go of the file, which stays open."""


class GaveUpError(Exception):
    """libsndfile cannot go on with this file; FFmpeg may."""


class DeclaredLessError(GaveUpError):
    """libsndfile has read what the header declares, and more follows."""
