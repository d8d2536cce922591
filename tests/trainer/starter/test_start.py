"""A tower that begins with another's weights hears as that one does, or is left as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from trainer.loop import TrainingError
from trainer.starter.start import body_of, start_from
from trainer.towers.compact import AudioTower, AudioTowerConfig

SHAPE = AudioTowerConfig(widths=(4, 6), depths=(1, 1), pooled=8, dim=5)
N_MELS = 16

State = dict[str, Tensor]


def tower_of(seed: int, mean: float = 0.0, std: float = 1.0, **changes: object) -> AudioTower:
    """A tower in which nothing, not even a running mean, is as a fresh one has it."""
    torch.manual_seed(seed)
    tower = AudioTower(dataclasses.replace(SHAPE, **changes), N_MELS, mean, std)  # type: ignore[arg-type]
    with torch.no_grad():
        for value in tower.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
            else:
                value.add_(1 + seed)
    return tower.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(body_of(tower_of(1)), tmp_path / "tower.safetensors")
    return tmp_path / "tower.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower with its last projection, which is of another length."""
    path = tmp_path_factory.mktemp("start") / "tower.safetensors"
    save_file(tower_of(1, dim=7).state_dict(), path)
    return path


@given(mean=st.floats(-10, 10), std=st.floats(0.5, 10))
@settings(max_examples=20)
def test_the_tower_hears_as_the_one_it_began_from_whatever_the_normalisation(
    whole: Path, mean: float, std: float
) -> None:
    log_mel = torch.randn(3, N_MELS, 40, generator=torch.Generator().manual_seed(0))
    earlier, tower = tower_of(1, dim=7), tower_of(2, mean, std)

    with torch.no_grad():
        before = tower.pool((log_mel - mean) / std)
        start_from(tower, whole)
        found, wanted = tower.pool((log_mel - mean) / std), earlier.pool(log_mel)

    assert not torch.allclose(before, wanted, atol=1e-2)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_everything_but_the_last_projection_is_filled_and_named(weights: Path) -> None:
    earlier, tower = tower_of(1).state_dict(), tower_of(2)
    own = {name: v.clone() for name, v in tower.state_dict().items() if "project" in name}

    names = start_from(tower, weights)

    state = tower.state_dict()
    assert set(names) == state.keys() - {"project.weight", "project.bias"}
    assert all(torch.equal(state[name], earlier[name]) for name in names)
    assert own and all(torch.equal(state[name], v) for name, v in own.items())


def lacking(state: State) -> None:
    del state["stem.bias"]


def foreign(state: State) -> None:
    state["encoder.weight"] = torch.zeros(2)


def of_a_run(state: State) -> None:
    for name in list(state):
        state[f"tower.{name}"] = state.pop(name)


def narrow(state: State) -> None:
    state["height"] = state["height"][:, :3].clone()


def halved(state: State) -> None:
    state["stem.weight"] = state["stem.weight"].half()


def diverged(state: State) -> None:
    state["norm.running_var"][2] = float("nan")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lacking, "it lacks stem.bias (1 such names; 40 are expected)"),
        (foreign, "it holds encoder.weight (1 such names; 40 are expected)"),
        (of_a_run, "it lacks blocks.0.convolve1.weight (40 such names; 40 are expected)"),
        (narrow, "height is float32 of 4 x 3 x 1, expected float32 of 4 x 4 x 1"),
        (halved, "stem.weight is float16 of 4 x 1 x 4 x 8, expected float32 of 4 x 1 x 4 x 8"),
        (diverged, "norm.running_var is not finite everywhere"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line_and_change_nothing(
    weights: Path, spoil: Callable[[State], None], told: str
) -> None:
    state = body_of(tower_of(1))
    spoil(state)
    save_file(state, weights)

    assert told in refused(weights)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle, for all we know"])
def test_a_file_that_is_not_safetensors_is_refused_in_one_line(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "tower.safetensors"
    path.write_bytes(content)

    assert "cannot be read" in refused(path)


@pytest.mark.parametrize("name", ["missing.safetensors", "."])
def test_a_missing_file_and_a_folder_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    assert "there is no such file" in refused(tmp_path / name)


def refused(path: Path) -> str:
    """What a tower says to the file, having seen that it is unchanged."""
    tower = tower_of(2)
    before = {name: v.clone() for name, v in tower.state_dict().items()}
    with pytest.raises(TrainingError) as found:
        start_from(tower, path)
    assert all(torch.equal(v, before[name]) for name, v in tower.state_dict().items())
    message = str(found.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message
