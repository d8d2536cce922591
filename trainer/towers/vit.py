"""CLIP's vision transformer listening to a spectrogram: the audio tower of VIP-ANT.

The spectrogram takes the place of the picture, time on its rows and mel bands on its columns; the
patches overlap, so that its 128 bands give as many positions as they can. Names of the weights are
those of the published checkpoints. Source: Zhao et al., "Connecting the Dots between Audio and
Text without Parallel Data through Visual Knowledge Transfer" (NAACL 2022), and the authors' code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundsearch.errors import SoundsearchError

#: Rows of CLIP's position tables: 7 x 7 and 14 x 14 patches and the class token. Found in a trained
#: audio checkpoint, such a table is still that of pictures.
PICTURE_TABLES = (50, 197)
#: Frames of the published checkpoints.
PUBLISHED_FRAMES = 1000
#: A shorter clip takes the trained positions from this row of the grid on, as the authors' code does.
FIRST_ROW = 6
POSITIONS = "misc.positional_embedding"
KERNEL = "pre_encoder.conv1.weight"

#: Where CLIP's weights go, by how their names begin.
FROM_CLIP = {
    "transformer.": "encoder.",
    "conv1.": "pre_encoder.conv1.",
    "ln_pre.": "pre_encoder.ln.",
    "ln_post.": "post_encoder.ln.",
    "proj": "post_encoder.proj",
    "positional_embedding": POSITIONS,
    "class_embedding": "misc.class_embedding",
}


class TowerError(SoundsearchError):
    """Weights that do not fit the tower they are meant for."""


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """A vision transformer over log-mel features; the defaults are VIP-ANT's.

    width, n_layers, n_heads: of the transformer. patch: side of a patch, in frames and in bands.
    stride: (frames, bands) from one patch to the next. in_channels: channels of the patch kernel,
    3 as in CLIP or 1. n_mels, n_frames: of the features. dim: length of the vector.
    """

    width: int = 768
    n_layers: int = 12
    n_heads: int = 12
    patch: int = 32
    stride: tuple[int, int] = (16, 24)
    in_channels: int = 3
    n_mels: int = 128
    n_frames: int = 1000
    dim: int = 512

    def __post_init__(self) -> None:
        sizes = (self.width, self.n_heads, self.patch, *self.stride, self.in_channels, self.dim)
        if min(sizes) < 1 or self.n_layers < 0:
            raise ValueError(f"all sizes must be 1 or more: {self}")
        if self.width % self.n_heads:
            raise ValueError(
                f"width must be a multiple of n_heads, not {self.width} and {self.n_heads}"
            )
        if min(self.n_mels, self.n_frames) < self.patch:
            raise ValueError(
                f"n_frames and n_mels must be {self.patch} (one patch) or more, "
                f"not {self.n_frames} and {self.n_mels}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along time and along the bands: 61 and 5 for a clip of 1,000 frames."""
        return (
            (self.n_frames - self.patch) // self.stride[0] + 1,
            (self.n_mels - self.patch) // self.stride[1] + 1,
        )

    @property
    def n_tokens(self) -> int:
        """Tokens the transformer sees: the class token and one a patch."""
        return 1 + math.prod(self.grid)


class SpectrogramViT(nn.Module):
    """Features (n, n_mels, n_frames) to vectors (n, dim).

    New weights are random as CLIP's were. Source: VIP-ANT, `cvap/module/encoder/clip_head.py`, and
    CLIP's `VisionTransformer`; equal to the latter but for the strides and the one channel.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Transformer(config)
        self.pre_encoder = Patches(config)
        self.post_encoder = Head(config)
        self.misc = Positions(config)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) float32 -> (n, dim)."""
        pictures = features.transpose(1, 2)[:, None]  # (n, 1, n_frames, n_mels)
        tokens = self.misc(self.pre_encoder.cut(pictures))
        tokens = self.encoder(self.pre_encoder.ln(tokens))
        vectors: Tensor = self.post_encoder(tokens[:, 0])
        return vectors


class LayerNorm(nn.LayerNorm):
    """Layer normalisation, computed in float32 whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> same, of the same type."""
        weight, bias = self.weight.float(), self.bias.float()
        y = functional.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)
        return y.to(x.dtype)


