"""A data folder of made sounds, and a tiny sentence encoder to learn words from."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
import tokenizers
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import TextConfig
from tests.sounds import noise, tone, write
from trainer import bundle_export, onnx_export
from trainer.loop import LoopConfig
from trainer.starter.config import CaptionsConfig, StarterConfig
from trainer.starter.corpus import CorpusConfig
from trainer.starter.distil import DistilConfig
from trainer.starter.scenes import SceneConfig
from trainer.starter.tag_space import TagSpaceConfig
from trainer.towers.compact import AudioTowerConfig

RATE = 8000
WORDS = "low tone high hiss buzz of and a the sound whistle rumble"


class MadeTagger:
    """A teacher of two classes: how much of a sound lies below 500 Hz, and how much above."""

    names: ClassVar[list[str]] = ["Low tone, hum", "High tone"]
    sample_rate = 4000
    fingerprint = "made"

    def scores(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        power = np.abs(np.fft.rfft(waveform)) ** 2
        edge = round(500 / self.sample_rate * len(waveform))
        low = power[:edge].sum() / power.sum()
        return np.array([low, 1 - low], np.float32)


@pytest.fixture(scope="session")
def made_tagger() -> MadeTagger:
    return MadeTagger()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Towers this small are quicker without threads that wait for each other."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: eight sounds, four ESC-10-like ones, a few texts."""
    data = tmp_path_factory.mktemp("data")
    sounds = {
        "low tone": tone(110, 0.7, RATE),
        "high tone": tone(1900, 0.3, RATE),
        "hiss": noise(1.4, RATE),
        "rumble": np.cumsum(noise(0.6, RATE, seed=1)) / 20,
    }
    rows = []
    for caption, waveform in sounds.items():
        for split, gain in (("train", 1.0), ("valid", 0.6)):
            file = f"sounds/{caption} {split}.wav"
            write(data / file, (waveform * gain).astype(np.float32), RATE)
            tags = f"{caption.split()[-1]};no-standalone-redistribution"
            rows.append([file, caption, tags, "1.0", split, "made", "CC0", "nobody", "yes", "high"])
    columns = "file,caption,tags,seconds,split,source,licence,author,redistribution,caption_quality"
    _write_csv(data / "sounds.csv", columns, rows)
    rows = []
    for label, hz in (("low_tone", 130.0), ("high_tone", 1700.0)):
        for split in ("train", "valid"):
            file = f"esc10/{label} {split}.wav"
            write(data / file, tone(hz, 0.5, RATE), RATE)
            rows.append(
                [file, label, f"a {label.replace('_', ' ')}", "1", split, "", "nobody", "esc"]
            )
    _write_csv(data / "esc10.csv", "file,label,caption,fold,split,licence,author,source", rows)
    for name in ("audiocaps_train", "audiocaps_val"):
        texts = [
            ["1", "x", "0", f"a {word} and a tone"]
            for word in ("buzz", "hiss", "rumble", "whistle")
        ]
        _write_csv(
            data / "captions" / f"{name}.csv", "audiocap_id,youtube_id,start_time,caption", texts
        )
    ontology = [{"name": "Buzz", "description": "The sound of a buzz."}]
    (data / "captions" / "audioset_ontology.json").write_text(json.dumps(ontology))
    return data


def _write_csv(path: Path, columns: str, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split(","))
        writer.writerows(rows)


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


@pytest.fixture(scope="session")
def tiny_config() -> StarterConfig:
    """The recipe with every constant shrunk."""
    loop = LoopConfig(
        steps=4, warmup_steps=1, learning_rate=1e-2, log_every=1, save_every=2, precision="fp32"
    )
    return StarterConfig(
        name="tiny",
        audio=AudioConfig(sample_rate=RATE, window_s=0.5, hop_s=0.25),
        features=KaldiFbank(n_mels=16, n_frames=48, f_min=50.0),
        text=TextConfig(max_tokens=12, prompt="the sound of {}"),
        n_held_out=4,
        corpus=CorpusConfig(n_combinations=5),
        distil=DistilConfig(layers=(0,), rank=4, batch_size=8, loop=loop),
        tower=AudioTowerConfig(widths=(4, 8), depths=(1, 1), pooled=8, dim=6),
        tags=TagSpaceConfig(dim=2),
        scenes=SceneConfig(n_scenes=24, n_bent=8),
        captions=CaptionsConfig(batch_size=8, loop=loop),
    )


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
        patch.setattr(onnx_export, "to_onnx", to_onnx)
        patch.setattr(bundle_export, "to_onnx", to_onnx)
        yield
