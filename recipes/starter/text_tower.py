"""Stages: the teacher embeds the corpus, the text tower learns to do the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from recipes.starter.constants import StarterConfig
from recipes.starter.corpus import (
    AUDIOCAPS_TRAIN,
    AUDIOCAPS_VALID,
    ONTOLOGY,
    build_corpus,
    read_audiocaps,
    whole_words,
)
from recipes.starter.manifests import Recording, digest
from recipes.starter.run_folder import Run
from soundsearch.files import sha256_of
from trainer.loop import delete_checkpoint, save_tensors
from trainer.text_distillation import (
    Array,
    DistillationPair,
    TokenIds,
    agreement,
    distil,
    embed_texts,
    read_tokenizer,
    student_of,
    teach,
)
from trainer.towers.bert import TextTower

WEIGHTS = "weights.safetensors"
#: In the folder of the teacher.
TEACHER = ("model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class TextSide:
    """The finished text tower, its tokenizer, and the fingerprint of all that it is made from."""

    tower: TextTower
    tokenizer: tokenizers.Tokenizer
    key: str

    def embed(self, texts: Sequence[str]) -> Array:
        """Unit vectors (n, width) float32 of texts."""
        return embed_texts(self.tower, TokenIds(self.tokenizer, texts))


def make_text_tower(
    data: Path, recordings: Sequence[Recording], run: Run, config: StarterConfig, teacher: Path
) -> TextSide:
    """Run the stages teach and distil.

    Args:
        data: Folder with captions/.
        recordings: Those whose captions and tags enter; the training split.
        run: The run folder.
        config: Of the recipe.
        teacher: Folder of a published sentence encoder.
    """
    tokenizer = read_tokenizer(teacher, config.text.max_tokens)
    pairs = build_corpus(data, recordings, whole_words(tokenizer.get_vocab()), config.corpus)
    held_out = read_audiocaps(data / AUDIOCAPS_VALID)[: config.n_held_out]
    checked = [DistillationPair(text, text) for text in held_out]

    def taught(folder: Path) -> None:
        vectors = {  # the names are those of stored files
            name: _half(teach(teacher, tokenizer, texts, config.text.max_tokens))
            for name, texts in (("lessons", pairs), ("checked", checked))
        }
        save_tensors(vectors, folder / WEIGHTS)

    words = [[one.caption, *one.tags] for one in recordings]
    facts = [words, digest(data, (AUDIOCAPS_TRAIN, ONTOLOGY)), config.corpus, held_out]
    hashes = [sha256_of(teacher / name) for name in TEACHER]
    vectors_folder, key = run.stage("teach", [*facts, config.text.max_tokens, hashes], taught)

    def distilled(folder: Path) -> None:
        vectors = load_file(vectors_folder / WEIGHTS)
        ids, checked_ids = (
            TokenIds(tokenizer, [pair.text for pair in some]) for some in (pairs, checked)
        )
        wanted = vectors["checked"].float().numpy()

        def check(tower: nn.Module) -> dict[str, float]:
            assert isinstance(tower, TextTower)
            found = agreement(embed_texts(tower, checked_ids), wanted)
            return {f"held_out_{name}": value for name, value in found.items()}

        student = student_of(teacher, config.distil)
        targets = vectors["lessons"].float().numpy()
        distil(student, ids, targets, config.distil, folder, check)
        save_tensors(student.state_dict(), folder / WEIGHTS)
        delete_checkpoint(folder)

    weights, key = run.stage("distil", [key, config.distil], distilled)
    tower = student_of(teacher, config.distil)
    tower.load_state_dict(load_file(weights / WEIGHTS))
    return TextSide(tower.eval(), tokenizer, key)


def _half(vectors: Array) -> Tensor:
    return torch.from_numpy(vectors.astype(np.float16))
