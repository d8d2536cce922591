"""Weights of a MobileNetV3 that stand for the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from soundsearch.files import sha256_of
from trainer.towers import mobilenet
from trainer.towers.mobilenet import MobileNetConfig, MobileNetTower


def with_statistics(tower: MobileNetTower, seed: int = 0) -> MobileNetTower:
    """Give its batch norms statistics and weights as training leaves them, and return it."""
    generator = torch.Generator().manual_seed(seed)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0.0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0.0, 0.2, generator=generator)
    return tower


def with_statistics_of(tower: MobileNetTower, features: Tensor) -> MobileNetTower:
    """Give its batch norms the statistics of these features, and return it in eval mode."""
    norms = [module for module in tower.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        tower.train()(features)
    return tower.eval()


def published_like(
    path: Path, monkeypatch: pytest.MonkeyPatch, features: Tensor | None = None
) -> Path:
    """Write weights of the published layout and make them the published ones.

    There squeeze-and-excitation is of linear layers, which torchvision has as convolutions.
    features: Whose statistics the batch norms have; None for random ones.
    """
    torch.manual_seed(7)
    tower = MobileNetTower(MobileNetConfig(logits=True))
    tower = with_statistics(tower) if features is None else with_statistics_of(tower, features)
    weights = {
        name: value.flatten(1) if ".fc" in name and value.ndim == 4 else value
        for name, value in tower.state_dict().items()
        if not name.startswith("head.")
    }
    save_file(weights, path)
    monkeypatch.setattr(mobilenet, "PUBLISHED_SHA256", sha256_of(path))
    return path
