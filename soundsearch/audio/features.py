"""Waveform to log-mel features: the one front end of training and of search, in NumPy.

In: mono windows and a `FeatureConfig` read from the encoder bundle. Out: what enters the
audio tower. The kinds of the field are here:

- `KaldiFbank`: Kaldi filter banks as VIP-ANT and AST use them, frames without padding;
- `StftLogMel`: centred STFT in decibels as LAION-CLAP uses it;
- `EfficientAtMel`: STFT of the pre-emphasised waveform as PaSST and EfficientAT use it.

Nothing here knows about files, encoders or torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from soundsearch.arrays import Array
from soundsearch.audio.mel_banks import kaldi_mel_bank, stft_mel_bank

#: Smallest mel energy whose logarithm Kaldi takes: float32's machine epsilon.
KALDI_ENERGY_FLOOR = float(np.finfo(np.float32).eps)
#: Smallest mel energy whose decibels LAION-CLAP takes.
STFT_ENERGY_FLOOR = 1e-10
#: Smallest mean of a window's mel energies that is raised to `EfficientAtMel.level`.
LEAST_MEAN_ENERGY = math.exp(-18)
#: Level up to which quiet windows are amplified, -60 dBFS: below it more and more of a sound lies
#: under the floors above, and its embedding turns into that of silence. Of the starter, the cosine
#: with the embedding at full level is 0.92 at -50 dBFS, 0.85 at -60, 0.70 at -70, 0.45 at -80.
QUIET_LEVEL = 2.0**-10
#: Quieter than one step of 24-bit audio is no sound, and not amplified.
LEAST_LEVEL = 2.0**-23


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What all kinds share. Frozen, complete and stored in the encoder bundle.

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

    def shared_frames(self, waveform: Array, sample_rate: int) -> Array:
        """The part of `log_mel` that depends on each frame alone, so that windows can share it."""
        return self.log_mel(waveform, sample_rate)

    def log_mel_of(self, shared: Array) -> Array:
        """`log_mel` of a window from its `shared_frames`. Not modified."""
        return shared

    @property
    def by_window(self) -> bool:
        """Whether `log_mel_of` gives a frame other numbers in another window."""
        return False

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
        bank = kaldi_mel_bank(
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
        padded = _reflected(waveform, self.n_fft // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop_length]
        spectrum = _power_spectrum(frames * _periodic_hann(self.n_fft), self.n_fft)
        bank = stft_mel_bank(
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


@dataclass(frozen=True, kw_only=True)
class EfficientAtMel(FeatureConfig):
    """Log-mel features of PaSST and EfficientAT: pre-emphasis, STFT, Kaldi's bands, log(x + offset).

    The window is a symmetric Hann window. Lengths are in samples at the bundle's sample rate.

    Attributes:
        n_fft: Length of the FFT.
        win_length: Length of the window.
        hop_length: From frame to frame.
        preemphasis: Each sample less so much of the one before, over the whole waveform.
        offset: Added to each mel energy before the logarithm.
        centred: Whether frames lie around every hop_length-th sample, the edges reflected, as
            published. Otherwise frames lie inside the waveform, so that windows share them.
        level: Natural logarithm of the mean over bands and frames that the mel energies of each
            window are scaled to, so that features do not depend on loudness. None leaves them.
    """

    kind: ClassVar[str] = "efficientat-mel"

    n_fft: int = 1024
    win_length: int = 800
    hop_length: int = 320
    preemphasis: float = 0.97
    offset: float = 1e-5
    centred: bool = True
    level: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.win_length <= self.n_fft or self.hop_length < 1:
            raise ValueError(
                "need 2 <= win_length <= n_fft and hop_length >= 1, "
                f"not {self.win_length}, {self.n_fft} and {self.hop_length}"
            )
        if not self.offset > 0:
            raise ValueError(f"offset must be above 0, not {self.offset}")
        if self.level is not None and not math.isfinite(self.level):
            raise ValueError(f"level must be a finite number or null, not {self.level}")

    def log_mel(self, waveform: Array, sample_rate: int) -> Array:
        """See `compute_features`; source: EfficientAT, `models/preprocess.py`, AugmentMelSTFT."""
        return self.log_mel_of(self.shared_frames(waveform, sample_rate))

    def shared_frames(self, waveform: Array, sample_rate: int) -> Array:
        """Mel energies, (n_mels, any number of frames)."""
        emphasised = waveform[1:] - np.float32(self.preemphasis) * waveform[:-1]
        frames = self._centred(emphasised) if self.centred else self._inside(emphasised)
        windowed = frames * _kaldi_window("hann", self.win_length)
        bank = kaldi_mel_bank(
            self.n_mels, self.n_fft, sample_rate, self.f_min, self.upper_edge_hz(sample_rate)
        )
        return bank.apply(_power_spectrum(windowed, self.n_fft))

    def log_mel_of(self, shared: Array) -> Array:
        """The logarithms of mel energies, after they are scaled to `level`."""
        energies = shared[:, : self.n_frames]
        if self.level is not None and energies.size:
            mean = max(float(energies.mean(dtype=np.float64)), LEAST_MEAN_ENERGY)
            energies = energies * np.float32(math.exp(self.level) / mean)
        logs: Array = np.log(energies + np.float32(self.offset))
        return logs

    @property
    def by_window(self) -> bool:
        """Whether a window's level decides its numbers."""
        return self.level is not None

    def frame_step(self, sample_rate: int) -> int:
        """Samples from frame to frame, 0 where frames reach over the edges."""
        return 0 if self.centred else self.hop_length

    def _inside(self, emphasised: Array) -> Array:
        """Frames of win_length samples: (n_frames, win_length)."""
        if emphasised.size < self.win_length:
            return np.empty((0, self.win_length), np.float32)
        views = np.lib.stride_tricks.sliding_window_view(emphasised, self.win_length)
        return views[:: self.hop_length]

    def _centred(self, emphasised: Array) -> Array:
        """The middle of frames of n_fft samples, which reach over the edges: (n_frames, win_length)."""
        half, left = self.n_fft // 2, (self.n_fft - self.win_length) // 2
        views = np.lib.stride_tricks.sliding_window_view(_reflected(emphasised, half), self.n_fft)
        return views[:: self.hop_length, left : left + self.win_length]


