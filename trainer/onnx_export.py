"""Towers to ONNX graphs: exported, stored small, multiplied in int8, run.

Large weights are stored in float16 and widened when the model loads; arithmetic stays float32, so
that an embedding never depends on what else is in its batch. With int8 matrices are multiplied in
whole numbers, by scales taken from each row of a batch alone, for the same reason.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.errors import SoundsearchError
from trainer.towers.compact import AudioTower, ResidualBlock

Array = NDArray[np.float32]

OPSET = 18
#: Initialisers of fewer elements stay float32: biases, norms and scales decide much, weigh little.
SMALLEST_HALVED = 4096
#: Largest difference between torch and onnxruntime in one number of an embedding, as a share of its
#: length: what storing weights in float16 may cost.
TOLERANCE = 5e-3
#: Share of a tower's weights that int8 must save, or it is not worth what it costs.
LEAST_SAVED = 0.1


class ExportError(SoundsearchError):
    """An encoder that cannot be written, or not there."""


def fold_batch_norms(tower: nn.Module) -> nn.Module:
    """A copy of the tower, in eval mode, any batch normalisation made part of its convolutions."""
    folded = copy.deepcopy(tower).eval()
    if not isinstance(folded, AudioTower):
        return folded
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
    Raises ExportError as `save_onnx` does.
    """
    return save_onnx(to_onnx(module, inputs, dynamic), module, inputs, path)


def save_onnx(
    model: onnx.ModelProto, module: nn.Module, inputs: Mapping[str, Tensor], path: Path
) -> float:
    """Write a module's graph, large weights halved; return the largest difference to torch.

    The difference is that of one number, as a share of its vector's length. Raises ExportError if
    it is more than TOLERANCE.
    """
    to_float16(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    with torch.no_grad():
        wanted = module(*inputs.values()).numpy()
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    apart = np.abs(run_onnx(path, inputs) - wanted) / np.maximum(lengths, np.float32(1e-12))
    difference = float(apart.max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path}: onnxruntime differs from torch by {difference:.2g}, at most {TOLERANCE} is expected"
        )
    return difference


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, Mapping[int, str]],
) -> onnx.ModelProto:
    """A module as an ONNX graph in float32, its output called `embeddings`; see `export_onnx`."""
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
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        axes = dynamic.get(value.name, {0: "n"})
        for axis, name in axes.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    return model


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 initialisers as float16, each with a Cast back to its old name.

    Changes the model and returns it. Those with a number too large for float16 stay as they are.
    """
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if (
            tensor.data_type != onnx.TensorProto.FLOAT
            or values.size < SMALLEST_HALVED
            or np.abs(values).max() > np.finfo(np.float16).max
        ):
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


def quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Matrices as int8 with one scale a column; what they are multiplied with is rounded on the way.

    Unsigned on both sides, which no processor saturates. Raises ExportError for a tower whose
    weights are mostly no matrices.
    """
    load_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    before = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    add_pre_process_metadata(model)  # the exporter has inferred all shapes already
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
        quantised = onnx.load(path)
    after = sum(len(tensor.raw_data) for tensor in quantised.graph.initializer)
    if after > (1 - LEAST_SAVED) * before:
        raise ExportError(
            f"--int8 would save {1 - after / before:.0%} of the audio tower only, its weights are "
            "mostly no matrices; leave it out"
        )
    return quantised


def row_by_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, each row of its one input worked on alone.

    Scales of int8 are taken from all that is multiplied at once; like this a window's neighbours
    have no part in them.
    """
    graph = model.graph
    (given,), (found,) = graph.input, graph.output
    inside = {given.name: "one_given", found.name: "one_found"}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    helper = onnx.helper
    first = onnx.numpy_helper.from_array(np.array([0], np.int64), "first_axis")
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["row", "first_axis"], ["one_given"]),
            *graph.node,
            helper.make_node("Squeeze", ["one_found", "first_axis"], ["row_found"]),
        ],
        "one_row",
        [_row_of(given, "row")],
        [_row_of(found, "row_found")],
        [first, *graph.initializer],
    )
    scan = helper.make_node("Scan", [given.name], [found.name], body=body, num_scan_inputs=1)
    outer = helper.make_graph([scan], graph.name, [given], [found])
    opsets = list(model.opset_import)
    return helper.make_model(outer, opset_imports=opsets, ir_version=model.ir_version)


def _row_of(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]]
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def run_onnx(path: Path, inputs: Mapping[str, Tensor]) -> Array:
    """Output `embeddings` of an ONNX file on the CPU."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embeddings"], {name: value.numpy() for name, value in inputs.items()})
    embeddings: Array = found
    return embeddings
