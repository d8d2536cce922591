"""The outline of a waveform: how far its samples reach in each short stretch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.peaks import FINEST_PER_SECOND, MOST_FINE, PER_SECOND, PeakMeter, Peaks
from soundsearch.audio.recording import AudioFile
from tests.films import Track, burst, write_film
from tests.sounds import noise, tone, write

Array = NDArray[np.float32]


def metered(samples: Array, sample_rate: int, cuts: list[int] | None = None) -> Peaks:
    """Peaks of (channel, time) samples that come in blocks, cut at these places."""
    meter = PeakMeter(sample_rate)
    places = [0, *sorted(cuts or []), samples.shape[1]]
    for start, end in pairwise(places):
        meter.add(samples[:, start:end])
    return meter.peaks()


def by_hand(samples: Array, sample_rate: int, per_second: float) -> NDArray[np.uint8]:
    """The same sample by sample."""
    n = samples.shape[1]
    stretch = (np.arange(n) * per_second // sample_rate).astype(int)
    rows = []
    for i in range(stretch[-1] + 1):
        part = samples[:, stretch == i]
        ends = np.clip([-part.min(), part.max()], 0, 1)
        rows.append(np.rint(255 * np.sqrt(ends)))
    return np.array(rows, np.uint8)


@given(
    st.integers(1, 4),
    st.sampled_from([1000, 8000, 11025]),
    st.floats(0.001, 8),
    st.lists(st.floats(0, 1), max_size=4),
)
def test_peaks_are_the_extremes_of_equal_stretches_however_blocks_are_cut(
    n_channels: int, sample_rate: int, seconds: float, cuts: list[float]
) -> None:
    samples = np.stack([noise(seconds, sample_rate, seed) for seed in range(n_channels)])
    if samples.shape[1] == 0:
        return
    found = metered(samples, sample_rate, [int(cut * samples.shape[1]) for cut in cuts])
    expected = by_hand(samples, sample_rate, found.per_second)
    np.testing.assert_array_equal(found.values, expected)
    assert found.values.dtype == np.uint8


@pytest.mark.parametrize("seconds", [0.2, 3.7, 3.8, 40.0, 61.0, 400.0])
def test_short_recordings_have_finer_peaks_and_long_ones_twenty_a_second(seconds: float) -> None:
    found = metered(noise(seconds, 1000)[None], 1000)
    n = len(found.values)
    assert PER_SECOND <= found.per_second <= FINEST_PER_SECOND
    assert n == int(np.ceil(seconds * found.per_second))
    assert n <= MOST_FINE or found.per_second == PER_SECOND
    assert 2 * n > MOST_FINE or found.per_second == FINEST_PER_SECOND


def test_what_is_beyond_full_scale_is_one_and_silence_is_zero() -> None:
    samples = np.concatenate([np.zeros(1000), np.full(1000, 3.0), np.full(1000, -0.25)])
    values = metered(samples[None].astype(np.float32), 1000).values
    third = len(values) // 3
    assert values[: third - 1].max() == 0
    assert values[third + 1 : 2 * third - 1].tolist() == [[0, 255]] * (third - 2)
    np.testing.assert_allclose((values[2 * third + 1 :, 0] / 255) ** 2, 0.25, atol=0.003)


@given(st.integers(1, 3000), st.integers(1, 1500))
def test_reduced_peaks_lose_no_extreme(n: int, most: int) -> None:
    values = np.random.default_rng(n).integers(0, 256, (n, 2), np.uint8)
    found = Peaks(20, values).reduced(most)
    assert len(found.values) <= most
    assert found.values.max(axis=0).tolist() == values.max(axis=0).tolist()
    assert abs(len(found.values) / found.per_second - n / 20) < 1 / found.per_second


def test_every_format_of_the_same_sound_has_the_same_peaks(tmp_path: Path) -> None:
    samples = np.stack([tone(200, 3), noise(3)], axis=1)
    found = []
    for ending in ("wav", "flac", "aiff", "w64"):
        with AudioFile(write(tmp_path / f"a.{ending}", samples)) as file:
            for _ in file.blocks():
                pass
            found.append(file.peaks.values)
    for values in found:
        np.testing.assert_array_equal(values, found[0])
    np.testing.assert_allclose(found[0][5:-5].max() / 255, 0.5**0.5, atol=0.01)


def test_peaks_lie_where_a_player_has_the_sound(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", Track([burst(2.0), burst(5.0)]))
    with AudioFile(path) as file:
        for _ in file.blocks():
            pass
        peaks = file.peaks
    loud = peaks.values.max(axis=1) > 128

    def is_loud(second: float) -> bool:
        return bool(loud[round(second * peaks.per_second)])

    assert [is_loud(second) for second in (1.8, 2.2, 2.8, 3.2, 4.8, 5.2)] == [
        *(False, True, True, False, False, True)
    ]
