"""The loop: schedule, log, NaN, and going on after a break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainer.loop import LoopConfig, TrainingError, generator_of, rate_at, train

CONFIG = LoopConfig(
    steps=10,
    warmup_steps=3,
    learning_rate=0.1,
    average=0.9,
    bfloat16=False,
    log_every=1,
    save_every=2,
)


class Broken(Exception):
    """What interrupts a run in these tests."""


def fitted(folder: Path, stop_at: int | None = None, config: LoopConfig = CONFIG) -> nn.Module:
    """Fit a line with noise drawn for each step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    def loss_of(step: int) -> dict[str, Tensor]:
        if step == stop_at:
            raise Broken
        x = torch.randn(16, 3, generator=generator_of(1, step))
        return {"loss": (model(x) - x[:, :2]).square().mean()}

    return train(model, loss_of, config, folder)


def losses(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines)]


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    rates = [rate_at(step, CONFIG) for step in range(10)]
    assert rates[:4] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rate_at(10, CONFIG) == pytest.approx(0.0)


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    with pytest.raises(Broken):
        fitted(tmp_path / "broken", stop_at=7)
    again = fitted(tmp_path / "broken")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name, rtol=0, atol=0)
    unbroken = losses(tmp_path / "whole")
    assert losses(tmp_path / "broken") == unbroken
    assert unbroken[-1] < 0.8 * unbroken[0]
    assert not list(tmp_path.glob("*/checkpoint*"))


def test_the_averaged_weights_are_the_result(tmp_path: Path) -> None:
    last = LoopConfig(**{**vars(CONFIG), "average": 0.0})
    kept, averaged = fitted(tmp_path / "last", config=last), fitted(tmp_path / "averaged")
    assert losses(tmp_path / "last") == losses(tmp_path / "averaged")
    assert not torch.equal(kept.state_dict()["0.weight"], averaged.state_dict()["0.weight"])
    assert not averaged.training


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(TrainingError, match="the loss is nan at step 0; lower the learning rate"):
        train(model, lambda step: {"loss": model.weight.sum() * float("nan")}, CONFIG, tmp_path)


def test_slow_parameters_take_smaller_steps(tmp_path: Path) -> None:
    model = nn.ModuleDict({"fast": nn.Linear(1, 1), "held": nn.Linear(1, 1)})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss_of(step: int) -> dict[str, Tensor]:
        return {"loss": sum((p.sum() for p in model.parameters()), torch.zeros(()))}

    train(model, loss_of, CONFIG, tmp_path, slow={"held.": 0.1})
    moved = {name: (p - before[name]).abs().item() for name, p in model.named_parameters()}
    assert moved["held.weight"] < 0.2 * moved["fast.weight"]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="warmup_steps"):
        LoopConfig(steps=5, warmup_steps=6)
    with pytest.raises(ValueError, match="average"):
        LoopConfig(steps=5, warmup_steps=0, average=1.0)
