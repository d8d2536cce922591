"""Two real processes train the model that one trains: every gradient, statistic and weight."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.trainer.two_processes import CASES, everything, run_two
from trainer.torchrun import GatheredBatchNorm2d, World

NAMES = (*CASES, "vit-trained", "compact-trained")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("two")
    run_two("tests.trainer.two_processes", str(folder))
    return {name: load_file(folder / f"{name}.safetensors") for name in NAMES}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    return everything(tmp_path_factory.mktemp("one"), World())


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_compute_what_one_does(
    name: str, together: dict[str, dict[str, Tensor]], alone: dict[str, dict[str, Tensor]]
) -> None:
    found, wanted = together[name], alone[name]
    assert set(found) == set(wanted)
    assert any(key.startswith("gradient.") or "trained" in name for key in found)
    # of some tensors the gradient is 0 but for rounding: a bias before batch normalisation, say
    largest = max(value.abs().float().max().item() for value in wanted.values())
    for key, value in wanted.items():
        torch.testing.assert_close(
            found[key], value.detach(), msg=key, rtol=1e-4, atol=1e-6 * largest
        )


def test_the_gathered_norm_of_one_process_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
            layer.bias.copy_(torch.tensor([0.5, 0.0, 1.0]))
    gathered = GatheredBatchNorm2d(ours, World())
    for training in (True, True, False):
        x = (4 * torch.randn(5, 3, 2, 4) + 100).requires_grad_()
        again = x.detach().clone().requires_grad_()
        gathered.train(training), theirs.train(training)
        for layer, given in ((gathered, x), (theirs, again)):
            layer(given).square().sum().backward()
        torch.testing.assert_close(x.grad, again.grad, rtol=1e-4, atol=1e-4)
    assert gathered.weight is ours.weight
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(gathered.state_dict()[name], value, msg=name)
    assert gathered.state_dict().keys() == theirs.state_dict().keys()
