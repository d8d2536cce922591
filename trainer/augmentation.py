"""Changes to waveforms that leave their meaning alone.

A waveform is changed as another microphone, another place or another file might have it. All
randomness comes from the generator handed in.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from trainer.limits import must_be

Array = NDArray[np.float32]

#: Largest sample of a changed waveform.
PEAK = 0.95
#: Stretches in a second of which the louder half decides the level of a sound.
STRETCHES = 100


@dataclass(frozen=True, kw_only=True)
class WaveformConfig:
    """How strongly waveforms are changed, and which share of them.

    Attributes:
        speed: Largest change of speed, and of pitch with it, as a factor's logarithm.
        speed_share: Share that is played faster or slower.
        room_share: Share that gets the reverberation of a made-up room.
        band_share: Share of which a band is left.
        noise_share: Share that gets noise.
        noise_db: Smallest and largest level of the sound above the noise.
        gain_db: Largest change of level.
        coded_share: Share that is coded as MP3.
    """

    speed: float = 0.25
    speed_share: float = 0.4
    room_share: float = 0.2
    band_share: float = 0.1
    noise_share: float = 0.2
    noise_db: tuple[float, float] = (5.0, 35.0)
    gain_db: float = 10.0
    coded_share: float = 0.08

    def __post_init__(self) -> None:
        for name in ("speed_share", "room_share", "band_share", "noise_share", "coded_share"):
            must_be("0 to 1", 0 <= getattr(self, name) <= 1, **{name: getattr(self, name)})


def change_recording(
    waveform: Array, rate: int, size: int, rng: np.random.Generator, config: WaveformConfig
) -> Array:
    """Change one recording: speed, reverberation, band.

    Args:
        waveform: (time,) float32. Not modified. A random stretch of a longer one is taken.
        rate: In Hz.
        size: Samples that are wanted.
        rng: Draws the changes.
        config: How strong they are.

    Returns:
        (at most size,) float32; shorter where the recording is.
    """
    speed = 1.0
    if rng.random() < config.speed_share:
        speed = math.exp(rng.uniform(-config.speed, config.speed))
    n_taken = min(len(waveform), math.ceil(size * speed))
    start = int(rng.integers(len(waveform) - n_taken + 1))
    sound = waveform[start : start + n_taken]
    if speed != 1.0:
        sound = soxr.resample(sound, speed * rate, rate, quality="LQ")
    if rng.random() < config.room_share:
        sound = signal.fftconvolve(sound, room_impulse_response(rate, rng))
    if rng.random() < config.band_share:
        sound = cut_to_band(sound, rate, rng)
    return np.asarray(sound[:size], np.float32)


def change_window(
    window: Array, rate: int, rng: np.random.Generator, config: WaveformConfig
) -> Array:
    """Change a whole window: noise under it, its level, a codec's losses. Same shape."""
    if rng.random() < config.noise_share:
        noise = rng.standard_normal(len(window)).astype(np.float32)
        noise = signal.lfilter([1.0], [1.0, -rng.uniform(0.0, 0.98)], noise)
        below = gain_of(-config.noise_db[1], -config.noise_db[0], rng)
        window = window + noise * (level_of(window, rate) / level_of(noise, rate) * below)
    window = window * gain_of(-config.gain_db, config.gain_db, rng)
    window = window * min(1.0, PEAK / max(float(np.abs(window).max(initial=0.0)), 1e-6))
    if rng.random() < config.coded_share:
        window = coded(window, rate, rng.uniform(0.5, 0.99))
    return np.asarray(window, np.float32)


def room_impulse_response(rate: int, rng: np.random.Generator) -> Array:
    """A made-up room's impulse response: the sound itself, then noise that dies away in 0.1 to 1 s.

    Returns (0.1 * rate to rate,) float32.
    """
    n = int(rng.uniform(0.1, 1.0) * rate)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail *= 10 ** (rng.uniform(-12.0, 3.0) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] += 1.0
    return tail.astype(np.float32)


def cut_to_band(sound: Array, rate: int, rng: np.random.Generator) -> Array:
    """What is left between a low edge of 50 to 400 Hz and a high one of 2 to 10 kHz.

    sound: (time,), not modified. Returns the same shape, float32.
    """
    low, high = 50 * 8 ** rng.random(), 2000 * 5 ** rng.random()
    edges = (low, min(high, 0.45 * rate))
    found: Array = signal.sosfilt(signal.butter(2, edges, "band", fs=rate, output="sos"), sound)
    return found.astype(np.float32)


#: Rates in Hz that MP3 knows.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def coded(sound: Array, rate: int, compression: float) -> Array:
    """The sound after MP3 with this compression level (0 to 1), as long as before.

    sound: (time,), not modified. Returns (time,) float32. A sound of a rate that MP3 does not know
    stays as it is.
    """
    if rate not in MP3_RATES:
        return sound
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="MP3", compression_level=compression)
    file.seek(0)
    found, _ = soundfile.read(file, dtype="float32")
    return np.resize(found, len(sound)) if len(found) < len(sound) else found[: len(sound)]


def level_of(sound: Array, rate: int) -> float:
    """Root of the mean power of the louder half of a sound (time,), in stretches of 10 ms."""
    n = max(1, STRETCHES * len(sound) // rate)
    power = np.square(sound[: len(sound) // n * n]).reshape(n, -1).mean(axis=1)
    return max(float(np.sqrt(np.sort(power)[n // 2 :].mean())), 1e-6)


def gain_of(low_db: float, high_db: float, rng: np.random.Generator) -> np.float32:
    """A factor between two levels."""
    return np.float32(10 ** (rng.uniform(low_db, high_db) / 20))
