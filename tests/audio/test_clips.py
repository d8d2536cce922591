from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.clips import cut_clip, guarded, n_samples_of_stretch
from soundsearch.audio.resampling import resample
from soundsearch.audio.windows import AudioConfig
from soundsearch.errors import AudioError, Cause
from tests import sounds

Array = NDArray[np.float32]

#: Two seconds at the clip's own rate, its first channel.
FIRST = AudioConfig(
    sample_rate=None, window_s=2.0, hop_s=1.0, short="keep", channels="first", clip="centre"
)


def _places(n_samples: int, n_channels: int = 1) -> Array:
    """Noise of one level whose samples, all different, tell their place."""
    noise = np.random.default_rng(0).permutation(n_samples * n_channels) + 1.0
    return noise.reshape(n_channels, n_samples).astype(np.float32)


def _as_the_authors(channels: Array, size: int, start: int) -> Array:
    """The energy guard by the words of the paper's code; torch's deviations divide by n - 1."""
    whole = channels.astype(np.float64)
    wanted = 0.5 * whole.std(ddof=1)
    crop = whole[:, start : start + size]
    found = crop.std(ddof=1)
    if found < wanted:
        crop = whole[:, :size]
        if wanted > found > crop.std(ddof=1):
            crop = whole[:, -size:]
    return crop.astype(np.float32)


# ---- which stretch


@given(
    levels=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0]), min_size=4, max_size=12),
    n_channels=st.integers(1, 3),
    size=st.integers(2, 30),
    place=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_trap_6_the_energy_guard_is_that_of_the_authors(
    levels: list[float], n_channels: int, size: int, place: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).standard_normal((n_channels, 10 * len(levels)))
    channels = (noise * np.repeat(levels, 10)).astype(np.float32)
    start = round(place * (channels.shape[1] - size))

    found = guarded(channels, size, start)

    np.testing.assert_array_equal(found, _as_the_authors(channels, size, start))


def test_trap_6_deviations_are_unbiased() -> None:
    clip = np.array([[2.7, -2.7, 1.0, -1.0, 2.7, -2.7]], np.float32)
    np.testing.assert_array_equal(guarded(clip, 2, 2), clip[:, 2:4])  # by the biased ones: [:, :2]
    clip[:, 2:4] *= 0.8
    np.testing.assert_array_equal(guarded(clip, 2, 2), clip[:, :2])


def _loud_at(*places: int) -> Array:
    """Six seconds at 1000 Hz, nearly silent but for the seconds named."""
    level = np.full(6, 0.001)
    level[list(places)] = 0.5
    waveform: Array = sounds.noise(6.0, 1000) * np.repeat(level, 1000).astype(np.float32)
    return waveform[None]


@pytest.mark.parametrize(
    ("loud", "start"),
    [
        ((2, 3), 2000),  # the centre is loud
        ((0, 1), 0),  # it is not, so the first
        ((0, 1, 4, 5), 0),  # even if the last is as loud
    ],
)
def test_trap_6_a_quiet_centre_gives_way(loud: tuple[int, ...], start: int) -> None:
    clip = _loud_at(*loud)
    found = cut_clip(clip, 1000, FIRST)
    np.testing.assert_array_equal(found, clip[0, start : start + 2000])


def test_trap_6_the_last_stretch_is_for_a_first_one_quieter_still() -> None:
    clip = _loud_at(4, 5)
    clip[:, :2000] *= 0.1
    np.testing.assert_array_equal(cut_clip(clip, 1000, FIRST), clip[0, 4000:])


@given(n_samples=st.integers(1, 9000))
@example(n_samples=2000)
@example(n_samples=2001)
def test_the_stretch_lies_at_the_centre(n_samples: int) -> None:
    clip = _places(max(10, n_samples))
    spare = clip.shape[1] - 2000
    found = cut_clip(clip, 1000, FIRST)
    if spare <= 0:
        np.testing.assert_array_equal(found, clip[0])  # neither cut nor filled up
    else:
        start = round(0.5 * spare)
        np.testing.assert_array_equal(found, clip[0, start : start + 2000])


def test_a_stretch_may_begin_anywhere() -> None:
    clip = _places(5000)
    np.testing.assert_array_equal(cut_clip(clip, 1000, FIRST, 123), clip[0, 123:2123])


def test_trap_3_the_first_channel_is_heard_and_all_of_them_choose() -> None:
    clip = np.concatenate([_loud_at(0, 2, 3), 10 * _loud_at(0, 1)])
    alone, both = cut_clip(clip[:1], 1000, FIRST), cut_clip(clip, 1000, FIRST)
    np.testing.assert_array_equal(alone, clip[0, 2000:4000])
    np.testing.assert_array_equal(both, clip[0, :2000])


def test_channels_are_averaged_by_the_other_rule() -> None:
    clip = np.stack([sounds.noise(2.0, 1000, 1), sounds.noise(2.0, 1000, 2)])
    mean = AudioConfig(sample_rate=None, window_s=2.0, hop_s=1.0)
    np.testing.assert_allclose(cut_clip(clip, 1000, mean), clip.mean(axis=0), atol=1e-7)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("n_frames", [400, 500, 1000, 1800])
def test_trap_6_stretches_are_50_ms_longer_than_the_frames(sample_rate: int, n_frames: int) -> None:
    window_s = round(n_frames / 100 + 0.05, 2)
    config = AudioConfig(sample_rate=None, window_s=window_s, hop_s=1.0)
    assert n_samples_of_stretch(sample_rate, config) == int((n_frames / 100 + 0.05) * sample_rate)


# ---- rates and lengths


@pytest.mark.parametrize("seconds", [3.0, 5.0])
def test_a_clip_at_another_rate_is_resampled(seconds: float) -> None:
    config = AudioConfig(sample_rate=8000, window_s=2.0, hop_s=1.0)
    clip = sounds.tone(440.0, seconds, 44100)[None]
    found = cut_clip(clip, 44100, config)
    start = round(0.5 * (clip.shape[1] - 88200))
    expected = np.concatenate(list(resample([clip[0, start : start + 88200]], 44100, 8000)))
    assert found.shape == (16000,)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("short", "tail"), [("repeat", "again"), ("zeros", "zeros")])
def test_a_short_clip_becomes_a_whole_stretch(short: str, tail: str) -> None:
    config = AudioConfig(
        sample_rate=None,
        window_s=2.0,
        hop_s=1.0,
        short=short,  # type: ignore[arg-type]
    )
    clip = _places(1500)
    found = cut_clip(clip, 1000, config)
    np.testing.assert_array_equal(found[:1500], clip[0])
    expected = clip[0, :500] if tail == "again" else np.zeros(500)
    np.testing.assert_array_equal(found[1500:], expected)


def test_the_clip_is_not_modified() -> None:
    clip = _places(5000, 2)
    before = clip.copy()
    clip.flags.writeable = False
    for config in (FIRST, AudioConfig(sample_rate=4000, window_s=2.0, hop_s=1.0)):
        found = cut_clip(clip, 1000, config)
        found[:] = 0
    np.testing.assert_array_equal(clip, before)


@pytest.mark.parametrize(
    ("n_samples", "sample_rate", "cause"),
    [(0, 8000, Cause.TOO_SHORT), (79, 8000, Cause.TOO_SHORT), (5000, 999, Cause.TOO_SLOW)],
)
def test_clips_that_cannot_be_used(n_samples: int, sample_rate: int, cause: Cause) -> None:
    with pytest.raises(AudioError) as caught:
        cut_clip(np.ones((2, n_samples), np.float32), sample_rate, FIRST)
    assert caught.value.cause is cause
