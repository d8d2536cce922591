"""A passage of a recording as samples and as windows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.audio.recording import AudioFile, read_windows, samples_of
from soundsearch.audio.windows import AudioConfig
from soundsearch.errors import AudioError, Cause
from tests import sounds

RATE = 8000
CONFIG = AudioConfig(sample_rate=RATE, window_s=1.0, hop_s=0.5)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s of noise, many blocks."""
    return sounds.write(tmp_path_factory.mktemp("sounds") / "a.wav", sounds.noise(20.0, RATE))


@given(start=st.integers(0, 25 * RATE), length=st.integers(1, 30 * RATE) | st.none())
def test_samples_are_those_of_the_whole(path: Path, start: int, length: int | None) -> None:
    with AudioFile(path) as file:
        whole = np.concatenate(list(file.blocks()))
    passage = (start / RATE, math.inf if length is None else (start + length) / RATE)
    with AudioFile(path) as file:
        blocks = samples_of(file, file.blocks(), passage)
        if start >= len(whole):
            with pytest.raises(AudioError, match=r"it ends at 20\.0 s, before") as caught:
                list(blocks)
            assert caught.value.cause is Cause.TOO_SHORT
            return
        found = np.concatenate(list(blocks))
        end = None if length is None else start + length
        np.testing.assert_array_equal(found, whole[start:end])
        assert (file.note is not None) == (end is not None and end > len(whole))


def test_windows_begin_with_the_passage(path: Path) -> None:
    with AudioFile(path) as file:
        windows = list(read_windows(file, CONFIG, (3.25, 5.5)))
    assert [(w.start_s, w.end_s) for w in windows] == [
        (3.25, 4.25), (3.75, 4.75), (4.25, 5.25), (4.5, 5.5),
    ]  # fmt: skip
    with AudioFile(path) as file:
        whole = np.concatenate(list(file.blocks()))
    for window in windows:
        expected = whole[round(window.start_s * RATE) : round(window.end_s * RATE)]
        np.testing.assert_array_equal(window.waveform, expected)


def test_a_short_passage_is_filled_up_as_a_short_recording_is(path: Path) -> None:
    with AudioFile(path) as file:
        (window,) = read_windows(file, CONFIG, (3.0, 3.25))
    assert (window.start_s, window.end_s) == (3.0, 3.25)
    np.testing.assert_array_equal(
        window.waveform[: RATE // 4], window.waveform[RATE // 4 : RATE // 2]
    )


def test_nothing_after_the_passage_is_decoded(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "long.wav", sounds.noise(300.0, RATE))
    with AudioFile(path) as file:
        assert len(list(read_windows(file, CONFIG, (1.0, 3.0)))) == 3
        assert file.position_bytes < path.stat().st_size / 4
        assert (file.damage, file.note) == (None, None)
