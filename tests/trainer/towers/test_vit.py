"""The vision transformer over spectrograms, held against open_clip's image tower."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import open_clip.transformer
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.onnx_export import run_onnx, save_onnx, to_onnx
from trainer.towers.unit import embed_unit
from trainer.towers.vit import (
    LayerNorm,
    SpectrogramViT,
    TowerError,
    VitConfig,
    vit_from_authors,
    vit_from_clip,
)

#: As many patches each way as open_clip's square picture, side by side.
SQUARE = VitConfig(
    width=32, n_layers=2, n_heads=4, patch=8, stride=(8, 8), n_mels=32, n_frames=32, dim=12
)
#: Overlapping patches, longer than high, as the audio tower's.
LONG = dataclasses.replace(SQUARE, stride=(4, 6), n_frames=45)
#: The published grid in a tower of a few numbers.
THIN = VitConfig(width=8, n_layers=1, n_heads=2, dim=4)

POSITIONS = "misc.positional_embedding"


def _clip_tower() -> open_clip.transformer.VisionTransformer:
    """A tiny image tower of CLIP's kind with no weight at a special value."""
    torch.manual_seed(0)
    tower = open_clip.transformer.VisionTransformer(
        image_size=32,
        patch_size=8,
        width=32,
        layers=2,
        heads=4,
        mlp_ratio=4.0,
        output_dim=12,
        act_layer=open_clip.transformer.QuickGELU,
    )
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return tower.eval()


@pytest.fixture(scope="module")
def clip_tower() -> open_clip.transformer.VisionTransformer:
    return _clip_tower()


def _features(config: VitConfig, n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, config.n_mels, config.n_frames, generator=generator)


def _pictures(features: Tensor) -> Tensor:
    """Three equal channels, time on the rows: (n, 3, n_frames, n_mels)."""
    return features.transpose(1, 2)[:, None].expand(-1, 3, -1, -1)


def _bilinear(grid: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float64]:
    """(old rows, old columns, width) to (rows, columns, width), by its definition."""

    def weights(old: int, new: int) -> NDArray[np.float64]:
        places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(old)[None, :]))

    found: NDArray[np.float64] = np.einsum(
        "ra,cb,abw->rcw", weights(grid.shape[0], rows), weights(grid.shape[1], columns), grid
    )
    return found


# ---- against CLIP


def test_it_is_clips_image_tower_on_three_equal_channels(
    clip_tower: open_clip.transformer.VisionTransformer,
) -> None:
    """Trap 7: CLIP sums over the channels, the audio tower averages, so it is given three times as much."""
    features = _features(SQUARE)
    tower = vit_from_clip(clip_tower.state_dict(), SQUARE)

    with torch.no_grad():
        found, expected = tower(3 * features), clip_tower(_pictures(features))

    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_overlapping_patches_on_a_long_grid_are_clips_too(
    clip_tower: open_clip.transformer.VisionTransformer,
) -> None:
    """Trap 8: strides are (time, mel), time on the rows; positions interpolated to that grid."""
    tower = vit_from_clip(clip_tower.state_dict(), LONG)
    assert LONG.grid == (10, 5)
    other = _clip_tower()
    other.conv1.stride = (4, 6)
    table = other.positional_embedding.detach()
    grid = _bilinear(table[1:].reshape(4, 4, 32).numpy(), 10, 5).reshape(50, 32)
    other.positional_embedding = nn.Parameter(
        torch.cat((table[:1], torch.from_numpy(grid).float()))
    )
    features = _features(LONG)

    with torch.no_grad():
        found, expected = tower(features), other(_pictures(features) / 3)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prefix", ["", "visual."])
def test_published_names_are_understood(
    clip_tower: open_clip.transformer.VisionTransformer, prefix: str
) -> None:
    state = {f"{prefix}{name}": value.half() for name, value in clip_tower.state_dict().items()}
    if prefix:
        state |= {"logit_scale": torch.ones(()), "positional_embedding": torch.ones(77, 32)}
    tower = vit_from_clip(state, LONG)
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in tower.parameters())
    expected = vit_from_clip(clip_tower.state_dict(), LONG)
    torch.testing.assert_close(
        tower.misc.positional_embedding, expected.misc.positional_embedding, atol=5e-3, rtol=1e-3
    )


