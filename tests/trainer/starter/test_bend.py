"""What is bent is still a sound of the right length, and each change does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import noise, tone
from trainer.starter import bend as bending
from trainer.starter.bend import bend, bursts, made_up, resonant, wavering

RATE = 8000
SIZE = 4000


def peak_hz(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * RATE / len(sound))


@settings(max_examples=80, deadline=None)
@given(seconds=st.floats(0.01, 3.0), seed=st.integers(0, 1 << 30), silent=st.booleans())
def test_whatever_goes_in_a_window_of_sound_comes_out(
    seconds: float, seed: int, silent: bool
) -> None:
    rng = np.random.default_rng(seed)
    found = bend(noise(seconds, RATE) * (0 if silent else 1), RATE, SIZE, rng)
    assert found.dtype == np.float32 and 0 < len(found) <= SIZE
    assert np.isfinite(found).all() and np.abs(found).max() < 100
    call = made_up(RATE, SIZE, rng)
    assert call.dtype == np.float32 and call.shape == (SIZE,)
    assert np.isfinite(call).all() and np.abs(call).max() > 0


def test_the_same_numbers_bend_alike() -> None:
    sound = noise(1.0, RATE)
    first, again, other = (bend(sound, RATE, SIZE, np.random.default_rng(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.allclose(first, other)


def test_speed_alone_changes_pitch_by_as_many_octaves(monkeypatch: pytest.MonkeyPatch) -> None:
    for change in ("BACKWARDS", "WAVERING", "MODULATED", "BURSTS", "RESONANT"):
        monkeypatch.setattr(bending, change, 0.0)
    octaves = [
        np.log2(peak_hz(bend(tone(800, 4.0, RATE), RATE, SIZE, np.random.default_rng(i))) / 800)
        for i in range(40)
    ]
    assert -1.35 < min(octaves) < -0.9 and 0.9 < max(octaves) < 1.35


def test_a_wavering_tone_spreads_about_its_pitch() -> None:
    steady = tone(1000, 1.0, RATE)
    spread = np.abs(np.fft.rfft(wavering(steady, RATE, np.random.default_rng(3)))) ** 2
    hz = np.fft.rfftfreq(len(steady), 1 / RATE)
    centre = (hz * spread).sum() / spread.sum()
    assert centre == pytest.approx(1000, rel=0.1)
    assert spread.max() < 0.7 * spread.sum()  # a steady tone has nearly all in one place


def test_bursts_repeat_one_snippet_and_fall_silent_between() -> None:
    rng = np.random.default_rng(0)
    found = bursts(noise(1.0, RATE), RATE, SIZE, rng)
    assert found.shape == (SIZE,)
    sounding = np.abs(found) > 1e-6
    assert 0.05 < sounding.mean() < 0.999
    lags = np.array([np.dot(found[:-lag], found[lag:]) for lag in range(10, SIZE // 2)])
    assert lags.max() > 0.3 * np.dot(found, found)


def test_a_resonance_lifts_a_band_out_of_noise() -> None:
    hiss = noise(2.0, RATE)
    power = np.abs(np.fft.rfft(resonant(hiss, RATE, np.random.default_rng(5)))) ** 2
    bands = power[: len(power) // 32 * 32].reshape(32, -1).mean(axis=1)
    assert bands.max() > 10 * np.median(bands)
