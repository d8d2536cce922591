"""The BERT text tower: token ids to vectors. Published weights can be read into it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.towers.unit import EPSILON


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig:
    """A BERT encoder with mean pooling.

    Attributes:
        n_tokens: Size of the vocabulary.
        max_tokens: Length of the position table.
        rank: Inner dimension of the factorised token embedding, or None for a full table.
        width: Width of the layers, and numbers in a vector.
        n_layers: Transformer layers.
        n_heads: Attention heads of a layer.
        n_hidden: Inner width of the feed-forward part.
    """

    n_tokens: int = 30522
    max_tokens: int = 64
    rank: int | None = 160
    width: int = 384
    n_layers: int = 3
    n_heads: int = 12
    n_hidden: int = 1536
    layer_norm_epsilon: float = 1e-12


class TextTower(nn.Module):
    """Token ids and mask (n, n_tokens) to vectors (n, width).

    Source: BERT as in transformers' BertModel, without dropout, pooler and second token type;
    mean pooling as in sentence-transformers. Differs in the optional factorised embedding.
    """

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = config
        rank = config.rank or config.width
        self.tokens: nn.Module = nn.Embedding(config.n_tokens, rank)
        self.widen: nn.Module = nn.Identity()
        if config.rank is not None:
            self.widen = nn.Linear(rank, config.width)
        self.positions = nn.Parameter(torch.zeros(config.max_tokens, config.width))
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_epsilon)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.n_layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids, attention_mask (n, n_tokens) int64 -> (n, width)."""
        n_tokens = input_ids.shape[1]
        x = self.norm(self.widen(self.tokens(input_ids)) + self.positions[:n_tokens])
        mask = attention_mask.to(x.dtype)
        bias = (mask[:, None, None, :] - 1.0) * 1e4  # (n, 1, 1, n_tokens)
        for layer in self.layers:
            x = layer(x, bias)
        weights = mask[:, :, None]
        pooled: Tensor = (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=EPSILON)
        return pooled


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward, normalised after each, as in BERT."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        width = config.width
        self.n_heads = config.n_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.hidden = nn.Linear(width, config.n_hidden)
        self.back = nn.Linear(config.n_hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_epsilon)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same; bias (n, 1, 1, n_tokens) is very negative for padding."""
        n, n_tokens, width = x.shape
        heads = self.query_key_value(x).reshape(n, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (n, head, token, depth)
        scores = query @ key.transpose(-1, -2) * (width // self.n_heads) ** -0.5 + bias
        mixed = scores.softmax(dim=-1) @ value
        mixed = mixed.transpose(1, 2).reshape(n, n_tokens, width)
        x = self.norm1(x + self.out(mixed))
        y: Tensor = self.norm2(x + self.back(functional.gelu(self.hidden(x))))
        return y


def read_bert(
    folder: Path, *, layers: Sequence[int] | None, rank: int | None, max_tokens: int
) -> TextTower:
    """Build a text tower with the weights of a published BERT sentence encoder.

    With all layers and no rank the tower equals the published encoder.

    Args:
        folder: Holds config.json and model.safetensors.
        layers: Numbers of the layers to use, None for all.
        rank: None uses the whole token table; a number its best factorisation of that rank
            (principal components).
        max_tokens: Positions to use.
    """
    from safetensors.torch import load_file

    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {
        name: value.float() for name, value in load_file(folder / "model.safetensors").items()
    }
    chosen = range(facts["num_hidden_layers"]) if layers is None else layers
    tower = TextTower(
        TextTowerConfig(
            n_tokens=facts["vocab_size"],
            max_tokens=max_tokens,
            rank=rank,
            width=facts["hidden_size"],
            n_layers=len(chosen),
            n_heads=facts["num_attention_heads"],
            n_hidden=facts["intermediate_size"],
            layer_norm_epsilon=facts["layer_norm_eps"],
        )
    )
    table = weights["embeddings.word_embeddings.weight"]
    ours: dict[str, Tensor] = {
        "positions": weights["embeddings.position_embeddings.weight"][:max_tokens]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    if rank is None:
        ours["tokens.weight"] = table
    else:
        mean = table.mean(dim=0)
        _, _, components = torch.linalg.svd(table - mean, full_matrices=False)
        ours["tokens.weight"] = (table - mean) @ components[:rank].T
        ours["widen.weight"] = components[:rank].T.contiguous()
        ours["widen.bias"] = mean
    for i, layer in enumerate(chosen):
        ours |= _bert_layer(weights, f"encoder.layer.{layer}.", f"layers.{i}.")
    tower.load_state_dict(ours)
    return tower


def _bert_layer(weights: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    renamed = {
        "attention.output.dense": "out",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "hidden",
        "output.dense": "back",
        "output.LayerNorm": "norm2",
    }
    layer = {
        f"{ours}{new}.{part}": weights[f"{theirs}{old}.{part}"]
        for old, new in renamed.items()
        for part in ("weight", "bias")
    }
    for part in ("weight", "bias"):
        layer[f"{ours}query_key_value.{part}"] = torch.cat(
            [weights[f"{theirs}attention.self.{name}.{part}"] for name in ("query", "key", "value")]
        )
    return layer
