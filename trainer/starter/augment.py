"""Changes to log-mel frames that leave the meaning of a sound alone.

Everything works on natural-log mel energies before normalisation, where a gain is an addition
and adding noise is `logaddexp`. All randomness comes from the generator handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Natural-log units of energy in one decibel.
PER_DB = 0.2302585
#: Log energy below which nothing lies: the front end's floor, ln(float32 epsilon).
FLOOR = -15.942385


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How strongly, and for which share of the windows.

    gain_db, tilt_db: largest level change, and largest change of the spectrum's balance.
    noise_share, noise_db: share that gets noise, and its level range under the window's peak.
    band_limit_share: share that loses its top or bottom bands, as through a telephone.
    time_masks, band_masks: (how many, longest) stretches blanked out.
    """

    gain_db: float = 15.0
    tilt_db: float = 8.0
    noise_share: float = 0.35
    noise_db: tuple[float, float] = (-55.0, -15.0)
    band_limit_share: float = 0.2
    time_masks: tuple[int, int] = (2, 60)
    band_masks: tuple[int, int] = (2, 12)


def augment(log_mel: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A changed copy of (n, n_frames, n_mels) log-mel windows."""
    x = tilt(log_mel, config.tilt_db, generator)
    x = add_noise(x, config.noise_share, config.noise_db, generator)
    x = limit_band(x, config.band_limit_share, generator)
    gain = uniform(len(x), -config.gain_db, config.gain_db, generator) * PER_DB
    x = (x + gain[:, None, None]).clamp(min=FLOOR)
    return mask(x, config.time_masks, config.band_masks, generator)


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(n,) numbers between low and high."""
    return low + (high - low) * torch.rand(n, generator=generator)


def tilt(log_mel: Tensor, most_db: float, generator: torch.Generator) -> Tensor:
    """A random smooth equaliser: a slope and one half-wave over the bands."""
    n, _, n_mels = log_mel.shape
    height = torch.linspace(-1.0, 1.0, n_mels)
    slope = uniform(n, -most_db, most_db, generator)[:, None] * height
    phase = uniform(n, 0.0, 2 * torch.pi, generator)[:, None]
    wave = uniform(n, 0.0, most_db / 2, generator)[:, None] * torch.sin(torch.pi * height + phase)
    return log_mel + (slope + wave)[:, None, :] * PER_DB


def add_noise(
    log_mel: Tensor, share: float, range_db: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Steady noise of a random colour under a share of the windows."""
    chosen = torch.rand(len(log_mel), generator=generator) < share
    some = log_mel[chosen]
    n, _, n_mels = some.shape
    level = some.amax(dim=(1, 2)) + uniform(n, *range_db, generator) * PER_DB
    colour = uniform(n, -2.0, 2.0, generator)[:, None] * torch.linspace(-1.0, 1.0, n_mels)
    spread = 0.4 * torch.randn(some.shape, generator=generator)
    noisy = log_mel.clone()
    noisy[chosen] = torch.logaddexp(some, level[:, None, None] + colour[:, None, :] + spread)
    return noisy


def limit_band(log_mel: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The bands over a random edge, or below one, fall off by 4 dB a band."""
    n, _, n_mels = log_mel.shape
    bands = torch.arange(n_mels, dtype=torch.float32)
    top = uniform(n, 0.45, 1.0, generator)[:, None] * n_mels
    bottom = uniform(n, 0.0, 0.2, generator)[:, None] * n_mels
    from_top = torch.rand(n, generator=generator)[:, None] < 0.7
    beyond = torch.where(from_top, bands - top, bottom - bands).clamp(min=0.0)
    chosen = torch.rand(n, generator=generator)[:, None] < share
    return log_mel - (beyond * chosen * 4.0 * PER_DB)[:, None, :]


def mask(
    log_mel: Tensor, time: tuple[int, int], bands: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Stretches of time and of the bands replaced by the window's mean. Source: SpecAugment."""
    n, n_frames, n_mels = log_mel.shape
    hidden = _stretches(n, n_frames, *time, generator)[:, :, None]
    hidden = hidden | _stretches(n, n_mels, *bands, generator)[:, None, :]
    return torch.where(hidden, log_mel.mean(dim=(1, 2), keepdim=True), log_mel)


def _stretches(
    n: int, size: int, how_many: int, longest: int, generator: torch.Generator
) -> Tensor:
    """(n, size) bool with how_many stretches of up to `longest` places in each row."""
    places = torch.arange(size)
    found = torch.zeros(n, size, dtype=torch.bool)
    for _ in range(how_many):
        length = uniform(n, 0.0, min(longest, size), generator)
        start = torch.rand(n, generator=generator) * (size - length)
        found |= (places >= start[:, None]) & (places < (start + length)[:, None])
    return found
