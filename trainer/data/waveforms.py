"""Sound for training: every channel at the file's own rate, and FLAC of it.

Nothing is mixed or resampled here: what becomes of channels and rate is for the front end of each
training run to say.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.recording import LARGEST_SAMPLE, MOST_CLIP_SAMPLES, AudioFile
from soundsearch.audio.sndfile import DEEP_SUBTYPES
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


def read_sound(path: Path) -> Sound:
    """Decode a whole file, the sound track of a video too. Raises AudioError."""
    with AudioFile(path) as file:
        channels = file.all_channels()
        return Sound(channels, file.sample_rate, file.bits, file.damage)


def read_channels(content: bytes) -> Sound:
    """Decode a file that is held in memory. Raises AudioError."""
    import soundfile

    if content.startswith(b"fLaC"):
        with (
            contextlib.suppress(soundfile.LibsndfileError),
            soundfile.SoundFile(io.BytesIO(content)) as sound,
        ):
            if sound.frames * sound.channels <= MOST_CLIP_SAMPLES:  # a header may say anything
                samples = sound.read(dtype="float32", always_2d=True)
                bits = 24 if sound.subtype in DEEP_SUBTYPES else 16
                return Sound(np.ascontiguousarray(samples.T), sound.samplerate, bits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound")
        path.write_bytes(content)
        return read_sound(path)


def _check_finite(channels: Array) -> None:
    if not (np.abs(channels) <= LARGEST_SAMPLE).all():
        raise AudioError(
            Cause.NOT_FINITE, "it holds samples that are NaN, infinite or too large to be sound"
        )


def flac(channels: Array, sample_rate: int, bits: int) -> bytes:
    """A FLAC file of (channels, time) float32, 16 or 24 bits a sample.

    Whole steps of that depth come back exactly; louder samples are clipped. Raises AudioError for
    more channels or a higher rate than FLAC can hold, and for samples that are not finite.
    """
    import soundfile

    _check_finite(channels)
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
