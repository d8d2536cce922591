"""Validation on the way hears what a search would hear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from soundsearch.audio.recording import AudioFile, read_windows
from tests.sounds import noise, tone, write
from trainer.data.manifests import Recording
from trainer.starter import check as module
from trainer.starter.align import Aligner
from trainer.starter.cache import RecordingCache, build_cache
from trainer.starter.check import Check, windows_of
from trainer.starter.config import StarterConfig

RATE = 8000
#: Lengths of recordings, in windows of the tiny recipe.
LENGTHS = (0.3, 0.98, 1.0, 1.25, 1.5, 1.9, 2.0, 2.5, 3.2)


def clip_of(path: Path, caption: str = "") -> Recording:
    return Recording(path=path, caption=caption, tags=(), split="valid", source="", licence="")


@pytest.fixture
def clips(tmp_path: Path, tiny_config: StarterConfig) -> list[Recording]:
    seconds = [n * tiny_config.audio.window_s for n in LENGTHS]
    return [
        clip_of(write(tmp_path / f"{i}.wav", noise(s, RATE, seed=i), RATE))
        for i, s in enumerate(seconds)
    ]


def test_windows_are_those_of_a_search(
    clips: list[Recording], tmp_path: Path, tiny_config: StarterConfig
) -> None:
    audio, features = tiny_config.audio, tiny_config.features
    build_cache(clips, tmp_path / "cache", audio, features, longest_s=3)
    cache = RecordingCache(tmp_path / "cache")
    shift = features.frame_shift_ms / 1000
    for i, clip in enumerate(clips):
        with AudioFile(clip.path) as file:
            wanted = list(read_windows(file, audio))
        found = windows_of(cache, i, audio, features)
        assert len(found) == len(wanted), LENGTHS[i]
        for block, window in zip(found, wanted, strict=True):
            start = window.start_s / shift
            if abs(start - round(start)) > 1e-6:
                continue  # the last window may begin within a frame
            exact = features.log_mel(window.waveform, RATE).T
            np.testing.assert_allclose(block, exact, atol=0.02)


class Ears:
    """In place of the towers: a sound is its lower and its upper power, a text's vector is given."""

    def __init__(self, *_: object) -> None:
        pass

    def embed_audio(self, features: torch.Tensor) -> torch.Tensor:
        power = features.float().exp().mean(dim=2)  # (n, n_mels)
        half = power.shape[1] // 2
        parts = torch.stack((power[:, :half].sum(dim=1), power[:, half:].sum(dim=1)), dim=1)
        return parts / parts.norm(dim=1, keepdim=True)

    def embed_text(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors


def test_recall_and_accuracy_are_what_is_known_of_the_sounds(
    tmp_path: Path, tiny_config: StarterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are called low; one of them begins rather high and is low later, one is high throughout."""
    low, high = tone(150, 0.6, RATE), tone(2500, 0.6, RATE)
    named = [
        (low, "low"),
        (np.concatenate((0.5 * high + 0.3 * low, low)), "low"),
        (0.6 * high + 0.2 * low, "low"),
        (high, "high"),
    ]
    clips = [
        clip_of(write(tmp_path / f"{i}.wav", sound, RATE), caption)
        for i, (sound, caption) in enumerate(named)
    ]
    build_cache(clips, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=3)
    vectors = {"low": [1.0, 0.0], "high": [0.0, 1.0]}

    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.array([vectors[text.removeprefix("the sound of ")] for text in texts], np.float32)

    monkeypatch.setattr(module, "Embedder", Ears)
    aligner = Aligner.__new__(Aligner)
    torch.nn.Module.__init__(aligner)
    aligner.tower = SimpleNamespace(mean=0.0, std=1.0)  # type: ignore[assignment]
    sets = {"made": {i: caption for i, (_, caption) in enumerate(named)}}
    cache = RecordingCache(tmp_path / "cache")
    check = Check(clips, cache, embed, None, tiny_config, sets)  # type: ignore[arg-type]
    found = check(aligner)
    assert found == {
        "valid_recall_at_1": 1.0,
        "valid_recall_at_10": 1.0,
        "valid_made": 0.75,
        "valid_made_by_class": pytest.approx((2 / 3 + 1) / 2),
    }
