"""The audio stage learns: sounds find their texts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from tests.trainer.starter.conftest import N, batches_of
from trainer.data.manifests import Recording
from trainer.loop import LoopConfig
from trainer.starter.align import Aligner, align, head_from
from trainer.starter.cache import RecordingCache
from trainer.starter.config import CaptionsConfig, StarterConfig
from trainer.starter.scenes import Scenes
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit


def test_the_head_starts_as_principal_directions() -> None:
    vectors = np.zeros((20, 6), np.float32)
    vectors[:, 2] = np.linspace(1, 3, 20)
    vectors[:, 5] = np.linspace(-1, 1, 20)
    head = head_from(vectors, 2)
    kept = head(torch.from_numpy(vectors)).detach().numpy()
    np.testing.assert_allclose(kept @ kept.T, vectors @ vectors.T, atol=1e-4)


def test_the_loss_falls_when_eight_sounds_are_learnt(
    eight: list[Recording],
    cache: RecordingCache,
    scenes: Scenes,
    tiny_config: StarterConfig,
    tmp_path: Path,
) -> None:
    loop = LoopConfig(steps=250, warmup_steps=10, learning_rate=1e-2, precision="fp32", log_every=1)
    config = CaptionsConfig(
        batch_size=16,
        scene_share=0.25,
        bent_share=0.0,
        duet_share=0.0,
        tag_weight=1.0,
        probe_weight=1.0,
        speed=0.02,
        shift_bands=0,
        loop=loop,
    )
    quiet = dataclasses.replace(
        config.augment,
        noise_share=0.0,
        tilt_db=1.0,
        band_limit_share=0.0,
        time_masks=(0, 1),
        band_masks=(0, 1),
    )
    config = dataclasses.replace(config, augment=quiet, scene_augment=quiet)
    batches = batches_of(eight, cache, scenes, config)
    torch.manual_seed(0)
    tower_config = dataclasses.replace(tiny_config.tower, widths=(8, 16), pooled=16)
    mean, std = cache.mean_and_std(range(N))
    tower = AudioTower(tower_config, 16, mean, std)
    aligner = Aligner(tower, head_from(batches.draw(0).vectors.numpy(), 6), 2, config)
    align(aligner, batches, config, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name, share in (("captions", 0.6), ("tags", 0.6), ("probe", 0.6)):
        losses = [record[name] for record in log]
        assert np.mean(losses[-10:]) < share * np.mean(losses[:10]), name
    # And the sounds find their texts, far more often than the one in eight of chance.
    n_right = n_sounds = 0
    for i in range(1000, 1010):
        batch = batches.draw(i)
        features = ((batch.log_mel - mean) / std).transpose(1, 2)
        with torch.no_grad():
            scores = embed_unit(aligner.tower(features)) @ embed_unit(aligner.head(batch.vectors)).T
        right = batch.positive[4:, 4:]  # the scenes stand first
        n_right += int(right[torch.arange(12), scores[4:, 4:].argmax(dim=1)].sum())
        n_sounds += 12
    assert n_right / n_sounds > 0.5
