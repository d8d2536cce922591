"""An encoder whose answers a person can predict, as a real bundle with real ONNX files.

Eight words name eight mel bands from low to high; the embedding of a tone points at the word of
its band. So "hiss" finds high tones and "rumble" low ones, through every real part of the program.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import EncoderBundle, TextConfig
from soundsearch.files import sha256_of
from tests import sounds

WORDS = ("rumble", "hum", "drone", "note", "beep", "whine", "squeak", "hiss")
#: Middle of each word's band, in Hz, at the encoder's 8000 Hz.
BAND_HZ = (187.0, 392.0, 646.0, 957.0, 1342.0, 1815.0, 2398.0, 3116.0)


def write_tiny_bundle(
    folder: Path, *, name: str = "tiny", shift: int = 0, dim: int = len(WORDS), window_s: int = 1
) -> EncoderBundle:
    """Make the bundle. Another shift gives another encoder: each word means another band.

    dim: numbers in an embedding, 8 or more; those after the eighth are 0 for sounds.
    """
    folder.mkdir(parents=True)
    n_bands, n_frames = len(WORDS), 100 * window_s - 2
    audio = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["features", "frames"], ["level"], keepdims=0),
            helper.make_node("Softmax", ["level"], ["bands"], axis=1),
            helper.make_node("MatMul", ["bands", "places"], ["embeddings"]),
        ],
        "audio",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", n_bands, n_frames])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])],
        [
            helper.make_tensor("frames", TensorProto.INT64, [1], [2]),
            helper.make_tensor(
                "places", TensorProto.FLOAT, (n_bands, dim), np.eye(n_bands, dim).ravel()
            ),
        ],
    )
    _save(audio, folder / "audio.onnx")
    table = np.full((n_bands + 2, dim), 0.01, np.float32)
    for i in range(n_bands):
        table[i + 2, (i + shift) % n_bands] = 1.0
    text = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["words", "column"], ["heard"]),
            helper.make_node("ReduceSum", ["heard", "tokens"], ["embeddings"], keepdims=0),
        ],
        "text",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"]),
        ],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])],
        [
            helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.ravel()),
            helper.make_tensor("last", TensorProto.INT64, [1], [2]),
            helper.make_tensor("tokens", TensorProto.INT64, [1], [1]),
        ],
    )
    _save(text, folder / "text.onnx")
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {word: i + 2 for i, word in enumerate(WORDS)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    bundle = EncoderBundle(
        folder=folder,
        name=name,
        version="1",
        description="eight words for eight bands",
        dim=dim,
        audio=AudioConfig(sample_rate=8000, window_s=float(window_s), hop_s=window_s / 2),
        features=KaldiFbank(n_mels=n_bands, n_frames=n_frames, f_min=20.0),
        text=TextConfig(max_tokens=16),
        licence="Apache-2.0",
        provenance="made by the tests",
        results={},
        files={
            file: sha256_of(folder / file) for file in ("audio.onnx", "text.onnx", "tokenizer.json")
        },
    )
    bundle.write()
    return bundle


def write_words(folder: Path) -> Path:
    """Write a recording that sounds like each word, and a text that is called a recording."""
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        sounds.write(folder / f"{word}.wav", sounds.tone(hz, 1.5))
    (folder / "text.wav").write_text("no sound")
    return folder


def _save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
