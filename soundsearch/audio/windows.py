"""Windows: how a bundle wants a recording cut, and mono blocks cut so.

In: mono blocks of a recording, in order. Out: windows, each of which gets one embedding. Nothing
here opens or decodes a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from soundsearch.arrays import Array
from soundsearch.errors import AudioError, Cause

#: What a recording shorter than one window becomes.
Short = Literal["repeat", "repeat-whole", "zeros", "keep"]
#: How channels become one: their mean, or the first alone.
Channels = Literal["mean", "first"]
#: What stands for a whole short recording.
Clip = Literal["windows", "centre"]

#: Shorter recordings are refused: they hold too little sound.
SHORTEST_S = 0.010
#: What is said of a recording none of whose windows is sound.
WHOLLY_SILENT = "it is silent from beginning to end"
#: The same of a passage.
SILENT_PASSAGE = "the passage is silent"
#: Slower recordings are refused: what they can hold (below 500 Hz) no encoder can tell apart.
LOWEST_RATE_HZ = 1000
#: Faster ones are refused: no converter samples sound so fast, the header is wrong.
HIGHEST_RATE_HZ = 3_000_000
#: An encoder without a rate of its own gets a recording at its own rate, up to this one: ten
#: seconds are one window.
HIGHEST_OWN_RATE_HZ = 192_000


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How a bundle wants its windows.

    Attributes:
        sample_rate: Hz, or None for the recording's own (VIP-ANT).
        window_s: Length of a window in seconds.
        hop_s: Seconds from the start of a window to that of the next one.
        short: What a recording shorter than one window becomes: repeated, repeated as often as it
            fits whole and then filled up with zeros (CLAP), filled up with zeros, or left as it is
            for the front end to pad.
        channels: What a window is made of where there are several channels.
        clip: What stands for a whole short recording: all its windows, or one stretch of window_s
            at its centre (see `clips.py`).
    """

    sample_rate: int | None
    window_s: float
    hop_s: float
    short: Short = "repeat"
    channels: Channels = "mean"
    clip: Clip = "windows"

    def __post_init__(self) -> None:
        if self.sample_rate is not None and self.sample_rate < LOWEST_RATE_HZ:
            raise ValueError(
                f"sample_rate must be {LOWEST_RATE_HZ} Hz or more, or null, not {self.sample_rate}"
            )
        if not 0 < self.hop_s <= self.window_s:
            raise ValueError(f"need 0 < hop_s <= window_s, not {self.hop_s} and {self.window_s}")
        for name, kinds in (("short", Short), ("channels", Channels), ("clip", Clip)):
            if (found := getattr(self, name)) not in get_args(kinds):
                known = ", ".join(get_args(kinds))
                raise ValueError(f"{name} must be one of {known}, not {found!r}")

    def rate_for(self, sample_rate: int) -> int:
        """Rate in Hz at which the encoder gets a recording of this rate.

        Where the bundle names none it is the recording's own, HIGHEST_OWN_RATE_HZ at most.
        Raises AudioError as `refuse_rate`.
        """
        refuse_rate(sample_rate)
        return self.sample_rate or min(sample_rate, HIGHEST_OWN_RATE_HZ)


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that gets one embedding.

    Attributes:
        start_s: Where it begins, in seconds on a player's clock.
        end_s: Where it ends.
        waveform: (time,) float32 mono at the encoder's rate; longer than end_s - start_s where a
            short recording was filled up to a whole window.
        bits: Of the recording, see `AudioFile`.
    """

    start_s: float
    end_s: float
    waveform: Array
    bits: int = 16

    @property
    def is_silent(self) -> bool:
        """Whether it is silence, which gets no embedding."""
        return is_silent(self.waveform, self.bits)


def is_silent(waveform: Array, bits: int = 16) -> bool:
    """Whether a waveform is silence: digital zero, or any constant.

    That is, whether no sample reaches one step of a recording of so many bits, or none of its
    channels varies by that much. Noise of one step, such as dither, is sound. Lossy codecs count as
    16 bits: some leave noise at -101 dBFS of digital zero (AC-3, AMR).

    Args:
        waveform: (time,) or (channel, time) float32.
        bits: Of the recording, see `AudioFile`.
    """
    step = 2.0 ** (1 - bits)
    highest, lowest = waveform.max(axis=-1, initial=-np.inf), waveform.min(axis=-1, initial=np.inf)
    largest = np.maximum(highest, -lowest)
    return bool(np.all((largest < step) | (highest - lowest < step)))


def refuse_rate(sample_rate: int) -> None:
    """Raise AudioError for a recording whose sample rate in Hz no encoder can use."""
    if sample_rate < LOWEST_RATE_HZ:
        raise AudioError(
            Cause.TOO_SLOW,
            f"its sample rate is {sample_rate} Hz, at least {LOWEST_RATE_HZ} Hz are needed",
        )
    if sample_rate > HIGHEST_RATE_HZ:
        raise AudioError(
            Cause.TOO_FAST,
            f"its sample rate is {sample_rate} Hz, at most {HIGHEST_RATE_HZ} Hz can be used",
        )


def cut_windows(
    blocks: Iterable[Array],
    sample_rate: int,
    config: AudioConfig,
    bits: int = 16,
    start_s: float = 0.0,
) -> Iterator[Window]:
    """Windows every config.hop_s seconds, the last one aligned to the end: no gap, no random crop.

    A recording shorter than a window gives one window.

    Args:
        blocks: Of a recording, each (time,) float32 at sample_rate Hz.
        sample_rate: Hz.
        config: The length and hop of windows, and what a shorter recording becomes.
        bits: As of an `AudioFile`.
        start_s: The second of the first sample. Windows are cut from there, and so are the same
            wherever the sound begins.

    Raises:
        AudioError: The recording is shorter than SHORTEST_S.
    """
    first = round(start_s * sample_rate)  # whole samples, so that windows stay on one grid
    size = round(config.window_s * sample_rate)
    hop = round(config.hop_s * sample_rate)
    buffered = np.zeros(0, np.float32)
    buffered_from = 0  # place in the recording of buffered[0], in samples
    next_start = 0

    def window(start: int) -> Window:
        waveform = buffered[start - buffered_from : start - buffered_from + size].copy()
        begin = first + start
        return Window(begin / sample_rate, (begin + size) / sample_rate, waveform, bits)

    for block in blocks:
        buffered = np.concatenate((buffered, block))
        while buffered_from + buffered.size >= next_start + size:
            yield window(next_start)
            next_start += hop
        # The last window cut may have to be moved to the end: buffer all it could need.
        keep_from = max(buffered_from, next_start - hop)
        buffered = buffered[keep_from - buffered_from :]
        buffered_from = keep_from
    n_samples = buffered_from + buffered.size
    refuse_too_short(n_samples, sample_rate)
    if n_samples < size:
        waveform = fill_up(buffered, size, config.short)
        yield Window(first / sample_rate, (first + n_samples) / sample_rate, waveform, bits)
    elif n_samples > next_start - hop + size:
        yield window(n_samples - size)


def refuse_too_short(n_samples: int, sample_rate: int) -> None:
    """Raise AudioError for a recording under SHORTEST_S."""
    if n_samples < SHORTEST_S * sample_rate:
        raise AudioError(
            Cause.TOO_SHORT,
            f"it lasts {1000 * n_samples / sample_rate:.2g} ms, at least {1000 * SHORTEST_S:.0f} ms are needed",
        )


def fill_up(waveform: Array, size: int, rule: Short) -> Array:
    """What a waveform (time,) of fewer than `size` samples becomes; see AudioConfig.short."""
    if rule == "repeat":
        return np.resize(waveform, size)
    if rule == "repeat-whole":
        waveform = np.tile(waveform, size // waveform.size)
    if rule in ("zeros", "repeat-whole"):
        return np.pad(waveform, (0, size - waveform.size))
    return waveform