class Patches(nn.Module):
    """One channel cut into overlapping patches, time outermost; and the norm before the blocks."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            config.in_channels, config.width, config.patch, config.stride, bias=False
        )
        self.ln = LayerNorm(config.width)

    def cut(self, pictures: Tensor) -> Tensor:
        """(n, 1, n_frames, n_mels) -> (n, rows * columns, width).

        The kernel keeps CLIP's three channels and is averaged over them each time: each of them
        learns, by a third of the gradient.
        """
        kernel = self.conv1.weight.mean(dim=1, keepdim=True)
        patches = functional.conv2d(pictures, kernel, stride=self.conv1.stride)
        return patches.flatten(2).transpose(1, 2)


class Positions(nn.Module):
    """The class token, put first, and what a token's place adds to it."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        scale = config.width**-0.5
        self.positional_embedding = nn.Parameter(scale * torch.randn(config.n_tokens, config.width))
        self.class_embedding = nn.Parameter(scale * torch.randn(config.width))

    def forward(self, patches: Tensor) -> Tensor:
        """(n, n_tokens - 1, width) -> (n, n_tokens, width)."""
        first = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        return torch.cat((first, patches), dim=1) + self.positional_embedding


class Transformer(nn.Module):
    """The blocks, one after the other."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        for block in self.resblocks:
            x = block(x)
        return x


class Block(nn.Module):
    """Self-attention and feed-forward, each normalised before."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.ln_1 = LayerNorm(config.width)
        self.mlp = FeedForward(config)
        self.ln_2 = LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        x = x + self.attn(self.ln_1(x))
        thought: Tensor = x + self.mlp(self.ln_2(x))
        return thought


class Attention(nn.Module):
    """Every token looks at every token. Weights and their start as in nn.MultiheadAttention."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.width
        self.n_heads = config.n_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        n, n_tokens, width = x.shape
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        heads = projected.reshape(n, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (n, head, token, depth)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, n_tokens, width))
        return out


class FeedForward(nn.Module):
    """Four times as wide inside, with CLIP's quick GELU: x * sigmoid(1.702 x)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.width, 4 * config.width)
        self.c_proj = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        hidden = self.c_fc(x)
        out: Tensor = self.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        return out


class Head(nn.Module):
    """The class token, normalised, projected into CLIP's space."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Parameter(config.width**-0.5 * torch.randn(config.width, config.dim))
        self.ln = LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) -> (n, dim)."""
        vectors: Tensor = self.ln(x) @ self.proj
        return vectors


def vit_from_clip(visual_state: Mapping[str, Tensor], config: VitConfig) -> SpectrogramViT:
    """An audio tower that begins as CLIP's image tower; no weight is left random.

    visual_state: weights of a CLIP with a vision transformer and quick GELU, as OpenAI and
    open_clip name them: a whole state dict, or its `visual.` part with or without that prefix.
    Its positions are those of a square grid and are interpolated to the audio grid.
    Raises TowerError where a weight is missing, too many, or of a shape that config does not have.
    """
    prefix = "visual."
    if any(name.startswith(prefix) for name in visual_state):
        visual_state = {
            name.removeprefix(prefix): value
            for name, value in visual_state.items()
            if name.startswith(prefix)
        }
    state = {_renamed(name): value for name, value in visual_state.items()}
    table = _position_table(state)
    state[POSITIONS] = _interpolated(table, _square(table), config.grid)
    return _filled(state, config)


