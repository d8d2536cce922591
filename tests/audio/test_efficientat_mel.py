"""The front end of EfficientAT, held to a plain calculation and to its published numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.features import (
    LEAST_MEAN_ENERGY,
    EfficientAtMel,
    compute_features,
    compute_features_of,
)
from soundsearch.audio.mel_banks import kaldi_mel_bank
from tests import sounds
from tests.conftest import DATA

Array = NDArray[np.float32]

RATE = 32000
PUBLISHED = EfficientAtMel(n_mels=128, n_frames=300, f_min=0.0, f_max=15000.0, mean=-4.5, std=5.0)
INSIDE = dataclasses.replace(PUBLISHED, n_frames=298, centred=False)
LEVELLED = dataclasses.replace(INSIDE, level=-3.0)


def _bank() -> NDArray[np.float64]:
    """128 triangles linear in mel, 0 to 15 kHz, over the bins of an FFT of 1024: (128, 513)."""
    edges = np.linspace(0.0, 1127 * math.log(1 + 15000 / 700), 130)
    bank = np.zeros((128, 513))
    for i in range(512):  # that of half the rate has no weight
        mel = 1127 * math.log(1 + i * RATE / 1024 / 700)
        for band, (left, middle, right) in enumerate(
            zip(edges, edges[1:], edges[2:], strict=False)
        ):
            if left < mel < right:
                on_the_left = (mel - left) / (middle - left)
                bank[band, i] = min(on_the_left, (right - mel) / (right - middle))
    return bank


def _published(waveform: Array) -> NDArray[np.float64]:
    """Frame by frame, and a DFT for each as its definition says."""
    signal = waveform.astype(np.float64)
    signal = signal[1:] - 0.97 * signal[:-1]
    signal = np.concatenate([signal[512:0:-1], signal, signal[-2:-514:-1]])
    window = np.zeros(1024)
    window[112:912] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024)
    starts = range(0, len(signal) - 1024 + 1, 320)
    powers = np.stack([np.abs(turns @ (signal[i : i + 1024] * window)) ** 2 for i in starts])
    logs: NDArray[np.float64] = np.log(_bank() @ powers.T + 1e-5)
    return (logs + 4.5) / 5


def _bands(config: EfficientAtMel) -> Array:
    bands = kaldi_mel_bank(config.n_mels, config.n_fft, RATE, config.f_min, config.f_max).bands
    bank = np.zeros((config.n_mels, config.n_fft // 2 + 1), np.float32)
    for row, (first, weights) in zip(bank, bands, strict=True):
        row[first : first + len(weights)] = weights
    return bank


SIGNALS = {
    "noise": sounds.noise(1.0, RATE),
    "tone": sounds.tone(440.0, 1.0, RATE),
    "offset": sounds.noise(0.7, RATE) + np.float32(0.3),
    "quiet": np.float32(1e-3) * sounds.noise(1.3, RATE),
    "silence": np.zeros(RATE, np.float32),
    "short": sounds.noise(0.02, RATE),
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_centred_features_are_the_published_ones(signal: str) -> None:
    waveform = SIGNALS[signal]
    expected = _published(waveform)
    config = dataclasses.replace(PUBLISHED, n_frames=expected.shape[1])
    found = compute_features(waveform, RATE, config)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_its_bands_are_kaldis() -> None:
    np.testing.assert_allclose(_bands(PUBLISHED), _bank(), atol=1e-6)


@pytest.mark.data
def test_its_bands_and_window_are_the_published_arrays() -> None:
    """Those were computed in float32, which leaves 2e-5 of slopes of one mel in 3,000."""
    published = np.load(DATA / "teachers" / "mn04_mel.npz")
    np.testing.assert_allclose(_bands(PUBLISHED), published["mel"], atol=2e-5)
    np.testing.assert_allclose(np.hanning(800), published["window"], atol=1e-6)


@pytest.mark.parametrize("n_samples", [1, 2, 512, 513, 514, 2000])
def test_any_length_has_centred_frames(n_samples: int) -> None:
    found = PUBLISHED.log_mel(sounds.noise(1.0, RATE)[:n_samples], RATE)
    assert found.shape[0] == 128 and found.shape[1] >= 1 and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("n_samples", "n_frames"), [(1, 0), (800, 0), (801, 1), (1120, 1), (1121, 2), (96000, 298)]
)
def test_frames_inside_are_whole_frames_only(n_samples: int, n_frames: int) -> None:
    waveform = sounds.noise(3.0, RATE)[:n_samples]
    assert INSIDE.log_mel(waveform, RATE).shape == (128, n_frames)
    assert compute_features(waveform, RATE, LEVELLED).shape == (128, 298)


def test_frames_inside_are_those_of_the_centre() -> None:
    """The first frame inside begins 400 samples before the middle of a centred one."""
    waveform = sounds.noise(1.0, RATE)
    inside = INSIDE.log_mel(waveform, RATE)
    from_400 = np.concatenate([np.zeros(240, np.float32), waveform])  # now 640, which is 2 * 320
    centred = PUBLISHED.log_mel(from_400, RATE)[:, 2:]
    np.testing.assert_allclose(inside, centred[:, : inside.shape[1]], atol=1e-4)


# ---- one level for every window


@given(gain_db=st.floats(-60.0, 40.0), seed=st.integers(0, 5))
def test_with_a_level_features_do_not_depend_on_loudness(gain_db: float, seed: int) -> None:
    waveform = sounds.noise(1.0, RATE, seed) + sounds.tone(300.0, 1.0, RATE)
    louder = np.float32(10 ** (gain_db / 20)) * waveform
    found, expected = (compute_features(one, RATE, LEVELLED) for one in (louder, waveform))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("level", [-8.0, 0.0, 2.5])
def test_the_level_is_the_logarithm_of_the_mean(level: float) -> None:
    config = dataclasses.replace(INSIDE, level=level)
    logs = config.log_mel(sounds.noise(3.0, RATE), RATE).astype(np.float64)
    assert math.log((np.exp(logs) - config.offset).mean()) == pytest.approx(level, abs=1e-4)


def test_only_the_frames_of_the_window_count() -> None:
    config = dataclasses.replace(LEVELLED, n_frames=50)
    waveform = sounds.noise(1.0, RATE)
    louder_after = waveform.copy()
    louder_after[801 + 50 * 320 :] *= 30
    found, expected = (compute_features(one, RATE, config) for one in (louder_after, waveform))
    np.testing.assert_array_equal(found, expected)


def test_silence_is_not_raised() -> None:
    silence = LEVELLED.log_mel(np.zeros(RATE, np.float32), RATE)
    np.testing.assert_allclose(silence, math.log(1e-5), atol=1e-6)
    faint = np.float32(1e-7) * sounds.noise(1.0, RATE)
    energies = INSIDE.shared_frames(faint, RATE)
    assert energies.mean() < LEAST_MEAN_ENERGY
    gain = math.exp(-3.0) / LEAST_MEAN_ENERGY
    np.testing.assert_allclose(
        LEVELLED.log_mel(faint, RATE), np.log(gain * energies + 1e-5), atol=1e-4
    )


@given(
    starts=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    unit=st.sampled_from([319, 320, 640]),
    sizes=st.lists(st.sampled_from([500, 9600, 16000]), min_size=5, max_size=5),
    config=st.sampled_from([PUBLISHED, INSIDE, LEVELLED]),
)
def test_windows_in_order_have_the_features_of_each_alone(
    starts: list[int], unit: int, sizes: list[int], config: EfficientAtMel
) -> None:
    recording = sounds.noise(2.0, RATE) * np.linspace(0.01, 1.0, 2 * RATE, dtype=np.float32)
    windows = [
        (start * unit, recording[start * unit :][:size])
        for start, size in zip(starts, sizes, strict=False)
    ]
    found = compute_features_of(windows, RATE, config)
    alone = [compute_features(waveform, RATE, config) for _, waveform in windows]
    np.testing.assert_array_equal(found, np.stack(alone))


def test_what_levelled_windows_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_frames, n_computed = EfficientAtMel.shared_frames, 0

    def count(self: EfficientAtMel, waveform: Array, sample_rate: int) -> Array:
        nonlocal n_computed
        found = shared_frames(self, waveform, sample_rate)
        n_computed += found.shape[1]
        return found

    monkeypatch.setattr(EfficientAtMel, "shared_frames", count)
    recording = sounds.noise(6.0, RATE)
    windows = [(i, recording[i : i + 96000]) for i in range(0, 96001, 48000)]
    compute_features_of(windows, RATE, LEVELLED)
    assert n_computed == 298 + 2 * 150


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"win_length": 1025}, "win_length"),
        ({"win_length": 1}, "win_length"),
        ({"hop_length": 0}, "hop_length"),
        ({"offset": 0.0}, "offset"),
        ({"level": math.nan}, "level"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PUBLISHED, **wrong)  # type: ignore[arg-type]