def test_the_image_tower_stays_as_it_is(
    clip_tower: open_clip.transformer.VisionTransformer,
) -> None:
    before = {name: value.clone() for name, value in clip_tower.state_dict().items()}
    tower = vit_from_clip(clip_tower.state_dict(), SQUARE)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(1.0)
    for name, value in clip_tower.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_each_channel_of_the_kernel_learns_the_same_third(
    clip_tower: open_clip.transformer.VisionTransformer,
) -> None:
    """Trap 7: the parameter stays 3-channel and is averaged at each forward."""
    three = vit_from_clip(clip_tower.state_dict(), LONG)
    one = vit_from_clip(clip_tower.state_dict(), dataclasses.replace(LONG, in_channels=1))
    features = _features(LONG)
    torch.testing.assert_close(three(features), one(features))

    for tower in (three, one):
        tower(features).square().sum().backward()

    whole, thirds = one.pre_encoder.conv1.weight.grad, three.pre_encoder.conv1.weight.grad
    assert whole is not None and thirds is not None and thirds.shape == (32, 3, 8, 8)
    torch.testing.assert_close(3 * thirds, whole.expand_as(thirds), atol=1e-4, rtol=1e-3)


def test_new_weights_are_spread_as_clips() -> None:
    torch.manual_seed(0)
    config = VitConfig(
        width=64, n_layers=1, n_heads=4, patch=16, stride=(16, 16), n_mels=128, n_frames=128, dim=64
    )
    other = open_clip.transformer.VisionTransformer(
        image_size=128, patch_size=16, width=64, layers=1, heads=4, mlp_ratio=4.0, output_dim=64
    )
    expected = vit_from_clip(other.state_dict(), config).state_dict()

    for name, value in SpectrogramViT(config).state_dict().items():
        assert value.mean().item() == pytest.approx(expected[name].mean().item(), abs=0.05), name
        spread = 0.3 if value.numel() < 1000 else 0.06
        assert value.std().item() == pytest.approx(expected[name].std().item(), rel=spread), name


# ---- what stands in the fact sheet: sizes and names


@pytest.mark.parametrize(
    ("n_frames", "rows"), [(32, 1), (400, 24), (500, 30), (1000, 61), (1024, 63), (1800, 111)]
)
def test_trap_8_the_grid_is_of_strides_16_and_24(n_frames: int, rows: int) -> None:
    config = VitConfig(n_frames=n_frames)
    assert config.grid == (rows, 5) and config.n_tokens == 5 * rows + 1
    thin = dataclasses.replace(THIN, n_frames=n_frames)
    assert SpectrogramViT(thin)(_features(thin, 2)).shape == (2, 4)


BLOCK = {
    "attn.in_proj_weight": (2304, 768),
    "attn.in_proj_bias": (2304,),
    "attn.out_proj.weight": (768, 768),
    "attn.out_proj.bias": (768,),
    "ln_1.weight": (768,),
    "ln_1.bias": (768,),
    "mlp.c_fc.weight": (3072, 768),
    "mlp.c_fc.bias": (3072,),
    "mlp.c_proj.weight": (768, 3072),
    "mlp.c_proj.bias": (768,),
    "ln_2.weight": (768,),
    "ln_2.bias": (768,),
}
OTHERS = {
    "pre_encoder.conv1.weight": (768, 3, 32, 32),
    "pre_encoder.ln.weight": (768,),
    "pre_encoder.ln.bias": (768,),
    "post_encoder.proj": (768, 512),
    "post_encoder.ln.weight": (768,),
    "post_encoder.ln.bias": (768,),
    "misc.positional_embedding": (306, 768),
    "misc.class_embedding": (768,),
}


def test_names_and_shapes_are_those_of_the_published_checkpoints() -> None:
    blocks = {
        f"encoder.resblocks.{n}.{name}": shape for n in range(12) for name, shape in BLOCK.items()
    }
    with torch.device("meta"):
        tower = SpectrogramViT(VitConfig())
    state = tower.state_dict()
    found = [(name, tuple(value.shape)) for name, value in state.items()]
    assert found == list({**blocks, **OTHERS}.items())
    assert len(found) == 152
    assert sum(p.numel() for p in tower.parameters()) == 88_045_824


# ---- positions at another length


