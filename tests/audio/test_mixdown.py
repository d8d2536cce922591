from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.mixdown import FADE_S, MOST_SEGMENT_SAMPLES, in_one, one_channel
from soundsearch.audio.recording import AudioFile
from tests import sounds

Array = NDArray[np.float32]
RATE = 8000
SEGMENT = 4000  # half a second
FADE = 80


def _correlated(correlation: float, seconds: float = 2.0) -> Array:
    """Two channels of noise of one level and this correlation: (2, time)."""
    one, other = (sounds.noise(seconds, RATE, seed).astype(np.float64) for seed in (1, 2))
    other -= one * (one @ other) / (one @ one)  # exactly none
    other *= np.sqrt((one @ one) / (other @ other))
    second = correlation * one + np.sqrt(1 - correlation**2) * other
    return np.stack([one, second]).astype(np.float32)


def _independent(n_channels: int, seconds: float = 2.0) -> Array:
    return np.stack([sounds.noise(seconds, RATE, seed) for seed in range(n_channels)])


def _mean(channels: Array) -> Array:
    mono = channels[0].copy()
    for channel in channels[1:]:
        mono += channel
    mono /= np.float32(len(channels))
    return mono


# ---- where nothing is lost, the mean to the last bit


@pytest.mark.parametrize(
    "channels",
    [
        _correlated(1.0),
        _correlated(0.0),
        _correlated(-0.87),
        _independent(8),
        _independent(64, 0.5),
        np.concatenate([sounds.noise(2.0)[None], np.zeros((7, 16_000), np.float32)]),
        np.zeros((2, 16_000), np.float32),
        _correlated(0.0)[:, :1],
    ],
    ids=["same", "independent", "nearly opposite", "8", "64", "1 of 8", "silence", "one sample"],
)
def test_the_mean_of_channels_that_do_not_cancel(channels: Array) -> None:
    np.testing.assert_array_equal(in_one(channels, RATE, "mean"), _mean(channels))


def test_one_channel_is_itself() -> None:
    channel = sounds.noise(1.0)
    np.testing.assert_array_equal(in_one(channel[None], RATE, "mean"), channel)


@pytest.mark.parametrize("n_samples", [0, 1, 100])
def test_short_ones(n_samples: int) -> None:
    channels = np.ones((3, n_samples), np.float32)
    np.testing.assert_array_equal(in_one(channels, RATE, "mean"), channels[0])


def test_channels_are_not_modified() -> None:
    channels = _correlated(-1.0)
    channels.flags.writeable = False
    in_one(channels, RATE, "mean")[:] = 0
    np.testing.assert_array_equal(channels, _correlated(-1.0))


# ---- where the mean loses the sound


@pytest.mark.parametrize("gain", [1.0, 0.9, 1.1])
def test_of_channels_that_cancel_the_loudest_is_left(gain: float) -> None:
    one = sounds.noise(2.0)
    channels = np.stack([one, -np.float32(gain) * one])
    expected = channels[1] if gain > 1 else one
    np.testing.assert_array_equal(in_one(channels, RATE, "mean"), expected)


def test_nearly_opposite_channels_cancel() -> None:
    channels = _correlated(-0.93)
    found = in_one(channels, RATE, "mean")
    assert any(np.array_equal(found, channel) for channel in channels)


def test_eight_channels_that_cancel() -> None:
    one, other = sounds.noise(1.0, seed=1), 2 * sounds.noise(1.0, seed=2)
    channels = np.stack([one, -one, other, -other, one, -one, other, -other])
    np.testing.assert_array_equal(in_one(channels, RATE, "mean"), other)


def test_only_the_segments_that_cancel_are_changed() -> None:
    channels = _correlated(0.0)
    cancelled = slice(SEGMENT, 2 * SEGMENT)
    channels[1, cancelled] = -channels[0, cancelled]
    expected = _mean(channels)
    expected[cancelled] = channels[0, cancelled]

    found = in_one(channels, RATE, "mean")

    is_fade = np.zeros(16_000, bool)
    is_fade[SEGMENT : SEGMENT + FADE] = is_fade[2 * SEGMENT : 2 * SEGMENT + FADE] = True
    np.testing.assert_array_equal(found[~is_fade], expected[~is_fade])
    assert (found[is_fade] != expected[is_fade]).all()


def test_from_one_to_another_there_is_a_fade_of_ten_milliseconds() -> None:
    """The mean is 0.5, 0 and 0.5; the first channel 0.5 throughout, the second opposite once."""
    channels = np.full((2, 3 * SEGMENT), 0.5, np.float32)
    channels[1, SEGMENT : 2 * SEGMENT] = -0.5
    found = in_one(channels, RATE, "mean")
    assert round(FADE_S * RATE) == FADE
    rise = 0.5 * np.arange(1, FADE + 1) / (FADE + 1)
    np.testing.assert_allclose(found[SEGMENT : SEGMENT + FADE], rise, atol=1e-6)
    rest = np.delete(found, np.arange(SEGMENT, SEGMENT + FADE))
    np.testing.assert_allclose(rest, 0.5, atol=1e-6)


