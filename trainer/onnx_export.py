"""ONNX export: towers to ONNX files with small weights, and running them.

Large weights are stored in float16 and cast to float32 when the model loads; arithmetic is float32,
so that an embedding does not depend on the other rows of its batch. For the same reason the scales
of int8 matrix products are taken from each row of a batch alone.
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
#: Initialisers of fewer elements stay float32: biases, norms and scales are sensitive and small.
SMALLEST_HALVED = 4096
#: Largest difference between torch and onnxruntime in one number of a vector, relative to the norm
#: of the vector: the error of float16 weights stays below.
TOLERANCE = 5e-3
#: Share of a tower's weights that int8 must save; otherwise it is refused.
LEAST_SAVED = 0.1


class ExportError(SoundsearchError):
    """An encoder cannot be written, or not to this place."""


def fold_batch_norms(tower: nn.Module) -> nn.Module:
    """Return a copy of the tower in eval mode, with batch normalisation folded into convolutions."""
    folded = copy.deepcopy(tower).eval()
    for module in list(folded.modules()):
        if isinstance(module, AudioTower):
            module.stem, module.norm = _fuse(module.stem, module.norm), nn.Identity()
        elif isinstance(module, ResidualBlock):
            module.convolve1 = _fuse(module.convolve1, module.norm1)
            module.convolve2 = _fuse(module.convolve2, module.norm2)
            module.norm1, module.norm2 = nn.Identity(), nn.Identity()
        elif isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], nn.Conv2d) and isinstance(module[i + 1], nn.BatchNorm2d):
                    module[i], module[i + 1] = _fuse(module[i], module[i + 1]), nn.Identity()
    return folded


def _fuse(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)


def save_onnx(
    model: onnx.ModelProto, module: nn.Module, inputs: Mapping[str, Tensor], path: Path
) -> float:
    """Write a module's graph with large weights in float16.

    Returns the largest difference to torch in one number of a vector, relative to the norm of the
    vector. Raises ExportError if it is more than TOLERANCE.
    """
    to_float16(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    with torch.no_grad():
        expected = module(*inputs.values()).numpy()
    norms = np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), np.float32(1e-12))
    difference = float((np.abs(run_onnx(path, inputs) - expected) / norms).max())
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
    """Return a module as a float32 ONNX graph with the output `embeddings`.

    Args:
        module: The module, which is set to eval mode.
        inputs: Name -> example input of two or more rows.
        dynamic: Name -> axis -> name of the axis, for axes of variable length.
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
    assert program is not None
    model: onnx.ModelProto = _without_traces(program.model_proto)
    for value in (*model.graph.input, *model.graph.output):
        axes = dynamic.get(value.name, {0: "n"})
        for axis, name in axes.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    return model


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what the exporter says of the code and the machine, and return the model."""
    graph = model.graph
    named = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    nodes = (node for function in model.functions for node in function.node)
    for part in (model, graph, *named, *model.functions, *nodes):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 initialisers as float16, each with a Cast back to its old name.

    Changes the model and returns it. Initialisers with a number too large for float16 stay.
    """
    initialisers, casts = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if (
            tensor.data_type != onnx.TensorProto.FLOAT
            or values.size < SMALLEST_HALVED
            or np.abs(values).max() > np.finfo(np.float16).max
        ):
            initialisers.append(tensor)
            continue
        half = f"{tensor.name}_half"
        initialisers.append(onnx.numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(
            onnx.helper.make_node(
                "Cast", [half], [tensor.name], to=onnx.TensorProto.FLOAT, name=f"widen_{half}"
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:]
    del model.graph.node[:]
    del model.graph.value_info[:]
    model.graph.initializer.extend(initialisers)
    model.graph.node.extend(nodes)
    return model


def quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with int8 matrices, one scale a column, and dynamic int8 activations.

    Both are unsigned, since products of signed numbers saturate on some processors. Raises
    ExportError for a tower whose weights are mostly not matrices.
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
            "mostly not matrices; export without it"
        )
    return quantised


def row_by_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model, which processes each row of its one input alone.

    Dynamic int8 takes its scales from a whole batch; so the other windows of a batch do not change
    them.
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
    """Run an ONNX file on the CPU and return its output `embeddings`, (n, dim) float32."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embeddings"], {name: value.numpy() for name, value in inputs.items()})
    embeddings: Array = found
    return embeddings
