"""The cache holds what the product's front end computes, nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from soundsearch.audio.features import compute_features
from soundsearch.audio.recording import AudioFile, read_windows
from tests.sounds import noise, write
from trainer.data.manifests import ManifestError, Recording, read_sounds
from trainer.starter.cache import build_cache
from trainer.starter.config import StarterConfig


def clip_of(path: Path) -> Recording:
    return Recording(
        path=path, caption="hiss", tags=(), split="train", source="made", licence="CC0"
    )


@pytest.mark.parametrize("seconds", [0.2, 1.3])
def test_a_slice_of_the_cache_is_what_compute_features_gives(
    tmp_path: Path, tiny_config: StarterConfig, seconds: float
) -> None:
    config = tiny_config
    path = write(tmp_path / "hiss.wav", noise(seconds, 8000), 8000)
    cache = build_cache(
        [clip_of(path)], tmp_path / "cache", config.audio, config.features, longest_s=30
    )
    hop = round(config.audio.hop_s * 100)
    n = config.features.n_frames
    normalised = dataclasses.replace(config.features, mean=-4.0, std=2.0)
    with AudioFile(path) as file:
        windows = list(read_windows(file, config.audio))
    assert len(windows) == (1 if seconds < 0.5 else 5)
    for i, window in enumerate(windows[:-1] or windows):  # the last may start between two frames
        wanted = compute_features(window.waveform, 8000, normalised)
        found = (cache.window(0, i * hop, n).T.astype(np.float32) + 4.0) / 2.0
        np.testing.assert_allclose(found, wanted, atol=0.005)  # float16 at 16


def test_short_recordings_are_repeated_to_start_anywhere(
    tmp_path: Path, tiny_config: StarterConfig
) -> None:
    path = write(tmp_path / "hiss.wav", noise(0.2, 8000), 8000)
    cache = build_cache(
        [clip_of(path)], tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=30
    )
    assert cache.n_frames(0) == (0.5 + 0.2 - 0.025) * 100 // 1 + 1
    # One period of 0.2 s later the same frame comes again.
    np.testing.assert_array_equal(cache.window(0, 5, 1), cache.window(0, 25, 1))


def test_a_recording_that_cannot_be_used_is_named_and_takes_no_room(
    tmp_path: Path, tiny_config: StarterConfig
) -> None:
    good = write(tmp_path / "hiss.wav", noise(0.6, 8000), 8000)
    bad = tmp_path / "text.wav"
    bad.write_text("not a sound")
    clips = [clip_of(bad), clip_of(good)]
    cache = build_cache(
        clips, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=30
    )
    assert list(cache.failed) == [str(bad)]
    assert cache.n_frames(0) == 0 < cache.n_frames(1)
    with pytest.raises(ManifestError, match="none of 1 recordings could be decoded"):
        build_cache(
            clips[:1], tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=30
        )


def test_mean_and_std_are_those_of_the_chosen_recordings(
    made_data: Path, tmp_path: Path, tiny_config: StarterConfig
) -> None:
    clips = read_sounds(made_data)
    cache = build_cache(
        clips, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=30
    )
    values = np.concatenate([cache.window(i, 0, cache.n_frames(i)) for i in (0, 2)]).astype(
        np.float64
    )
    mean, std = cache.mean_and_std([0, 2])
    assert mean == pytest.approx(values.mean())
    assert std == pytest.approx(values.std())