@pytest.mark.parametrize(("louder", "changes"), [(1.3, False), (1.5, True)])
def test_another_channel_must_be_clearly_louder(louder: float, changes: bool) -> None:
    """Twice the power; from a channel to its opposite the sound would fade through nothing."""
    one = sounds.tone(440.0, 1.0)
    channels = np.stack([one, -one])
    channels[1, SEGMENT:] *= np.float32(louder)
    found = in_one(channels, RATE, "mean")
    expected = channels[1] if changes else channels[0]
    np.testing.assert_array_equal(found[SEGMENT + FADE :], expected[SEGMENT + FADE :])


def test_a_short_rest_is_not_judged_by_itself() -> None:
    """Fewer samples than half a segment: by chance they may cancel, or not."""
    for rest, cancels in ((SEGMENT // 2 - 1, False), (SEGMENT // 2, True)):
        channels = _correlated(0.0, 0.5 + rest / RATE)
        channels[1, SEGMENT:] = -channels[0, SEGMENT:]
        found = in_one(channels, RATE, "mean")
        assert found[SEGMENT + FADE :].any() == cancels
    channels = -_correlated(-1.0, 0.5 + 1000 / RATE)
    channels[1, SEGMENT:] = channels[0, SEGMENT:]
    channels[1, SEGMENT + 500 :] = 0
    np.testing.assert_array_equal(in_one(channels, RATE, "mean"), channels[0])


def test_a_recording_shorter_than_half_a_segment_is_judged() -> None:
    channels = _correlated(-1.0, 0.1)
    np.testing.assert_array_equal(in_one(channels, RATE, "mean"), channels[0])


# ---- the other rule, blocks, memory, files


def test_the_first_channel_is_the_first_whatever_it_holds() -> None:
    channels = np.stack([np.zeros(8000, np.float32), sounds.noise(1.0)])
    assert not in_one(channels, RATE, "first").any()


@given(
    cuts=st.lists(st.integers(0, 18_000), max_size=8).map(sorted),
    seed=st.integers(0, 20),
)
def test_how_it_was_cut_into_blocks_leaves_no_trace(cuts: list[int], seed: int) -> None:
    channels = _correlated(0.2, 18_000 / RATE)
    rng = np.random.default_rng(seed)
    for i in range(0, 18_000, SEGMENT // 2):  # segments that cancel, wholly or in part
        channels[1, i : i + SEGMENT // 2] *= rng.choice([-3.0, 0.5, 1.0])
        if rng.random() < 0.5:
            channels[1, i : i + SEGMENT // 2] = -channels[0, i : i + SEGMENT // 2]
    whole = in_one(channels, RATE, "mean")

    blocks = one_channel(np.split(channels, cuts, axis=1), RATE, "mean")

    np.testing.assert_array_equal(np.concatenate(list(blocks)), whole)


def test_how_samples_lie_in_memory_leaves_no_trace() -> None:
    channels = _correlated(-0.9, 30.0)  # at the border
    found = in_one(channels, RATE, "mean")
    np.testing.assert_array_equal(in_one(np.asfortranarray(channels), RATE, "mean"), found)


def test_of_many_channels_segments_are_shorter() -> None:
    n_channels, n_samples = 1024, 8000
    assert 1024 * n_channels == MOST_SEGMENT_SAMPLES
    block = np.zeros((n_channels, 256), np.float32)
    tracemalloc.start()
    try:
        blocks = (block for _ in range(10 * n_samples // 256))
        n_found = sum(mono.size for mono in one_channel(blocks, 192_000, "mean"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_found == 10 * n_samples // 256 * 256
    assert peak_bytes < 20e6  # half a second at 192 kHz: 393 MB


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_no_sound_is_not_hidden(value: float) -> None:
    channels = np.zeros((2, SEGMENT), np.float32)
    channels[0, 100] = value
    found = in_one(channels, RATE, "mean")[100]
    assert not np.isfinite(found) or found > 1e38


def test_the_same_sound_in_another_container(tmp_path: Path) -> None:
    one = np.rint(10_000 * sounds.noise(5.0, 44100)).astype(np.int16)
    channels = np.stack([one, -one], axis=1)
    channels[: 2 * 44100, 1] //= -3
    found = []
    for ending in ("wav", "flac", "caf"):
        path = tmp_path / f"a.{ending}"
        soundfile.write(path, channels, 44100, "PCM_16")
        if ending == "flac":  # of unknown length: FFmpeg reads it, in other blocks
            content = bytearray(path.read_bytes())
            content[21] &= 0xF0
            content[22:26] = bytes(4)
            path.write_bytes(content)
        with AudioFile(path) as file:
            found.append(np.concatenate(list(file.blocks())))
            assert ("/" in file.format) == (ending == "flac")
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[0][3 * 44100 :], one[3 * 44100 :] / np.float32(2**15))
