"""Exported towers: the numbers of torch, small weights, and no neighbour's influence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from soundsearch.audio.windows import Window
from soundsearch.encoder.bundle import AUDIO_TOWER, TEXT_TOWER, EncoderBundle
from soundsearch.encoder.towers import Encoder
from tests.sounds import noise, tone
from trainer.starter.align import Aligner
from trainer.starter.config import StarterConfig
from trainer.starter.distil import read_tokenizer
from trainer.starter.embedder import Embedder
from trainer.starter.export import export_bundle
from trainer.starter.tag_space import TagSpace
from trainer.towers.bert import read_bert
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

TEXTS = ["hiss", "the sound of a low tone and a whistle", "Rumble!"]


class Towers:
    """A tiny pair with the statistics of a trained one, and the bundle made of it."""

    def __init__(self, folder: Path, teacher: Path, config: StarterConfig) -> None:
        torch.manual_seed(0)
        self.audio = AudioTower(config.tower, config.features.n_mels, -6.0, 4.0)
        for module in self.audio.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0.0, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        self.audio.eval()
        self.text = read_bert(
            teacher, layers=(0,), rank=4, max_tokens=config.text.max_tokens
        ).eval()
        head = nn.Linear(16, config.tower.dim, bias=False)
        aligner = Aligner(self.audio, head, 5, config.captions)
        names, captions = embed_unit(torch.randn(5, 2, 16)), embed_unit(torch.randn(3, 16))
        tags = TagSpace(torch.randn(30, 5), names, captions, config.tags)
        self.embedder = Embedder(aligner, tags).eval()
        self.tokenizer = read_tokenizer(teacher, config.text.max_tokens)
        self.features = dataclasses.replace(config.features, mean=-6.0, std=4.0)
        self.bundle = export_bundle(
            folder,
            self.embedder,
            self.text,
            self.tokenizer,
            audio=config.audio,
            features=self.features,
            text=config.text,
            example=np.random.default_rng(0).standard_normal((3, 16, 48)).astype(np.float32),
            facts={
                "name": "tiny",
                "version": "1",
                "description": "",
                "licence": "",
                "provenance": "",
            },
        )


@pytest.fixture(scope="module")
def towers(
    tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path, tiny_config: StarterConfig
) -> Towers:
    return Towers(tmp_path_factory.mktemp("exported"), tiny_teacher, tiny_config)


def test_the_bundle_reads_back_and_embeds_as_torch_does(towers: Towers) -> None:
    encoder = Encoder(EncoderBundle.read(towers.bundle.folder), n_threads=1)
    windows = [Window(0.0, 0.5, tone(300, 0.5)), Window(0.0, 0.5, noise(0.5))]
    features = encoder.features_of(windows, 8000)
    with torch.no_grad():
        audio = towers.embedder.embed_audio(torch.from_numpy(features)).numpy()
        text = []
        for words in TEXTS:
            ids = torch.tensor([towers.tokenizer.encode(words).ids])
            vector = embed_unit(towers.text(ids, torch.ones_like(ids)))
            text.append(towers.embedder.embed_text(vector).numpy()[0])
    np.testing.assert_allclose(encoder.embed_features(features), audio, atol=2e-3)
    # int8 tokens of 4 numbers: coarser than in earnest, where there are 160
    np.testing.assert_allclose(encoder.embed_text(TEXTS), np.stack(text), atol=2e-2)


def test_an_embedding_does_not_depend_on_what_is_in_its_batch(towers: Towers) -> None:
    encoder = Encoder(towers.bundle, n_threads=1)
    features = np.random.default_rng(1).standard_normal((7, 16, 48)).astype(np.float32)
    alone = np.concatenate([encoder.embed_features(row[None]) for row in features])
    np.testing.assert_allclose(encoder.embed_features(features), alone, atol=1e-5)
    one_by_one = np.concatenate([encoder.embed_text([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.embed_text(TEXTS), one_by_one, atol=1e-5)


def test_inputs_and_outputs_are_what_the_core_expects(towers: Towers) -> None:
    audio = onnx.load(towers.bundle.folder / AUDIO_TOWER).graph
    text = onnx.load(towers.bundle.folder / TEXT_TOWER).graph
    assert [value.name for value in audio.input] == ["features"]
    assert [value.name for value in text.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in (*audio.output, *text.output)] == ["embeddings", "embeddings"]
    kinds = {
        tensor.data_type
        for tensor in text.initializer
        if np.prod(tensor.dims) >= 200 and tensor.dims[-1] == 4
    }
    assert kinds == {onnx.TensorProto.INT8}
    assert not {node.op_type for node in audio.node} & {
        "BatchNormalization",
        "DynamicQuantizeLinear",
    }
