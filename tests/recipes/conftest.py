"""A data folder of made sounds, and the recipe with every constant shrunk."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.starter.constants import StarterConfig
from recipes.starter.corpus import CorpusConfig
from recipes.starter.learn import LearnConfig
from recipes.starter.material import MaterialConfig
from soundsearch.audio.features import EfficientAtMel
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import TextConfig
from soundsearch.files import sha256_of
from tests.sounds import noise, tone, write
from tests.trainer.conftest import _graphs_once, _one_thread, tiny_teacher  # noqa: F401
from tests.trainer.made_mobilenet import published_like
from trainer.front_ends import FrontEnd
from trainer.loop import LoopConfig
from trainer.text_distillation import DistilConfig
from trainer.towers import mobilenet
from trainer.towers.mobilenet import (
    N_LABELS,
    MobileNetConfig,
    MobileNetTower,
    begin_from_published,
)

RATE = 8000
COLUMNS = "file,caption,tags,seconds,split,source,licence,author,redistribution,caption_quality"


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory, published: Path) -> Path:
    """A data folder: eight sounds, four ESC-10-like ones, a few texts."""
    data = tmp_path_factory.mktemp("data")
    sounds = {
        "low tone": tone(110, 0.7, RATE),
        "high tone": tone(1900, 0.3, RATE),
        "hiss": noise(1.4, RATE),
        "rumble": np.cumsum(noise(0.6, RATE, seed=1)) / 20,
    }
    rows = []
    for caption, waveform in sounds.items():
        for split, gain in (("train", 1.0), ("valid", 0.6)):
            file = f"sounds/{caption} {split}.wav"
            write(data / file, (waveform * gain).astype(np.float32), RATE)
            tags = f"{caption.split()[-1]};no-standalone-redistribution"
            rows.append([file, caption, tags, "1.0", split, "made", "CC0", "nobody", "yes", "high"])
    _write_csv(data / "sounds.csv", COLUMNS, rows)
    rows = []
    for caption, split, quality in (("a hum", "valid", "medium"), ("", "train", "low")):
        file = f"more/{caption or 'unnamed'}.wav"
        write(data / file, tone(150, 1.2, RATE), RATE)
        rows.append([file, caption, "", "1.2", split, "more", "CC0", "nobody", "yes", quality])
    _write_csv(data / "more.csv", COLUMNS, rows)
    rows = []
    for label, hz in (("low_tone", 130.0), ("high_tone", 1700.0)):
        for split in ("train", "valid"):
            file = f"esc10/{label} {split}.wav"
            write(data / file, tone(hz, 0.5, RATE), RATE)
            rows.append(
                [file, label, f"a {label.replace('_', ' ')}", "1", split, "", "nobody", "esc"]
            )
    _write_csv(data / "esc10.csv", "file,label,caption,fold,split,licence,author,source", rows)
    for name in ("audiocaps_train", "audiocaps_val"):
        texts = [
            ["1", "x", "0", f"a {word} and a tone"]
            for word in ("buzz", "hiss", "rumble", "whistle")
        ]
        _write_csv(
            data / "captions" / f"{name}.csv", "audiocap_id,youtube_id,start_time,caption", texts
        )
    (data / "teachers").mkdir()
    (data / "teachers" / "mn04_as.safetensors").symlink_to(published)
    classes = [[str(i), f"sound {i}"] for i in range(N_LABELS)]
    _write_csv(data / "teachers" / "audioset_527_labels.csv", "index,display_name", classes)
    ontology = [{"name": "Buzz", "description": "The sound of a buzz."}]
    (data / "captions" / "audioset_ontology.json").write_text(json.dumps(ontology))
    return data


def _write_csv(path: Path, columns: str, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split(","))
        writer.writerows(rows)


@pytest.fixture(scope="session")
def tiny_config() -> StarterConfig:
    """The recipe with every constant shrunk."""
    loop = LoopConfig(
        steps=4, warmup_steps=1, learning_rate=1e-2, log_every=1, save_every=2, precision="fp32"
    )
    return StarterConfig(
        name="tiny",
        front_end=FrontEnd(
            name="tiny",
            audio=AudioConfig(sample_rate=RATE, window_s=0.5, hop_s=0.25),
            features=EfficientAtMel(
                n_mels=32,
                n_frames=48,
                f_min=0.0,
                mean=-4.5,
                std=5.0,
                n_fft=256,
                win_length=200,
                hop_length=80,
                centred=False,
                level=-3.0,
            ),
            frequency_mask=0,
            time_mask=0,
        ),
        text=TextConfig(max_tokens=12, prompt="the sound of {}"),
        n_held_out=4,
        corpus=CorpusConfig(n_combinations=5),
        distil=DistilConfig(layers=(0,), rank=4, max_tokens=12, batch_size=8, loop=loop),
        material=MaterialConfig(most_windows=3, n_mixtures=40),
        learn=LearnConfig(
            tower=MobileNetConfig(
                hidden=8, levels=11, dim=16, fixed_blocks=5, hold_statistics=True
            ),
            batch_size=16,
            head=loop,
        ),
    )


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that stand for the published ones, of a network that tells features apart."""
    features = torch.randn(32, 32, 48, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("published") / "mn04_as.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        return published_like(path, patch, features)


@contextlib.contextmanager
def taken_for_published(path: Path) -> Iterator[None]:
    """Take a file for that of the published weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobilenet, "PUBLISHED_SHA256", sha256_of(path))
        yield


@pytest.fixture(scope="session")
def network(published: Path, tiny_config: StarterConfig) -> MobileNetTower:
    """The published network with its classifier, in evaluation mode."""
    made = MobileNetTower(dataclasses.replace(tiny_config.learn.tower, logits=True))
    with taken_for_published(published):
        begin_from_published(made, published)
    return made.eval()
