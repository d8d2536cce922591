"""Waveform to log-mel features: the one front end of training and of search, in NumPy.

In: mono windows and a `FeatureConfig` read from the encoder bundle. Out: what enters the
audio tower. Two kinds exist in the field and both are here:

- `KaldiFbank`: Kaldi filter banks as VIP-ANT and AST use them, frames without padding;
- `StftLogMel`: centred STFT in decibels as LAION-CLAP uses it.

Nothing here knows about files, encoders or torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Array64 = NDArray[np.float64]

#: Smallest mel energy whose logarithm Kaldi takes: float32's machine epsilon.
KALDI_ENERGY_FLOOR = float(np.finfo(np.float32).eps)
#: Smallest mel energy whose decibels LAION-CLAP takes.
STFT_ENERGY_FLOOR = 1e-10
#: Level up to which quiet windows are amplified, -60 dBFS: below it more and more of a sound lies
#: under the floors above, and its embedding turns into that of silence. Of the starter, the cosine
#: with the embedding at full level is 0.92 at -50 dBFS, 0.85 at -60, 0.70 at -70, 0.45 at -80.
QUIET_LEVEL = 2.0**-10
#: Quieter than one step of 24-bit audio is no sound, and not amplified.
LEAST_LEVEL = 2.0**-23


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What both kinds share. Frozen, complete and stored in the encoder bundle.

    Attributes:
        n_mels: Mel bands.
        n_frames: Frames a window is padded (on the right, with 0.0) or cut to.
        f_min: Lower edge of the mel bands in Hz.
        f_max: Upper edge; 0 means half the sample rate.
        mean: Features become (x - mean) / std.
        std: Likewise.
        pad: Whether the zeros go in before that (VIP-ANT) or after it.
    """

    kind: ClassVar[str]

    n_mels: int
    n_frames: int
    f_min: float
    f_max: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    pad: Literal["before-normalisation", "after-normalisation"] = "before-normalisation"

    def __post_init__(self) -> None:
        if self.n_mels < 1 or self.n_frames < 1:
            raise ValueError(
                f"n_mels and n_frames must be 1 or more, not {self.n_mels} and {self.n_frames}"
            )
        if self.f_min < 0 or (self.f_max and self.f_max <= self.f_min):
            raise ValueError(f"need 0 <= f_min < f_max, not {self.f_min} and {self.f_max}")
        if not self.std > 0:
            raise ValueError(f"std must be above 0, not {self.std}")
        if self.pad not in ("before-normalisation", "after-normalisation"):
            raise ValueError(
                f"pad must be before-normalisation or after-normalisation, not {self.pad!r}"
            )

    def log_mel(self, waveform: Array, sample_rate: int) -> Array:
        """Log-mel energies before padding and normalisation, (n_mels, any number of frames)."""
        raise TypeError(f"{type(self).__name__} has no front end of its own")

    def frame_step(self, sample_rate: int) -> int:
        """Samples from frame to frame; 0 if a frame depends on samples beyond its own."""
        return 0

    def upper_edge_hz(self, sample_rate: int) -> float:
        """Upper edge of the mel bands at this sample rate."""
        return self.f_max or sample_rate / 2


@dataclass(frozen=True, kw_only=True)
class KaldiFbank(FeatureConfig):
    """Kaldi log filter banks, as `torchaudio.compliance.kaldi.fbank` computes them.

    Fixed here, since every published encoder of this kind uses them so: no dither, power
    spectrum, DC removed from each frame, FFT size the next power of two, no padding at the
    edges, mel scale 1127 ln(1 + f / 700), triangles linear in mel.
    Lengths are in milliseconds, because the kind also serves encoders fed at the file's own rate.
    """

    kind: ClassVar[str] = "kaldi-fbank"

    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    preemphasis: float = 0.97
    window: Literal["hann", "povey"] = "hann"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.frame_shift_ms <= self.frame_length_ms:
            raise ValueError(
                "need 0 < frame_shift_ms <= frame_length_ms, "
                f"not {self.frame_shift_ms} and {self.frame_length_ms}"
            )
        if self.window not in ("hann", "povey"):
            raise ValueError(f"window must be hann or povey, not {self.window!r}")

    def log_mel(self, waveform: Array, sample_rate: int) -> Array:
        """See `compute_features`; source: torchaudio, `compliance/kaldi.py`, `fbank`."""
        win_length = int(sample_rate * self.frame_length_ms * 0.001)
        hop_length = self.frame_step(sample_rate)
        if waveform.size < win_length:
            return np.empty((self.n_mels, 0), np.float32)
        n_fft = 1 << (win_length - 1).bit_length()
        frames = np.lib.stride_tricks.sliding_window_view(waveform, win_length)[::hop_length]
        frames = frames - frames.mean(axis=1, keepdims=True)  # (n_frames, win_length)
        emphasised = frames.copy()
        emphasised[:, 1:] -= np.float32(self.preemphasis) * frames[:, :-1]
        emphasised[:, 0] -= np.float32(self.preemphasis) * frames[:, 0]
        emphasised *= _kaldi_window(self.window, win_length)
        bank = _kaldi_mel_bank(
            self.n_mels, n_fft, sample_rate, self.f_min, self.upper_edge_hz(sample_rate)
        )
        energies = bank.apply(_power_spectrum(emphasised, n_fft))
        logs: Array = np.log(np.maximum(energies, np.float32(KALDI_ENERGY_FLOOR)))
        return logs

    def frame_step(self, sample_rate: int) -> int:
        """Samples from frame to frame."""
        return int(sample_rate * self.frame_shift_ms * 0.001)