def vit_from_authors(state: Mapping[str, Tensor], config: VitConfig) -> SpectrogramViT:
    """An audio tower from the audio state of a trained checkpoint, for clips of any length.

    state: as the authors write it, or a SpectrogramViT's own. config: of the tower wanted; its
    n_frames may differ from those the checkpoint was trained with. Positions then follow the
    authors' rules: those of the same grid are copied; those of a shorter clip are the trained ones
    from row FIRST_ROW of the grid on; those of a longer one are interpolated. A table of CLIP's own
    (PICTURE_TABLES) is first interpolated to the grid of PUBLISHED_FRAMES.
    Raises TowerError where the weights do not fit config, and where a clip is a little shorter
    than the trained one, so that rows from FIRST_ROW on are too few.
    """
    rows, columns = config.grid
    table = _position_table(state)
    if len(table) in PICTURE_TABLES:
        trained = ((PUBLISHED_FRAMES - config.patch) // config.stride[0] + 1, columns)
        table = _interpolated(table, _square(table), trained)
    trained_rows, rest = divmod(len(table) - 1, columns)
    if rest or not trained_rows:
        raise TowerError(
            f"{POSITIONS} has {len(table)} rows, expected 1 and a multiple of {columns}, the patches "
            f"over {config.n_mels} mel bands; choose the n_mels and stride it was trained with"
        )
    if rows > trained_rows:
        table = _interpolated(table, (trained_rows, columns), config.grid)
    elif rows < trained_rows:
        if FIRST_ROW + rows > trained_rows:
            raise TowerError(_too_few_rows(trained_rows, config))
        begin = 1 + FIRST_ROW * columns
        table = torch.cat((table[:1], table[begin : begin + rows * columns]))
    return _filled({**state, POSITIONS: table}, config)


def _too_few_rows(trained_rows: int, config: VitConfig) -> str:
    step = config.stride[0]
    exact = (trained_rows - 1) * step + config.patch
    fewer = (trained_rows - FIRST_ROW) * step + config.patch - 1
    return (
        f"a clip of {config.n_frames} frames needs {config.grid[0]} rows of positions from row "
        f"{FIRST_ROW} on, this checkpoint has {trained_rows} in all; "
        f"choose at most {fewer} frames, or {exact} or more"
    )


def _renamed(name: str) -> str:
    """CLIP's name of a weight of the image tower, as the audio tower calls it."""
    for theirs, ours in FROM_CLIP.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _position_table(state: Mapping[str, Tensor]) -> Tensor:
    table = state.get(POSITIONS)
    if table is None or table.ndim != 2:
        raise TowerError(
            "these are not the weights of a vision transformer: a table of positions "
            "(positional_embedding) is missing"
        )
    return table.detach().float()


def _square(table: Tensor) -> tuple[int, int]:
    """The square grid that a position table with a class row belongs to."""
    side = math.isqrt(len(table) - 1)
    if side < 1 or side * side != len(table) - 1:
        raise TowerError(
            f"the positions of the image tower have {len(table)} rows, expected 1 and a square number"
        )
    return side, side


def _interpolated(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A position table (1 + rows * columns, width) of one grid stretched to another.

    The class row stays. Source: VIP-ANT; bilinear, corners not aligned, no antialiasing.
    """
    grid = table[1:].reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, width, rows, columns)
    grid = functional.interpolate(grid, new, mode="bilinear", align_corners=False)
    return torch.cat((table[:1], grid[0].flatten(1).T))


def _filled(state: Mapping[str, Tensor], config: VitConfig) -> SpectrogramViT:
    """A tower that holds copies of these weights in float32; every shape is checked."""
    weights = {name: value.detach().float().clone() for name, value in state.items()}
    kernel = weights.get(KERNEL)
    if kernel is not None and kernel.ndim == 4 and config.in_channels == 1:
        weights[KERNEL] = kernel.mean(dim=1, keepdim=True)
    with torch.device("meta"):
        tower = SpectrogramViT(config)
    expected = {name: tuple(value.shape) for name, value in tower.state_dict().items()}
    for name, shape in expected.items():
        if name not in weights:
            raise TowerError(f"{name}: missing; {_layers(config, state)}")
        if tuple(weights[name].shape) != shape:
            raise TowerError(
                f"{name}: its shape is {tuple(weights[name].shape)}, expected {shape}; "
                "the tower and the weights must be of one size"
            )
    unknown = [name for name in weights if name not in expected]
    if unknown:
        raise TowerError(f"{unknown[0]}: unknown weight; {_layers(config, state)}")
    tower.load_state_dict(weights, assign=True)
    return tower


def _layers(config: VitConfig, state: Mapping[str, Tensor]) -> str:
    found = {
        match[1] for name in state if (match := re.match(r"encoder\.resblocks\.(\d+)\.", name))
    }
    return (
        f"expected a vision transformer of {config.n_layers} layers, "
        f"found {len(state)} weights and {len(found)} layers"
    )
