"""The audio stage: which texts are right for which sounds, and that it learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sounds import noise, tone, write
from trainer.data.manifests import Clip
from trainer.loop import LoopConfig
from trainer.starter.align import (
    Aligner,
    Batches,
    CaptionsConfig,
    align,
    head_from,
    relations,
    texts_of,
)
from trainer.starter.cache import LogMelCache, build_cache
from trainer.starter.config import StarterConfig
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

N = 8


@pytest.fixture
def eight(tmp_path: Path) -> list[Clip]:
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
        clips.append(Clip(path=path, caption=f"sound {i}", split="train", **facts))
    return clips


@pytest.fixture
def cache(eight: list[Clip], tmp_path: Path, tiny_config: StarterConfig) -> LogMelCache:
    return build_cache(
        eight, tmp_path / "cache", tiny_config.audio, tiny_config.features, longest_s=3
    )


def batches_of(
    clips: list[Clip], cache: LogMelCache, tiny_config: StarterConfig, config: CaptionsConfig
) -> Batches:
    texts = texts_of(clips, config)
    vectors = np.random.default_rng(0).standard_normal((len(texts.texts), 12)).astype(np.float32)
    for numbers in texts.of_clip:  # texts of one clip lie close together
        vectors[numbers] = vectors[numbers[0]] + 0.1 * vectors[numbers]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    n_frames = tiny_config.features.n_frames
    return Batches(clips, cache, range(len(clips)), texts, vectors, n_frames, config)


def test_equal_captions_and_equal_texts_are_right_and_parts_do_not_count() -> None:
    # 0: a; 1: a again; 2: b; 3: a and b; 4: b and a; 5: c, under the same tag as 2
    first, second = np.array([0, 0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 0, 2])
    texts = np.array([10, 11, 12, 13, 14, 12])
    positive, counted = relations(first, second, texts)
    right = {(i, j) for i, j in torch.nonzero(positive).tolist() if i < j}
    left_out = {(i, j) for i, j in torch.nonzero(~counted).tolist() if i < j}
    assert right == {(0, 1), (3, 4), (2, 5)}
    assert left_out == {(i, j) for i in (0, 1, 2) for j in (3, 4)}
    assert torch.equal(positive, positive.T) and torch.equal(counted, counted.T)
    assert positive.diagonal().all()


def test_a_batch_is_the_same_for_the_same_step(
    eight: list[Clip], cache: LogMelCache, tiny_config: StarterConfig
) -> None:
    config = CaptionsConfig(batch_size=10, mixture_share=0.2, n_mixtures=20)
    batches = batches_of(eight, cache, tiny_config, config)
    batch, again, next_one = batches.draw(3), batches.draw(3), batches.draw(4)
    torch.testing.assert_close(batch.log_mel, again.log_mel)
    assert batch.log_mel.shape == (10, 48, 16)
    assert not torch.equal(batch.log_mel, next_one.log_mel)
    assert torch.isfinite(batch.log_mel).all()
    assert (batch.counted | ~batch.positive).all()


def test_a_clip_has_its_caption_its_tags_and_sentences_around_it(eight: list[Clip]) -> None:
    texts = texts_of(eight, CaptionsConfig(n_mixtures=5))
    of_first = {texts.texts[number] for number in texts.of_clip[0]}
    assert {"sound 0", "tag 0", "sound 0, tag 0"} < of_first
    assert sum(texts.texts[number] == "sound 0" for number in texts.of_clip[0]) == 4
    for one, other, number in texts.mixtures:
        assert texts.texts[number] == f"sound {one} and sound {other}"


def test_a_recording_that_could_not_be_decoded_is_never_drawn(
    eight: list[Clip], tmp_path: Path, tiny_config: StarterConfig
) -> None:
    eight[3].path.write_text("damaged")
    cache = build_cache(
        eight, tmp_path / "again", tiny_config.audio, tiny_config.features, longest_s=3
    )
    config = CaptionsConfig(batch_size=64, mixture_share=0.5, n_mixtures=200)
    batches = batches_of(eight, cache, tiny_config, config)
    assert torch.isfinite(batches.draw(0).log_mel).all()


def test_the_head_starts_as_principal_directions() -> None:
    vectors = np.zeros((20, 6), np.float32)
    vectors[:, 2] = np.linspace(1, 3, 20)
    vectors[:, 5] = np.linspace(-1, 1, 20)
    head = head_from(vectors, 2)
    kept = head(torch.from_numpy(vectors)).detach().numpy()
    np.testing.assert_allclose(kept @ kept.T, vectors @ vectors.T, atol=1e-4)


def test_the_loss_falls_when_eight_sounds_are_learnt(
    eight: list[Clip], cache: LogMelCache, tiny_config: StarterConfig, tmp_path: Path
) -> None:
    loop = LoopConfig(steps=150, warmup_steps=10, learning_rate=1e-2, precision="fp32", log_every=1)
    config = CaptionsConfig(batch_size=16, n_mixtures=0, speed=0.02, shift_bands=0, loop=loop)
    quiet = dataclasses.replace(
        config.augment,
        noise_share=0.0,
        tilt_db=1.0,
        band_limit_share=0.0,
        time_masks=(0, 1),
        band_masks=(0, 1),
    )
    config = dataclasses.replace(config, augment=quiet)
    batches = batches_of(eight, cache, tiny_config, config)
    torch.manual_seed(0)
    tower_config = dataclasses.replace(tiny_config.tower, widths=(8, 16), pooled=16)
    mean, std = cache.mean_and_std(range(N))
    tower = AudioTower(tower_config, 16, mean, std)
    aligner = Aligner(tower, head_from(batches.draw(0).vectors.numpy(), 6), config.logit_scale)
    align(aligner, batches, config, tmp_path)
    losses = [
        json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    # And the sounds find their texts.
    batch = batches.draw(1000)
    features = ((batch.log_mel - mean) / std).transpose(1, 2)
    with torch.no_grad():
        scores = embed_unit(aligner.tower(features)) @ embed_unit(aligner.head(batch.vectors)).T
    best = scores.argmax(dim=1)
    assert batch.positive[torch.arange(16), best].float().mean() > 0.8
