"""Mel bands: triangles over the bins of an FFT, by the formulas of Kaldi and of librosa."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from soundsearch.arrays import Array

Array64 = NDArray[np.float64]


@dataclass(frozen=True)
class Bank:
    """Triangles over FFT bins, of which each covers few: (first bin, weights) of each mel band."""

    bands: tuple[tuple[int, Array], ...]

    def apply(self, spectrum: Array) -> Array:
        """(n_frames, n_bins) to (n_mels, n_frames).

        Not a matrix product: the bank is nearly empty, and BLAS sums in another order for another
        number of frames.
        """
        found = np.zeros((len(self.bands), len(spectrum)), np.float32)
        for energies, (first, weights) in zip(found, self.bands, strict=True):
            np.einsum("fb,b->f", spectrum[:, first : first + len(weights)], weights, out=energies)
        return found


@functools.lru_cache(maxsize=16)
def kaldi_mel_bank(n_mels: int, n_fft: int, sample_rate: int, f_min: float, f_max: float) -> Bank:
    """Kaldi's triangles: (n_mels, n_fft // 2 + 1). The Nyquist bin gets no weight, as in Kaldi."""

    def mel(hz: ArrayLike) -> Array64:
        return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)

    edges = np.linspace(mel(f_min), mel(f_max), n_mels + 2)[:, None]
    bins = mel(np.arange(n_fft // 2) * (sample_rate / n_fft))[None, :]
    bank = np.zeros((n_mels, n_fft // 2 + 1), np.float32)
    bank[:, :-1] = _triangles(edges, bins)
    return _banded(bank)


@functools.lru_cache(maxsize=16)
def stft_mel_bank(
    n_mels: int, n_fft: int, sample_rate: int, f_min: float, f_max: float, mel_scale: str, norm: str
) -> Bank:
    """Librosa's triangles, linear in Hz: (n_mels, n_fft // 2 + 1)."""
    to_mel, to_hz = (_slaney_mel, _slaney_hz) if mel_scale == "slaney" else (_htk_mel, _htk_hz)
    edges_hz = to_hz(np.linspace(to_mel(np.float64(f_min)), to_mel(np.float64(f_max)), n_mels + 2))
    bins_hz = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    bank = _triangles(edges_hz[:, None], bins_hz[None, :])
    if norm == "slaney":  # every triangle has the same area
        bank *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return _banded(bank)


def _banded(bank: NDArray[np.floating]) -> Bank:
    bands = []
    for row in bank.astype(np.float32):
        covered = np.flatnonzero(row)
        first, end = (covered[0], covered[-1] + 1) if len(covered) else (0, 0)
        bands.append((int(first), row[first:end]))
    return Bank(tuple(bands))


def _triangles(edges: Array64, bins: Array64) -> Array64:
    """Band i rises from edges[i] to edges[i + 1] and falls to edges[i + 2]; bins (1, n_bins)."""
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def _htk_mel(hz: Array64 | np.float64) -> Array64:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _htk_hz(mel: Array64) -> Array64:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _slaney_mel(hz: Array64 | np.float64) -> Array64:
    """Linear below 1000 Hz (mel 15), logarithmic above."""
    return np.where(
        hz < 1000.0, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1.0) / 1000) * 27 / np.log(6.4)
    )


def _slaney_hz(mel: Array64) -> Array64:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
