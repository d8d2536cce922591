"""A passage of a recording as a WAV file, at the recording's own rate and with all its channels."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.blocks import joined
from soundsearch.audio.recording import AudioFile, samples_of
from soundsearch.errors import AudioError, Cause


def excerpt(
    path: Path,
    start_s: float,
    end_s: float,
    handle_s: float = 0.0,
    most_samples: float = math.inf,
) -> bytes:
    """Cut a passage out of a recording. Only the passage is held in memory.

    Samples of PCM files of up to 24 bits are the same in the excerpt, bit for bit. A passage with
    samples beyond full scale becomes 32-bit float, so that nothing is clipped.

    Args:
        path: Of the recording.
        start_s: Where the passage begins, in seconds of a player's clock.
        end_s: Where it ends, in seconds.
        handle_s: Seconds to add before and after, as far as the recording goes.
        most_samples: How many samples it may have, of all channels together.

    Returns:
        The content of a WAV file.

    Raises:
        AudioError: The recording cannot be read, ends before the passage, or has too many samples
            in it.
    """
    with AudioFile(path) as file:
        passage = (start_s - handle_s, end_s + handle_s)
        file.skip(max(0, round((passage[0] - file.start_s) * file.sample_rate)))
        parts, n_samples = [], 0
        for part in samples_of(file, file.channel_blocks(), passage):
            n_samples += part.size
            if n_samples > most_samples:
                longest_s = most_samples / file.n_channels / file.sample_rate
                raise AudioError(
                    Cause.TOO_LONG,
                    f"a passage of {file.n_channels} channels at {file.sample_rate} Hz may last "
                    f"{longest_s:.0f} s at most; take a shorter one",
                )
            parts.append(part.copy())  # a block may be long
        whole = joined(parts)
        return _wav(whole, file.sample_rate, file.bits)


def _wav(samples: Array, sample_rate: int, bits: int) -> bytes:
    """A WAV file of (channel, time) samples with so many bits."""
    import soundfile

    content = io.BytesIO()
    if np.abs(samples).max() > 1:
        data, subtype = samples, "FLOAT"
    else:
        # libsndfile would scale by one less than it divides by when it reads.
        whole = np.rint(samples.astype(np.float64) * 2.0 ** (bits - 1))
        whole = np.minimum(whole, 2.0 ** (bits - 1) - 1)
        data = (whole * 2.0 ** (32 - bits)).astype(np.int32)
        subtype = f"PCM_{bits}"
    soundfile.write(content, data.T, sample_rate, format="WAV", subtype=subtype)
    return content.getvalue()
