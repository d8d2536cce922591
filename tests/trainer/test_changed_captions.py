"""`train captions` with mixtures, augmentation and a teacher, on shards whose texts a real CLIP embedded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from soundsearch.errors import ConfigError
from tests.conftest import Run
from tests.sounds import noise, tone
from tests.trainer.made_shards import RATE, TINY, flac
from tests.trainer.test_taggers import NAMES, write_model
from tests.trainer.tiny_clip import write_tiny_clip
from tests.trainer.two_processes import run_two
from trainer.composed_texts import ComposedTexts
from trainer.contrast import ContrastConfig
from trainer.data.changes import TEXT_BYTES, ChangesConfig
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.vectors import stored_facts
from trainer.embed_shards import embed_captions
from trainer.runs import read_run, read_weights
from trainer.stage import Machine, train_stage
from trainer.towers.clip_model import load_clip

CAPTIONS = ("a dog", "rain", "a bell", "a door")
CONFIG = dataclasses.replace(
    TINY,
    stage="captions",
    texts="gold",
    epochs=2,
    changes=ChangesConfig(mix=0.5, augment=True),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve sounds under four captions, embedded by a tiny CLIP."""
    folder = tmp_path_factory.mktemp("shards")
    examples = [
        Example(
            ExampleFacts("made.wav", 0, 0.5, RATE, captions=(caption,), labels=(caption,)),
            flac((tone(200.0 * (1 + i), 0.5, RATE) + 0.1 * noise(0.5, RATE)).astype("f4")),
        )
        for i, caption in enumerate(CAPTIONS * 3)
    ]
    write_shards(examples, folder, examples_per_shard=6)
    clip = load_clip(write_tiny_clip(tmp_path_factory.mktemp("clip")))
    for kind in ("captions", "labels"):
        embed_captions(folder, clip, kind)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "classes.csv").write_text(NAMES)
    return write_model(folder / "tagger.onnx", ["n", "time"], RATE)


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_same_is_learnt_with_any_number_of_workers(
    shards: Path, teacher: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        CONFIG, changes=dataclasses.replace(CONFIG.changes, teacher=str(teacher))
    )
    alone = train_stage(shards, tmp_path / "alone", config)
    log = log_of(alone)
    assert {"loss", "classes", "sounds", "logit_scale"} <= log[-1].keys()
    shared = train_stage(shards, tmp_path / "shared", config, Machine(n_workers=1))
    for name, value in read_weights(alone).items():
        torch.testing.assert_close(read_weights(shared)[name], value)
    assert read_weights(alone)["log_scale"].shape == (3,)
    assert read_run(alone).data["teacher"]
    plain = dataclasses.replace(config, changes=CONFIG.changes)
    with pytest.raises(ConfigError, match="teacher"):
        train_stage(shards, tmp_path / "alone", plain)


def test_two_processes_learn_from_a_teacher_as_one(
    shards: Path, teacher: Path, tmp_path: Path
) -> None:
    contrast = ContrastConfig(duplicates="ignored")
    config = dataclasses.replace(CONFIG, contrast=contrast, optimiser="lars")
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(dataclasses.asdict(config)))
    run_two(
        *("soundsearch", "train", "captions", str(shards), "--run", str(tmp_path / "two")),
        *("--init", "random", "--config", str(plain), "--teacher", str(teacher)),
    )
    changes = dataclasses.replace(CONFIG.changes, teacher=str(teacher))
    alone = train_stage(
        shards, tmp_path / "alone", dataclasses.replace(config, init="random", changes=changes)
    )
    found, wanted = log_of(tmp_path / "two"), log_of(alone)
    for name in ("loss", "classes", "sounds", "logit_scale", "norm"):
        assert [r[name] for r in found] == pytest.approx([r[name] for r in wanted], abs=2e-4), name
    for name, value in read_weights(alone).items():
        torch.testing.assert_close(
            read_weights(tmp_path / "two")[name], value, rtol=1e-3, atol=1e-5, msg=name
        )


def test_mixtures_change_what_is_learnt(shards: Path, tmp_path: Path) -> None:
    first = [
        log_of(
            train_stage(
                shards,
                tmp_path / f"{mix}",
                dataclasses.replace(CONFIG, changes=ChangesConfig(mix=mix)),
            )
        )[0]["loss"]
        for mix in (0.0, 1.0)
    ]
    assert first[0] != first[1]


@pytest.mark.parametrize("texts", ["gold", "label"])
def test_a_mixture_gets_the_vector_of_its_text(shards: Path, texts: str) -> None:
    kind = "captions" if texts == "gold" else "labels"
    facts = stored_facts(ShardFolder(shards), kind, None)  # type: ignore[arg-type]
    composed = ComposedTexts(facts, texts, torch.device("cpu"))
    rows = torch.zeros(3, TEXT_BYTES, dtype=torch.uint8)
    rows[1, :14] = torch.tensor(list(b"rain and a dog"), dtype=torch.uint8)
    vectors = torch.randn(3, facts.dim)
    parts = (torch.zeros(3, 2, 2), vectors, torch.zeros(3, 3), rows, torch.zeros(3, 0))
    _, found, _, _ = composed.completed(parts)
    said = "rain and a dog" if texts == "gold" else "the sound of rain and a dog"
    expected = composed._clip.embed_texts([said])[0]
    torch.testing.assert_close(found[1], torch.from_numpy(expected))
    torch.testing.assert_close(found[[0, 2]], vectors[[0, 2]])


def test_what_cannot_be_mixed_is_refused_at_once(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mix composes the texts of mixtures of gold or label"):
        train_stage(shards, tmp_path / "run", dataclasses.replace(CONFIG, texts="random"))
    with pytest.raises(ValueError, match="a mixture has no picture"):
        dataclasses.replace(CONFIG, contrast=ContrastConfig(three_way=True))
    with pytest.raises(ValueError, match="belong to the captions stage"):
        dataclasses.replace(CONFIG, stage="pivot", texts=None)
    assert not (tmp_path / "run").exists()


def test_the_options_say_what_is_changed(
    shards: Path, teacher: Path, tmp_path: Path, soundsearch: Run
) -> None:
    plain = dataclasses.asdict(TINY)
    names = ("vit", "front_end", "init", "precision")
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps({name: plain[name] for name in names}))
    run = tmp_path / "run"
    stage = ("train", "captions", shards, "--init", "random", "--run", run, "--config", file)
    small = ("--batch-size", 6, "--epochs", 1, "--warmup-epochs", 0, "--optimiser", "adamw")
    more = ("--mix", 0.5, "--augment", "--teacher", teacher)
    soundsearch(*stage, *small, *more)
    changes = dataclasses.asdict(read_run(run).config)["changes"]
    assert (changes["mix"], changes["augment"], changes["teacher"]) == (0.5, True, str(teacher))
    preset = ("train", "captions", shards, "--init", "random", "--run", "x", "--preset", "paper-at")
    said = soundsearch(*preset, "--mix", 0.5, code=1).stderr
    assert "fixes changes.mix at 0.0" in said and "--mix has 0.5" in said
    gone = soundsearch(*stage[:5], "--run", "y", *small, "--teacher", "gone.onnx", code=1).stderr
    assert "gone.onnx: no such file" in gone
