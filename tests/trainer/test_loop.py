"""The loop: schedule, log, NaN, and going on after a break."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from tests.test_full_disk import no_room
from trainer import loop
from trainer.loop import (
    CHECKPOINT,
    Amp,
    LoopConfig,
    TrainingError,
    _Log,
    delete_checkpoint,
    every,
    generator_of,
    one_pass,
    rate_at,
    train,
)

CONFIG = LoopConfig(
    steps=10,
    warmup_steps=3,
    learning_rate=0.1,
    average=0.9,
    precision="fp32",
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

    return train(model, one_pass(loss_of), config, folder)


def losses(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines)]


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    rates = [rate_at(step, CONFIG) for step in range(10)]
    assert rates[:4] == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rate_at(10, CONFIG) == pytest.approx(0.0)
    floor = dataclasses.replace(CONFIG, last_rate=0.001)
    assert rate_at(3, floor) == 1.0
    assert rate_at(10, floor) == pytest.approx(0.001)


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


def test_channels_last_goes_on_where_it_was(tmp_path: Path) -> None:
    """The moments of a fused step lie in memory as the weights do, whose order is not that of axes."""

    def folded(folder: Path, stop_at: int | None = None) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, (2, 3)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def loss_of(step: int) -> dict[str, Tensor]:
            if step == stop_at:
                raise Broken
            return {"loss": model(torch.randn(8, 3, 5, 5, generator=generator_of(1, step))).var()}

        return train(model, one_pass(loss_of), CONFIG, folder)

    whole = folded(tmp_path / "whole")
    with pytest.raises(Broken):
        folded(tmp_path / "broken", stop_at=5)
    torch.testing.assert_close(
        folded(tmp_path / "broken").state_dict(), whole.state_dict(), rtol=0, atol=0
    )


def test_the_result_is_safe_before_the_checkpoint_goes(tmp_path: Path) -> None:
    first = fitted(tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    again = fitted(tmp_path, stop_at=0)  # takes no step
    torch.testing.assert_close(again.state_dict(), first.state_dict(), rtol=0, atol=0)
    delete_checkpoint(tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_averaged_weights_are_the_result(tmp_path: Path) -> None:
    last = LoopConfig(**{**vars(CONFIG), "average": 0.0})
    kept, averaged = fitted(tmp_path / "last", config=last), fitted(tmp_path / "averaged")
    assert losses(tmp_path / "last") == losses(tmp_path / "averaged")
    assert not torch.equal(kept.state_dict()["0.weight"], averaged.state_dict()["0.weight"])
    assert not averaged.training


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(
        TrainingError, match="the loss is nan at step 0; lower the learning rate and begin"
    ):
        train(
            model,
            one_pass(lambda step: {"loss": model.weight.sum() * float("nan")}),
            CONFIG,
            tmp_path,
        )


def test_slow_parameters_take_smaller_steps(tmp_path: Path) -> None:
    model = nn.ModuleDict({"fast": nn.Linear(1, 1), "held": nn.Linear(1, 1)})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss_of(step: int) -> dict[str, Tensor]:
        return {"loss": sum((p.sum() for p in model.parameters()), torch.zeros(()))}

    train(model, one_pass(loss_of), CONFIG, tmp_path, slow={"held.": 0.1})
    moved = {name: (p - before[name]).abs().item() for name, p in model.named_parameters()}
    assert moved["held.weight"] < 0.2 * moved["fast.weight"]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="warmup_steps"):
        LoopConfig(steps=5, warmup_steps=6)
    with pytest.raises(ValueError, match="average"):
        LoopConfig(steps=5, warmup_steps=0, average=1.0)


def step_sizes(config: LoopConfig, folder: Path) -> dict[str, float]:
    """How far one step moves each parameter, whose gradients are all 1."""
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss_of(step: int) -> dict[str, Tensor]:
        return {"loss": sum((p.sum() for p in model.parameters()), torch.zeros(()))}

    train(model, one_pass(loss_of), config, folder)
    return {
        name: (p - before[name]).norm().item() / before[name].norm().item()
        for name, p in model.named_parameters()
    }


def test_lars_scales_weights_by_their_norm_and_leaves_biases(tmp_path: Path) -> None:
    config = LoopConfig(
        **{**vars(CONFIG), "steps": 1, "warmup_steps": 0, "clip_norm": None, "average": 0.0},
    )
    lars = dataclasses.replace(
        config, optimiser="lars", learning_rate=2.0, flat_learning_rate=0.25, weight_decay=0.0
    )
    moved = step_sizes(lars, tmp_path / "lars")
    assert moved["weight"] == pytest.approx(2.0 * 0.001, rel=1e-3)  # lr * eta * |p|
    bias = moved["bias"]
    slower = dataclasses.replace(lars, flat_learning_rate=0.125)
    assert step_sizes(slower, tmp_path / "slower")["bias"] == pytest.approx(bias / 2)


def test_the_gradient_is_held_to_the_norm(tmp_path: Path) -> None:
    config = LoopConfig(
        **{**vars(CONFIG), "steps": 1, "warmup_steps": 0, "optimiser": "lars", "average": 0.0}
    )
    moved = {
        norm: step_sizes(dataclasses.replace(config, clip_norm=norm), tmp_path / str(norm))["bias"]
        for norm in (None, 0.6)
    }
    assert moved[0.6] == pytest.approx(moved[None] * 0.6 / 6**0.5)  # six ones


def test_a_run_may_stop_long_before_its_schedule_ends() -> None:
    config = dataclasses.replace(CONFIG, schedule_steps=1003)
    assert rate_at(9, config) > 0.999
    assert rate_at(503, config) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="schedule_steps"):
        dataclasses.replace(CONFIG, schedule_steps=9)


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)

    def loss_of(step: int) -> dict[str, Tensor]:
        return {"loss": (model.weight * 0).abs().sqrt().sum()}  # 0, with a slope of 0 * inf

    with pytest.raises(TrainingError, match="the gradient is nan at step 0"):
        train(model, one_pass(loss_of), CONFIG, tmp_path)


def test_bfloat16_is_only_for_the_forward_pass(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []
    model = nn.Linear(3, 3)

    def loss_of(step: int) -> dict[str, Tensor]:
        found = model(torch.ones(2, 3))
        seen.append(found.dtype)
        return {"loss": found.float().square().mean()}

    for precision in ("fp32", "bf16"):
        config = dataclasses.replace(CONFIG, steps=3, precision=precision)  # type: ignore[arg-type]
        train(model, one_pass(loss_of), config, tmp_path / precision)
    assert set(seen[:3]) == {torch.float32}
    assert set(seen[3:]) == {torch.bfloat16}
    assert model.weight.dtype == torch.float32


def test_what_is_logged_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    model = nn.Linear(1, 1)
    train(
        model,
        one_pass(lambda step: {"loss": model.weight.square().sum()}),
        dataclasses.replace(CONFIG, log_every=4),
        tmp_path,
        checks=every(5, 10, lambda measured: {"training": float(measured.training)}),
        watch=lambda step, record: told.append((step, dict(record))),
    )
    assert [step for step, _ in told] == [4, 5, 8, 10]
    assert [record.get("training") for _, record in told] == [None, 0.0, None, 0.0]
    assert {"loss", "rate", "norm"} <= told[0][1].keys()


def test_a_log_that_cannot_be_written_anew_is_not_lost(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 5, "loss": 1.0}\n{"step": 9, "loss": 0.5}\n')
    before = log.read_bytes()
    with no_room(file_bytes=10), pytest.raises(OSError, match="too large"):
        _Log(log, 5, None)
    assert log.read_bytes() == before
    _Log(log, 5, None)
    assert log.read_text() == '{"step": 5, "loss": 1.0}\n'


def test_what_a_killed_run_left_of_a_checkpoint_goes_when_it_goes_on(tmp_path: Path) -> None:
    unfinished = tmp_path / ".checkpoint.safetensors.7-8.part"
    unfinished.write_bytes(b"half")
    model = nn.Linear(1, 1)
    train(model, one_pass(lambda step: {"loss": model.weight.square().sum()}), CONFIG, tmp_path)
    assert not unfinished.exists()


def wild(folder: Path, *, bad_at: int, good_for: int = 20, **settings: object) -> TrainingError:
    """Train with a loss that is not finite at one step; returns the error."""
    model = nn.Linear(1, 1)

    def loss_of(step: int) -> dict[str, Tensor]:
        factor = float("inf") if step == bad_at else 1.0
        return {"loss": factor * (model.weight.square().sum() + 1)}

    config = dataclasses.replace(CONFIG, steps=good_for, log_every=100, average=0.0, **settings)  # type: ignore[arg-type]
    with pytest.raises(TrainingError) as caught:
        train(model, one_pass(loss_of), config, folder)
    return caught.value


@pytest.mark.parametrize(("bad_at", "saved"), [(5, 4), (8, 8)])
def test_a_late_look_at_the_loss_leaves_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_at: int, saved: int
) -> None:
    """As on a GPU: the loss is looked at two steps later, but before anything is stored."""
    finite = loop._Finite
    monkeypatch.setattr(loop, "_Finite", lambda *settings: finite(*settings[:2], 2))
    found = str(wild(tmp_path, bad_at=bad_at))
    assert f"the loss is inf at step {bad_at}" in found
    assert str(tmp_path / CHECKPOINT) in found
    with safe_open(tmp_path / CHECKPOINT, "pt") as file:
        assert file.metadata()["step"] == str(saved)
        assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118


def test_nothing_is_stored_or_measured_of_a_spoilt_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finite = loop._Finite
    monkeypatch.setattr(loop, "_Finite", lambda *settings: finite(*settings[:2], 2))
    assert "at step 9" in str(wild(tmp_path, bad_at=9, save_every=10))
    assert not (tmp_path / CHECKPOINT).exists()


def test_no_step_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No value of the device is read by the host but where a step is logged or stored."""
    read: list[str] = []
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "__index__"):
        original = getattr(Tensor, name)

        def counted(self: Tensor, original: Any = original, name: str = name) -> object:
            read.append(name)
            return original(self)

        monkeypatch.setattr(Tensor, name, counted)
    finite = loop._Finite
    monkeypatch.setattr(loop, "_Finite", lambda *settings: finite(*settings[:2], 10**6))
    model = nn.Linear(3, 3)
    for optimiser in ("lars", "adamw"):
        seen: list[int] = []

        def loss_of(step: int, seen: list[int] = seen) -> dict[str, Tensor]:
            seen.append(len(read))
            return {"loss": model(torch.ones(2, 3)).square().mean()}

        config = dataclasses.replace(
            CONFIG, steps=9, optimiser=optimiser, log_every=8, save_every=8, precision="bf16"
        )  # type: ignore[arg-type]
        train(model, one_pass(loss_of), config, tmp_path / optimiser)
        assert seen[7] == seen[1], read[seen[1] : seen[7]]
        assert seen[8] > seen[7]  # the log is read by the host


@pytest.mark.parametrize("optimiser", ["lars", "adamw"])
def test_in_float16_an_overflow_skips_the_step(tmp_path: Path, optimiser: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    seen: list[Tensor] = []

    def loss_of(step: int) -> dict[str, Tensor]:
        seen.append(model.weight.detach().clone())
        loss = model(torch.ones(1, 2)).float().square().sum()
        return {"loss": loss + (loss * 1e35 - (loss * 1e35).detach() if step == 2 else 0)}

    config = dataclasses.replace(
        CONFIG, steps=6, precision="fp16", optimiser=optimiser, warmup_steps=0
    )  # type: ignore[arg-type]
    train(model, one_pass(loss_of), config, tmp_path)
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved[1:] == [True, False, True, True]  # the first finds the scale


def test_tf32_is_only_for_runs_that_ask_for_it() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        for precision, wanted in (("tf32", "high"), ("bf16", "highest"), ("fp32", "highest")):
            Amp(precision, torch.device("cuda"))  # type: ignore[arg-type]
            assert torch.get_float32_matmul_precision() == wanted
            assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
