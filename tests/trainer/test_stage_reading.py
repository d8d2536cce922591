"""What a stage reads: sound or stored log-mels, one folder of shards or several."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from soundsearch.errors import ConfigError
from tests.recorded import Recorded
from tests.trainer.made_shards import FRONT_END, TINY, made_shards
from trainer import stage
from trainer.data.example import ShardError
from trainer.data.log_mels import log_mels_path
from trainer.data.order import Order
from trainer.data.shard_folder import Shard
from trainer.stage import Machine, train_stage
from trainer.store_log_mels import store_log_mels


def losses(run: Path) -> list[float]:
    lines = (run / "log.jsonl").read_text().splitlines()
    return [record["loss"] for line in lines if "loss" in (record := json.loads(line))]


def test_a_run_on_log_mels_decodes_nothing_and_learns_the_same_whatever_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = made_shards(tmp_path / "shards").folder
    store_log_mels(shards, FRONT_END, n_workers=1)

    def refuse(self: Shard, i: int) -> None:
        raise AssertionError("sound was read")

    monkeypatch.setattr(Shard, "audio", refuse)
    one = train_stage(shards, tmp_path / "one", TINY, Machine(valid=shards))
    other = train_stage(shards, tmp_path / "other", TINY, Machine(n_workers=2))
    drawn = dataclasses.replace(TINY, weights="labels", only=str(tmp_path / "ids.txt"))
    (tmp_path / "ids.txt").write_text("made\n")
    by_weight = train_stage([shards, shards], tmp_path / "drawn", drawn)
    assert len(losses(by_weight)) == 2 * len(losses(one))
    assert losses(one) == losses(other)
    assert losses(one)[-1] < losses(one)[0]
    read = json.loads((one / "config.json").read_text())["data"]["read"]
    assert read == f"log-mels {FRONT_END.slug}"


def test_log_mels_are_shuffled_all_together_and_sound_by_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = []

    class Watched(Order):
        def __init__(self, examples: list[object], seed: int, block: int) -> None:
            blocks.append(block)
            super().__init__(examples, seed, block)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "Order", Watched)
    shards = made_shards(tmp_path / "shards").folder
    store_log_mels(shards, FRONT_END, n_workers=1)
    train_stage(shards, tmp_path / "stored", TINY)
    train_stage(shards, tmp_path / "sound", TINY, Machine(from_sound=True))
    assert blocks == [4, TINY.block]


def test_a_run_does_not_go_on_with_another_reading(tmp_path: Path) -> None:
    shards = made_shards(tmp_path / "shards").folder
    train_stage(shards, tmp_path / "run", TINY)
    store_log_mels(shards, FRONT_END, n_workers=1)
    with pytest.raises(ConfigError, match=f"data.read was 'sound', is 'log-mels {FRONT_END.slug}'"):
        train_stage(shards, tmp_path / "run", TINY)
    assert train_stage(shards, tmp_path / "run", TINY, Machine(from_sound=True))


def test_mixed_shards_are_refused_before_a_run_begins(tmp_path: Path) -> None:
    data = made_shards(tmp_path / "shards")
    store_log_mels(data.folder, FRONT_END, n_workers=1)
    log_mels_path(data.shards[2], FRONT_END).unlink()
    with pytest.raises(ShardError, match="3 of 4 shards"):
        train_stage(data.folder, tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()


def test_several_folders_train_as_one_set(tmp_path: Path) -> None:
    folders = [made_shards(tmp_path / name, n_clips=n).folder for name, n in (("a", 10), ("b", 8))]
    run = train_stage(folders, tmp_path / "run", TINY)
    assert json.loads((run / "config.json").read_text())["data"]["n_clips"] == 18
    with pytest.raises(ConfigError, match=r"data\.shards was"):  # another order is another run
        train_stage(folders[::-1], tmp_path / "run", TINY)


def test_progress_begins_before_the_first_step_and_counts_each(tmp_path: Path) -> None:
    shards = made_shards(tmp_path / "shards").folder
    progress = Recorded()
    train_stage(shards, tmp_path / "run", TINY, progress=progress)
    assert [one.what.split()[0] for one in progress.stages] == ["reading", "reading", "steps"]
    steps = progress.stage("steps")
    assert (steps.total, steps.advances) == (12, [1] * 12)
