"""The towers: shapes, what they must not notice, and the published encoder rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from trainer.towers.bert import read_bert
from trainer.towers.compact import AudioTower, AudioTowerConfig
from trainer.towers.unit import embed_unit

SMALL = AudioTowerConfig(widths=(4, 8), depths=(1, 1), pooled=8, dim=6)


@pytest.fixture
def tower() -> AudioTower:
    torch.manual_seed(0)
    return AudioTower(SMALL, n_mels=16, mean=-6.0, std=4.0).eval()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(3, 16, 45, generator=torch.Generator().manual_seed(0))


def test_the_audio_tower_gives_one_vector_a_window(
    tower: AudioTower, features: torch.Tensor
) -> None:
    assert tower(features).shape == (3, 6)
    torch.testing.assert_close(tower(features[1:2]), tower(features)[1:2])


def test_level_leaves_no_trace(tower: AudioTower, features: torch.Tensor) -> None:
    louder = features + 15 * 0.2303 / tower.std
    torch.testing.assert_close(tower(louder), tower(features), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        tower.levelled(features).amax(dim=(1, 2)),
        tower.levelled(louder).amax(dim=(1, 2)),
    )


def test_the_place_on_the_frequency_axis_matters(tower: AudioTower, features: torch.Tensor) -> None:
    torch.nn.init.normal_(tower.height)
    assert (tower(features.flip(1)) - tower(features)).abs().max() > 1e-3


def test_widths_and_depths_must_match() -> None:
    with pytest.raises(ValueError, match="as many widths as depths"):
        AudioTowerConfig(widths=(4, 8), depths=(1,))


def test_the_text_tower_is_the_published_bert(tiny_teacher: Path) -> None:
    from safetensors.torch import load_file

    tower = read_bert(tiny_teacher, layers=None, rank=None, max_tokens=12).eval()
    config = BertConfig(
        vocab_size=tower.config.n_tokens,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        layer_norm_eps=1e-12,
    )
    published = BertModel(config, add_pooling_layer=False).eval()
    published.load_state_dict(load_file(tiny_teacher / "model.safetensors"))
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]])
    mask = (ids > 0).long()
    with torch.no_grad():
        states = published(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(tower(ids, mask), wanted, atol=1e-5, rtol=1e-4)


def test_padding_leaves_no_trace(tiny_teacher: Path) -> None:
    tower = read_bert(tiny_teacher, layers=(0,), rank=4, max_tokens=12).eval()
    short = torch.tensor([[2, 9, 4, 3]])
    long = torch.tensor([[2, 9, 4, 3, 0, 0, 0]])
    found = tower(long, (long > 0).long())
    torch.testing.assert_close(found, tower(short, torch.ones_like(short)), atol=1e-5, rtol=1e-5)


def test_a_full_rank_factorisation_keeps_every_token(tiny_teacher: Path) -> None:
    whole = read_bert(tiny_teacher, layers=None, rank=None, max_tokens=12).eval()
    factored = read_bert(tiny_teacher, layers=None, rank=16, max_tokens=12).eval()
    ids = torch.arange(4, 12)[None]
    torch.testing.assert_close(
        factored(ids, torch.ones_like(ids)), whole(ids, torch.ones_like(ids)), atol=1e-4, rtol=1e-4
    )


def test_unit_embeddings_are_unit_and_finite() -> None:
    found = embed_unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