#: The kinds a bundle may name.
FEATURE_KINDS: dict[str, type[FeatureConfig]] = {
    kind.kind: kind for kind in (KaldiFbank, StftLogMel, EfficientAtMel)
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
    windows: (start, waveform) of each, start being its first sample's place in the recording.
    Returns (n, config.n_mels, config.n_frames) float32. Raises ValueError as `compute_features`.
    """
    found = np.zeros((len(windows), config.n_mels, config.n_frames), np.float32)
    step = config.frame_step(sample_rate)
    before: tuple[int, Array, Array] | None = None  # the window before: start, waveform, frames
    for features, (start, waveform) in zip(found, windows, strict=True):
        if waveform.ndim != 1 or waveform.size == 0:
            raise ValueError(
                f"features need a mono waveform of shape (time,), not {waveform.shape}"
            )
        waveform = np.ascontiguousarray(waveform, np.float32)
        known = _in_common(before, start, waveform, step) if before and step else None
        if known is None:
            shared = config.shared_frames(waveform, sample_rate)
        else:
            new = config.shared_frames(waveform[known.shape[1] * step :], sample_rate)
            shared = np.concatenate([known, new], axis=1)
        before = start, waveform, shared
        _fill(features, config.log_mel_of(shared), config)
    return found


def _in_common(
    before: tuple[int, Array, Array], start: int, waveform: Array, step: int
) -> Array | None:
    """The frames of the window before that are this waveform's first ones, if any."""
    start_before, waveform_before, frames = before
    shift = start - start_before
    if not 0 < shift < waveform_before.size or shift % step:
        return None
    shared = waveform_before[shift:]
    return frames[:, shift // step :] if np.array_equal(shared, waveform[: shared.size]) else None


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


def _reflected(waveform: Array, n: int) -> Array:
    """The waveform with n samples more at each end, by reflection; one too short gets zeros first."""
    if waveform.size <= n:
        waveform = np.pad(waveform, (0, n + 1 - waveform.size))
    return np.pad(waveform, n, mode="reflect")


def _power_spectrum(frames: Array, n_fft: int) -> Array:
    """|FFT|^2 of each frame: (n_frames, any) -> (n_frames, n_fft // 2 + 1)."""
    spectrum = np.empty((len(frames), n_fft // 2 + 1), np.complex64)
    np.fft.rfft(frames, n_fft, axis=1, out=spectrum)  # type: ignore[arg-type]  # its stubs know complex128 alone
    power: Array = np.square(spectrum.real) + np.square(spectrum.imag)
    return power


@functools.lru_cache(maxsize=16)
def _kaldi_window(name: str, win_length: int) -> Array:
    hann = np.hanning(win_length)  # symmetric, as Kaldi's
    return (hann**0.85 if name == "povey" else hann).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _periodic_hann(n_fft: int) -> Array:
    return np.hanning(n_fft + 1)[:-1].astype(np.float32)
