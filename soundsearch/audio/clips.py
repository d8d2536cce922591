"""One stretch that stands for a whole short recording, where a bundle wants it so.

VIP-ANT is trained and measured on one stretch of each clip of a data set: that at the centre, or
the first or the last where that is too quiet. `Encoder.embed_clip` and the trainer's front ends cut
it here.
"""

from __future__ import annotations

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.mixdown import in_one
from soundsearch.audio.resampling import resample
from soundsearch.audio.windows import AudioConfig, fill_up, refuse_too_short

#: A stretch whose deviation is below this share of the whole clip's is too quiet.
QUIET_SHARE = 0.5


def n_samples_of_stretch(sample_rate: int, config: AudioConfig) -> int:
    """Samples of the stretch at this rate, rounded down as VIP-ANT does: 10.05 s for 1,000 frames."""
    return int(config.window_s * sample_rate)


def cut_clip(
    channels: Array, sample_rate: int, config: AudioConfig, start: int | None = None
) -> Array:
    """The stretch that stands for a clip.

    The stretch is cut at the clip's own rate, and chosen by all channels, before they become one
    and are resampled. VIP-ANT also subtracts the mean of all samples; the filter banks remove a
    constant from every frame, so here it stays.

    Args:
        channels: (channel, time) float32 at sample_rate Hz. Not modified.
        sample_rate: Hz.
        config: Of the bundle.
        start: The sample at which training wants the stretch to begin, None for the centre;
            ignored where the clip is not longer than a stretch.

    Returns:
        Mono (time,) float32 at the encoder's rate.

    Raises:
        AudioError: The clip is shorter than SHORTEST_S, or its rate too low.
    """
    rate = config.rate_for(sample_rate)
    refuse_too_short(channels.shape[1], sample_rate)
    size = n_samples_of_stretch(sample_rate, config)
    spare = channels.shape[1] - size
    if spare > 0:
        channels = guarded(channels, size, round(0.5 * spare) if start is None else start)
    mono = in_one(channels, sample_rate, config.channels)
    waveform = np.concatenate(list(resample([mono], sample_rate, rate)))
    wanted = n_samples_of_stretch(rate, config)
    return waveform if waveform.size >= wanted else fill_up(waveform, wanted, config.short)


def guarded(channels: Array, size: int, start: int) -> Array:
    """`size` samples from `start` on, or the first or the last ones where those are too quiet.

    channels: (channel, time), longer than size. Source: VIP-ANT, `cvap/data/audio/transform.py`:
    deviations are of all channels together; the last stretch is taken only where the first one is
    quieter still.
    """
    stretch = channels[:, start : start + size]
    found = _deviation(stretch)
    if found < QUIET_SHARE * _deviation(channels):
        stretch = channels[:, :size]
        if found > _deviation(stretch):
            stretch = channels[:, -size:]
    return stretch


def _deviation(samples: Array) -> float:
    return float(np.std(samples, dtype=np.float64, ddof=1)) if samples.size > 1 else 0.0
