"""Augmentation changes what it says and nothing else, and only through its generator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import noise, tone
from trainer.augmentation import (
    WaveformConfig,
    change_recording,
    change_window,
    coded,
    cut_to_band,
    level_of,
    room_impulse_response,
)

RATE, SIZE = 8000, 4000
PLAIN = WaveformConfig(
    speed_share=0.0, room_share=0.0, band_share=0.0, noise_share=0.0, gain_db=0.0, coded_share=0.0
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_switched_off_a_waveform_stays() -> None:
    sound = tone(440, 0.3, RATE)
    np.testing.assert_array_equal(change_recording(sound, RATE, SIZE, rng(), PLAIN), sound)
    np.testing.assert_allclose(change_window(sound, RATE, rng(), PLAIN), sound, rtol=1e-6)


def test_of_a_long_recording_a_random_stretch_is_taken() -> None:
    sound = noise(2.0, RATE)
    found = change_recording(sound, RATE, SIZE, rng(), PLAIN)
    starts = [i for i in range(len(sound) - SIZE + 1) if sound[i] == found[0]]
    assert any(np.array_equal(sound[i : i + SIZE], found) for i in starts)
    assert not np.array_equal(found, change_recording(sound, RATE, SIZE, rng(1), PLAIN))


def test_slower_is_lower() -> None:
    config = dataclasses.replace(PLAIN, speed_share=1.0, speed=0.25)
    sound = tone(1000, 1.0, RATE)
    changed = [change_recording(sound, RATE, SIZE, rng(i), config) for i in range(12)]
    found = [np.abs(np.fft.rfft(one)).argmax() * RATE / len(one) for one in changed]
    assert 1000 * np.exp(-0.26) < min(found) < 950 and 1050 < max(found) < 1000 * np.exp(0.26)


def test_a_room_rings_a_band_cuts_and_a_codec_keeps_length() -> None:
    response = room_impulse_response(RATE, rng(1))
    assert response[0] > 0.5
    half = len(response) // 2
    assert np.square(response[1:half]).sum() > 10 * np.square(response[half:]).sum()
    kept = cut_to_band(noise(4.0, RATE), RATE, rng(1))
    spectrum = np.abs(np.fft.rfft(kept)) ** 2
    low = np.fft.rfftfreq(len(kept), 1 / RATE) < 40
    assert spectrum[low].mean() < 0.3 * spectrum[~low].mean()
    hiss = noise(1.0, 32000)
    through = coded(hiss, 32000, 0.5)
    assert through.shape == hiss.shape and not np.array_equal(through, hiss)
    assert coded(hiss, 31999, 0.5) is hiss  # no rate of MP3


def test_noise_lies_below_the_sound_and_gain_within_its_bounds() -> None:
    sound = 0.1 * tone(440, 1.0, RATE)
    config = dataclasses.replace(PLAIN, noise_share=1.0, noise_db=(20.0, 20.0))
    added = change_window(sound, RATE, rng(), config) - sound
    assert 20 * np.log10(level_of(sound, RATE) / level_of(added, RATE)) == pytest.approx(
        20, abs=0.5
    )
    config = dataclasses.replace(PLAIN, gain_db=10.0)
    levels = [level_of(change_window(sound, RATE, rng(i), config), RATE) for i in range(20)]
    gains = 20 * np.log10(np.array(levels) / level_of(sound, RATE))
    assert -10 <= gains.min() < -3 and 3 < gains.max() <= 10


@settings(max_examples=40, deadline=None)
@given(seconds=st.floats(0.01, 2.0), seed=st.integers(0, 1 << 30), silent=st.booleans())
def test_whatever_goes_in_is_sound_again(seconds: float, seed: int, silent: bool) -> None:
    config = WaveformConfig(
        speed_share=0.5, room_share=0.5, band_share=0.5, coded_share=0.5, noise_share=0.5
    )
    sound = noise(seconds, RATE) * (0 if silent else 1)
    before = sound.copy()
    found = change_recording(sound, RATE, SIZE, rng(seed), config)
    assert 0 < len(found) <= SIZE and found.dtype == np.float32
    window = change_window(found, RATE, rng(seed), config)
    assert window.shape == found.shape and window.dtype == np.float32
    assert np.isfinite(window).all() and np.abs(window).max() < 1.5
    np.testing.assert_array_equal(sound, before)


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match="noise_share must be 0 to 1, not 2"):
        WaveformConfig(noise_share=2.0)
