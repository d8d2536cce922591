"""Windows and mixtures through the fixed blocks, stored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.starter.constants import StarterConfig
from recipes.starter.decoded import Waveforms, decode
from recipes.starter.manifests import Recording, read_esc10, read_more, read_sounds
from recipes.starter.material import (
    BATCH_SIZE,
    KINDS,
    MEMBERS,
    POOLED,
    Material,
    make_material,
)
from soundsearch.audio.features import compute_features
from trainer.mixtures import Kind
from trainer.towers.mobilenet import MobileNetTower


@pytest.fixture(scope="module")
def recordings(made_data: Path) -> list[Recording]:
    return [*read_sounds(made_data), *read_more(made_data), *read_esc10(made_data)]


@pytest.fixture(scope="module")
def waveforms(
    recordings: list[Recording],
    tiny_config: StarterConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Waveforms:
    folder = tmp_path_factory.mktemp("decoded")
    audio = tiny_config.front_end.audio
    return decode([one.path for one in recordings], folder, audio, longest_s=2.0)


@pytest.fixture(scope="module")
def material(
    recordings: list[Recording],
    waveforms: Waveforms,
    network: MobileNetTower,
    tiny_config: StarterConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Material]:
    folder = tmp_path_factory.mktemp("material")
    config = tiny_config
    made = make_material(folder, recordings, waveforms, network, config.front_end, config.material)
    return folder, made


def test_every_window_of_every_recording_comes_first_then_mixtures(
    material: tuple[Path, Material],
    recordings: list[Recording],
    waveforms: Waveforms,
    tiny_config: StarterConfig,
) -> None:
    made = material[1]
    assert len(made) == made.n_windows + tiny_config.material.n_mixtures
    windows, mixtures = made.members[: made.n_windows], made.members[made.n_windows :]
    assert set(windows[:, 0]) == set(range(len(recordings))) and (windows[:, 1:] == -1).all()
    assert (np.diff(windows[:, 0]) >= 0).all()
    # 0.5 s of sound every 0.25 s, at most so many of a recording.
    i = [one.path.name for one in recordings].index("hiss train.wav")
    assert waveforms.n_samples(i) == 1.4 * 8000
    assert (windows[:, 0] == i).sum() == tiny_config.material.most_windows == 3
    sounding = {recordings[one].split for one in mixtures[mixtures >= 0]}
    assert sounding == {"train"} and all(recordings[m].caption for m in mixtures[:, 0])
    alone = made.kinds[made.n_windows :] == Kind.SINGLE
    assert 0 < alone.sum() < len(alone)
    assert ((mixtures >= 0).sum(axis=1)[alone] == 1).all()
    assert ((mixtures >= 0).sum(axis=1)[~alone] >= 2).all()


def test_what_is_stored_is_what_torch_gives(
    material: tuple[Path, Material],
    waveforms: Waveforms,
    network: MobileNetTower,
    tiny_config: StarterConfig,
) -> None:
    made, front_end = material[1], tiny_config.front_end
    row = int(np.flatnonzero(made.members[: made.n_windows, 0] == 0)[0])
    waveform = waveforms[0][: 8000 // 2]
    features = compute_features(waveform, 8000, front_end.features)
    with torch.inference_mode():
        pooled = network.pool(torch.from_numpy(features[None]))
        logits = network.classify(pooled)
    for found, wanted in ((made.pooled, pooled), (made.logits, logits)):
        np.testing.assert_allclose(found[row], wanted[0].numpy(), rtol=2e-3, atol=2e-3)


def test_an_interrupted_stage_goes_on_and_gives_the_same(
    material: tuple[Path, Material],
    recordings: list[Recording],
    waveforms: Waveforms,
    network: MobileNetTower,
    tiny_config: StarterConfig,
    tmp_path: Path,
) -> None:
    folder, made = material
    config = tiny_config
    for path in folder.iterdir():
        if path.suffix != ".json":
            whole = path.read_bytes()
            a_row = len(whole) // len(made)
            # Whole batches, and a part of the next, different in each file.
            cut = BATCH_SIZE * a_row + (a_row // 2 if path.name == POOLED else a_row)
            (tmp_path / path.name).write_bytes(whole[:cut])
    make_material(tmp_path, recordings, waveforms, network, config.front_end, config.material)
    for name in (MEMBERS, KINDS, POOLED):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
