"""The text stage: ragged batches, the teacher's vectors, and a student that comes closer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.loop import LoopConfig
from trainer.text_distillation import (
    DistilConfig,
    DistillationPair,
    TokenIds,
    agreement,
    cosine_loss,
    distil,
    embed_texts,
    read_tokenizer,
    similarity_loss,
    teach,
)
from trainer.towers.bert import read_bert
from trainer.towers.unit import embed_unit

TEXTS = ["low tone", "the sound of a high whistle", "hiss", "rumble and buzz"]


def test_batches_are_cut_to_their_longest_text(tiny_teacher: Path) -> None:
    tokenizer = read_tokenizer(tiny_teacher, 12)
    ids, mask = TokenIds(tokenizer, TEXTS).batch(np.array([2, 0]))
    assert ids.tolist() == [[*tokenizer.encode("hiss").ids, 0], tokenizer.encode("low tone").ids]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_vectors_come_in_the_order_of_the_texts_whatever_the_batch(tiny_teacher: Path) -> None:
    tower = read_bert(tiny_teacher, layers=None, rank=None, max_tokens=12)
    ids = TokenIds(read_tokenizer(tiny_teacher, 12), TEXTS)
    together, alone = embed_texts(tower, ids), embed_texts(tower, ids, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_a_slip_is_taught_the_meaning_of_the_clean_text(tiny_teacher: Path) -> None:
    pairs = [
        DistillationPair("low tone", "low tone"),
        DistillationPair("low tnoe", "low tone"),
        DistillationPair("hiss", "hiss"),
    ]
    taught = teach(tiny_teacher, read_tokenizer(tiny_teacher, 12), pairs, 12)
    np.testing.assert_array_equal(taught[0], taught[1])
    assert (taught[0] - taught[2]).any()


def test_the_student_comes_closer_to_its_teacher(tiny_teacher: Path, tmp_path: Path) -> None:
    pairs = [DistillationPair(text, text) for text in TEXTS]
    tokenizer = read_tokenizer(tiny_teacher, 12)
    wanted = teach(tiny_teacher, tokenizer, pairs, 12)
    ids = TokenIds(tokenizer, TEXTS)
    student = read_bert(tiny_teacher, layers=(0,), rank=4, max_tokens=12)
    before = agreement(embed_texts(student, ids), wanted)
    loop = LoopConfig(steps=120, warmup_steps=5, learning_rate=1e-2, precision="fp32")
    distil(
        student, ids, wanted, DistilConfig(layers=(0,), rank=4, batch_size=8, loop=loop), tmp_path
    )
    after = agreement(embed_texts(student, ids), wanted)
    assert before["cosine"] < 0.9 and after["cosine"] > 0.99


def test_agreement_is_perfect_only_with_oneself() -> None:
    one = np.eye(4, dtype=np.float32)[[0, 1, 2, 0]]
    assert agreement(one, one) == {"cosine": pytest.approx(1.0), "correlation": pytest.approx(1.0)}
    assert agreement(one, one[[1, 0, 3, 2]])["cosine"] == 0.0


def test_losses_are_those_of_a_double_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    found = embed_unit(torch.randn(4, 3, generator=generator))
    wanted = embed_unit(torch.randn(4, 3, generator=generator))
    cosines = [
        sum(a * b for a, b in zip(*rows, strict=True)) for rows in zip(found, wanted, strict=True)
    ]
    torch.testing.assert_close(cosine_loss(found, wanted), 1 - sum(cosines) / 4)
    squares = [
        (torch.dot(found[i], found[j]) - torch.dot(wanted[i], wanted[j])) ** 2
        for i in range(4)
        for j in range(4)
    ]
    torch.testing.assert_close(similarity_loss(found, wanted), sum(squares) / 16)