def _numbered(rows: int, width: int = 8) -> dict[str, Tensor]:
    """Weights of a trained THIN tower whose positions tell their token's number."""
    torch.manual_seed(0)
    state = SpectrogramViT(dataclasses.replace(THIN, n_frames=1000)).state_dict()
    numbers = torch.arange(1 + rows * 5, dtype=torch.float32)
    return {**state, POSITIONS: numbers[:, None].expand(-1, width)}


def _tokens(state: dict[str, Tensor], n_frames: int) -> list[float]:
    tower = vit_from_authors(state, dataclasses.replace(THIN, n_frames=n_frames))
    table = tower.misc.positional_embedding
    assert bool((table == table[:, :1]).all())
    found: list[float] = table[:, 0].tolist()
    return found


@pytest.mark.parametrize("n_frames", [992, 1000, 1007])
def test_trap_9_the_same_grid_keeps_its_positions(n_frames: int) -> None:
    assert _tokens(_numbered(61), n_frames) == list(range(306))


@pytest.mark.parametrize(
    ("n_frames", "first", "last"), [(32, 6, 6), (400, 6, 29), (500, 6, 35), (911, 6, 60)]
)
def test_trap_9_a_shorter_clip_takes_positions_from_row_6(
    n_frames: int, first: int, last: int
) -> None:
    expected = [0, *range(1 + 5 * first, 1 + 5 * (last + 1))]
    assert _tokens(_numbered(61), n_frames) == expected


@pytest.mark.parametrize("n_frames", [912, 950, 991])
def test_trap_9_rows_that_run_off_the_end_are_refused(n_frames: int) -> None:
    rows = (n_frames - 32) // 16 + 1
    words = (
        f"an input of {n_frames} frames needs {rows} rows of positions from row 6 on, this checkpoint "
        "has 61 in all; choose at most 911 frames, or 992 or more"
    )
    with pytest.raises(TowerError, match=f"^{re.escape(words)}$"):
        _tokens(_numbered(61), n_frames)


def test_trap_9_a_longer_clip_interpolates() -> None:
    state = _numbered(61)
    state[POSITIONS] = torch.randn(306, 8, generator=torch.Generator().manual_seed(0))
    tower = vit_from_authors(state, dataclasses.replace(THIN, n_frames=1800))
    found = tower.misc.positional_embedding.detach().numpy()
    expected = _bilinear(state[POSITIONS][1:].reshape(61, 5, 8).numpy(), 111, 5)
    assert found.shape == (556, 8)
    np.testing.assert_array_equal(found[0], state[POSITIONS][0].numpy())
    np.testing.assert_allclose(found[1:], expected.reshape(555, 8), atol=1e-4)


@pytest.mark.parametrize("side", [7, 14])
def test_a_table_of_pictures_is_interpolated_to_the_audio_grid_first(side: int) -> None:
    state = _numbered(61)
    table = torch.randn(1 + side * side, 8, generator=torch.Generator().manual_seed(0))
    state[POSITIONS] = table
    grid = _bilinear(table[1:].reshape(side, side, 8).numpy(), 61, 5)

    whole = vit_from_authors(state, THIN).misc.positional_embedding.detach().numpy()
    short = vit_from_authors(state, dataclasses.replace(THIN, n_frames=400))

    np.testing.assert_allclose(whole[1:], grid.reshape(305, 8), atol=1e-5)
    np.testing.assert_allclose(
        short.misc.positional_embedding.detach().numpy()[1:],
        grid[6:30].reshape(120, 8),
        atol=1e-5,
    )
    np.testing.assert_array_equal(whole[0], table[0].numpy())


def test_what_is_trained_is_what_is_read() -> None:
    torch.manual_seed(0)
    tower = SpectrogramViT(THIN).eval()
    again = vit_from_authors(tower.state_dict(), THIN).eval()
    features = _features(THIN)
    torch.testing.assert_close(again(features), tower(features), rtol=0, atol=0)


# ---- weights that do not fit


