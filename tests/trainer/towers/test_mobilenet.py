"""The MobileNetV3 tower: its parts, what of it learns, and the weights that it begins from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from soundsearch.encoder.runtime import load_onnxruntime
from tests.conftest import DATA
from tests.trainer.made_mobilenet import published_like, with_statistics
from trainer.towers.mobilenet import (
    LOGITS_MEAN,
    LOGITS_STD,
    MobileNetConfig,
    MobileNetTower,
    begin_from_published,
)
from trainer.towers.vit import TowerError

SMALL = {"width": 0.1, "hidden": 8, "dim": 6}


def tower_of(**changes: object) -> MobileNetTower:
    torch.manual_seed(0)
    return MobileNetTower(MobileNetConfig(**{**SMALL, **changes}))  # type: ignore[arg-type]


@pytest.fixture
def features() -> Tensor:
    return torch.randn(3, 32, 45, generator=torch.Generator().manual_seed(0))


def test_it_gives_one_vector_a_window_whatever_the_others_are(features: Tensor) -> None:
    tower = with_statistics(tower_of()).eval()
    found = tower(features)
    assert found.shape == (3, 6)
    torch.testing.assert_close(tower(features[1:2]), found[1:2])
    assert tower(features[:, :, :30]).shape == (3, 6)  # of any length


def test_the_head_has_a_shortcut_past_its_hidden_layer(features: Tensor) -> None:
    tower = tower_of().eval()
    pooled = tower.pool(features)
    torch.nn.init.zeros_(tower.head.hidden[-1].weight)
    torch.nn.init.zeros_(tower.head.hidden[-1].bias)
    torch.testing.assert_close(tower(features), tower.head.shortcut(pooled))


def test_maps_before_the_last_enter_the_head(features: Tensor) -> None:
    tower = with_statistics(tower_of(levels=2)).eval()
    pooled = tower.pool(features)
    maps = [tower.features[: 1 + n](features[:, None]) for n in (14, 15)]
    wanted = [tower.features[16](maps[1]).mean(dim=(2, 3))]
    for entering in maps:
        wanted += [entering.mean(dim=(2, 3)), entering.std(dim=(2, 3))]
    torch.testing.assert_close(pooled, torch.cat(wanted, dim=1))
    with_logits = with_statistics(tower_of(levels=2, logits=True)).eval()
    plain = with_statistics(tower_of(logits=True)).eval()
    plain.classifier.load_state_dict(with_logits.classifier.state_dict())
    plain.features.load_state_dict(with_logits.features.state_dict())
    torch.testing.assert_close(
        with_logits.classify(with_logits.pool(features)), plain.classify(plain.pool(features))
    )


def step(tower: MobileNetTower, features: Tensor) -> dict[str, Tensor]:
    """Train a step, and return the state before it."""
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    tower.train()
    learning = [p for p in tower.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=0.1)
    tower(features).square().sum().backward()
    optimiser.step()
    return before


@pytest.mark.parametrize("fixed", [0, 6])
@pytest.mark.parametrize("hold", [False, True])
def test_what_is_fixed_or_held_stays(features: Tensor, fixed: int, hold: bool) -> None:
    tower = tower_of(fixed_blocks=fixed, hold_statistics=hold)
    before = step(tower, features)
    changed = {name for name, value in tower.state_dict().items() if (before[name] != value).any()}
    blocks = {int(name.split(".")[1]) for name in changed if name.startswith("features.")}
    assert blocks == set(range(7 if fixed else 0, 17))
    assert {name for name, _ in tower.named_parameters() if name.startswith("head.")} <= changed
    statistics = {name for name in changed if "running" in name}
    assert bool(statistics) is not hold


def test_logits_enter_the_head_and_their_classifier_stays(features: Tensor) -> None:
    tower = with_statistics(tower_of(logits=True))
    assert tower.classifier is not None
    pooled = tower.eval().pool(features)
    seen = torch.cat((pooled, (tower.classifier(pooled) - LOGITS_MEAN) / LOGITS_STD), dim=1)
    torch.testing.assert_close(tower(features), tower.head(seen))
    before = step(tower, features)
    for name, value in tower.state_dict().items():
        if name.startswith("classifier."):
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    tower.train()
    assert not any(m.training for m in tower.classifier)


def test_rates_fall_with_depth() -> None:
    tower = tower_of(body_rate=0.5, rate_decay=0.8)
    rates = tower.rates()
    for name, _ in tower.named_parameters():
        found = [rate for beginning, rate in rates.items() if name.startswith(beginning)]
        depth = 16 - int(name.split(".")[1]) if name.startswith("features.") else None
        assert found == ([] if depth is None else [pytest.approx(0.5 * 0.8**depth)])


def test_published_weights_are_loaded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    path = published_like(tmp_path / "published.safetensors", monkeypatch)
    tower = MobileNetTower(MobileNetConfig(logits=True))
    head = {name: value.clone() for name, value in tower.head.state_dict().items()}
    begin_from_published(tower, path)
    found, wanted = tower.state_dict(), load_file(path)
    assert {name for name in found if not name.startswith("head.")} == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name].flatten(), value.flatten(), msg=name)
    for name, value in head.items():
        torch.testing.assert_close(tower.head.state_dict()[name], value)
    plain = MobileNetTower(MobileNetConfig())
    begin_from_published(plain, path)
    torch.testing.assert_close(plain.features.state_dict(), tower.features.state_dict())


def test_other_files_and_widths_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = published_like(tmp_path / "published.safetensors", monkeypatch)
    with pytest.raises(TowerError, match=r"published\.safetensors: .*width 0\.4.* 0\.1"):
        begin_from_published(tower_of(), path)
    path.write_bytes(b"something else")
    with pytest.raises(TowerError, match=r"SHA-256 is [0-9a-f]{12}\.\.\., .*begin from"):
        begin_from_published(MobileNetTower(MobileNetConfig()), path)
    with pytest.raises(TowerError, match=r"none\.safetensors: cannot be read"):
        begin_from_published(tower_of(), tmp_path / "none.safetensors")


@pytest.mark.data
def test_the_published_network_is_rebuilt() -> None:
    """Against the authors' network as an ONNX file."""
    tower = MobileNetTower(MobileNetConfig(logits=True)).eval()
    begin_from_published(tower, DATA / "teachers" / "mn04_as.safetensors")
    features = torch.randn(2, 128, 200, generator=torch.Generator().manual_seed(0))
    session = load_onnxruntime().InferenceSession(
        DATA / "teachers" / "mn04_as.onnx", providers=["CPUExecutionProvider"]
    )
    logits, pooled = session.run(["logits", "features"], {"logmel": features[:, None].numpy()})
    with torch.no_grad():
        found = tower.pool(features)
        assert tower.classifier is not None
        np.testing.assert_allclose(tower.classifier(found).numpy(), logits, atol=1e-4)
    np.testing.assert_allclose(found.numpy(), pooled, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0.0}, "width"),
        ({"hidden": 0}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"fixed_blocks": 16}, "from 0 to 15"),
        ({"body_rate": 0.0}, "body_rate"),
        ({"rate_decay": 1.1}, "rate_decay"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tower_of(**wrong)
