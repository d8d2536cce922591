"""The inverted softmax as a part of embeddings: cosines as the formula says, and hubs put back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn

from trainer.inverted_softmax import (
    InvertedSoftmaxConfig,
    LevelledTextTower,
    LoweredAudioTower,
    unused_direction,
    without,
)

Array = NDArray[np.float32]
DIM = 12


class GivenText(nn.Module):
    """Gives the vectors that the ids are the numbers of, at twice their length."""

    def __init__(self, vectors: Array) -> None:
        super().__init__()
        self.vectors = torch.from_numpy(vectors)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return 2 * self.vectors[input_ids[:, 0]] * attention_mask[:, :1]


def unit(vectors: NDArray[np.floating]) -> Array:
    found: Array = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return found


def made_texts(n: int) -> Array:
    """Unit vectors without a part along (1, 1, ..., 1), as after layer normalisation."""
    vectors = np.random.default_rng(0).normal(size=(n, DIM)) + np.arange(DIM) / 4
    return unit(vectors - vectors.mean(axis=1, keepdims=True))


def embedded(
    sounds: Array, texts: Array, config: InvertedSoftmaxConfig
) -> tuple[Array, Array, Array]:
    """The unit embeddings of sounds and of texts, and the direction."""
    direction = unused_direction(texts)
    audio = LoweredAudioTower(nn.Identity(), texts, direction, config)
    text = LevelledTextTower(GivenText(texts), direction)
    ids = torch.arange(len(texts))[:, None]
    vectors = text(ids, torch.ones_like(ids)).numpy()
    return unit(audio(3 * torch.from_numpy(sounds)).numpy()), unit(vectors), direction


def test_the_direction_is_one_that_no_text_uses() -> None:
    texts = made_texts(50)
    direction = unused_direction(texts)
    np.testing.assert_allclose(np.abs(direction), DIM**-0.5, atol=1e-4)
    np.testing.assert_allclose(texts @ direction, 0, atol=1e-5)


def test_cosines_are_lowered_as_the_formula_says() -> None:
    texts = made_texts(40)
    sounds = unit(np.random.default_rng(1).normal(size=(30, DIM)))
    config = InvertedSoftmaxConfig(n_centres=40, scale=15, weight=1.25)
    audio, vectors, direction = embedded(sounds, texts, config)
    cosines = sounds @ texts.T
    fits = 1.25 / 15 * logsumexp(15 * cosines, axis=1, b=1 / 40)
    # Both are made unit: texts have the lengths sqrt(2), sounds about 1.
    lengths = np.linalg.norm(
        np.c_[sounds - np.outer(sounds @ direction, direction), fits], axis=1, keepdims=True
    )
    expected = (cosines - fits[:, None]) / np.sqrt(2) / lengths
    np.testing.assert_allclose(audio @ vectors.T, expected, atol=1e-5)


def test_what_every_text_fits_no_longer_comes_first() -> None:
    rng = np.random.default_rng(2)
    texts = made_texts(200)
    own = unit(texts[:20] + 0.5 * rng.normal(size=(20, DIM)))
    hub = unit(texts.mean(axis=0, keepdims=True))
    sounds = np.concatenate((own, hub))

    def hub_first(audio: Array, text: Array) -> int:
        return int(((text[:20] @ audio.T).argmax(axis=1) == 20).sum())

    audio, vectors, _ = embedded(sounds, texts, InvertedSoftmaxConfig(n_centres=200))
    before, after = hub_first(sounds, texts), hub_first(audio, vectors)
    assert before > after + 3, (before, after)


def test_sounds_stay_as_near_to_each_other_and_texts_in_their_order() -> None:
    texts = made_texts(60)
    sounds = unit(np.random.default_rng(3).normal(size=(20, DIM)))
    audio, vectors, direction = embedded(sounds, texts, InvertedSoftmaxConfig(weight=0))
    np.testing.assert_allclose(audio, without(sounds, direction), atol=1e-5)
    np.testing.assert_allclose(without(vectors, direction), texts, atol=1e-5)
    np.testing.assert_allclose(vectors @ vectors.T, (1 + texts @ texts.T) / 2, atol=1e-5)


def test_few_centres_stand_for_many_texts() -> None:
    # Three places with 100, 50 and 50 texts: three centres say all.
    places = made_texts(3)
    texts = np.repeat(places, (100, 50, 50), axis=0)
    sounds = torch.from_numpy(unit(np.random.default_rng(4).normal(size=(10, DIM))))
    direction = unused_direction(made_texts(50))
    few, all_of_them = (
        LoweredAudioTower(nn.Identity(), texts, direction, InvertedSoftmaxConfig(n_centres=n))
        for n in (3, 200)
    )
    assert len(few.centres) == 3
    torch.testing.assert_close(few.fit(sounds), all_of_them.fit(sounds), atol=1e-5, rtol=0)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="n_centres=0"):
        InvertedSoftmaxConfig(n_centres=0)