@dataclass(frozen=True, kw_only=True)
class StftLogMel(FeatureConfig):
    """Centred STFT, Hann window, power, mel bands, decibels, as LAION-CLAP's extractor does it.

    Lengths are in samples at the bundle's sample rate. `mel_scale` and `norm` have librosa's
    meaning; the published CLAP checkpoints without fusion use slaney for both.
    """

    kind: ClassVar[str] = "stft-log-mel"

    n_fft: int = 1024
    hop_length: int = 480
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_fft < 2 or self.hop_length < 1:
            raise ValueError(
                f"n_fft and hop_length must be positive, not {self.n_fft} and {self.hop_length}"
            )
        if self.mel_scale not in ("slaney", "htk") or self.norm not in ("slaney", "none"):
            raise ValueError(f"unknown mel_scale {self.mel_scale!r} or norm {self.norm!r}")

    def log_mel(self, waveform: Array, sample_rate: int) -> Array:
        """See `compute_features`; source: transformers, `ClapFeatureExtractor`."""
        half = self.n_fft // 2
        if waveform.size <= half:  # too short to reflect
            waveform = np.pad(waveform, (0, half + 1 - waveform.size))
        padded = np.pad(waveform, half, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop_length]
        spectrum = _power_spectrum(frames * _periodic_hann(self.n_fft), self.n_fft)
        bank = _stft_mel_bank(
            self.n_mels,
            self.n_fft,
            sample_rate,
            self.f_min,
            self.upper_edge_hz(sample_rate),
            self.mel_scale,
            self.norm,
        )
        energies = bank.apply(spectrum)
        decibels: Array = 10 * np.log10(np.maximum(energies, np.float32(STFT_ENERGY_FLOOR)))
        return decibels


#: The kinds a bundle may name.
FEATURE_KINDS: dict[str, type[FeatureConfig]] = {
    kind.kind: kind for kind in (KaldiFbank, StftLogMel)
}


def lifted(waveform: Array) -> Array:
    """A window amplified to QUIET_LEVEL where it is quieter, so that features can show it.

    Its level is half of what it spans, so that a constant offset does not count; the window alone
    decides. Clips by the protocol of a published encoder (`clips.py`) are not amplified, as their
    authors do not.

    Args:
        waveform: (time,) float32. Not modified.

    Returns:
        (time,) float32; `waveform` itself where it is louder, or below LEAST_LEVEL.
    """
    level = 0.5 * (float(waveform.max(initial=-np.inf)) - float(waveform.min(initial=np.inf)))
    if not LEAST_LEVEL <= level < QUIET_LEVEL:
        return waveform
    return waveform * np.float32(QUIET_LEVEL / level)


def compute_features(waveform: Array, sample_rate: int, config: FeatureConfig) -> Array:
    """Features of one mono window, as the audio tower takes them.

    The window alone decides: no statistic of the whole recording enters, so the same sound gives
    the same features anywhere.

    Args:
        waveform: (time,) float32 in [-1, 1] at sample_rate Hz. Not modified.
        sample_rate: Hz.
        config: Of the bundle.

    Returns:
        (config.n_mels, config.n_frames) float32, normalised.

    Raises:
        ValueError: The waveform is not one-dimensional, or it is empty.
    """
    features: Array = compute_features_of([(0, waveform)], sample_rate, config)[0]
    return features


