"""What is measured on the way, and the scaling curve."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soundsearch.bench.datasets import DataSetError
from soundsearch.errors import ConfigError, SoundsearchError
from tests.recorded import Recorded
from tests.sounds import tone, write
from tests.trainer.made_shards import ENCODER, FRONT_END, RATE, TINY, made_shards, store
from tests.trainer.tiny_clip import DIM, write_tiny_clip
from trainer import caption_scaling
from trainer.caption_scaling import plot, scaling_curve
from trainer.checks import BenchCheck, ShardCheck, bench_check
from trainer.contrast import Contrast
from trainer.data.shard_folder import ShardFolder
from trainer.data.vectors import VectorsFacts
from trainer.loop import TrainingError
from trainer.presets import preset
from trainer.runs import StageConfig
from trainer.stage import Machine, train_stage
from trainer.towers.clip_model import ClipChoice, load_clip

FACTS = VectorsFacts("images", ENCODER, "made", "by-hand", "0" * 64, 8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    return made_shards(tmp_path_factory.mktemp("shards"), n_clips=12, n_pitches=12)


class Told(nn.Module):
    """A tower that is told its answers: row i of `answers` for the i-th clip it is given."""

    def __init__(self, answers: torch.Tensor) -> None:
        super().__init__()
        self.answers, self.at = answers, 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found = self.answers[self.at : self.at + len(features)]
        self.at = (self.at + len(features)) % len(self.answers)
        return found


def one_hot_vectors(folder: ShardFolder, kinds: tuple[str, ...]) -> torch.Tensor:
    """Store rows of a unit matrix for the first 8 clips of 12, none for the rest."""
    eye = np.eye(8, dtype=np.float32)
    clip = 0
    for number, shard in enumerate(folder.shards):
        n = int(folder.counts[number])
        rows = [eye[[c]] if c < 8 else np.zeros((0, 8), np.float32) for c in range(clip, clip + n)]
        clip += n
        for kind in kinds:
            store(shard, kind, rows, folder.digest(number))
    return torch.from_numpy(eye)


def test_recall_is_counted_both_ways_over_clips_with_vectors(tmp_path: Path) -> None:
    folder = made_shards(tmp_path, n_clips=12)
    eye = one_hot_vectors(folder, ("images", "captions"))
    check = ShardCheck(tmp_path, TINY, FACTS, n_clips=100)
    right = check(Contrast(Told(eye), 1.0))
    assert set(right.values()) == {1.0}
    assert set(right) == {
        f"valid_{kind}_{way}_recall_at_{k}"
        for kind in ("images", "captions")
        for way in ("from_audio", "to_audio")
        for k in (1, 10)
    }
    answers = eye.clone()
    answers[:2] = eye[[1, 0]]  # two of eight swapped
    assert check(Contrast(Told(answers), 1.0))["valid_images_from_audio_recall_at_1"] == 0.75
    alike = check(Contrast(Told(torch.ones(8, 8)), 1.0))
    assert alike["valid_images_from_audio_recall_at_1"] == 0.0  # ties gain nothing
    few = ShardCheck(tmp_path, TINY, FACTS, n_clips=3)
    assert few(Contrast(Told(eye[:3]), 1.0))["valid_images_to_audio_recall_at_1"] == 1.0


def test_equal_pictures_are_equally_right(tmp_path: Path) -> None:
    folder = made_shards(tmp_path, n_clips=4, examples_per_shard=4)
    eye = np.eye(8, dtype=np.float32)
    store(folder.shards[0], "images", [eye[[0]], eye[[0]], eye[[1]], eye[[2]]], folder.digest(0))
    found = ShardCheck(tmp_path, TINY, FACTS, n_clips=9)
    answers = torch.from_numpy(eye[[0, 0, 1, 2]])
    assert found(Contrast(Told(answers), 1.0))["valid_images_from_audio_recall_at_1"] == 1.0


def test_a_folder_without_vectors_of_the_encoder_is_refused(tmp_path: Path) -> None:
    made_shards(tmp_path, n_clips=4)
    other = dataclasses.replace(FACTS, encoder="other-1")
    with pytest.raises(TrainingError, match="no vectors by other-1 to measure against"):
        ShardCheck(tmp_path, TINY, other, n_clips=9)


@pytest.fixture(scope="module")
def clip_facts(tmp_path_factory: pytest.TempPathFactory) -> VectorsFacts:
    choice: ClipChoice = write_tiny_clip(tmp_path_factory.mktemp("clip"))
    return VectorsFacts("images", "tiny-1", choice.model, choice.pretrained, "0" * 64, DIM)


def manifest(folder: Path, column: str, words: list[str]) -> Path:
    rows = [f"file,{column}"]
    for i, word in enumerate(words):
        write(folder / f"{i}.wav", tone(200 + 100 * i, 0.5, RATE), RATE)
        rows.append(f"{i}.wav,{word}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_benchmark_of_labels_asks_for_the_sound_of_them(
    tmp_path: Path, clip_facts: VectorsFacts
) -> None:
    words = ["dog", "rain", "small_bell", "dog"]
    check = bench_check("manifest", manifest(tmp_path, "label", words))(TINY, clip_facts)
    clip = load_clip(ClipChoice(model=clip_facts.model, pretrained=clip_facts.pretrained))
    texts = [f"the sound of {word.replace('_', ' ')}" for word in words]
    answers = torch.from_numpy(clip.embed_texts(texts))
    assert check(Contrast(Told(answers), 1.0)) == {"manifest_accuracy": 1.0}
    wrong = answers[[1, 0, 2, 3]]
    assert check(Contrast(Told(wrong), 1.0)) == {"manifest_accuracy": 0.5}


def test_a_benchmark_of_captions_asks_both_ways(tmp_path: Path, clip_facts: VectorsFacts) -> None:
    captions = ["a dog barks", "rain falls", "a bell rings"]
    check = bench_check("manifest", manifest(tmp_path, "caption", captions))(TINY, clip_facts)
    assert isinstance(check, BenchCheck)
    clip = load_clip(ClipChoice(model=clip_facts.model, pretrained=clip_facts.pretrained))
    found = check(Contrast(Told(torch.from_numpy(clip.embed_texts(captions))), 1.0))
    assert found["manifest_audio_to_text_recall_at_1"] == 1.0
    assert found["manifest_text_to_audio_recall_at_1"] == 1.0
    assert len(found) == 4


def test_bad_benchmarks_are_one_line(tmp_path: Path, clip_facts: VectorsFacts) -> None:
    with pytest.raises(ConfigError, match="must be one of clotho, audiocaps"):
        bench_check("fsd50k", tmp_path)
    with pytest.raises(DataSetError):
        bench_check("esc50", tmp_path)
    path = manifest(tmp_path, "label", ["dog", "rain"])
    check = bench_check("manifest", path)(TINY, clip_facts)
    (tmp_path / "1.wav").write_bytes(b"no sound")
    with pytest.raises(TrainingError, match=r"1\.wav"):
        check(Contrast(Told(torch.zeros(2, DIM)), 1.0))


def test_the_curve_trains_every_point_once(tmp_path: Path) -> None:
    data = made_shards(tmp_path / "shards", n_clips=24, n_pitches=6)
    pivot = train_stage(data.folder, tmp_path / "pivot", dataclasses.replace(TINY, epochs=1.0))
    config = dataclasses.replace(TINY, stage="captions", texts="gold", init=str(pivot))
    settings = {"counts": [12, 0, 4], "seeds": [0, 1], "steps": 25, "valid": data.folder}
    progress = Recorded()
    rows = scaling_curve(data.folder, tmp_path / "out", config, **settings, progress=progress)
    assert [(row["n_clips"], row["seed"]) for row in rows] == [
        (0, 0), (4, 0), (4, 1), (12, 0), (12, 1),
    ]  # fmt: skip
    assert progress.stage("points of the curve").total == len(progress.notes) == len(rows)
    recall = "valid_captions_to_audio_recall_at_1"
    assert np.mean([r[recall] for r in rows[3:]]) > rows[0][recall]
    with open(tmp_path / "out" / "scaling.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row[recall]) for row in table] == [row[recall] for row in rows]
    logs = sorted(tmp_path.glob("out/*/log.jsonl"))
    assert [len(log.read_text().splitlines()) for log in logs] == [25] * 4
    used = [json.loads((log.parent / "config.json").read_text()) for log in logs]
    assert [one["batch_size"] for one in used] == [6, 6, 4, 4]
    assert {(one["learning_rate"], one["flat_learning_rate"]) for one in used} == {(3e-3, 3e-3)}
    before = {log: log.stat().st_mtime_ns for log in logs}
    again = scaling_curve(data.folder, tmp_path / "out", config, **settings)
    assert again == rows
    assert {log: log.stat().st_mtime_ns for log in logs} == before
    plot(rows, tmp_path / "out" / "scaling.png")
    assert (tmp_path / "out" / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("counts", [[], [-1], [1]])
def test_impossible_counts_are_refused(tmp_path: Path, counts: list[int]) -> None:
    with pytest.raises(ConfigError, match="counts must be 0 or 2 and more"):
        scaling_curve(tmp_path, tmp_path, TINY, counts=counts, seeds=[0], steps=1, valid=tmp_path)


def captions_after(tmp_path: Path, data: ShardFolder) -> StageConfig:
    pivot = train_stage(data.folder, tmp_path / "pivot", dataclasses.replace(TINY, epochs=1.0))
    return dataclasses.replace(TINY, stage="captions", texts="gold", init=str(pivot))


def test_more_captions_than_there_are_are_refused_before_any_training(tmp_path: Path) -> None:
    data = made_shards(tmp_path / "shards", n_clips=12)
    config = captions_after(tmp_path, data)
    settings = {"seeds": [0], "steps": 2, "valid": data.folder}
    with pytest.raises(ConfigError, match=r"counts must be at most 12, .* gold texts, not 13"):
        scaling_curve(data.folder, tmp_path / "out", config, counts=[4, 13], **settings)
    missing = {**settings, "valid": tmp_path}
    with pytest.raises(SoundsearchError, match="no shards"):
        scaling_curve(data.folder, tmp_path / "out", config, counts=[4], **missing)
    unfinished = dataclasses.replace(config, init=str(tmp_path / "none"))
    with pytest.raises(TrainingError, match="not a run folder"):
        scaling_curve(data.folder, tmp_path / "out", unfinished, counts=[4], **settings)
    assert not (tmp_path / "out").exists()


def test_a_curve_that_breaks_off_has_its_finished_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made_shards(tmp_path / "shards", n_clips=12)
    config = captions_after(tmp_path, data)

    def stopped(shards: Path, folder: Path, config: StageConfig, machine: Machine) -> Path:
        if config.n_clips == 8:
            raise KeyboardInterrupt
        return train_stage(shards, folder, config, machine)

    monkeypatch.setattr(caption_scaling, "train_stage", stopped)
    with pytest.raises(KeyboardInterrupt):
        scaling_curve(
            data.folder, tmp_path, config, counts=[0, 4, 8], seeds=[0], steps=2, valid=data.folder
        )
    with open(tmp_path / "scaling.csv", newline="") as file:
        assert [row["n_clips"] for row in csv.DictReader(file)] == ["0", "4"]


def test_the_rate_does_not_depend_on_the_count() -> None:
    paper = dataclasses.replace(preset("paper-at"), learning_rate=None, flat_learning_rate=None)
    few, many = (caption_scaling.point_config(paper, n, 0, None) for n in (10, 1000))
    assert (few.batch_size, many.batch_size) == (10, 64)
    for point in (few, many):
        loop = point.loop(point.n_clips or 0)
        assert loop.learning_rate == pytest.approx(0.05)
        assert loop.flat_learning_rate == pytest.approx(0.0012)
    # without steps a point is the run of `train captions --count`
    assert (many.epochs, many.warmup_epochs, many.schedule_epochs) == (10.0, 10.0, 1000.0)
    assert many.loop(1000).steps == 156
    fixed = [caption_scaling.point_config(paper, n, 0, 50).loop(n) for n in (10, 1000)]
    assert [(loop.steps, loop.warmup_steps) for loop in fixed] == [(50, 5), (50, 5)]


def test_the_front_end_of_the_stage_is_used(shards: ShardFolder) -> None:
    check = ShardCheck(shards.folder, TINY, FACTS, n_clips=12)
    seen: list[torch.Size] = []

    class Tower(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            seen.append(features.shape)
            return torch.ones(len(features), 8)

    check(Contrast(Tower(), 1.0))
    assert seen[0][1:] == (FRONT_END.features.n_mels, FRONT_END.features.n_frames)
    assert Machine().n_valid == 5184  # the paper's
