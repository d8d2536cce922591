"""Towers to ONNX, and both to an encoder bundle.

Large weights are stored small and widened when the model loads: float16 for matrices and
kernels, int8 with one scale a row for the token table. All arithmetic stays float32, so that an
embedding never depends on what else is in its batch.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tokenizers
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from soundsearch.audio import AudioConfig
from soundsearch.bundle import (
    AUDIO_TOWER,
    TEXT_TOWER,
    TOKENIZER,
    EncoderBundle,
    TextConfig,
    sha256_of,
)
from soundsearch.errors import SoundsearchError
from soundsearch.features import FeatureConfig
from trainer.towers.bert import TextTower
from trainer.towers.compact import AudioTower, ResidualBlock
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]

OPSET = 18
#: Initialisers of fewer elements stay float32: biases, norms and scales decide much, weigh little.
SMALLEST_HALVED = 4096
#: Largest difference between torch and onnxruntime in one number of a unit embedding: what storing
#: weights in float16 may cost.
TOLERANCE = 5e-3


class ExportedAudio(nn.Module):
    """The audio tower with batch normalisation folded in and a unit embedding at its end."""

    def __init__(self, tower: AudioTower) -> None:
        super().__init__()
        self.tower = fold(tower)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) -> (n, dim)."""
        return embed_unit(self.tower(features))


class ExportedText(nn.Module):
    """The text tower, its token table in int8, with the head and a unit embedding at its end."""

    table: Tensor
    scales: Tensor

    def __init__(self, tower: TextTower, head: nn.Module) -> None:
        super().__init__()
        table = tower.tokens.weight.detach()
        scales = table.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127.0
        self.register_buffer("table", (table / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)
        self.tower, self.head = tower, head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, n_tokens) int64 twice -> (n, dim)."""
        n, n_tokens = input_ids.shape
        flat = input_ids.reshape(-1)
        rows = self.table.index_select(0, flat).float() * self.scales.index_select(0, flat)
        looked_up = rows.reshape(n, n_tokens, -1)
        return embed_unit(self.head(embed_unit(self.tower.after_lookup(looked_up, attention_mask))))


def fold(tower: AudioTower) -> AudioTower:
    """A copy of the tower, in eval mode, whose batch normalisations are part of the convolutions."""
    folded = copy.deepcopy(tower).eval()
    folded.stem, folded.norm = _fuse(folded.stem, folded.norm), nn.Identity()
    for block in folded.blocks:
        assert isinstance(block, ResidualBlock)
        block.convolve1 = _fuse(block.convolve1, block.norm1)
        block.convolve2 = _fuse(block.convolve2, block.norm2)
        block.norm1, block.norm2 = nn.Identity(), nn.Identity()
        if isinstance(block.shortcut, nn.Sequential):
            block.shortcut = _fuse(block.shortcut[0], block.shortcut[1])
    return folded


def _fuse(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)


def export_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
) -> float:
    """Write a module as ONNX and return the largest difference to torch on these inputs.

    inputs: name -> example of at least two rows. dynamic: name -> axis -> name of the axis.
    Raises SoundsearchError if onnxruntime's answer differs by more than TOLERANCE.
    """
    module.eval()
    shapes = tuple(
        dict.fromkeys(dynamic[name], torch.export.Dim.DYNAMIC) if name in dynamic else {}
        for name in inputs
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["embeddings"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        wanted = module(*inputs.values()).numpy()
    assert program is not None
    model = halve(program.model_proto)
    for value in (*model.graph.input, *model.graph.output):
        axes = dynamic.get(value.name, {0: "n"})
        for axis, name in axes.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    difference = float(np.abs(run_onnx(path, inputs) - wanted).max())
    if not difference <= TOLERANCE:
        raise SoundsearchError(
            f"{path}: onnxruntime differs from torch by {difference:.2g}, at most {TOLERANCE} is expected"
        )
    return difference


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large float32 initialisers stored as float16, each with a Cast back to its old name."""
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < SMALLEST_HALVED:
            kept.append(tensor)
            continue
        half = f"{tensor.name}_half"
        kept.append(onnx.numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(
            onnx.helper.make_node(
                "Cast", [half], [tensor.name], to=onnx.TensorProto.FLOAT, name=f"widen_{half}"
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:]
    del model.graph.node[:]
    del model.graph.value_info[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return model


def run_onnx(path: Path, inputs: Mapping[str, Tensor]) -> Array:
    """Output `embeddings` of an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embeddings"], {name: value.numpy() for name, value in inputs.items()})
    embeddings: Array = found
    return embeddings


def export_bundle(
    folder: Path,
    audio_tower: AudioTower,
    text_tower: TextTower,
    head: nn.Module,
    tokenizer: tokenizers.Tokenizer,
    *,
    audio: AudioConfig,
    features: FeatureConfig,
    text: TextConfig,
    example: Array,
    facts: Mapping[str, Any],
) -> EncoderBundle:
    """Write towers, tokenizer and bundle.json into `folder`.

    example: a few real windows' features (n, n_mels, n_frames), on which torch and onnxruntime
    must agree. facts: name, version, description, licence, provenance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx(
        ExportedAudio(audio_tower),
        {"features": torch.from_numpy(example)},
        {"features": {0: "n"}},
        folder / AUDIO_TOWER,
    )
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    encodings = [tokenizer.encode(t) for t in ("a dog barking in the rain", "thunder")]
    ids = torch.zeros(2, max(len(e.ids) for e in encodings), dtype=torch.int64)
    for row, encoding in zip(ids, encodings, strict=True):
        row[: len(encoding.ids)] = torch.tensor(encoding.ids)
    export_onnx(
        ExportedText(text_tower, head),
        {"input_ids": ids, "attention_mask": (ids > 0).long()},
        {name: {0: "n", 1: "n_tokens"} for name in ("input_ids", "attention_mask")},
        folder / TEXT_TOWER,
    )
    bundle = EncoderBundle(
        folder=folder,
        dim=audio_tower.config.dim,
        audio=audio,
        features=features,
        text=text,
        results={},
        files=file_hashes(folder, (AUDIO_TOWER, TEXT_TOWER, TOKENIZER)),
        **facts,
    )
    bundle.write()
    return bundle


def file_hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of files of a bundle, by name."""
    return {name: sha256_of(folder / name) for name in names}
