"""The audio tower of VIP-ANT: CLIP's vision transformer, with a spectrogram as input.

The rows of the input are frames, its columns mel bands; patches overlap. Weights have the names of
the published checkpoints. Source: Zhao et al., "Connecting the Dots between Audio and Text without
Parallel Data through Visual Knowledge Transfer" (NAACL 2022); VIP-ANT, `cvap/module/val.py` and
`cvap/module/encoder/clip_head.py`.
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

#: Rows of CLIP's position tables: 7 x 7 and 14 x 14 patches and the class token. In an audio
#: checkpoint, a table of this length is still that of the image tower.
IMAGE_TABLES = (50, 197)
#: Frames of a window of the published checkpoints.
PUBLISHED_FRAMES = 1000
#: Shorter inputs use the trained positions from this row of the grid on, as in the authors' code.
FIRST_ROW = 6
POSITIONS = "misc.positional_embedding"
KERNEL = "pre_encoder.conv1.weight"

#: Prefix of a weight of CLIP's image tower -> its prefix in the audio tower.
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
    """The weights do not fit the tower."""


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """A vision transformer over log-mel features; the defaults are VIP-ANT's.

    Attributes:
        width: Of the transformer; n_layers and n_heads too.
        patch: Side of a patch, in frames and in mel bands.
        stride: (frames, mel bands) from one patch to the next.
        in_channels: Channels of the patch kernel, 3 as in CLIP, or 1.
        n_mels: Mel bands of the features.
        n_frames: Frames of the features.
        dim: Numbers in a vector.
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
        """Patches along time and along mel bands: 61 and 5 for 1,000 frames."""
        return (
            (self.n_frames - self.patch) // self.stride[0] + 1,
            (self.n_mels - self.patch) // self.stride[1] + 1,
        )

    @property
    def n_tokens(self) -> int:
        """Tokens of the transformer: the class token, and one for each patch."""
        return 1 + math.prod(self.grid)


class SpectrogramViT(nn.Module):
    """Features (n, n_mels, n_frames) to vectors (n, dim).

    New weights are initialised as in CLIP. Source: VIP-ANT, `cvap/module/encoder/clip_head.py`, and
    CLIP's `VisionTransformer`, from which it differs in the strides and in the one input channel.
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
        inputs = features.transpose(1, 2)[:, None]  # (n, 1, n_frames, n_mels)
        tokens = self.misc(self.pre_encoder.embed(inputs))
        tokens = self.encoder(self.pre_encoder.ln(tokens))
        vectors: Tensor = self.post_encoder(tokens[:, 0])
        return vectors


class LayerNorm(nn.LayerNorm):
    """Layer normalisation, computed in float32 for any input type."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> same, of the same type."""
        weight, bias = self.weight.float(), self.bias.float()
        y = functional.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)
        return y.to(x.dtype)


class Patches(nn.Module):
    """Patch embedding of one channel, time outermost, and the norm before the blocks."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            config.in_channels, config.width, config.patch, config.stride, bias=False
        )
        self.ln = LayerNorm(config.width)

    def embed(self, inputs: Tensor) -> Tensor:
        """(n, 1, n_frames, n_mels) -> (n, rows * columns, width).

        The kernel has CLIP's three channels and is averaged over them in each pass, so each channel
        gets a third of the gradient.
        """
        kernel = self.conv1.weight.mean(dim=1, keepdim=True)
        patches = functional.conv2d(inputs, kernel, stride=self.conv1.stride)
        return patches.flatten(2).transpose(1, 2)


class Positions(nn.Module):
    """The class token, put first, and the position embeddings."""

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
    """The sequence of blocks."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        for block in self.resblocks:
            x = block(x)
        return x


class Block(nn.Module):
    """A pre-norm block of self-attention and feed-forward."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.ln_1 = LayerNorm(config.width)
        self.mlp = FeedForward(config)
        self.ln_2 = LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_tokens, width) -> same."""
        x = x + self.attn(self.ln_1(x))
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y


class Attention(nn.Module):
    """Self-attention. Weights and their initialisation as in nn.MultiheadAttention."""

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
    """Feed-forward of four times the width, with CLIP's QuickGELU: x * sigmoid(1.702 x)."""

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
    """Norm of the class token, and its projection into CLIP's space."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Parameter(config.width**-0.5 * torch.randn(config.width, config.dim))
        self.ln = LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) -> (n, dim)."""
        vectors: Tensor = self.ln(x) @ self.proj
        return vectors


def vit_from_clip(visual_state: Mapping[str, Tensor], config: VitConfig) -> SpectrogramViT:
    """Build an audio tower with the weights of CLIP's image tower; none stays random.

    The position table of the square image grid is interpolated to the audio grid.

    Args:
        visual_state: Weights of a CLIP model with a vision transformer and QuickGELU, with the
            names of OpenAI and open_clip: a whole state dict, or its `visual.` part with or
            without that prefix.
        config: Of the tower.

    Raises:
        TowerError: A weight is missing, unknown, or of another shape.
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
    """Build an audio tower with the weights of a trained checkpoint, for any number of frames.

    config.n_frames may differ from that of the training. The position table then follows the
    authors' rules: the same grid is copied; a shorter input takes the trained rows from FIRST_ROW
    on; a longer one is interpolated. A table of CLIP's image tower (IMAGE_TABLES) is first
    interpolated to the grid of PUBLISHED_FRAMES.
    Source: VIP-ANT, `load_pos_embedding` of CLIPAudioHead.

    Args:
        state: The audio state of the authors' checkpoint, or that of a SpectrogramViT.
        config: Of the tower.

    Raises:
        TowerError: The weights do not fit config, or the input is only a little shorter than that
            of the training, so that too few rows follow FIRST_ROW.
    """
    rows, columns = config.grid
    table = _position_table(state)
    if len(table) in IMAGE_TABLES:
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
        f"an input of {config.n_frames} frames needs {config.grid[0]} rows of positions from row "
        f"{FIRST_ROW} on, this checkpoint has {trained_rows} in all; "
        f"choose at most {fewer} frames, or {exact} or more"
    )


def _renamed(name: str) -> str:
    """Return the audio tower's name of a weight of CLIP's image tower."""
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
    """Return the square grid of a position table with a class row."""
    side = math.isqrt(len(table) - 1)
    if side < 1 or side * side != len(table) - 1:
        raise TowerError(
            f"the positions of the image tower have {len(table)} rows, expected 1 and a square number"
        )
    return side, side


def _interpolated(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolate a position table (1 + rows * columns, width) from one grid to another.

    The class row stays. Bilinear, corners not aligned, no antialiasing. Source: VIP-ANT,
    `load_pos_embedding`.
    """
    grid = table[1:].reshape(1, *old, -1).permute(0, 3, 1, 2)  # (1, width, rows, columns)
    grid = functional.interpolate(grid, new, mode="bilinear", align_corners=False)
    return torch.cat((table[:1], grid[0].flatten(1).T))


def _filled(state: Mapping[str, Tensor], config: VitConfig) -> SpectrogramViT:
    """Build a tower with float32 copies of these weights; all names and shapes are checked."""
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
