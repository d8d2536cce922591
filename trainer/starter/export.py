"""The starter's two towers to an encoder bundle.

Its token table, which weighs most, is stored as int8 with one scale a row; the rest is stored as
`trainer/export.py` stores it.
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

from soundsearch.audio import AudioConfig
from soundsearch.bundle import AUDIO_TOWER, TEXT_TOWER, TOKENIZER, EncoderBundle, TextConfig
from soundsearch.features import FeatureConfig
from trainer.export import file_hashes
from trainer.graphs import export_onnx, fold
from trainer.towers.bert import TextTower
from trainer.towers.compact import AudioTower
from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]


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
