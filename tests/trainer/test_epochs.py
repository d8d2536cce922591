"""Weights by epoch: which are kept, which is picked, and who uses it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from soundsearch.errors import ConfigError, SoundsearchError
from tests.conftest import Run
from tests.sounds import tone, write
from tests.trainer.made_shards import TINY, made_shards
from tests.trainer.test_bundle_export import VIT, write_run
from tests.trainer.test_clip_features import counted
from trainer.best_epoch import pick_by_benchmark, pick_by_metric
from trainer.bundle_export import export_run
from trainer.epochs import Picked, epoch_ends, epoch_path, kept_epochs, pick_epoch, weights_path
from trainer.loop import TrainingError
from trainer.runs import StageConfig, read_run, read_weights
from trainer.stage import Machine, train_stage

FOUR = dataclasses.replace(TINY, schedule_epochs=8.0)  # of three steps each


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_shards(tmp_path_factory.mktemp("shards")).folder


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def same(found: Path, wanted: Path) -> bool:
    one, other = load_file(found), load_file(wanted)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_an_epochs_weights_are_those_of_a_run_that_ends_there(shards: Path, tmp_path: Path) -> None:
    run = train_stage(shards, tmp_path / "run", FOUR, Machine(keep_epochs=None))
    assert kept_epochs(run) == [1, 2, 3, 4]
    shorter = train_stage(shards, tmp_path / "two", dataclasses.replace(FOUR, epochs=2.0))
    assert same(epoch_path(run, 2), shorter / "weights.safetensors")
    assert same(epoch_path(run, 4), run / "weights.safetensors")
    assert not same(epoch_path(run, 3), epoch_path(run, 4))
    assert {r["step"]: r["epoch"] for r in log_of(run) if "epoch" in r} == {3: 1, 6: 2, 9: 3, 12: 4}
    assert not (shorter / "epochs").exists()  # unless asked for


def test_the_last_epochs_stay_and_the_picked_one(shards: Path, tmp_path: Path) -> None:
    run = train_stage(shards, tmp_path / "run", FOUR, Machine(keep_epochs=3))
    assert kept_epochs(run) == [2, 3, 4]
    pick_epoch(run, Picked(epoch=2))
    (run / "weights.safetensors").unlink()  # trained again, from the beginning
    train_stage(shards, run, FOUR, Machine(keep_epochs=1))
    assert kept_epochs(run) == [2, 4]


def test_ends_of_epochs_are_rounded_each_by_itself() -> None:
    assert epoch_ends(3.5, 2.4) == {2: 1, 5: 2, 7: 3}


def test_a_stopped_run_stands_by_its_picked_epoch_and_goes_on(shards: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def watch(step: int, record: object) -> None:
        if step == 8:
            raise Stopped

    run, machine = tmp_path / "run", Machine(keep_epochs=None)
    with pytest.raises(Stopped):
        train_stage(shards, run, FOUR, machine, watch=watch)
    with pytest.raises(TrainingError, match=r"not a finished run.* `soundsearch train pick`"):
        read_run(run)
    assert pick_epoch(run, Picked(epoch=2)) == epoch_path(run, 2)
    assert read_run(run).picked == Picked(epoch=2)
    with pytest.raises(TrainingError, match="epoch 3 were not kept; choose one of 1, 2"):
        pick_epoch(run, Picked(epoch=3))
    train_stage(shards, run, FOUR, machine)
    assert weights_path(run) == epoch_path(run, 2)
    whole = train_stage(shards, tmp_path / "whole", FOUR)
    assert same(epoch_path(run, 4), whole / "weights.safetensors")


def test_the_next_stage_begins_with_the_picked_epoch(shards: Path, tmp_path: Path) -> None:
    pivot = train_stage(shards, tmp_path / "pivot", FOUR, Machine(keep_epochs=None))
    pick_epoch(pivot, Picked(epoch=1))
    captions = dataclasses.replace(
        TINY, stage="captions", texts="gold", init=str(pivot), epochs=1.0, learning_rate=1e-9
    )
    run = train_stage(shards, tmp_path / "captions", captions)
    first, found = load_file(epoch_path(pivot, 1)), read_weights(run)
    for name in (n for n in first if n.startswith("tower.")):
        torch.testing.assert_close(found[name], first[name], msg=name)
    pick_epoch(pivot, Picked(epoch=3))
    with pytest.raises(ConfigError, match=r"data\.init_epoch was 1, is 3"):
        train_stage(shards, run, captions)


def test_an_epoch_is_picked_by_what_was_logged(shards: Path, tmp_path: Path) -> None:
    machine = Machine(keep_epochs=3, valid=shards, check_every=2.0)
    run = train_stage(shards, tmp_path / "run", FOUR, machine)
    loss = {r["epoch"]: r["loss"] for r in log_of(run) if r.get("epoch", 0) > 1}
    picked, values = pick_by_metric(run, "loss")
    assert values == loss  # of the kept ones
    assert (picked.epoch, picked.value) == min(loss.items(), key=lambda item: item[1])
    metric = "valid_images_from_audio_recall_at_10"
    recall = {r["epoch"]: r[metric] for r in log_of(run) if metric in r}
    assert recall.keys() == {2, 4}
    picked, values = pick_by_metric(run, metric)
    assert values == recall
    assert picked.epoch == max(recall, key=lambda epoch: (recall[epoch], -epoch))
    assert json.loads((run / "picked.json").read_text()) == dataclasses.asdict(picked)
    with pytest.raises(TrainingError, match=f"no epoch .* has 'accuracy'.* loss, .*{metric}"):
        pick_by_metric(run, "accuracy")
    with pytest.raises(TrainingError, match="no epoch was kept; train with --keep-epochs"):
        pick_by_metric(train_stage(shards, tmp_path / "none", TINY), "loss")


@pytest.fixture
def three_epochs(tmp_path: Path) -> Path:
    """A run of three epochs: the second answers the opposite of the first and the third."""
    run = write_run(tmp_path / "run", StageConfig(stage="pivot", vit=VIT, init="random"))
    weights = load_file(run / "weights.safetensors")
    (run / "epochs").mkdir()
    for epoch, sign in ((1, 1), (2, -1), (3, 1)):
        turned = {k: sign * v if k.endswith("encoder.proj") else v for k, v in weights.items()}
        save_file(turned, epoch_path(run, epoch))
    return run


def test_an_epoch_is_picked_by_a_benchmark_and_exported(
    three_epochs: Path, tmp_path: Path, soundsearch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        write(tmp_path / f"{i}.wav", tone(300, 1.0, 16000), 16000)
    labels = tmp_path / "labels.csv"
    words = ["dog", "rain", "dog", "dog", "dog"]  # all sound the same: one of two words is right
    labels.write_text("file,label\n" + "".join(f"{i}.wav,{w}\n" for i, w in enumerate(words)))
    decoded = counted(monkeypatch)
    picked, values = pick_by_benchmark(three_epochs, "manifest", labels, device="cpu")
    assert len(decoded) == 5  # once for all epochs
    assert not (three_epochs / "log-mels").exists()
    assert values[1] == values[3] == pytest.approx(1 - values[2])
    assert picked == Picked(
        epoch=1 if values[1] > values[2] else 2, by="manifest_accuracy", value=pytest.approx(0.8)
    )
    done = soundsearch("train", "pick", three_epochs, "--by", f"manifest={labels}", "--device=cpu")
    assert done.stdout == f"{epoch_path(three_epochs, picked.epoch)}\n"
    assert "epoch 3: manifest_accuracy" in done.stderr
    wanted = load_file(epoch_path(three_epochs, picked.epoch))["tower.post_encoder.proj"]
    assert torch.equal(read_run(three_epochs).tower.post_encoder.proj, wanted)  # type: ignore[union-attr]
    bundle = export_run(three_epochs, tmp_path / "bundle")
    card = (bundle.folder / "model_card.md").read_text()
    assert f"epoch {picked.epoch}, chosen by manifest_accuracy" in card
    (tmp_path / "1.wav").write_bytes(b"no sound")
    with pytest.raises(TrainingError, match=r"1\.wav"):
        pick_by_benchmark(three_epochs, "manifest", labels, device="cpu", n_workers=2)


def test_pick_as_it_is_typed(three_epochs: Path, soundsearch: Run) -> None:
    done = soundsearch("train", "pick", three_epochs, "--epoch", 2)
    assert done.stdout == f"{epoch_path(three_epochs, 2)}\n"
    assert read_run(three_epochs).picked == Picked(epoch=2)
    failed = soundsearch("train", "pick", three_epochs, "--epoch", 7, code=1)
    assert "epoch 7 were not kept; choose one of 1, 2, 3" in failed.stderr
    assert read_run(three_epochs).picked == Picked(epoch=2)
    back = soundsearch("train", "pick", three_epochs, "--last")
    assert back.stdout == f"{three_epochs / 'weights.safetensors'}\n"
    assert read_run(three_epochs).picked is None
    for wrong in ([], ["--epoch", "1", "--last"], ["--by", "esc50="]):
        soundsearch("train", "pick", three_epochs, *wrong, code=2)
    for chosen in (["--by", "loss"], ["--epoch", "1"], ["--last"]):
        failed = soundsearch("train", "pick", "nowhere", *chosen, code=1)
        assert "nowhere: not a run folder" in failed.stderr


def test_a_picked_epoch_that_is_gone_is_one_line(three_epochs: Path) -> None:
    pick_epoch(three_epochs, Picked(epoch=2))
    epoch_path(three_epochs, 2).unlink()
    with pytest.raises(SoundsearchError, match="epoch 2 were not kept; choose one of 1, 3"):
        read_run(three_epochs)
    (three_epochs / "picked.json").write_text('{"epoch": "two"}')
    with pytest.raises(ConfigError, match=r"picked\.json: epoch: expected a whole number"):
        read_run(three_epochs)
