"""The benchmark of the training step, in its small form."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_step
from trainer.towers.vit import SpectrogramViT, VitConfig


def test_it_runs_on_a_cpu_and_precisions_agree(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_step.main(["--tiny", "--device", "cpu", "--steps", "4"])
    printed = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in printed.splitlines()
        if line.startswith("|")
    ]
    parity = {row[0]: row for row in rows if row[0] in ("fp32", "bf16", "fp16")}
    assert parity["fp32"][3:] == ["1.000000", "1.000000", "0"]
    for precision in ("bf16", "fp16"):
        _, first, last, gradient, embedding, _ = parity[precision]
        assert float(first) == pytest.approx(float(parity["fp32"][1]), rel=0.01)
        assert float(last) == pytest.approx(float(parity["fp32"][2]), rel=0.03)
        assert min(float(gradient), float(embedding)) > 0.99
    speeds = [row for row in rows if row[0] in ("4", "8")]
    assert [row[:2] for row in speeds] == [
        ["4", "fp32"],
        ["4", "bf16"],
        ["8", "fp32"],
        ["8", "bf16"],
    ]
    assert all(float(row[2]) > 0 and float(row[3]) > 0 for row in speeds)


def test_operations_are_those_that_torch_counts() -> None:
    shape = VitConfig(width=64, n_layers=3, n_heads=4, n_mels=64, n_frames=200, dim=32)
    tower = SpectrogramViT(shape)
    # fused attention is not counted on a CPU
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        tower(torch.randn(2, 64, 200))
    assert 3 * counted.get_total_flops() / 2 == pytest.approx(gpu_step.flops(shape), rel=1e-6)
    assert gpu_step.flops(VitConfig()) / 3 == pytest.approx(56e9, rel=0.02)  # docs/training.md


def test_a_batch_that_does_not_fit_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(gpu_step, "speed", full)
    line = gpu_step.speed_line(
        gpu_step.TINY, torch.device("cpu"), 1024, gpu_step.Way("bf16", compiled=True), 1, None
    )
    assert re.fullmatch(r"\| 1024 \| bf16 compiled \| out of memory \| +\| +\| +\|", line)


def test_peaks_are_found_by_the_name_of_the_card() -> None:
    assert gpu_step.peak("NVIDIA H200", "bf16") == 989
    assert gpu_step.peak("NVIDIA H100 PCIe", "bf16") == 756
    assert gpu_step.peak("NVIDIA L40S", "fp16") == 362
    assert gpu_step.peak("Tesla T4", "bf16") is None
    assert gpu_step.peak("CPU", "bf16") is None
