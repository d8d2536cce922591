"""A tiny sentence encoder to learn from, and graphs that are made once."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import pytest
import tokenizers
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer import bundle_export, onnx_export

WORDS = "low tone high hiss buzz of and a the sound whistle rumble"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Towers this small are quicker without threads that wait for each other."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 16 dimensions in the files of a published one."""
    folder = tmp_path_factory.mktemp("teacher")
    pieces = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    letters = list("abcdefghijklmnopqrstuvwxyz,.")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split(), *letters, *pieces]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]"
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(facts))
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return 0.5 * torch.randn(shape, generator=generator)

    weights = {
        "embeddings.word_embeddings.weight": normal(facts["vocab_size"], 16),
        "embeddings.position_embeddings.weight": normal(24, 16),
        "embeddings.token_type_embeddings.weight": normal(2, 16),
        "embeddings.LayerNorm.weight": 1 + normal(16),
        "embeddings.LayerNorm.bias": normal(16),
    }
    shapes = {
        "attention.self.query": (16, 16),
        "attention.self.key": (16, 16),
        "attention.self.value": (16, 16),
        "attention.output.dense": (16, 16),
        "intermediate.dense": (32, 16),
        "output.dense": (16, 32),
    }
    for i in range(2):
        for name, shape in shapes.items():
            weights[f"encoder.layer.{i}.{name}.weight"] = normal(*shape)
            weights[f"encoder.layer.{i}.{name}.bias"] = normal(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights[f"encoder.layer.{i}.{name}.weight"] = 1 + normal(16)
            weights[f"encoder.layer.{i}.{name}.bias"] = normal(16)
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _graphs_once() -> Iterator[None]:
    """The exporter takes seconds a tower: the graph of the same tower is made once.

    Export compares each graph with its tower, so one of another tower would fail there.
    """
    made: dict[str, onnx.ModelProto] = {}
    plain = onnx_export.to_onnx

    def to_onnx(
        module: nn.Module, inputs: Mapping[str, Tensor], dynamic: Mapping[str, Mapping[int, str]]
    ) -> onnx.ModelProto:
        tensors = {**module.state_dict(), **{f"input {name}": one for name, one in inputs.items()}}
        digest = hashlib.sha256(f"{module} {dict(dynamic)}".encode())
        for name, tensor in tensors.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().numpy().tobytes())
        key = digest.hexdigest()
        if key not in made:
            made[key] = plain(module, inputs, dynamic)
        return copy.deepcopy(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_export, "to_onnx", to_onnx)
        yield