def compute_features_of(
    windows: Sequence[tuple[int, Array]], sample_rate: int, config: FeatureConfig
) -> Array:
    """Features of windows in order, each as `compute_features` gives them; faster where they overlap.

    Frames that a window has in common with the one before it are computed once, where its start and
    its samples say so and the kind of features allows it.

    Args:
        windows: (start, waveform) of each, start being its first sample's place in the recording.
        sample_rate: Hz.
        config: Of the bundle.

    Returns:
        (n, config.n_mels, config.n_frames) float32.

    Raises:
        ValueError: As `compute_features`.
    """
    found = np.zeros((len(windows), config.n_mels, config.n_frames), np.float32)
    step = config.frame_step(sample_rate)
    before: tuple[int, Array, Array] | None = None  # the window before: start, waveform, log-mels
    for features, (start, waveform) in zip(found, windows, strict=True):
        if waveform.ndim != 1 or waveform.size == 0:
            raise ValueError(
                f"features need a mono waveform of shape (time,), not {waveform.shape}"
            )
        waveform = np.ascontiguousarray(waveform, np.float32)
        known = _in_common(before, start, waveform, step) if before and step else None
        if known is None:
            log_mel = config.log_mel(waveform, sample_rate)
        else:
            new = config.log_mel(waveform[known.shape[1] * step :], sample_rate)
            log_mel = np.concatenate([known, new], axis=1)
        before = start, waveform, log_mel
        _fill(features, log_mel, config)
    return found


def _in_common(
    before: tuple[int, Array, Array], start: int, waveform: Array, step: int
) -> Array | None:
    """The log-mels of the window before that are those of this waveform's first frames, if any."""
    start_before, waveform_before, log_mel = before
    shift = start - start_before
    if not 0 < shift < waveform_before.size or shift % step:
        return None
    shared = waveform_before[shift:]
    return log_mel[:, shift // step :] if np.array_equal(shared, waveform[: shared.size]) else None


def _fill(features: Array, log_mel: Array, config: FeatureConfig) -> None:
    """Padded and normalised log-mels into zeroed features (n_mels, n_frames)."""
    log_mel = log_mel[:, : config.n_frames]
    filled = features[:, : log_mel.shape[1]]
    if config.pad == "before-normalisation":
        filled[:] = log_mel
        features -= np.float32(config.mean)
        features /= np.float32(config.std)
    else:
        filled[:] = (log_mel - np.float32(config.mean)) / np.float32(config.std)


def _power_spectrum(frames: Array, n_fft: int) -> Array:
    """|FFT|^2 of each frame: (n_frames, any) -> (n_frames, n_fft // 2 + 1)."""
    spectrum = np.empty((len(frames), n_fft // 2 + 1), np.complex64)
    np.fft.rfft(frames, n_fft, axis=1, out=spectrum)  # type: ignore[arg-type]  # its stubs know complex128 alone
    power: Array = np.square(spectrum.real) + np.square(spectrum.imag)
    return power


@dataclass(frozen=True)
class _Bank:
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
def _kaldi_window(name: str, win_length: int) -> Array:
    hann = np.hanning(win_length)  # symmetric, as Kaldi's
    return (hann**0.85 if name == "povey" else hann).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _periodic_hann(n_fft: int) -> Array:
    return np.hanning(n_fft + 1)[:-1].astype(np.float32)


@functools.lru_cache(maxsize=16)
def _kaldi_mel_bank(n_mels: int, n_fft: int, sample_rate: int, f_min: float, f_max: float) -> _Bank:
    """Kaldi's triangles: (n_mels, n_fft // 2 + 1). The Nyquist bin gets no weight, as in Kaldi."""

    def mel(hz: ArrayLike) -> Array64:
        return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)

    edges = np.linspace(mel(f_min), mel(f_max), n_mels + 2)[:, None]
    bins = mel(np.arange(n_fft // 2) * (sample_rate / n_fft))[None, :]
    bank = np.zeros((n_mels, n_fft // 2 + 1), np.float32)
    bank[:, :-1] = _triangles(edges, bins)
    return _banded(bank)


@functools.lru_cache(maxsize=16)
def _stft_mel_bank(
    n_mels: int, n_fft: int, sample_rate: int, f_min: float, f_max: float, mel_scale: str, norm: str
) -> _Bank:
    """Librosa's triangles, linear in Hz: (n_mels, n_fft // 2 + 1)."""
    to_mel, to_hz = (_slaney_mel, _slaney_hz) if mel_scale == "slaney" else (_htk_mel, _htk_hz)
    edges_hz = to_hz(np.linspace(to_mel(np.float64(f_min)), to_mel(np.float64(f_max)), n_mels + 2))
    bins_hz = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    bank = _triangles(edges_hz[:, None], bins_hz[None, :])
    if norm == "slaney":  # every triangle has the same area
        bank *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return _banded(bank)


def _banded(bank: NDArray[np.floating]) -> _Bank:
    bands = []
    for row in bank.astype(np.float32):
        covered = np.flatnonzero(row)
        first, end = (covered[0], covered[-1] + 1) if len(covered) else (0, 0)
        bands.append((int(first), row[first:end]))
    return _Bank(tuple(bands))


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
