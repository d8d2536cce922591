"""Eight sounds that a tower can tell apart, scenes of them, and the batches drawn from both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.sounds import noise, tone, write
from tests.trainer.conftest import MadeTagger
from trainer.data.manifests import Recording
from trainer.starter.batches import Batches
from trainer.starter.cache import RecordingCache, build_cache
from trainer.starter.config import CaptionsConfig, StarterConfig
from trainer.starter.scenes import SceneConfig, Scenes, make_scenes
from trainer.starter.tagger import Teacher
from trainer.starter.texts import texts_of

N = 8
Mix = Callable[..., Scenes]


@pytest.fixture
def eight(tmp_path: Path) -> list[Recording]:
    """Eight sounds that a tower can tell apart."""
    clips = []
    for i in range(N):
        waveform = (
            tone(200 * 1.4**i, 0.3, 8000)
            if i < 6
            else noise(0.2 * (i - 4), 8000) * tone(3 * i, 0.2 * (i - 4), 8000)
        )
        path = write(tmp_path / f"{i}.wav", waveform, 8000)
        facts = {"tags": (f"tag {i}",), "source": "made", "licence": "CC0"}
        clips.append(Recording(path=path, caption=f"sound {i}", split="train", **facts))
    return clips


@pytest.fixture
def cache(eight: list[Recording], tmp_path: Path, tiny_config: StarterConfig) -> RecordingCache:
    return build_cache(
        eight, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=3
    )


@pytest.fixture
def mix(tiny_config: StarterConfig, made_tagger: Teacher, tmp_path: Path) -> Mix:
    """Makes scenes of clips in a cache: `mix(cache, clips, config, n_workers=0)`."""

    def make(
        cache: RecordingCache, clips: list[Recording], config: SceneConfig, n_workers: int = 0
    ) -> Scenes:
        return make_scenes(
            cache,
            range(len(clips)),
            clips,
            made_tagger,
            Path(tempfile.mkdtemp(dir=tmp_path)),
            tiny_config.audio,
            tiny_config.features,
            config,
            n_workers,
        )

    return make


@pytest.fixture
def scenes(eight: list[Recording], cache: RecordingCache, mix: Mix) -> Scenes:
    """Sixty scenes of the eight sounds."""
    plain = SceneConfig(
        n_scenes=60, n_bent=0, speed=0.02, room_share=0, band_share=0, noise_share=0
    )
    return mix(cache, eight, plain)


@pytest.fixture
def bent(eight: list[Recording], cache: RecordingCache, mix: Mix) -> Scenes:
    """Twenty scenes, and ten bent ones."""
    return mix(cache, eight, SceneConfig(n_scenes=20, n_bent=10))


def batches_of(
    clips: list[Recording],
    cache: RecordingCache,
    scenes: Scenes,
    config: CaptionsConfig,
    usable: Callable[[Recording], bool] = lambda clip: True,
    unnamed: Callable[[Recording], bool] = lambda clip: False,
) -> Batches:
    texts = texts_of(clips, scenes, MadeTagger.names, "the sound of {}", 0)
    vectors = np.random.default_rng(0).standard_normal((len(texts.texts), 12)).astype(np.float32)
    for numbers in texts.of_clip:  # texts of one clip lie close together
        vectors[numbers] = vectors[numbers[0]] + 0.1 * vectors[numbers]
    for members, numbers in zip(scenes.members, texts.of_scene, strict=True):
        if members[1] >= 0:  # and those of a mixture between its members'
            vectors[numbers] = sum(vectors[texts.of_clip[i][0]] for i in members if i >= 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = range(len(clips))
    return Batches(clips, cache, places, scenes, texts, vectors, 48, config, usable, unnamed)
