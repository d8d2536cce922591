"""The second part of embeddings: sounds and texts meet in what a tagger would say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainer.starter.tag_space import TagSpace, TagSpaceConfig
from trainer.towers.unit import embed_unit

N_CLASSES, WIDTH = 3, 8


def tag_space(config: TagSpaceConfig, captions: Tensor | None = None) -> TagSpace:
    """Three classes of two names each, all at right angles; opinions that differ most in the last.

    captions: if not given, one that is like none of the names.
    """
    torch.manual_seed(0)
    opinions = torch.randn(500, N_CLASSES) * torch.tensor([1.0, 2.0, 4.0])
    captions = torch.eye(WIDTH)[6:7] if captions is None else captions
    return TagSpace(opinions, names(), captions, config)


def names() -> Tensor:
    return torch.eye(WIDTH)[:6].reshape(N_CLASSES, 2, WIDTH)


def test_directions_are_those_in_which_opinions_differ_most() -> None:
    torch.manual_seed(1)
    opinions = torch.randn(300, 5) @ torch.randn(5, 5)
    tags = TagSpace(opinions, torch.zeros(5, 1, 1), torch.zeros(1, 1), TagSpaceConfig(dim=2))
    _, vectors = np.linalg.eigh(np.cov(opinions.numpy().T))
    largest = vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(largest.T @ tags.directions.numpy()), np.eye(2), atol=1e-4)


@pytest.mark.parametrize("which", [0, 1])
def test_a_sound_of_a_class_and_any_of_its_names_are_one_vector(which: int) -> None:
    tags = tag_space(TagSpaceConfig(dim=N_CLASSES))
    sounds = tags.of_sounds(7 * torch.eye(N_CLASSES))
    texts = tags.of_texts(names()[:, which])
    torch.testing.assert_close(sounds @ texts.T, torch.eye(N_CLASSES), atol=1e-4, rtol=0)


def test_a_text_like_two_classes_lies_between_them() -> None:
    tags = tag_space(TagSpaceConfig(dim=N_CLASSES))
    both = embed_unit(names()[0, 0] + names()[2, 1])[None]
    sounds = tags.of_sounds(torch.eye(N_CLASSES))
    cosines = (sounds @ embed_unit(tags.of_texts(both)).T)[:, 0]
    torch.testing.assert_close(cosines, torch.tensor([0.5**0.5, 0.0, 0.5**0.5]), atol=1e-4, rtol=0)


def test_the_less_a_text_is_like_a_class_the_less_tags_count() -> None:
    tags = tag_space(TagSpaceConfig(dim=N_CLASSES, unlike=0.5))
    name, nothing = names()[0, 0], torch.eye(WIDTH)[7]
    cosines = torch.tensor([1.0, 0.75, 0.5, 0.2])
    texts = cosines[:, None] * name + (1 - cosines**2).sqrt()[:, None] * nothing
    lengths = tags.of_texts(texts).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 0.5, 0.0, 0.0]), atol=1e-5, rtol=0)


def test_the_more_a_text_is_like_a_caption_the_less_tags_count() -> None:
    cosines = torch.tensor([0.3, 0.5, 0.75, 0.95, 1.0])
    nothing = torch.eye(WIDTH)[7]
    captions = cosines[:, None] * names()[0, 0] + (1 - cosines**2).sqrt()[:, None] * nothing
    tags = [
        tag_space(TagSpaceConfig(dim=N_CLASSES, unlike=0.5, least=0.2), row[None])
        for row in captions
    ]
    lengths = [float(space.of_texts(names()[0]).norm(dim=1)[0]) for space in tags]
    assert lengths == pytest.approx([1.0, 1.0, 0.5, 0.2, 0.2], abs=1e-5)


@given(st.floats(0, 3), st.floats(0, 1), st.integers(0, 2**31))
def test_a_joined_cosine_weighs_both_parts(weight: float, length: float, seed: int) -> None:
    tags = tag_space(TagSpaceConfig(dim=2, weight=weight))
    generator = torch.Generator().manual_seed(seed)
    learned, other = (embed_unit(torch.randn(1, 4, generator=generator)) for _ in "ab")
    heard, named = (embed_unit(torch.randn(1, 2, generator=generator)) for _ in "ab")
    sound, text = tags.join(learned, heard), tags.join(other, length * named)
    assert sound.shape == (1, 6)
    assert float(sound.norm()) == pytest.approx(1, abs=1e-5)
    parts = float((learned * other).sum()) + weight * length * float((heard * named).sum())
    expected = parts / ((1 + weight) * (1 + weight * length**2)) ** 0.5
    assert float((sound * text).sum()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "dim must be 1 or more"),
        ({"weight": -1.0}, "weight 0 or more"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"unlike": 1.0}, r"unlike must be in \[0, 1\)"),
        ({"least": 1.5}, r"least in \[0, 1\], not 0.5 and 1.5"),
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TagSpaceConfig(**wrong)  # type: ignore[arg-type]


def test_more_directions_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 classes have no 4 directions"):
        tag_space(TagSpaceConfig(dim=4))
