"""libsndfile: an opened file to blocks of samples.

It reads what begins as one of its formats; FFmpeg (`demux.py`) the rest, and what libsndfile cannot
open, cannot measure or stops reading. Both decoders have sample_rate (Hz), n_channels, format, bits
(24 where samples are finer than 16 bits and stored without loss, else 16), start_s (the second of
the first sample), declared_s and decoded_s (seconds by the header, and of sound so far), n_damaged
(packets left out), has_all_packets (whether a longer declared length is wrong), note (what else
there is to say) and lost_s: by how much the two lengths may differ in a file that is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.blocks import block_length
from soundsearch.audio.headers import told_frames
from soundsearch.audio.parts import FilePart
from soundsearch.audio.unwritten import Unwritten, WithHeader, goes_on

Array = NDArray[np.float32]

#: As many frames are told by libsndfile of a file that it cannot measure.
UNKNOWN_FRAMES = 1 << 62
#: Encodings of libsndfile with more than 16 bits a sample.
DEEP_SUBTYPES = frozenset(
    ["PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32", "DWVW_24"]
)
#: So much less sound than the header tells is damage; codecs round by less.
LOST_S = 0.1


class Decoder(Protocol):
    """What the decoders have in common; see the top of this module."""

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


class SndfileDecoder:
    """libsndfile: WAV, AIFF, FLAC, Ogg, CAF, W64, RF64 and more. Raises GaveUpError.

    found: where the sound lies in a file whose header declares less of it.
    """

    n_damaged = 0
    start_s = 0.0
    lost_s = LOST_S
    has_all_packets = False
    note: str | None = None

    def __init__(self, file: BinaryIO, found: Unwritten | None = None) -> None:
        import soundfile

        self._n_frames = 0
        self._file = file
        self._error = soundfile.LibsndfileError
        try:
            self._source = None if found is None else WithHeader(file, found)
            plain = file if isinstance(file, FilePart) else file.fileno()
            self._sound = soundfile.SoundFile(self._source or plain, closefd=False)
        except self._error as error:
            raise GaveUpError(str(error)) from error
        self.sample_rate: int = self._sound.samplerate
        self.n_channels: int = self._sound.channels
        self.format: str = self._sound.format if found is None else found.form
        self.bits = 24 if self._sound.subtype in DEEP_SUBTYPES else 16
        if self._sound.frames >= UNKNOWN_FRAMES:
            self._sound.close()
            raise GaveUpError("libsndfile does not know how long it is")
        self.declared_s: float | None = (
            told_frames(self._sound.frames, self._sound.extra_info) / self.sample_rate
        )

    @property
    def decoded_s(self) -> float:
        """Seconds of sound so far."""
        return self._n_frames / self.sample_rate

    def blocks(self) -> Iterator[Array]:
        """Blocks (channel, time) float32, in order. Raises GaveUpError where it cannot go on."""
        n_frames = block_length(self.n_channels)
        while True:
            try:
                block = self._sound.read(n_frames, dtype="float32", always_2d=True)
            except self._error as error:
                raise GaveUpError(str(error)) from error
            if self._source is not None and self._source.error is not None:
                raise GaveUpError(str(self._source.error))
            if len(block) == 0:
                break
            self._n_frames += len(block)
            yield block.T
        if self.format in ("FLAC", "OGG") and goes_on(self._file, self.format):
            raise DeclaredLessError("more follows than its header declares")

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._sound.close()
