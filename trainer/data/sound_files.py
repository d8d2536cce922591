"""Sound for training: every channel at the file's own rate, and FLAC of it.

Nothing is mixed or resampled here: what becomes of channels and rate is for the front end of each
training run to say.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.recording import LARGEST_SAMPLE, AudioFile
from soundsearch.errors import AudioError, Cause

Array = NDArray[np.float32]

#: What FLAC can hold.
FLAC_CHANNELS = 8
FLAC_RATE_HZ = 655_350


@dataclass(frozen=True)
class Sound:
    """A decoded file.

    channels: (channels, time) float32, [-1, 1] but for what a lossy codec overshoots.
    bits: 16 for 16-bit and lossy sources, 24 for deeper ones. damage: one sentence if only a part
    of it could be decoded, else None.
    """

    channels: Array
    sample_rate: int
    bits: int
    damage: str | None = None


def read_sound(source: Path | BinaryIO) -> Sound:
    """Decode a whole file, the sound track of a video too. Raises AudioError."""
    with AudioFile(source) as file:
        channels = file.all_channels()
        return Sound(channels, file.sample_rate, file.bits, file.damage)


def read_channels(content: bytes) -> Sound:
    """Decode a file that is held in memory. Raises AudioError."""
    return read_sound(io.BytesIO(content))


def flac(channels: Array, sample_rate: int, bits: int) -> bytes:
    """A FLAC file of (channels, time) float32, 16 or 24 bits a sample.

    Whole steps of that depth come back exactly; louder samples are clipped. Raises AudioError for
    more channels or a higher rate than FLAC can hold, and for samples that are not finite.
    """
    import soundfile

    if not (np.abs(channels) <= LARGEST_SAMPLE).all():
        raise AudioError(
            Cause.NOT_FINITE, "it holds samples that are NaN, infinite or too large to be sound"
        )
    if len(channels) > FLAC_CHANNELS:
        raise AudioError(
            Cause.UNREADABLE,
            f"it has {len(channels)} channels, FLAC holds at most {FLAC_CHANNELS}; mix it down",
        )
    if sample_rate > FLAC_RATE_HZ:
        raise AudioError(
            Cause.UNREADABLE,
            f"its sample rate is {sample_rate} Hz, FLAC holds at most {FLAC_RATE_HZ} Hz; "
            "resample it",
        )
    top = 2.0 ** (bits - 1)
    whole = np.clip(np.rint(channels.T.astype(np.float64) * top), -top, top - 1)
    # libsndfile would scale floats by another factor than it reads them with.
    samples = whole.astype(np.int16) if bits == 16 else whole.astype(np.int32) << 8
    file = io.BytesIO()
    try:
        soundfile.write(file, samples, sample_rate, format="FLAC", subtype=f"PCM_{bits}")
    except soundfile.LibsndfileError as error:
        raise AudioError(
            Cause.UNREADABLE,
            f"{len(channels)} channels at {sample_rate} Hz cannot be written as FLAC ({error})",
        ) from error
    return file.getvalue()
