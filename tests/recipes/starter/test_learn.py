"""Batches of windows and mixtures, and the tower that learns from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.starter.constants import StarterConfig
from recipes.starter.decoded import decode
from recipes.starter.learn import WEIGHTS, Batches, learn, new_tower
from recipes.starter.manifests import Recording, read_esc10, read_more, read_sounds
from recipes.starter.material import Material, make_material
from trainer.loop import TrainingError
from trainer.text_distillation import Array
from trainer.towers.mobilenet import N_LABELS, MobileNetTower
from trainer.towers.unit import embed_unit

Embed = Callable[[Sequence[str]], Array]


#: Words that say nothing of a sound.
SMALL = {"a", "the", "sound", "of", "and", "with", "while", "then", "after", "followed", "by", "in"}


def embed(texts: Sequence[str]) -> Array:
    """The sum of a direction for each word, (n, 16), unit: a sentence is like what it is made of."""
    rows = []
    for text in texts:
        words = [word for word in text.replace(",", " ").split() if word not in SMALL] or [text]
        rows.append(
            sum(np.random.default_rng(list(word.encode())).normal(size=16) for word in words)
        )
    vectors = np.array(rows, np.float32).reshape(-1, 16)
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.fixture(scope="module")
def recordings(made_data: Path) -> list[Recording]:
    return [*read_sounds(made_data), *read_more(made_data), *read_esc10(made_data)]


@pytest.fixture(scope="module")
def material(
    recordings: list[Recording],
    network: MobileNetTower,
    tiny_config: StarterConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Material:
    folder, front_end = tmp_path_factory.mktemp("material"), tiny_config.front_end
    paths = [one.path for one in recordings]
    waveforms = decode(paths, folder / "decoded", front_end.audio, longest_s=2.0)
    return make_material(folder, recordings, waveforms, network, front_end, tiny_config.material)


def batches_of(
    recordings: list[Recording], material: Material, config: StarterConfig, seed: int = 0
) -> Batches:
    return Batches(recordings, material, embed, config.text, config.learn, seed)


def test_a_batch_holds_the_shares_that_were_asked_for(
    recordings: list[Recording], material: Material, tiny_config: StarterConfig
) -> None:
    batch = batches_of(recordings, material, tiny_config).draw(3, 50)
    assert len(batch.rows) == 50 and batch.texts.shape == (47, 16)  # 0.06 have no caption
    mixed = batch.rows >= material.n_windows
    assert mixed.sum() == 20 and mixed[27:47].all()
    members = material.members[batch.rows]
    assert {recordings[i].split for i in members[members >= 0]} == {"train"}
    assert all(recordings[i].caption for i in members[:47][members[:47] >= 0])
    assert not any(recordings[i].caption for i in members[47:, 0])
    # The first windows are of what sounds in the first mixtures.
    parts = members[27:47].ravel()
    np.testing.assert_array_equal(members[:10, 0], parts[parts >= 0][:10])


def test_a_batch_depends_on_seed_and_step_alone(
    recordings: list[Recording], material: Material, tiny_config: StarterConfig
) -> None:
    first, second = (batches_of(recordings, material, tiny_config) for _ in range(2))
    first.draw(0, 20)
    np.testing.assert_array_equal(first.draw(5, 20).rows, second.draw(5, 20).rows)
    other = batches_of(recordings, material, tiny_config, seed=1).draw(5, 20)
    assert (other.rows != second.draw(5, 20).rows).any()


def test_a_mixture_and_its_parts_are_neither_right_nor_wrong_for_each_other(
    recordings: list[Recording], material: Material, tiny_config: StarterConfig
) -> None:
    batch = batches_of(recordings, material, tiny_config).draw(0, 60)
    captions = [
        {recordings[i].caption for i in material.members[row] if i >= 0} for row in batch.rows
    ]
    n = len(batch.texts)
    seen = set()
    for i in range(n):
        for j in range(n):
            same, within = captions[i] == captions[j], captions[j] < captions[i]
            assert bool(batch.positive[i, j]) == same
            if within or captions[i] < captions[j]:  # neither right nor wrong
                assert not batch.counted[i, j]
            seen.add((same, within))
    assert seen == {(True, False), (False, False), (False, True)}
    assert (batch.counted >= batch.positive).all()


def test_the_head_learns_and_the_blocks_stay(
    recordings: list[Recording],
    material: Material,
    network: MobileNetTower,
    tiny_config: StarterConfig,
    tmp_path: Path,
) -> None:
    loop = dataclasses.replace(tiny_config.learn.head, learning_rate=2e-3)
    config = dataclasses.replace(
        tiny_config.learn, head=dataclasses.replace(loop, steps=120, warmup_steps=5)
    )
    names = [f"sound {i}" for i in range(N_LABELS)]
    before = new_tower(network, config, 0)
    pooled = torch.from_numpy(material.pooled).float()
    before.head.standardise(pooled.mean(dim=0), torch.ones(pooled.shape[1]))
    tower = learn(
        tmp_path, recordings, material, network, names, embed, tiny_config.text, config, seed=0
    )
    assert (tmp_path / WEIGHTS).exists() and not list(tmp_path.rglob("checkpoint*"))
    own, published = tower.features.state_dict(), network.features.state_dict()
    assert all(torch.equal(own[name], published[name]) for name in own)
    assert margin(tower, recordings, material) > margin(before, recordings, material) + 0.2


def margin(tower: MobileNetTower, recordings: list[Recording], material: Material) -> float:
    """By how much windows of the training split are nearer to their captions than to the others."""
    of_window = material.members[: material.n_windows, 0]
    rows = np.array(
        [
            row
            for row, i in enumerate(of_window)
            if recordings[i].split == "train" and recordings[i].caption
        ]
    )
    captions = np.array([recordings[i].caption for i in of_window[rows]])
    with torch.inference_mode():
        vectors = embed_unit(tower.eval().embed(torch.from_numpy(material.pooled[rows]).float()))
    cosines = vectors.numpy() @ embed(captions.tolist()).T
    own = captions[:, None] == captions
    return float(cosines[own].mean() - cosines[~own].mean())


def test_a_tower_of_another_width_than_the_texts_is_refused(
    recordings: list[Recording],
    material: Material,
    network: MobileNetTower,
    tiny_config: StarterConfig,
    tmp_path: Path,
) -> None:
    wider = dataclasses.replace(tiny_config.learn.tower, dim=20)
    config = dataclasses.replace(tiny_config.learn, tower=wider)
    names = [f"sound {i}" for i in range(N_LABELS)]
    with pytest.raises(TrainingError, match=r"20\D.*16\D"):
        learn(tmp_path, recordings, material, network, names, embed, tiny_config.text, config, 0)