def _without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {}, "not the weights of a vision transformer: a table of positions"),
        (lambda s: _without(s, POSITIONS), "a table of positions (positional_embedding) is missing"),
        (
            lambda s: _without(s, "post_encoder.proj"),
            "post_encoder.proj: missing; expected a vision transformer of 1 layers, "
            "found 19 weights and 1 layers",
        ),
        (
            lambda s: {**s, "encoder.resblocks.1.ln_1.bias": torch.zeros(8)},
            "encoder.resblocks.1.ln_1.bias: unknown weight; expected a vision transformer of "
            "1 layers, found 21 weights and 2 layers",
        ),
        (
            lambda s: {**s, "post_encoder.proj": torch.zeros(8, 5)},
            "post_encoder.proj: its shape is (8, 5), expected (8, 4)",
        ),
        (
            lambda s: {**s, POSITIONS: torch.zeros(308, 8)},
            "misc.positional_embedding has 308 rows, expected 1 and a multiple of 5",
        ),
        (
            lambda s: {**s, POSITIONS: torch.zeros(1, 8)},
            "misc.positional_embedding has 1 rows, expected 1 and a multiple of 5",
        ),
    ],
)  # fmt: skip
def test_trained_weights_that_do_not_fit_are_refused(change: object, message: str) -> None:
    with pytest.raises(TowerError, match=re.escape(message)):
        vit_from_authors(change(_numbered(61)), THIN)  # type: ignore[operator]


def test_another_network_than_a_vision_transformer_is_refused() -> None:
    resnet = {"visual.conv1.weight": torch.zeros(4, 3, 3, 3), "positional_embedding": torch.ones(5)}
    with pytest.raises(TowerError, match="not the weights of a vision transformer"):
        vit_from_clip(resnet, SQUARE)


def test_an_image_tower_of_another_size_is_refused(
    clip_tower: open_clip.transformer.VisionTransformer,
) -> None:
    state = clip_tower.state_dict()
    with pytest.raises(TowerError, match=r"resblocks.1.*unknown weight.*1 layers.*2 layers"):
        vit_from_clip(state, dataclasses.replace(SQUARE, n_layers=1))
    with pytest.raises(TowerError, match=r"its shape is \(.*8, 8\), expected \(.*4, 4\)"):
        vit_from_clip(state, dataclasses.replace(SQUARE, patch=4))
    with pytest.raises(TowerError, match="have 16 rows, expected 1 and a square number"):
        vit_from_clip({**state, "positional_embedding": torch.zeros(16, 32)}, SQUARE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_heads": 5}, "width must be a multiple of n_heads, not 768 and 5"),
        ({"n_frames": 31}, "n_frames and n_mels must be 32"),
        ({"n_mels": 16}, "n_frames and n_mels must be 32"),
        ({"stride": (0, 24)}, "all sizes must be 1 or more"),
        ({"dim": 0}, "all sizes must be 1 or more"),
    ],
)
def test_sizes_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        VitConfig(**wrong)  # type: ignore[arg-type]


# ---- at work


def test_norms_are_computed_in_float32() -> None:
    norm = LayerNorm(64)
    x = (100 + torch.randn(5, 64, generator=torch.Generator().manual_seed(0))).bfloat16()
    found = norm(x)
    assert found.dtype == torch.bfloat16
    exact = nn.functional.layer_norm(x.double(), (64,), eps=1e-5)
    torch.testing.assert_close(found.double(), exact, atol=2e-2, rtol=8e-3)
    assert norm.eps == 1e-5


def test_it_runs_in_bfloat16_and_learns() -> None:
    torch.manual_seed(0)
    tower = SpectrogramViT(LONG)
    features = _features(LONG)
    expected = embed_unit(tower(features))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = embed_unit(tower(features))
    torch.testing.assert_close(found, expected, atol=3e-2, rtol=0)
    found.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in tower.parameters())


class _Unit(nn.Module):
    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, features: Tensor) -> Tensor:
        return embed_unit(self.tower(features))


def test_it_exports_with_any_number_of_windows(tmp_path: Path) -> None:

    torch.manual_seed(0)
    module = _Unit(SpectrogramViT(LONG).eval())
    features = _features(LONG, 5)
    path = tmp_path / "audio.onnx"
    inputs = {"features": features[:2]}
    save_onnx(to_onnx(module, inputs, {"features": {0: "n"}}), module, inputs, path)
    for n in (1, 5):
        found = run_onnx(path, {"features": features[:n]})
        with torch.no_grad():
            np.testing.assert_allclose(found, module(features[:n]).numpy(), atol=2e-3)
