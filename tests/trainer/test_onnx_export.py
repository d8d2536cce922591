"""ONNX graphs: the numbers of torch, small weights, and no neighbour's influence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from soundsearch.audio.features import compute_features
from tests.sounds import noise, tone
from tests.trainer.made_mobilenet import with_statistics_of
from trainer import onnx_export
from trainer.front_ends import EFFICIENTAT
from trainer.onnx_export import (
    ExportError,
    quantise,
    row_by_row,
    run_onnx,
    save_onnx,
    to_float16,
    to_onnx,
)
from trainer.towers.compact import AudioTower, AudioTowerConfig
from trainer.towers.mobilenet import LOGITS_MEAN, Head, MobileNetConfig, MobileNetTower

AXES = {"features": {0: "n"}}


class Perceptron(nn.Module):
    """Matrices and little else, of sizes that are worth storing small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(96, 64), nn.Linear(64 * 8, 12)

    def forward(self, features: Tensor) -> Tensor:
        hidden = torch.relu(self.first(features.transpose(1, 2)))
        vectors: Tensor = self.second(hidden.flatten(1))
        return vectors


@pytest.fixture(scope="module")
def features() -> Tensor:
    """Rows of very different size, (4, 96, 8)."""
    sizes = torch.tensor([0.01, 1.0, 7.0, 100.0])[:, None, None]
    return sizes * torch.randn(4, 96, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def graph(features: Tensor) -> bytes:
    return to_onnx(Perceptron(), {"features": features}, AXES).SerializeToString()


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_a_graph_says_nothing_of_the_machine_that_made_it(graph: bytes) -> None:
    assert str(Path(__file__).parents[2]).encode() not in graph
    assert b"stack_trace" not in graph


def test_large_weights_are_stored_in_half_and_keep_their_name() -> None:
    big = np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)
    small = np.ones(100, np.float32)
    huge = np.full((100, 100), 1e6, np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "big"], ["y"]),
            onnx.helper.make_node("MatMul", ["y", "huge"], ["w"]),
            onnx.helper.make_node("Add", ["w", "small"], ["z"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 100])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 100])],
        [
            onnx.numpy_helper.from_array(big, "big"),
            onnx.numpy_helper.from_array(huge, "huge"),
            onnx.numpy_helper.from_array(small, "small"),
        ],
    )
    found = to_float16(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    )
    onnx.checker.check_model(found, full_check=True)
    assert {t.name: t.data_type for t in found.graph.initializer} == {
        "big_half": onnx.TensorProto.FLOAT16,
        "huge": onnx.TensorProto.FLOAT,  # beyond what float16 can hold
        "small": onnx.TensorProto.FLOAT,
    }
    assert [node.op_type for node in found.graph.node] == ["Cast", "MatMul", "MatMul", "Add"]


def test_a_module_gives_its_numbers_from_onnx_for_any_batch(
    features: Tensor, tmp_path: Path
) -> None:
    module, path = Perceptron(), tmp_path / "model.onnx"
    inputs = {"features": features}
    difference = save_onnx(to_onnx(module, inputs, AXES), module, inputs, path)
    assert 0 < difference < 2e-3  # float16 was here
    with torch.no_grad():
        for batch in (features[:1], features[[2, 0, 1, 1, 3]]):
            wanted = module(batch).numpy()
            apart = np.abs(run_onnx(path, {"features": batch}) - wanted).max(axis=1)
            assert (apart / np.linalg.norm(wanted, axis=1)).max() < 2e-3


def test_a_tower_that_onnxruntime_answers_differently_is_refused(
    features: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", 1e-9)
    module, inputs = Perceptron(), {"features": features}
    graph = to_onnx(module, inputs, AXES)
    with pytest.raises(ExportError, match=r"model\.onnx: onnxruntime differs from torch by"):
        save_onnx(graph, module, inputs, tmp_path / "model.onnx")


def test_int8_is_smaller_and_near_and_no_row_depends_on_its_neighbours(
    graph: bytes, features: Tensor, tmp_path: Path
) -> None:
    model = onnx.ModelProto.FromString(graph)
    exact, together, alone = (tmp_path / name for name in ("exact", "together", "alone"))
    exact.write_bytes(graph)
    quantised = quantise(model)
    together.write_bytes(quantised.SerializeToString())
    alone.write_bytes(row_by_row(to_float16(quantised)).SerializeToString())
    onnx.checker.check_model(onnx.load(alone))
    wanted = run_onnx(exact, {"features": features})
    found = run_onnx(alone, {"features": features})
    assert cosines(found, wanted).min() > 0.999
    one_at_a_time = np.concatenate([run_onnx(alone, {"features": row[None]}) for row in features])
    np.testing.assert_array_equal(found, one_at_a_time)
    assert alone.stat().st_size < 0.5 * exact.stat().st_size
    # what `row_by_row` is for: the quietest row is drowned by the scale of the loudest
    assert cosines(run_onnx(together, {"features": features}), wanted).min() < 0.9


def test_int8_is_refused_where_it_would_save_little() -> None:
    tower = AudioTower(AudioTowerConfig(widths=(8, 16), depths=(1, 1), pooled=8, dim=6), 16, 0, 1)
    graph = to_onnx(onnx_export.fold_batch_norms(tower), {"features": torch.randn(2, 16, 48)}, AXES)
    with pytest.raises(ExportError, match=r"--int8 would save \d+% of the audio tower only"):
        quantise(graph)


def of_made_sounds(n: int = 6) -> Tensor:
    """Features of tones in noise, of clicks and of silence, as the published tower takes them."""
    rate = 32000
    waveforms = [tone(200.0 * 1.6**i, 3.0, rate) + noise(3.0, rate, i) for i in range(n - 2)]
    clicks = np.zeros(3 * rate, np.float32)
    clicks[:: rate // 4] = 0.7
    waveforms += [clicks, np.zeros(3 * rate, np.float32)]
    features = [compute_features(waveform, rate, EFFICIENTAT.features) for waveform in waveforms]
    return torch.from_numpy(np.stack(features))


def exported_mobilenet(tower: MobileNetTower, path: Path) -> None:
    features = {"features": of_made_sounds()}
    tower = with_statistics_of(tower, features["features"])
    with torch.no_grad():
        wanted = tower(features["features"]).numpy()
    assert cosines(wanted[:1], wanted[1:]).max() < 0.95  # so that differences can show
    folded = onnx_export.fold_batch_norms(tower)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in tower.modules())
    save_onnx(to_onnx(folded, features, AXES), folded, features, path)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(path).graph.node}
    found, mean = run_onnx(path, features), wanted.mean(axis=0)
    assert cosines(found, wanted).min() > 0.9999
    assert cosines(found - mean, wanted - mean).min() > 0.9999
    assert path.stat().st_size < 0.6 * 4 * sum(p.numel() for p in tower.parameters())


def test_a_mobilenet_is_exported_without_its_norms_and_in_half_precision(tmp_path: Path) -> None:
    """Of five layers, which hold all that the others are made of."""
    torch.manual_seed(0)
    config = MobileNetConfig(dim=384)
    tower = MobileNetTower(config)
    tower.features, tower.head = tower.features[:5], Head(16, config)
    exported_mobilenet(tower, tmp_path / "audio.onnx")


@pytest.mark.slow
def test_a_whole_mobilenet_with_logits_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = MobileNetTower(MobileNetConfig(dim=384, logits=True))
    assert tower.classifier is not None
    nn.init.constant_(tower.classifier[-1].bias, LOGITS_MEAN)  # as in a trained one
    exported_mobilenet(tower, tmp_path / "audio.onnx")
