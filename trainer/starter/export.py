"""The starter's two towers to an encoder bundle.

Its token table, which weighs most, is stored as int8 with one scale a row; the rest is stored as
`trainer/bundle_export.py` stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsearch.audio.features import FeatureConfig
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import AUDIO_TOWER, TEXT_TOWER, TOKENIZER, EncoderBundle, TextConfig
from trainer.bundle_export import file_hashes
from trainer.onnx_export import export_onnx, fold_batch_norms
from trainer.starter.embedder import Embedder
from trainer.towers.bert import TextTower
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]


class ExportedAudio(nn.Module):
    """`Embedder.embed_audio`, batch normalisation folded in, the probe and its directions in one."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.tower = fold_batch_norms(embedder.tower)
        directions = embedder.tags.directions
        self.tags = nn.Linear(embedder.probe.in_features, directions.shape[1])
        with torch.no_grad():
            self.tags.weight.copy_(directions.T @ embedder.probe.weight)
            self.tags.bias.copy_(directions.T @ embedder.probe.bias)
        self.join = embedder.tags.join

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) -> (n, dim)."""
        assert isinstance(self.tower, AudioTower)
        pooled = self.tower.pool(features)
        return self.join(embed_unit(self.tower.project(pooled)), embed_unit(self.tags(pooled)))


class ExportedText(nn.Module):
    """The text tower, its token table in int8, with `Embedder.embed_text` at its end."""

    table: Tensor
    scales: Tensor

    def __init__(self, tower: TextTower, embedder: Embedder) -> None:
        super().__init__()
        table = tower.tokens.weight.detach()
        scales = table.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127.0
        self.register_buffer("table", (table / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)
        self.tower, self.head, self.tags = tower, embedder.head, embedder.tags

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, n_tokens) int64 twice -> (n, dim)."""
        n, n_tokens = input_ids.shape
        flat = input_ids.reshape(-1)
        rows = self.table.index_select(0, flat).float() * self.scales.index_select(0, flat)
        looked_up = rows.reshape(n, n_tokens, -1)
        vectors = embed_unit(self.tower.after_lookup(looked_up, attention_mask))
        return self.tags.join(embed_unit(self.head(vectors)), self.tags.of_texts(vectors))


def export_bundle(
    folder: Path,
    embedder: Embedder,
    text_tower: TextTower,
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
        ExportedAudio(embedder),
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
        ExportedText(text_tower, embedder),
        {"input_ids": ids, "attention_mask": (ids > 0).long()},
        {name: {0: "n", 1: "n_tokens"} for name in ("input_ids", "attention_mask")},
        folder / TEXT_TOWER,
    )
    bundle = EncoderBundle(
        folder=folder,
        dim=embedder.dim,
        audio=audio,
        features=features,
        text=text,
        results={},
        files=file_hashes(folder, (AUDIO_TOWER, TEXT_TOWER, TOKENIZER)),
        **facts,
    )
    bundle.write()
    return bundle
