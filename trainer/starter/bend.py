"""Sounds that have no caption: recordings bent until nobody could say what they are, and made-up ones.

A teacher that listens has an opinion of these too. Recordings at hand are of few kinds; a voice at
twice its speed, a creak cut into bursts or a gliding tone are heard as birds, insects and engines
that no recording holds, and tell the student what the teacher takes for one.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float32]

#: How likely each change of `bend` is.
BACKWARDS, WAVERING, MODULATED, BURSTS, RESONANT = 0.2, 0.35, 0.35, 0.3, 0.35
#: Octaves by which `bend` plays a recording faster or slower.
OCTAVES = 1.3


def bend(waveform: Array, rate: int, size: int, rng: np.random.Generator) -> Array:
    """A stretch of a recording, (time,), changed out of recognition into at most size samples."""
    speed = 2 ** rng.uniform(-OCTAVES, OCTAVES)
    n_taken = min(len(waveform), math.ceil(size * speed))
    start = int(rng.integers(len(waveform) - n_taken + 1))
    sound = soxr.resample(waveform[start : start + n_taken], speed * rate, rate, quality="LQ")
    sound = np.asarray(sound[:size], np.float32)
    if rng.random() < BACKWARDS:
        sound = sound[::-1]
    if rng.random() < WAVERING:
        sound = wavering(sound, rate, rng)
    if rng.random() < MODULATED:
        frequency = _between(1.0, 600.0, rng)
        depth = rng.uniform(0.3, 1.0)
        time = np.arange(len(sound), dtype=np.float32) / rate
        sound = sound * (1 - depth + depth * np.sin(2 * np.pi * frequency * time))
    if rng.random() < BURSTS:
        sound = bursts(sound, rate, size, rng)
    if rng.random() < RESONANT:
        sound = resonant(sound, rate, rng)
    return np.asarray(sound, np.float32)


def wavering(sound: Array, rate: int, rng: np.random.Generator) -> Array:
    """The sound with its pitch going up and down, by two thirds of it at most, 0.3 to 12 times a second."""
    frequency = _between(0.3, 12.0, rng)
    depth = rng.uniform(0.02, 0.67)
    time = np.arange(len(sound)) / rate
    swing = depth / (2 * np.pi * frequency)
    phase = rng.uniform(0, 2 * np.pi)
    heard_at = time + swing * (np.sin(2 * np.pi * frequency * time + phase) - math.sin(phase))
    found: Array = np.interp(heard_at, time, sound).astype(np.float32)
    return found


def bursts(sound: Array, rate: int, size: int, rng: np.random.Generator) -> Array:
    """A snippet of 20 to 600 ms over and over, with pauses, size samples long."""
    n = min(len(sound), max(2, round(_between(0.02, 0.6, rng) * rate)))
    start = int(rng.integers(len(sound) - n + 1))
    faded = sound[start : start + n] * signal.windows.tukey(n, 0.2).astype(np.float32)
    period = round(n * _between(1.0, 5.0, rng))
    found: Array = np.resize(np.pad(faded, (0, period - n)), size)
    return found


def resonant(sound: Array, rate: int, rng: np.random.Generator) -> Array:
    """The sound through one to three resonances between 150 and 6,000 Hz, as in a throat or a tube."""
    found = 0.1 * sound
    for _ in range(int(rng.integers(1, 4))):
        centre = min(_between(150.0, 6000.0, rng), 0.4 * rate)
        b, a = signal.iirpeak(centre, _between(1.5, 20.0, rng), fs=rate)
        found = found + signal.lfilter(b, a, sound) * rng.uniform(0.3, 1.0)
    return np.asarray(found, np.float32)


def made_up(rate: int, size: int, rng: np.random.Generator) -> Array:
    """Calls, of a voice, a noise or clicks, on a gliding pitch and with pauses, (size,)."""
    n = max(2, round(_between(0.03, 3.0, rng) * rate))
    time = np.arange(n) / rate
    progress = np.linspace(0.0, 1.0, n)
    octaves = np.interp(progress, np.linspace(0, 1, 4), rng.normal(0.0, rng.uniform(0, 0.8), 4))
    pitch = _between(40.0, 5000.0, rng) * 2**octaves
    pitch = pitch * (1 + rng.uniform(0, 0.1) * np.sin(2 * np.pi * _between(3, 60, rng) * time))
    phase = np.cumsum(pitch.clip(20.0, 0.45 * rate)) / rate
    voice, noise, clicks = rng.dirichlet((0.5, 0.5, 0.5))
    slope = rng.uniform(0.5, 2.5)
    harmonics = [k for k in range(1, 13) if k * pitch.max() < 0.45 * rate] or [1]
    call = voice * sum(np.sin(2 * np.pi * k * phase) / k**slope for k in harmonics)
    call = call + noise * rng.standard_normal(n)
    call = call + clicks * 4 * (np.diff(np.floor(phase), prepend=0) > 0)
    rise, fall = rng.uniform(0.005, 0.3), _between(0.3, 20.0, rng)
    call = call * np.minimum(progress / rise, 1.0) * np.exp(-fall * progress)
    call = resonant(call.astype(np.float32), rate, rng)
    gap = round(_between(0.01, 1.5, rng) * rate)
    found: Array = np.resize(np.pad(call, (0, gap)), size)
    return found


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    """A number between two, even on a logarithmic scale."""
    return float(low * (high / low) ** rng.random())
